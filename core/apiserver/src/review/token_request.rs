//! `serviceaccounts/NAME/token`: a bound token (KEP-1205).

use std::sync::Arc;

use hansa_api::{ApiError, GroupResource, meta};
use serde_json::{Value, json};

use super::Question;
use crate::authn::service_account::{
    BoundObject, DEFAULT_EXPIRATION_SECS, Grant, MIN_EXPIRATION_SECS,
};
use crate::authn::x509::now_secs;
use crate::authz::node;
use crate::objects::Objects;

/// The longest life of a token: about 136 years, upstream's limit of 2^32 seconds.
const MAX_EXPIRATION_SECS: i64 = 1 << 32;

/// Issues a token for the ServiceAccount in the path.
pub(super) async fn answer(question: &Question<'_>) -> Result<Value, ApiError> {
    let info = question.info;
    let (namespace, name) = (info.namespace.as_str(), info.name.as_str());
    let objects = question.server.objects();
    let account = objects.get("serviceaccounts", namespace, name).await;
    let accounts = GroupResource::new("", "serviceaccounts");
    let account = account.ok_or_else(|| ApiError::not_found(&accounts, name))?;
    let refs = bound_refs(question, &account, &objects).await?;
    let lifetime_secs = lifetime(question.spec())?;
    let audiences = audiences(question);
    let now = now_secs();
    let grant = Grant { account: &account, refs: &refs, audiences: &audiences, lifetime_secs, now };
    let token = question.server.tokens.tokens.issue(&grant).map_err(ApiError::internal)?;
    Ok(answered(question, &audiences, &grant, token))
}

fn answered(
    question: &Question<'_>,
    audiences: &[String],
    grant: &Grant<'_>,
    token: String,
) -> Value {
    let expires = i64::try_from(grant.now + grant.lifetime_secs).unwrap_or(i64::MAX);
    let expires = jiff::Timestamp::from_second(expires).unwrap_or(jiff::Timestamp::MAX);
    let expires = expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut object = question.answered(json!({"token": token, "expirationTimestamp": expires}));
    object["metadata"]["name"] = question.info.name.as_str().into();
    object["metadata"]["namespace"] = question.info.namespace.as_str().into();
    object["spec"]["audiences"] = json!(audiences);
    object["spec"]["expirationSeconds"] = grant.lifetime_secs.into();
    object
}

fn audiences(question: &Question<'_>) -> Vec<String> {
    let asked = meta::list_at(question.spec(), &["audiences"]);
    let asked: Vec<String> = asked.iter().filter_map(Value::as_str).map(String::from).collect();
    if asked.is_empty() { question.server.tokens.tokens.audiences().to_vec() } else { asked }
}

fn lifetime(spec: &Value) -> Result<u64, ApiError> {
    let Some(asked) = meta::int_at(spec, &["expirationSeconds"]) else {
        return Ok(DEFAULT_EXPIRATION_SECS);
    };
    let wrong = |why: &str| {
        let message = format!("spec.expirationSeconds: Invalid value: {asked}: {why}");
        ApiError::new(hansa_api::status::Reason::Invalid, message)
    };
    match u64::try_from(asked) {
        Ok(secs) if secs < MIN_EXPIRATION_SECS => {
            Err(wrong("may not specify a duration less than 10 minutes"))
        }
        Ok(_) if asked > MAX_EXPIRATION_SECS => {
            Err(wrong("may not specify a duration larger than 2^32 seconds"))
        }
        Ok(secs) => Ok(secs),
        Err(_) => Err(wrong("may not specify a duration less than 10 minutes")),
    }
}

/// The object that the token dies with, and the node of a pod; a node asks only for its pods.
async fn bound_refs(
    question: &Question<'_>,
    account: &Value,
    objects: &dyn Objects,
) -> Result<Vec<BoundObject>, ApiError> {
    let reference = &question.spec()["boundObjectRef"];
    let asking_node = node::node_of(&question.user);
    if !reference.is_object() {
        return match asking_node {
            Some(_) => Err(refused(question, "node requested token not bound to a pod")),
            None => Ok(Vec::new()),
        };
    }
    let (kind, resource) = match meta::kind(reference) {
        "Pod" => ("pod", "pods"),
        "Secret" => ("secret", "secrets"),
        "Node" => ("node", "nodes"),
        other => {
            let message = format!("cannot bind token for serviceaccount to object kind {other:?}");
            return Err(ApiError::bad_request(message));
        }
    };
    let object = live(question, reference, resource, objects).await?;
    let mut refs = vec![bound(kind, &object)];
    if kind == "pod" {
        check_pod(question, account, &object, asking_node)?;
        let node = meta::str_at(&object, &["spec", "nodeName"]);
        refs.extend(objects.get("nodes", "", node).await.map(|node| bound("node", &node)));
    }
    Ok(refs)
}

async fn live(
    question: &Question<'_>,
    reference: &Value,
    resource: &str,
    objects: &dyn Objects,
) -> Result<Arc<Value>, ApiError> {
    let namespace = if resource == "nodes" { "" } else { question.info.namespace.as_str() };
    let name = meta::str_at(reference, &["name"]);
    let group_resource = GroupResource::new("", resource);
    let found = objects.get(resource, namespace, name).await;
    let found = found.ok_or_else(|| ApiError::not_found(&group_resource, name))?;
    let asked = meta::str_at(reference, &["uid"]);
    if !asked.is_empty() && asked != meta::uid(&found) {
        let why = format!(
            "the UID in the bound object reference ({asked}) does not match the UID in record. \
             The object might have been deleted and then recreated"
        );
        return Err(ApiError::conflict(&group_resource, name, why));
    }
    Ok(found)
}

fn check_pod(
    question: &Question<'_>,
    account: &Value,
    pod: &Value,
    asking_node: Option<&str>,
) -> Result<(), ApiError> {
    let runs_as = match meta::str_at(pod, &["spec", "serviceAccountName"]) {
        "" => "default",
        name => name,
    };
    if runs_as != meta::name(account) {
        let pod = meta::name(pod);
        return Err(ApiError::bad_request(format!(
            "cannot bind token for serviceaccount {:?} to pod {pod:?} running with different \
             serviceaccount name.",
            meta::name(account),
        )));
    }
    let on = meta::str_at(pod, &["spec", "nodeName"]);
    match asking_node {
        Some(node) if node != on => Err(refused(
            question,
            "node requested token bound to a pod scheduled on a different node",
        )),
        _ => Ok(()),
    }
}

fn refused(question: &Question<'_>, why: &str) -> ApiError {
    ApiError::forbidden(&GroupResource::new("", "serviceaccounts"), &question.info.name, why)
}

fn bound(kind: &'static str, object: &Value) -> BoundObject {
    BoundObject { kind, name: meta::name(object).to_string(), uid: meta::uid(object).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_outside_the_limits_are_refused() {
        let of = |secs: i64| lifetime(&json!({"expirationSeconds": secs}));
        assert_eq!(lifetime(&json!({})).unwrap(), 3600);
        assert_eq!(of(600).unwrap(), 600);
        for wrong in [599, 0, -1, (1 << 32) + 1] {
            assert_eq!(of(wrong).unwrap_err().code, 422, "{wrong}");
        }
    }
}
