//! What every cluster has from the start: system namespaces, PriorityClasses, flow control, the
//! Service network, bootstrap RBAC, the `kubernetes` Service. Made at start, and again if somebody deletes it while the server is down.

use std::sync::Arc;
use std::time::Duration;

use hansa_api::{ApiError, meta};
use serde_json::Value;

use super::{ApiServer, flow_conditions, kubernetes_service};
use crate::authz::bootstrap as policy;
use crate::generic::context::Context;
use crate::generic::update::Part;
use crate::registry::bootstrap::Seed;
use crate::registry::flow_bootstrap as flow;

const RETRY: Duration = Duration::from_millis(200);
/// How often the `kubernetes` Service is looked after.
const UPKEEP: Duration = Duration::from_secs(10);

/// Makes everything, then keeps the `kubernetes` Service right; ends with the server.
pub(super) async fn run(server: Arc<ApiServer>) {
    let stop = server.stop.clone();
    stop.run_until_cancelled(async {
        until_done("namespaces and priority classes", || seeds(&server)).await;
        server.health.system_namespaces.done();
        server.health.priority_classes.done();
        until_done("flow control", || flow_control(&server)).await;
        until_done("the Service network", || service_cidr(&server)).await;
        until_done("client CAs", || client_cas(&server)).await;
        until_done("RBAC policy", || rbac(&server)).await;
        wait_for_index(&server).await;
        server.health.bootstrap_roles.done();
        loop {
            if let Err(error) = kubernetes_service::reconcile(&server).await {
                tracing::warn!(%error, "failed to reconcile the kubernetes service");
            }
            if let Err(error) = flow_conditions::reconcile(&server).await {
                tracing::warn!(%error, "failed to reconcile the flow schemas");
            }
            tokio::time::sleep(UPKEEP).await;
        }
    })
    .await;
}

/// The store may be unreachable for a while; starting goes on when it is back.
async fn until_done<F: Future<Output = Result<(), ApiError>>>(what: &str, step: impl Fn() -> F) {
    while let Err(error) = step().await {
        tracing::warn!(what, %error, "failed to bootstrap; trying again");
        tokio::time::sleep(RETRY).await;
    }
}

async fn seeds(server: &Arc<ApiServer>) -> Result<(), ApiError> {
    for Seed { group, plural, object } in crate::registry::bootstrap::seeds() {
        ensure(server, group, plural, object, |_| None).await?;
    }
    Ok(())
}

async fn flow_control(server: &Arc<ApiServer>) -> Result<(), ApiError> {
    for Seed { group, plural, object } in crate::registry::bootstrap::flow_control() {
        let wanted = object.clone();
        ensure(server, group, plural, object, |live| flow::reconciled(live, &wanted)).await?;
    }
    Ok(())
}

/// A ServiceCIDR is made without a status, which follows at once.
async fn service_cidr(server: &Arc<ApiServer>) -> Result<(), ApiError> {
    let seed = crate::registry::bootstrap::service_cidr(&server.config.service_cidr);
    let status = seed.object["status"].clone();
    ensure(server, seed.group, seed.plural, seed.object.clone(), |_| None).await?;
    let served = server.registry.served(seed.group, seed.plural)?;
    let name = meta::name(&seed.object);
    let mut ctx = Context::internal("update", "", name);
    ctx.subresource = "status".into();
    let make = |live: &Value| {
        let mut next = live.clone();
        if meta::list_at(live, &["status", "conditions"]).is_empty() {
            next["status"] = status.clone();
        }
        Ok(next)
    };
    server.registry.update(&served, &ctx, Part::Status, make).await.map(drop)
}

/// What aggregated servers must know to authenticate whom this server sends them.
async fn client_cas(server: &Arc<ApiServer>) -> Result<(), ApiError> {
    let Some(front_proxy) = &server.config.front_proxy else { return Ok(()) };
    let object = crate::registry::bootstrap::authentication(front_proxy);
    let data = object["data"].clone();
    let change = |live: &Value| {
        let mut next = live.clone();
        next["data"] = data.clone();
        (live["data"] != data).then_some(next)
    };
    ensure(server, "", "configmaps", object, change).await
}

async fn rbac(server: &Arc<ApiServer>) -> Result<(), ApiError> {
    for object in policy::objects() {
        let plural = match object["kind"].as_str() {
            Some("ClusterRole") => "clusterroles",
            Some("ClusterRoleBinding") => "clusterrolebindings",
            Some("Role") => "roles",
            _ => "rolebindings",
        };
        let wanted = object.clone();
        let group = crate::authz::escalation::RBAC;
        ensure(server, group, plural, object, |live| policy::reconciled(live, &wanted)).await?;
    }
    Ok(())
}

/// The index follows the objects: components must not be let in before it knows their roles.
async fn wait_for_index(server: &Arc<ApiServer>) {
    let objects = policy::objects();
    while !server.authorizer.update(|index| objects.iter().all(|object| index.knows(object))) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Creates an object, or changes the live one as `change` says; kinds not served are skipped.
pub(super) async fn ensure(
    server: &Arc<ApiServer>,
    group: &str,
    plural: &str,
    object: Value,
    change: impl Fn(&Value) -> Option<Value> + Send + Sync,
) -> Result<(), ApiError> {
    let Ok(served) = server.registry.served(group, plural) else { return Ok(()) };
    let (namespace, name) = (meta::namespace(&object), meta::name(&object));
    match server.registry.get(&served, namespace, name).await {
        Ok(live) => {
            let Some(next) = change(&live) else { return Ok(()) };
            let ctx = Context::internal("update", namespace, name);
            let make = |_: &Value| Ok(next.clone());
            server.registry.update(&served, &ctx, Part::Whole, make).await.map(drop)
        }
        Err(error) if error.is_not_found() => {
            let ctx = Context::internal("create", namespace, "");
            match server.registry.create(&served, &ctx, object).await {
                Err(error) if error.is_already_exists() => Ok(()),
                done => done.map(drop),
            }
        }
        Err(error) => Err(error),
    }
}
