//! What members hold of the hub's objects: adopted or not, kept as the member has it, followed by
//! what it needs, told when it fails, and never deleted by mistake. One story, for one league.

use std::collections::BTreeMap;
use std::net::TcpListener;

use hansa_tests::{Cluster, Http, Kubectl, League, Version, soon};
use serde_json::{Value, json};

const WORKS: &str = "/apis/work.karmada.io/v1alpha1/namespaces/karmada-es-eu-west/works";
const BINDINGS: &str = "/apis/work.karmada.io/v1alpha2/namespaces/shop/resourcebindings";
const CLUSTERS: &str = "/apis/cluster.karmada.io/v1alpha1/clusters";

/// What a restart of the hub must leave untouched, on the hub and in the members.
const OF_THE_HUB: [&str; 5] = [
    CLUSTERS,
    "/apis/work.karmada.io/v1alpha1/works",
    "/apis/work.karmada.io/v1alpha2/resourcebindings",
    "/api/v1/namespaces/shop/configmaps",
    "/apis/apps/v1/namespaces/shop/deployments",
];
const OF_A_MEMBER: [&str; 4] = [
    "/api/v1/namespaces/shop/configmaps",
    "/api/v1/namespaces/shop/services",
    "/apis/apps/v1/namespaces/shop/deployments",
    "/api/v1/namespaces/shop/pods",
];

#[test]
fn members_hold_what_the_hub_says_and_keep_what_is_theirs() {
    let mut league = League::start();
    a_hub_must_be_made_first(&league);
    league.eu.kubectl_in(Version::V1_33, "shop").apply(THEIRS);
    for words in [&["init"][..], &["join", "eu-west"], &["join", "us-east"]] {
        league.fedctl_ok(words);
    }
    policies_that_make_no_sense_are_refused(&league);
    what_is_not_ours_is_adopted_only_if_told_so(&league);
    a_service_keeps_its_addresses(&league);
    what_a_workload_needs_follows_it(&league);
    policies_hand_over(&league);
    a_failed_override_is_told(&league);
    a_cordoned_member_gets_nothing_new(&league);
    a_silent_member_delays_nobody(&league);
    a_restarted_hub_writes_nothing(&mut league);
    a_hub_that_was_set_back_deletes_nothing(&league);
    what_was_there_before_stays(&league);
}

fn hub(league: &League) -> Kubectl {
    league.hub.kubectl_in(Version::V1_33, "shop")
}

fn members(league: &League) -> [Http; 2] {
    [league.eu.http(), league.us.http()]
}

fn config_map(name: &str) -> String {
    format!("/api/v1/namespaces/shop/configmaps/{name}")
}

/// The value of `k` in a ConfigMap, if that is there.
fn value(http: &Http, name: &str) -> Option<String> {
    let answer = http.get(&config_map(name));
    (answer.code == 200).then(|| answer.body["data"]["k"].as_str().unwrap_or_default().to_owned())
}

/// In eu-west and us-east.
fn values(league: &League, name: &str) -> [Option<String>; 2] {
    members(league).map(|member| value(&member, name))
}

fn some(value: &str) -> Option<String> {
    Some(value.to_owned())
}

/// The condition of a type: status and message.
/// A condition's status, reason and message.
fn condition(object: &Value, type_: &str) -> [String; 3] {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.into_iter().find(|c| c["type"] == type_).unwrap_or_default();
    ["status", "reason", "message"].map(|f| found[f].as_str().unwrap_or_default().to_owned())
}

fn policy(name: &str, selector: &str, more: &str) -> String {
    format!(
        "apiVersion: policy.karmada.io/v1alpha1
kind: PropagationPolicy
metadata: {{name: {name}, namespace: shop}}
spec:
  resourceSelectors: [{{{selector}}}]
{more}
---
"
    )
}

fn data(name: &str, value: &str) -> String {
    format!(
        "apiVersion: v1
kind: ConfigMap
metadata: {{name: {name}, namespace: shop, labels: {{name: {name}}}}}
data: {{k: {value}}}
---
"
    )
}

fn a_hub_must_be_made_first(league: &League) {
    for words in [&["get", "clusters"][..], &["join", "eu-west"]] {
        let output = league.fedctl(words);
        assert_eq!(output.code, Some(1), "{output:#?}");
        assert!(output.stderr.contains("`fedctl init`"), "{output:#?}");
    }
}

/// In eu-west before the federation comes.
const THEIRS: &str = "apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: own, namespace: shop}
data: {k: theirs}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: taken, namespace: shop}
data: {k: theirs}
";

