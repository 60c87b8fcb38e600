//! The whole chain in front of the whole table.

use std::sync::Arc;

use hansa_api::{ApiError, meta};
use hansa_storage::Storage;
use hansa_storage::embedded::Engine;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::generic::catalog::Catalog;
use crate::generic::context::Context;
use crate::generic::options::DeleteOptions;
use crate::generic::registry::Registry;
use crate::generic::update::Part;
use crate::registry::{AddressRange, NODE_PORTS, Settings, bootstrap, table};

struct Cluster(Arc<Registry>);

impl Cluster {
    async fn start() -> Self {
        let storage: Arc<dyn Storage> = Arc::new(Engine::ephemeral().unwrap());
        let service_range = AddressRange::parse("127.64.128.0/17").unwrap();
        let table = table(&Settings { service_range, node_ports: NODE_PORTS });
        let catalog = Arc::new(Catalog::new(table));
        let registry = Registry::new(storage, catalog, CancellationToken::new()).await.unwrap();
        let authorizer = Arc::new(crate::authz::Authorizer::default());
        registry.set_admission(super::chain(&registry, &authorizer, Arc::default()).await);
        let cluster = Self(registry);
        for seed in bootstrap::seeds() {
            cluster.create(seed.group, seed.plural, seed.object).await.unwrap();
        }
        let account = json!({"metadata": {"name": "default", "namespace": "default"}});
        cluster.create("", "serviceaccounts", account).await.unwrap();
        cluster
    }

    async fn create(&self, group: &str, plural: &str, object: Value) -> Result<Value, ApiError> {
        let served = self.0.served(group, plural)?;
        let ctx = Context::internal("create", meta::namespace(&object), "");
        Ok(self.0.create(&served, &ctx, object).await?.obj)
    }

    /// What the quota controller does: the limits, and what is used, in the status.
    async fn count_quota(&self, used: Value) -> Value {
        let served = self.0.served("", "resourcequotas").unwrap();
        let ctx =
            Context { subresource: "status".into(), ..Context::internal("update", "default", "q") };
        let make = |quota: &Value| {
            let mut quota = quota.clone();
            quota["status"] = json!({"hard": quota["spec"]["hard"], "used": used});
            Ok(quota)
        };
        let quota = self.0.update(&served, &ctx, Part::Status, make).await.unwrap().obj;
        self.0.list_cached("", "resourcequotas", "").await.unwrap();
        quota
    }

    async fn pod(&self, namespace: &str, spec: Value) -> Result<Value, ApiError> {
        let mut pod = json!({"metadata": {"name": "p", "namespace": namespace}, "spec": spec});
        pod["spec"]["containers"] = json!([{"name": "a", "image": "b:1"}]);
        self.create("", "pods", pod).await
    }
}

#[tokio::test]
async fn a_pod_gets_its_account_priority_and_tolerations() {
    let cluster = Cluster::start().await;
    let pod = cluster.pod("default", json!({})).await.unwrap();
    let spec = &pod["spec"];
    assert_eq!(spec["serviceAccountName"], "default");
    assert_eq!(spec["priority"], 0);
    assert_eq!(spec["tolerations"].as_array().unwrap().len(), 2);
    assert_eq!(spec["volumes"].as_array().unwrap().len(), 1);
    assert_eq!(pod["status"]["phase"], "Pending");
}

