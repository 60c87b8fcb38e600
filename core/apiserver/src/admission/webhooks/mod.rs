//! Mutating and validating webhooks: others' servers that are asked before a write.
//!
//! Configurations are compiled when they change ([`super::index`]), with one client per webhook
//! whose connections are kept. A webhook that is slow, wrong or gone is what its `failurePolicy` says; it
//! holds up nobody but who asked.

mod review;

use std::sync::Arc;
use std::time::Duration;

use hansa_api::ApiError;
use hansa_api::meta::{self, int_at, list_at, str_at};
use hansa_api::patch::json as json_patch;
use serde_json::Value;

pub(super) use review::request;

use super::conditions::{Conditions, Verdict};
use super::expressions::{self, Given};
use super::group_resource;
use super::index::{Index, Source};
use super::matching::{Matching, Seen, is_exempt, name_of};
use super::memory::Memory;
use crate::authz::Authorizer;
use crate::generic::admit::Attributes;
use crate::generic::decode;
use crate::generic::registry::Registry;
use crate::webhook::{Hook, HookError};

const GROUP: &str = "admissionregistration.k8s.io";
const TIMEOUT: Duration = Duration::from_secs(10);

/// One webhook of one configuration.
pub(super) struct Webhook {
    /// Tells it from all others: configuration and name.
    id: String,
    name: String,
    matching: Matching,
    conditions: Conditions,
    ignores_failures: bool,
    /// Whether it may be called for what is not going to happen.
    harmless: bool,
    /// Whether it wants to see the object again if others changed it afterwards.
    reinvocable: bool,
    timeout: Duration,
    versions: Vec<String>,
    hook: Result<Hook, HookError>,
}

/// Why a webhook did not let a request pass.
enum Failure {
    /// It said no, or was not to be asked.
    Refused(ApiError),
    /// It could not be asked, or what it said makes no sense: a matter of its `failurePolicy`.
    Broken(String),
}

fn compile(configuration: &Value) -> Vec<Webhook> {
    let env = expressions::env();
    let of = |webhook: &Value| {
        let text = |field: &str| str_at(webhook, &[field]);
        let seconds =
            int_at(webhook, &["timeoutSeconds"]).and_then(|secs| u64::try_from(secs).ok());
        let versions = list_at(webhook, &["admissionReviewVersions"]).iter();
        Webhook {
            id: format!("{}/{}", meta::name(configuration), text("name")),
            name: text("name").to_owned(),
            matching: Matching::webhook(webhook),
            conditions: Conditions::compile(list_at(webhook, &["matchConditions"]), &env),
            ignores_failures: text("failurePolicy") == "Ignore",
            harmless: matches!(text("sideEffects"), "None" | "NoneOnDryRun"),
            reinvocable: text("reinvocationPolicy") == "IfNeeded",
            timeout: seconds.map_or(TIMEOUT, Duration::from_secs),
            versions: versions.filter_map(Value::as_str).map(str::to_owned).collect(),
            hook: Hook::new(&webhook["clientConfig"]),
        }
    };
    list_at(configuration, &["webhooks"]).iter().map(of).collect()
}

impl Webhook {
    /// Whether it is to be called, and as what it sees the request.
    async fn concerned(
        &self,
        attrs: &Attributes<'_>,
        obj: Option<&Value>,
        authorizer: &Arc<Authorizer>,
    ) -> Result<Option<Seen>, ApiError> {
        let Some(seen) = self.matching.matches(attrs, obj).await? else { return Ok(None) };
        if self.conditions.is_empty() {
            return Ok(Some(seen));
        }
        let given = Given { attrs, seen: &seen, obj, authorizer };
        match self.conditions.hold(&given.variables()) {
            Verdict::Yes => Ok(Some(seen)),
            Verdict::No => Ok(None),
            Verdict::Unknown(_) if self.ignores_failures => Ok(None),
            Verdict::Unknown(why) => {
                Err(ApiError::forbidden(&group_resource(attrs), name_of(attrs, obj), why))
            }
        }
    }