fn policies_that_make_no_sense_are_refused(league: &League) {
    let hub = hub(league);
    hub.apply("{apiVersion: v1, kind: Namespace, metadata: {name: shop}}");
    let selector = "apiVersion: v1, kind: ConfigMap";
    for (placement, part) in [
        ("{clusterAffinity: {}, clusterAffinities: [{affinityName: a}]}", "spec.placement"),
        ("{spreadConstraints: [{spreadByField: zone, spreadByLabel: a}]}", "spreadConstraints[0]"),
        ("{spreadConstraints: [{spreadByField: planet}]}", "spreadByField"),
        ("{spreadConstraints: [{spreadByField: zone, minGroups: -1}]}", "minGroups"),
        (
            "{clusterAffinity: {fieldSelector: {matchExpressions: [
                {key: planet, operator: In, values: [earth]}]}}}",
            "matchExpressions[0].key",
        ),
    ] {
        let more = format!("  placement: {placement}");
        let output = hub.with(&["create"], &policy("bad", selector, &more));
        assert!(!output.success && output.stderr.contains(part), "{placement}: {output:#?}");
    }
    let missing = league.fedctl(&["get", "policies", "bad"]);
    assert_eq!(missing.code, Some(1), "{missing:#?}");
    assert!(missing.stderr.contains("not found"), "{missing:#?}");
}

fn what_is_not_ours_is_adopted_only_if_told_so(league: &League) {
    let hub = hub(league);
    let selector = "apiVersion: v1, kind: ConfigMap, name: taken";
    hub.apply(&[data("taken", "hub"), policy("taken", selector, "")].concat());
    soon("us-east holds it", || values(league, "taken")[1] == some("hub"));
    let told = |part: &str| {
        let words = ["describe", "binding", "taken-configmap", "-n", "shop"];
        league.fedctl_ok(&words).contains(part)
    };
    soon("the conflict is told", || told("it is not managed by the federation"));
    assert_eq!(values(league, "taken")[0], some("theirs"));
    hub.apply(&policy("taken", selector, "  conflictResolution: Overwrite"));
    soon("eu-west holds it, too", || values(league, "taken")[0] == some("hub"));
    soon("nothing is wrong any more", || !told("it is not managed"));
    assert_eq!(value(&league.eu.http(), "own"), some("theirs"));
}

/// A Service whose addresses are each cluster's own.
fn service(label: &str) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: web, namespace: shop, labels: {{note: {label}}}}}
spec: {{type: NodePort, selector: {{app: web}}, ports: [{{name: http, port: 80}}]}}
---
"
    )
}

fn a_service_keeps_its_addresses(league: &League) {
    let hub = hub(league);
    let own = policy("web", "apiVersion: v1, kind: Service", "");
    hub.apply(&[service("one"), own].concat());
    let path = "/api/v1/namespaces/shop/services/web";
    let seen = |member: &Http| member.get(path).body;
    let [eu, us] = members(league);
    let labelled =
        |label: &str| [&eu, &us].iter().all(|m| seen(m)["metadata"]["labels"]["note"] == *label);
    soon("both hold it", || labelled("one"));
    let given = |of: Value| (of["spec"]["clusterIP"].clone(), of["spec"]["ports"].clone());
    let before = [given(seen(&eu)), given(seen(&us))];
    assert!(before[0].1[0]["nodePort"].is_number(), "{before:?}");
    hub.apply(&service("two"));
    soon("both hold what changed", || labelled("two"));
    assert_eq!([given(seen(&eu)), given(seen(&us))], before);
}

/// A Deployment that reads the ConfigMap `conf`, and takes along what it needs.
const NEEDY: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: needy, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: needy}}
  template:
    metadata: {labels: {app: needy}}
    spec:
      containers:
      - name: main
        image: needy
        envFrom: [{configMapRef: {name: conf, optional: true}}]
---
";

fn what_a_workload_needs_follows_it(league: &League) {
    let hub = hub(league);
    let needy = policy("needy", "apiVersion: apps/v1, kind: Deployment", "  propagateDeps: true");
    hub.apply(&[NEEDY, &needy].concat());
    let path = "/apis/apps/v1/namespaces/shop/deployments/needy";
    let both = |code: u16, path: &str| members(league).iter().all(|m| m.get(path).code == code);
    soon("both hold the Deployment", || both(200, path));
    hub.apply(&data("conf", "late"));
    soon("what comes later follows", || values(league, "conf") == [some("late"), some("late")]);
    hub.apply(&data("conf", "newer"));
    soon("what changes follows", || values(league, "conf") == [some("newer"), some("newer")]);
    hub.ok(&["delete", "configmap", "conf"]);
    soon("what is gone is gone", || both(404, &config_map("conf")));
}