#[tokio::test]
async fn what_a_pod_names_must_exist() {
    let cluster = Cluster::start().await;
    let error = cluster.pod("nowhere", json!({})).await.unwrap_err();
    assert_eq!((error.code, error.message.as_str()), (404, r#"namespaces "nowhere" not found"#));
    let error = cluster.pod("default", json!({"priorityClassName": "x"})).await.unwrap_err();
    assert_eq!(error.message, r#"pods "p" is forbidden: no PriorityClass with name x was found"#);
    let error = cluster.pod("default", json!({"serviceAccountName": "x"})).await.unwrap_err();
    assert_eq!(
        error.message,
        "pods \"p\" is forbidden: error looking up service account default/x: serviceaccount \
         \"x\" not found"
    );
}

#[tokio::test]
async fn a_namespace_that_goes_away_takes_nothing_new() {
    let cluster = Cluster::start().await;
    cluster.create("", "namespaces", json!({"metadata": {"name": "shop"}})).await.unwrap();
    let served = cluster.0.served("", "namespaces").unwrap();
    let delete = async |name: &str| {
        let ctx = Context::internal("delete", "", name);
        cluster.0.delete(&served, &ctx, &DeleteOptions::default()).await
    };
    delete("shop").await.unwrap();
    let namespace = cluster.0.get(&served, "", "shop").await.unwrap();
    assert_eq!(namespace["status"]["phase"], "Terminating");
    cluster.0.list_cached("", "namespaces", "").await.unwrap();
    let map = json!({"metadata": {"name": "c", "namespace": "shop"}});
    let error = cluster.create("", "configmaps", map).await.unwrap_err();
    assert_eq!(
        error.message,
        "configmaps \"c\" is forbidden: unable to create new content in namespace shop because it \
         is being terminated"
    );
    assert_eq!(error.details.unwrap().causes[0].reason, "NamespaceTerminating");
    assert_eq!(delete("default").await.map(drop).unwrap_err().code, 403);
}

#[tokio::test]
async fn limits_and_quotas_hold() {
    let cluster = Cluster::start().await;
    let range = json!({"metadata": {"name": "r", "namespace": "default"},
        "spec": {"limits": [{"type": "Container", "default": {"cpu": "1"}, "max": {"cpu": "2"}}]}});
    cluster.create("", "limitranges", range).await.unwrap();
    let quota = json!({"metadata": {"name": "q", "namespace": "default"},
        "spec": {"hard": {"limits.cpu": "2500m"}}});
    cluster.create("", "resourcequotas", quota).await.unwrap();
    cluster.0.list_cached("", "limitranges", "").await.unwrap();
    let quota = cluster.count_quota(json!({"limits.cpu": "0"})).await;
    assert_eq!(quota["status"]["hard"]["limits.cpu"], "2500m");
    let pods = (0..4).map(|index| {
        let pod = json!({"metadata": {"name": format!("p{index}"), "namespace": "default"},
            "spec": {"containers": [{"name": "a", "image": "b:1"}]}});
        cluster.create("", "pods", pod)
    });
    let made = futures::future::join_all(pods).await;
    let refused: Vec<_> = made.into_iter().filter_map(Result::err).collect();
    assert_eq!(refused.len(), 2, "writes at the same time do not go over together");
    assert!(
        refused[0].message.ends_with(
            "is forbidden: exceeded quota: q, requested: limits.cpu=1, used: limits.cpu=2, \
             limited: limits.cpu=2500m"
        ),
        "{}",
        refused[0].message
    );
}

#[tokio::test]
async fn a_namespaces_standard_holds_for_pods_and_warns_of_workloads() {
    let cluster = Cluster::start().await;
    let labels = json!({"pod-security.kubernetes.io/enforce": "baseline"});
    let namespace = json!({"metadata": {"name": "strict", "labels": labels}});
    cluster.create("", "namespaces", namespace).await.unwrap();
    let account = json!({"metadata": {"name": "default", "namespace": "strict"}});
    cluster.create("", "serviceaccounts", account).await.unwrap();
    let error = cluster.pod("strict", json!({"hostNetwork": true})).await.unwrap_err();
    assert_eq!(
        error.message,
        "pods \"p\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces \
         (hostNetwork=true)"
    );
    let labels = json!({"app": "a"});
    let deployment = json!({"metadata": {"name": "d", "namespace": "strict"}, "spec": {
        "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
        "spec": {"hostPID": true, "containers": [{"name": "a", "image": "b"}]}}}});
    let served = cluster.0.served("apps", "deployments").unwrap();
    let ctx = Context::internal("create", "strict", "");
    cluster.0.create(&served, &ctx, deployment).await.unwrap();
    let warning = "would violate PodSecurity \"baseline:latest\": host namespaces (hostPID=true)";
    assert_eq!(ctx.warnings.take(), [warning]);
    let bad = json!({"metadata": {"name": "bad",
        "labels": {"pod-security.kubernetes.io/enforce": "tight"}}});
    assert_eq!(cluster.create("", "namespaces", bad).await.unwrap_err().code, 422);
}

/// Policies are followed by a watch: tries a write until it is answered as wanted.
async fn until<T>(mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..1000 {
        if let Some(found) = attempt().await {
            return found;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("the policy has no effect");
}

const REGISTRATION: &str = "admissionregistration.k8s.io";

fn config_maps() -> Value {
    json!({"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
        "resources": ["configmaps"]}]})
}

#[tokio::test]
async fn a_policy_with_parameters_denies_and_warns() {
    let cluster = Cluster::start().await;
    let map = |name: &str, key: &str, value: &str| json!({"metadata": {"name": name, "namespace": "default"}, "data": {key: value}});
    cluster.create("", "configmaps", map("limits", "max", "3")).await.unwrap();
    let policy = json!({"metadata": {"name": "few"}, "spec": {
        "matchConstraints": config_maps(),
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "matchConditions": [{"name": "numbered", "expression": "'n' in object.data"}],
        "variables": [{"name": "max", "expression": "int(params.data.max)"}],
        "validations": [{"expression": "int(object.data.n) <= variables.max",
            "messageExpression": "'at most ' + string(variables.max)", "reason": "Forbidden"}]}});
    cluster.create(REGISTRATION, "validatingadmissionpolicies", policy).await.unwrap();
    let binding = json!({"metadata": {"name": "here"}, "spec": {"policyName": "few",
        "validationActions": ["Deny", "Audit"],
        "paramRef": {"name": "limits", "namespace": "default",
            "parameterNotFoundAction": "Deny"}}});
    cluster.create(REGISTRATION, "validatingadmissionpolicybindings", binding).await.unwrap();
    let served = cluster.0.served("", "configmaps").unwrap();
    let ctx = Context { dry_run: true, ..Context::internal("create", "default", "") };
    let refused =
        until(async || cluster.0.create(&served, &ctx, map("m", "n", "4")).await.err()).await;
    assert_eq!(
        refused.message,
        "configmaps \"m\" is forbidden: ValidatingAdmissionPolicy 'few' with binding 'here' \
         denied request: at most 3"
    );
    assert_eq!(refused.code, 403);
    cluster.create("", "configmaps", map("fine", "n", "3")).await.unwrap();
    cluster.create("", "configmaps", map("other", "x", "9")).await.unwrap();
}

#[tokio::test]
async fn policies_change_objects() {
    let cluster = Cluster::start().await;
    let policy = json!({"metadata": {"name": "mark"}, "spec": {
    "matchConstraints": config_maps(), "reinvocationPolicy": "Never",
    "mutations": [
        {"patchType": "ApplyConfiguration", "applyConfiguration": {
            "expression": "Object{metadata: Object.metadata{labels: {'made': 'yes'}}}"}},
        {"patchType": "JSONPatch", "jsonPatch": {"expression":
            "[JSONPatch{op: 'add', path: '/data/by', value: object.metadata.labels['made']}]"}},
    ]}});
    cluster.create(REGISTRATION, "mutatingadmissionpolicies", policy).await.unwrap();
    let binding = json!({"metadata": {"name": "here"}, "spec": {"policyName": "mark"}});
    cluster.create(REGISTRATION, "mutatingadmissionpolicybindings", binding).await.unwrap();
    let served = cluster.0.served("", "configmaps").unwrap();
    let ctx = Context { dry_run: true, ..Context::internal("create", "default", "") };
    let map = json!({"metadata": {"name": "m", "namespace": "default"}, "data": {"k": "v"}});
    let made = until(async || {
        let made = cluster.0.create(&served, &ctx, map.clone()).await.unwrap().obj;
        (meta::label(&made, "made").is_some()).then_some(made)
    })
    .await;
    assert_eq!(made["data"], json!({"k": "v", "by": "yes"}));
}