    /// Asks it; warnings go to the client at once.
    async fn ask(
        &self,
        attrs: &Attributes<'_>,
        seen: &Seen,
        obj: Option<&Value>,
        mutating: bool,
    ) -> Result<review::Answer, Failure> {
        if attrs.ctx.dry_run && !self.harmless {
            let why = format!("admission webhook {:?} does not support dry run", self.name);
            return Err(Failure::Refused(ApiError::bad_request(why)));
        }
        let uid = uuid::Uuid::new_v4().to_string();
        let Some(review) = review::review(&self.versions, attrs, seen, obj, &uid) else {
            let why = "could not create admission objects: webhook does not accept known \
                       AdmissionReview versions (v1, v1beta1)";
            return Err(Failure::Broken(why.to_string()));
        };
        let unusable = |error: &HookError| format!("could not get REST client: {error}");
        let hook = self.hook.as_ref().map_err(|error| Failure::Broken(unusable(error)))?;
        let answer = hook.post(attrs.registry, &review, self.timeout).await;
        let answer =
            answer.map_err(|error| Failure::Broken(format!("failed to call webhook: {error}")))?;
        let answer = review::verify(&review, &answer, mutating);
        let answer = answer
            .map_err(|why| Failure::Broken(format!("received invalid webhook response: {why}")))?;
        answer.warnings.iter().for_each(|warning| attrs.ctx.warnings.add(warning.as_str()));
        match answer.allowed {
            true => Ok(answer),
            false => Err(Failure::Refused(review::refusal(&self.name, &answer.result))),
        }
    }

    /// What a failure means for the request.
    fn settle(&self, failure: Failure) -> Result<(), ApiError> {
        match failure {
            Failure::Refused(error) => Err(error),
            Failure::Broken(why) if self.ignores_failures => {
                tracing::warn!(webhook = %self.id, %why, "failed to call a webhook, going on");
                Ok(())
            }
            Failure::Broken(why) => {
                Err(ApiError::internal(format!("failed calling webhook {:?}: {why}", self.name)))
            }
        }
    }

    /// Applies what a webhook wants changed; whether anything changed.
    fn patch(
        &self,
        attrs: &Attributes<'_>,
        seen: &Seen,
        obj: &mut Value,
        answer: &review::Answer,
    ) -> Result<bool, Failure> {
        if answer.patch.is_empty() {
            return Ok(false);
        }
        let broken = |why: String| Failure::Broken(why);
        let patch: Value = serde_json::from_slice(&answer.patch).map_err(|error| {
            broken(format!("received undecodable patch in webhook response: {error}"))
        })?;
        if patch.as_array().is_some_and(Vec::is_empty) {
            return Ok(false);
        }
        if answer.patch_type != "JSONPatch" {
            return Err(broken(format!("unsupported patch type {:?}", answer.patch_type)));
        }
        let internal = |error: String| Failure::Refused(ApiError::internal(error));
        let mut seen_object = seen.convert(attrs, obj).into_owned();
        json_patch::apply(&mut seen_object, &patch).map_err(|error| internal(error.to_string()))?;
        let mut wanted = seen.restore(attrs, seen_object);
        conform(attrs, &mut wanted).map_err(Failure::Refused)?;
        let changed = wanted != *obj;
        *obj = wanted;
        Ok(changed)
    }
}

/// What came back must still be an object of the kind; fields that it does not have are dropped.
pub(super) fn conform(attrs: &Attributes<'_>, obj: &mut Value) -> Result<(), ApiError> {
    let resource = attrs.resource;
    let snapshot = attrs.registry.catalog.snapshot();
    let served = snapshot.get(&resource.group, &resource.version, &resource.plural);
    let Some(served) = served.filter(|_| meta::kind(obj) == resource.kind) else { return Ok(()) };
    decode::check_type(resource, obj).map_err(|error| ApiError::internal(error.message))?;
    let pruned = served.strategy.prune(resource, obj);
    pruned.map_err(|error| ApiError::internal(error.message))?;
    served.default(obj);
    Ok(())
}