fn only_in(cluster: &str) -> String {
    format!("  placement: {{clusterAffinity: {{clusterNames: [{cluster}]}}}}")
}

fn policies_hand_over(league: &League) {
    let hub = hub(league);
    let by_label = "apiVersion: v1, kind: ConfigMap, labelSelector: {matchLabels: {name: where}}";
    let by_name = "apiVersion: v1, kind: ConfigMap, name: where";
    let [a, b] = [only_in("us-east"), only_in("eu-west")];
    hub.apply(&[policy("a-label", by_label, &a), policy("b-name", by_name, &b)].concat());
    hub.apply(&data("where", "v"));
    let (here, there) = ([some("v"), None], [None, some("v")]);
    soon("the closer selector decides", || values(league, "where") == here);
    hub.apply(&policy("b-name", by_name, &a));
    soon("a changed policy moves it", || values(league, "where") == there);
    hub.apply(&policy("b-name", by_name, &b));
    soon("and back", || values(league, "where") == here);
    hub.ok(&["delete", "propagationpolicy", "b-name"]);
    soon("the other takes it over", || values(league, "where") == there);
    hub.ok(&["delete", "propagationpolicy", "a-label"]);
    soon("nobody claims it", || {
        league.fedctl_ok(&["explain", "cm/where", "-n", "shop"]).contains("nobody any more")
    });
    assert_eq!(values(league, "where"), there, "it stays where it is");
}

fn a_failed_override_is_told(league: &League) {
    let hub = hub(league);
    hub.apply(
        "apiVersion: policy.karmada.io/v1alpha1
kind: OverridePolicy
metadata: {name: broken, namespace: shop}
spec:
  resourceSelectors: [{apiVersion: v1, kind: ConfigMap, name: where}]
  overrideRules:
  - overriders: {plaintext: [{path: /data/nothing, operator: remove}]}
",
    );
    let http = league.hub.http();
    let seen = || condition(&http.get(&format!("{BINDINGS}/where-configmap")).body, "Overridden");
    soon("the binding says which policy failed where", || {
        let [status, _, message] = seen();
        status == "False" && message.contains("us-east: failed to apply broken")
    });
    assert_eq!(values(league, "where")[1], some("v"), "it stays as it was");
    hub.ok(&["delete", "overridepolicy", "broken"]);
    soon("all is well again", || seen()[0] == "True");
}

fn a_cordoned_member_gets_nothing_new(league: &League) {
    let hub = hub(league);
    let cordon = |words: &[&str]| league.fedctl_ok(&[words, &["us-east"]].concat());
    assert!(cordon(&["cordon", "--dry-run"]).contains("(dry run)"));
    assert!(cordon(&["cordon"]).contains("cluster us-east cordoned"));
    assert!(cordon(&["cordon"]).contains("already cordoned"));
    assert_eq!(league.fedctl(&["cordon", "nobody"]).code, Some(1));
    let everywhere = policy("cordoned", "apiVersion: v1, kind: ConfigMap, name: cordoned", "");
    hub.apply(&[data("cordoned", "v"), everywhere].concat());
    soon("eu-west alone gets it", || values(league, "cordoned") == [some("v"), None]);
    let why = league.fedctl_ok(&["explain", "configmap", "cordoned", "-n", "shop"]);
    assert!(why.contains("taint cluster.karmada.io/unschedulable:NoSchedule"), "{why}");
    assert_eq!(values(league, "where")[1], some("v"), "what is there stays");
    cordon(&["uncordon"]);
    soon("us-east gets it as well", || values(league, "cordoned") == [some("v"), some("v")]);
}

