//! The world of admission: a guest as an [`AdmissionPolicy`].

use hansa_extension::PluginError;
use hansa_extension::admission::{self as host, AdmissionPolicy};

use crate::bindings::admission as wit;
use crate::bindings::admission::hansa::admission::types as guest;
use crate::bindings::scheduler::hansa::core::types::Gvk;
use crate::guest::{Guest, cut};
use crate::version::{Version, lifecycle};

lifecycle!(wit::Policy, wit::PolicyPre<crate::guest::GuestState>);

/// The most warnings, and the most audit annotations, that are taken of one answer.
const MAX_NOTES: usize = 32;

/// A live admission policy.
pub struct AdmissionGuest(Guest<wit::Policy>);

/// A configured instance of a version.
///
/// # Errors
/// What the guest did wrong.
pub fn make(version: &Version) -> Result<Box<dyn AdmissionPolicy>, PluginError> {
    Ok(Box::new(AdmissionGuest(version.guest()?)))
}

/// As [`Version::inspect`]; what it wants to be asked is noted with the version.
///
/// # Errors
/// Whatever makes it unusable.
pub fn inspect(version: &Version) -> Result<(String, String, Vec<String>), PluginError> {
    let found = version.inspect::<wit::Policy>()?;
    let mut guest = version.guest::<wit::Policy>()?;
    let needs = guest.call(|b, store| b.hansa_admission_review().call_needs(store))?;
    if !needs.mutates && !needs.validates {
        return Err(PluginError::Contract("it wants to be asked nothing".into()));
    }
    let interests = host::Interests {
        mutates: needs.mutates,
        validates: needs.validates,
        old_object: needs.old_object,
    };
    let (constraints, failure) = (version.setup.constraints.clone(), version.setup.failure);
    version.scope.get_or_init(|| host::Scope { constraints, interests, failure });
    Ok(found)
}

impl AdmissionPolicy for AdmissionGuest {
    fn mutate(&mut self, request: &host::Request) -> Result<host::Mutation, PluginError> {
        let request = to_guest(request);
        let said =
            self.0.call(|b, store| b.hansa_admission_review().call_mutate(store, &request))?;
        Ok(host::Mutation {
            verdict: verdict(said.verdict),
            change: match said.change {
                guest::Change::Unchanged => host::Change::Unchanged,
                guest::Change::Patch(patch) => host::Change::Patch(patch),
                guest::Change::Replace(object) => host::Change::Replace(object),
            },
        })
    }

    fn validate(&mut self, request: &host::Request) -> Result<host::Verdict, PluginError> {
        let request = to_guest(request);
        self.0
            .call(|b, store| b.hansa_admission_review().call_validate(store, &request))
            .map(verdict)
    }
}

fn to_guest(request: &host::Request) -> guest::Request {
    let (kind, resource, user) = (&request.kind, &request.resource, &request.user);
    guest::Request {
        kind: Gvk {
            group: kind.group.clone(),
            version: kind.version.clone(),
            kind: kind.kind.clone(),
        },
        resource: guest::Gvr {
            group: resource.group.clone(),
            version: resource.version.clone(),
            resource: resource.resource.clone(),
        },
        sub_resource: request.subresource.clone(),
        namespace: request.namespace.clone(),
        name: request.name.clone(),
        operation: match request.operation {
            host::Operation::Create => guest::Operation::Create,
            host::Operation::Update => guest::Operation::Update,
            host::Operation::Delete => guest::Operation::Delete,
            host::Operation::Connect => guest::Operation::Connect,
        },
        user: guest::User {
            name: user.name.clone(),
            uid: user.uid.clone(),
            groups: user.groups.clone(),
            extra: user.extra.clone(),
        },
        dry_run: request.dry_run,
        object: request.object.clone(),
        old_object: request.old_object.clone(),
    }
}

/// What a guest says is shown to clients: so much of it, and no more.
fn verdict(said: guest::Verdict) -> host::Verdict {
    let audit = said.audit.into_iter().take(MAX_NOTES);
    host::Verdict {
        allowed: said.allowed,
        code: said.code,
        message: cut(said.message),
        warnings: said.warnings.into_iter().take(MAX_NOTES).map(cut).collect(),
        audit: audit.map(|(key, value)| (cut(key), cut(value))).collect(),
    }
}
