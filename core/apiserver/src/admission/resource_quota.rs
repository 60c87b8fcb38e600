//! ResourceQuota: a namespace holds no more objects, and its pods ask for no more, than allowed.
//!
//! Runs last. A write that fits is charged to the status of every quota that it concerns, each by one
//! optimistic update that is refused if meanwhile others used up what was left; the quota controller
//! counts anew when objects go.

use async_trait::async_trait;
use hansa_api::ApiError;
use hansa_api::meta::{self, int_at};
use hansa_api::quota::{Evaluator, Write, charge, to_value};
use jiff::Timestamp;
use serde_json::Value;

use super::{forbidden, lookup};
use crate::generic::admit::{Admission, Attributes, Operation};
use crate::generic::context::Context;
use crate::generic::update::Part;

pub(super) struct ResourceQuota;

#[async_trait]
impl Admission for ResourceQuota {
    fn concerns(&self, attrs: &Attributes<'_>) -> bool {
        attrs.resource.namespaced
            && matches!(attrs.operation, Operation::Create | Operation::Update)
            && (attrs.is_whole() || matches!(attrs.ctx.subresource.as_str(), "resize" | "status"))
    }

    async fn validate(&self, attrs: &Attributes<'_>, obj: Option<&Value>) -> Result<(), ApiError> {
        let Some(obj) = obj else { return Ok(()) };
        let Some(evaluator) = Evaluator::of(&attrs.resource.group, &attrs.resource.plural) else {
            return Ok(());
        };
        if !handles(&evaluator, attrs, obj) {
            return Ok(());
        }
        let quotas = lookup::list(attrs, "", "resourcequotas", &attrs.ctx.namespace).await?;
        if quotas.is_empty() {
            return Ok(());
        }
        let lenient = attrs.ctx.subresource == "status";
        let now = Timestamp::now();
        let write = Write { evaluator: &evaluator, new: obj, old: attrs.old, lenient, now };
        let mut concerned = Vec::new();
        for quota in &quotas {
            let used = charge(quota, &write).map_err(|why| forbidden(attrs, obj, why))?;
            concerned.extend(used.map(|_| meta::name(quota)));
        }
        if attrs.ctx.dry_run {
            return Ok(());
        }
        for name in concerned {
            record(attrs, name, &write).await?;
        }
        Ok(())
    }
}

/// Whether such a write can change what is counted.
fn handles(evaluator: &Evaluator, attrs: &Attributes<'_>, obj: &Value) -> bool {
    let creates = attrs.operation == Operation::Create;
    match (evaluator, attrs.ctx.subresource.as_str(), attrs.old) {
        (Evaluator::Pods, "", Some(old)) => creates || is_terminating(old) != is_terminating(obj),
        (Evaluator::Pods, "resize", _) => !creates,
        (Evaluator::Claims, "status", Some(old)) => allocated(old) != allocated(obj),
        (Evaluator::Services | Evaluator::Claims, "", _) => true,
        (_, "", _) => creates,
        _ => false,
    }
}

fn is_terminating(pod: &Value) -> bool {
    int_at(pod, &["spec", "activeDeadlineSeconds"]).is_some_and(|seconds| seconds >= 0)
}

fn allocated(claim: &Value) -> Option<&Value> {
    meta::at(claim, &["status", "allocatedResources"])
}

/// Writes what the quota counts after the write, as the quota is at that moment.
async fn record(attrs: &Attributes<'_>, name: &str, write: &Write<'_>) -> Result<(), ApiError> {
    let served = attrs.registry.served("", "resourcequotas")?;
    let ctx = Context {
        subresource: "status".into(),
        ..Context::internal("patch", &attrs.ctx.namespace, name)
    };
    let make = |quota: &Value| {
        let mut next = quota.clone();
        let used = charge(quota, write).map_err(|why| forbidden(attrs, write.new, why))?;
        if let Some(used) = used {
            meta::fields_mut(&mut next, &["status"]).insert("used".into(), to_value(&used));
        }
        Ok(next)
    };
    match attrs.registry.update(&served, &ctx, Part::Status, make).await {
        Err(error) if error.is_not_found() => Ok(()),
        done => done.map(drop),
    }
}