/// A member that takes connections and never says a word.
fn a_silent_member_delays_nobody(league: &League) {
    let hub = hub(league);
    let silent = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let address = silent.local_addr().expect("it is bound");
    league.hub.kubectl_in(Version::V1_33, "karmada-cluster").apply(&format!(
        "apiVersion: v1
kind: Secret
metadata: {{name: silent, namespace: karmada-cluster}}
stringData: {{token: none}}
---
apiVersion: cluster.karmada.io/v1alpha1
kind: Cluster
metadata: {{name: silent}}
spec:
  syncMode: Push
  apiEndpoint: https://{address}
  insecureSkipTLSVerification: true
  secretRef: {{namespace: karmada-cluster, name: silent}}
"
    ));
    let http = league.hub.http();
    let silent_is = || condition(&http.get(&format!("{CLUSTERS}/silent")).body, "Ready");
    soon("the hub says that it does not answer", || {
        silent_is()[..2] == ["False", "ClusterNotReachable"]
    });
    let everywhere = policy("busy", "apiVersion: v1, kind: ConfigMap, name: busy", "");
    hub.apply(&[data("busy", "v"), everywhere].concat());
    soon("the others get their objects", || values(league, "busy") == [some("v"), some("v")]);
    assert_eq!(silent_is()[0], "False");
    let stuck = league.fedctl(&["unjoin", "silent", "--wait-seconds", "1"]);
    assert_eq!(stuck.code, Some(1), "{stuck:#?}");
    league.fedctl_ok(&["unjoin", "silent", "--force", "--wait-seconds", "1"]);
    assert_eq!(http.get(&format!("{CLUSTERS}/silent")).code, 404);
}

/// Every object's version, but for those of the marker.
fn versions(cluster: &Cluster, paths: &[&str]) -> BTreeMap<String, String> {
    let http = cluster.http();
    let of_path = |path: &&str| {
        let items = http.get(path).body["items"].as_array().cloned().unwrap_or_default();
        let path = (*path).to_owned();
        items.into_iter().map(move |item| {
            let metadata = &item["metadata"];
            let key = format!("{path} {} {}", metadata["namespace"], metadata["name"]);
            (key, metadata["resourceVersion"].as_str().unwrap_or_default().to_owned())
        })
    };
    paths.iter().flat_map(of_path).filter(|(key, _)| !key.contains("marker")).collect()
}

fn everything(league: &League) -> [BTreeMap<String, String>; 3] {
    [
        versions(&league.hub, &OF_THE_HUB),
        versions(&league.eu, &OF_A_MEMBER),
        versions(&league.us, &OF_A_MEMBER),
    ]
}

fn a_restarted_hub_writes_nothing(league: &mut League) {
    let mut before = everything(league);
    soon("nothing changes any more", || {
        std::thread::sleep(std::time::Duration::from_secs(2));
        let now = everything(league);
        std::mem::replace(&mut before, now.clone()) == now
    });
    league.hub.kill();
    league.hub.restart();
    let marker = policy("marker", "apiVersion: v1, kind: ConfigMap, name: marker", "");
    hub(league).apply(&[data("marker", "v"), marker].concat());
    soon("the hub is at work", || values(league, "marker") == [some("v"), some("v")]);
    assert_eq!(everything(league), before);
}

/// A member holds what a later state of the hub put there, as far as the hub can see.
fn a_hub_that_was_set_back_deletes_nothing(league: &League) {
    let (hub, eu) = (hub(league), league.eu.kubectl_in(Version::V1_33, "shop"));
    let later = "federation.hansa.dev/revision=18446744073709551615";
    eu.ok(&["annotate", "--overwrite", "configmap", "busy", later]);
    hub.ok(&["delete", "configmap", "busy"]);
    let http = league.hub.http();
    let told = || {
        let works = http.get(WORKS).body["items"].as_array().cloned().unwrap_or_default();
        let busy = works
            .iter()
            .find(|w| w["metadata"]["name"].as_str().is_some_and(|n| n.starts_with("busy-")));
        busy.map(|work| condition(work, "Applied"))
    };
    soon("the Work says why it waits", || {
        told().is_some_and(|[status, _, message]| status == "False" && message.contains("set back"))
    });
    soon("us-east, which knows nothing of it, lets go", || {
        values(league, "busy") == [some("v"), None]
    });
    eu.ok(&["delete", "configmap", "busy"]);
    soon("the Work goes with the object", || told().is_none());
}

fn what_was_there_before_stays(league: &League) {
    league.fedctl_ok(&["unjoin", "eu-west"]);
    let [eu, _] = members(league);
    assert_eq!(value(&eu, "own"), some("theirs"));
    assert_eq!(value(&eu, "taken"), None, "what was overwritten was the league's");
    let namespace = eu.get("/api/v1/namespaces/shop").body["metadata"].clone();
    let marks = namespace.to_string();
    assert!(namespace["deletionTimestamp"].is_null(), "{marks}");
    let ours = json!([namespace["labels"], namespace["annotations"]]).to_string();
    assert!(!ours.contains("karmada.io") && !ours.contains("hansa.dev"), "{ours}");
}
