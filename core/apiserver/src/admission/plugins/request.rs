//! What a policy is told of a request. An object is serialized once for all that see it alike.

use hansa_extension::admission::{self as extension, Gvk, Gvr, Request, User};
use serde_json::Value;

use crate::admission::matching::{Seen, name_of, namespace_name};
use crate::generic::admit::{Attributes, Operation};

/// The request as it is in the version that the client used, once somebody was told of it.
#[derive(Default)]
pub(super) struct Told {
    plain: Option<Request>,
    /// The last one that was told of it as something else.
    other: Option<Request>,
}

impl Told {
    /// The request for a policy that sees it so.
    pub(super) fn of(
        &mut self,
        attrs: &Attributes<'_>,
        seen: &Seen,
        obj: Option<&Value>,
        old: bool,
    ) -> &Request {
        if seen.0.is_some() {
            return self.other.insert(of(attrs, seen, obj, old));
        }
        let plain = self.plain.get_or_insert_with(|| of(attrs, seen, obj, old));
        if old && plain.old_object.is_none() {
            plain.old_object = attrs.old.map(|old| bytes(attrs, seen, old));
        }
        plain
    }
}

/// The request; the old object of an update only if it is wanted.
pub(super) fn of(attrs: &Attributes<'_>, seen: &Seen, obj: Option<&Value>, old: bool) -> Request {
    let old = attrs.old.filter(|_| old || obj.is_none());
    let (kind, resource, user) = (seen.kind(attrs), seen.resource(attrs), &attrs.ctx.user);
    Request {
        kind: Gvk { group: kind.0.into(), version: kind.1.into(), kind: kind.2.into() },
        resource: Gvr {
            group: resource.0.into(),
            version: resource.1.into(),
            resource: resource.2.into(),
        },
        subresource: attrs.ctx.subresource.clone(),
        namespace: namespace_name(attrs, obj).into(),
        name: name_of(attrs, obj).into(),
        operation: operation(attrs.operation),
        user: User {
            name: user.name.clone(),
            uid: user.uid.clone(),
            groups: user.groups.clone(),
            extra: user.extra.iter().map(|(key, values)| (key.clone(), values.clone())).collect(),
        },
        dry_run: attrs.ctx.dry_run,
        object: obj.map(|obj| bytes(attrs, seen, obj)),
        old_object: old.map(|old| bytes(attrs, seen, old)),
    }
}

fn bytes(attrs: &Attributes<'_>, seen: &Seen, obj: &Value) -> Vec<u8> {
    seen.convert(attrs, obj).to_string().into_bytes()
}

fn operation(operation: Operation) -> extension::Operation {
    match operation {
        Operation::Create => extension::Operation::Create,
        Operation::Update => extension::Operation::Update,
        Operation::Delete => extension::Operation::Delete,
        Operation::Connect => extension::Operation::Connect,
    }
}
