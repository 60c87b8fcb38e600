//! The APIServices of what this server serves itself: made at the start for what is built in, and kept
//! in step with the definitions of custom resources.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hansa_api::{ApiError, meta};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::available::Verdict;
use super::priority::{CUSTOM, Priority};
use super::{GROUP, PLURAL};
use crate::generic::catalog::Snapshot;
use crate::generic::context::Context;
use crate::generic::options::DeleteOptions;
use crate::server::ApiServer;

const RETRY: Duration = Duration::from_millis(500);
/// Who looks after an APIService: made once at the start, or for as long as its definition is there.
const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
const ON_START: &str = "onstart";
const ALWAYS: &str = "true";

/// Makes what is missing, then follows the catalog; ends with the server.
pub(super) async fn run(server: Arc<ApiServer>) {
    let stop = server.stop.clone();
    stop.run_until_cancelled(async {
        let mut changes = server.registry.catalog.subscribe();
        let mut started = false;
        loop {
            match reconcile(&server, !started).await {
                Ok(()) => {
                    started = true;
                    server.health.api_services.done();
                    if changes.changed().await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "failed to keep APIServices; trying again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    })
    .await;
}

/// One write that brings the APIServices in step.
#[derive(Debug, PartialEq)]
enum Step {
    Create(Value),
    Delete(String),
}

async fn reconcile(server: &Arc<ApiServer>, at_start: bool) -> Result<(), ApiError> {
    let Ok(served) = server.registry.served(GROUP, PLURAL) else { return Ok(()) };
    let live = server.registry.list_cached(GROUP, PLURAL, "").await?;
    let steps = plan(&server.registry.catalog.snapshot(), &live, at_start);
    let writes = steps.into_iter().map(|step| async {
        match step {
            Step::Create(object) => {
                let ctx = Context::internal("create", "", "");
                server.registry.create(&served, &ctx, object).await.map(drop)
            }
            Step::Delete(name) => {
                let ctx = Context::internal("delete", "", &name);
                let options = DeleteOptions::default();
                server.registry.delete(&served, &ctx, &options).await.map(drop)
            }
        }
    });
    for done in futures::future::join_all(writes).await {
        match done {
            Err(error) if !error.is_already_exists() && !error.is_not_found() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn plan(snapshot: &Snapshot, live: &[Arc<Value>], at_start: bool) -> Vec<Step> {
    let wanted = wanted(snapshot);
    let missing = wanted.iter().filter(|(name, (_, managed))| {
        let known = live.iter().any(|service| meta::name(service) == name.as_str());
        !known && (at_start || *managed == ALWAYS)
    });
    let mut steps: Vec<Step> =
        missing.map(|(name, (spec, managed))| Step::Create(object(name, spec, managed))).collect();
    let orphaned = live.iter().filter(|service| {
        let name = meta::name(service);
        meta::label(service, MANAGED) == Some(ALWAYS) && !wanted.contains_key(name)
    });
    steps.extend(orphaned.map(|service| Step::Delete(meta::name(service).to_string())));
    steps
}

/// By name: the specification, and who looks after it.
fn wanted(snapshot: &Snapshot) -> BTreeMap<String, (Value, &'static str)> {
    let mut wanted = BTreeMap::new();
    for (group, versions) in &snapshot.groups {
        for (version, resources) in &versions.resources {
            let custom = resources.iter().all(|served| served.is_custom());
            let (priority, managed) = match Priority::builtin(group, version) {
                _ if group == GROUP => continue,
                Some(priority) if !custom => (priority, ON_START),
                _ if custom => (CUSTOM, ALWAYS),
                _ => continue,
            };
            let spec = json!({
                "group": group, "version": version,
                "groupPriorityMinimum": priority.group, "versionPriority": priority.version,
            });
            wanted.insert(format!("{version}.{group}"), (spec, managed));
        }
    }
    wanted
}

fn object(name: &str, spec: &Value, managed: &str) -> Value {
    let object = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "APIService",
        "metadata": {"name": name, "labels": {MANAGED: managed}}, "spec": spec,
    });
    Verdict::local().applied(&object, Timestamp::now()).unwrap_or(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generic::catalog::{Catalog, Served};
    use crate::generic::resource::Resource;
    use crate::generic::strategy::Plain;

    fn catalog() -> Catalog {
        let all = [("", "v1", "pods"), ("apps", "v1", "deployments"), (GROUP, "v1", PLURAL)];
        let served = all.map(|(group, version, plural)| {
            Served::builtin(Resource::new(group, version, "Kind", plural), Plain)
        });
        Catalog::new(served.into_iter().collect())
    }

    fn names(steps: &[Step]) -> Vec<String> {
        let name = |step: &Step| match step {
            Step::Create(object) => format!("+{}", meta::name(object)),
            Step::Delete(name) => format!("-{name}"),
        };
        steps.iter().map(name).collect()
    }

    #[test]
    fn what_is_served_here_has_an_api_service() {
        let catalog = catalog();
        let steps = plan(&catalog.snapshot(), &[], true);
        assert_eq!(names(&steps), ["+v1.", "+v1.apps"]);
        assert_eq!(names(&plan(&catalog.snapshot(), &[], false)), Vec::<String>::new());
        let mut toys = Served::builtin(Resource::new("ex.org", "v1", "Toy", "toys"), Plain);
        toys.schema = Some(Arc::new(json!({})));
        catalog.set_custom("toys.ex.org", vec![Arc::new(toys)]);
        let made = plan(&catalog.snapshot(), &[], false);
        assert_eq!(names(&made), ["+v1.ex.org"]);
        let Step::Create(object) = &made[0] else { panic!("it is made") };
        assert_eq!(object["spec"]["groupPriorityMinimum"], 1000);
        let live = [Arc::new(object.clone())];
        assert_eq!(plan(&catalog.snapshot(), &live, false), []);
        catalog.set_custom("toys.ex.org", Vec::new());
        assert_eq!(names(&plan(&catalog.snapshot(), &live, false)), ["-v1.ex.org"]);
        let mut taken = object.clone();
        taken["metadata"]["labels"] = json!({});
        assert_eq!(plan(&catalog.snapshot(), &[Arc::new(taken)], false), [], "somebody's own");
    }
}