/// All webhooks of one sort.
pub(super) struct Webhooks {
    index: Arc<Index<Webhook>>,
    authorizer: Arc<Authorizer>,
}

impl Webhooks {
    /// Follows the configurations of one sort.
    pub(super) async fn follow(
        registry: &Arc<Registry>,
        authorizer: &Arc<Authorizer>,
        plural: &'static str,
    ) -> Self {
        let source = Source { group: GROUP, plural, compile };
        let index = Index::follow(registry, source).await;
        Self { index, authorizer: authorizer.clone() }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    fn all(&self, attrs: &Attributes<'_>) -> Vec<Arc<Webhook>> {
        let all = self.index.all();
        if all.is_empty() || is_exempt(attrs) { Vec::new() } else { all.to_vec() }
    }

    /// Calls those that match one after the other, each with what the one before left. The second
    /// round calls those again that asked for it and saw something else.
    pub(super) async fn mutate(
        &self,
        attrs: &Attributes<'_>,
        obj: &mut Value,
        memory: &mut Memory,
    ) -> Result<(), ApiError> {
        let all = self.all(attrs);
        if all.is_empty() {
            return Ok(());
        }
        memory.enter(obj);
        for webhook in &all {
            if memory.skips(&webhook.id) {
                continue;
            }
            let Some(seen) = webhook.concerned(attrs, Some(&*obj), &self.authorizer).await? else {
                continue;
            };
            let changed = match webhook.ask(attrs, &seen, Some(&*obj), true).await {
                Ok(answer) => webhook.patch(attrs, &seen, obj, &answer),
                Err(failure) => Err(failure),
            };
            let did = matches!(changed, Ok(true));
            memory.called(webhook.id.clone(), webhook.reinvocable, did);
            changed.map(drop).or_else(|failure| webhook.settle(failure))?;
        }
        memory.leave(obj);
        Ok(())
    }

    /// Asks the mutating ones about a deletion or a connection, where there is nothing to change.
    pub(super) async fn ask_in_turn(
        &self,
        attrs: &Attributes<'_>,
        obj: Option<&Value>,
    ) -> Result<(), ApiError> {
        for webhook in self.all(attrs) {
            let Some(seen) = webhook.concerned(attrs, obj, &self.authorizer).await? else {
                continue;
            };
            match webhook.ask(attrs, &seen, obj, true).await {
                Ok(answer) if !answer.patch.is_empty() && answer.patch != b"[]" => {
                    return Err(ApiError::internal(format!(
                        "admission webhook {:?} attempted to modify the object, which is not \
                         supported for this operation",
                        webhook.name
                    )));
                }
                Ok(_) => {}
                Err(failure) => webhook.settle(failure)?,
            }
        }
        Ok(())
    }

    /// Asks all that match at once; the first of their refusals counts.
    pub(super) async fn validate(
        &self,
        attrs: &Attributes<'_>,
        obj: Option<&Value>,
    ) -> Result<(), ApiError> {
        let mut asked = Vec::new();
        for webhook in self.all(attrs) {
            if let Some(seen) = webhook.concerned(attrs, obj, &self.authorizer).await? {
                asked.push((webhook, seen));
            }
        }
        let ask = |(webhook, seen): &(Arc<Webhook>, Seen)| {
            let (webhook, seen) = (webhook.clone(), seen.clone());
            async move {
                match webhook.ask(attrs, &seen, obj, false).await {
                    Ok(_) => Ok(()),
                    Err(failure) => webhook.settle(failure),
                }
            }
        };
        let answers = futures::future::join_all(asked.iter().map(ask)).await;
        answers.into_iter().collect()
    }
}
