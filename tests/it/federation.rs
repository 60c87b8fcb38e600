//! The federation, end to end: a hub and two members, each a process of its own, real `fedctl`,
//! real `kubectl`. One story, because every chapter stands on the one before; what needs no
//! cluster has a test of its own.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::{SystemTime, UNIX_EPOCH};

use hansa_apiserver::authn::jwt::SigningKey;
use hansa_tests::federation::Fedctl;
use hansa_tests::{Cluster, Kubectl, League, Output, Version, guests, soon};
use serde_json::{Value, json};

const CLUSTERS: &str = "/apis/cluster.karmada.io/v1alpha1/clusters";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/storefront/deployments/storefront";
const CONFIG_MAP: &str = "/api/v1/namespaces/storefront/configmaps/storefront";
const PODS: &str = "/api/v1/namespaces/storefront/pods";
const BINDING: &str = "/apis/work.karmada.io/v1alpha2/namespaces/storefront/resourcebindings/\
    storefront-deployment";
const PLUGIN: &str = "/apis/plugins.hansa.dev/v1alpha1/plugins/prefer";
const LATE: &str = "/api/v1/namespaces/late/configmaps/late";

/// Kinds of which init, join and unjoin make or remove objects.
const KINDS: [&str; 9] = [
    "/api/v1/namespaces",
    "/api/v1/secrets",
    "/api/v1/serviceaccounts",
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "/apis/rbac.authorization.k8s.io/v1/roles",
    "/apis/rbac.authorization.k8s.io/v1/rolebindings",
    CLUSTERS,
];

#[test]
fn two_regions_make_one_league() {
    let mut league = League::start();
    let baseline = traces(&league.eu);
    init_can_be_repeated(&league);
    let silent = join_who_is_silent(&league.hub);
    joins_that_fail_leave_nothing(&mut league);
    both_members_join(&league);
    no_cluster_joins_twice(&league);
    let aged = the_token_is_renewed(&league);
    the_storefront_is_divided(&league);
    members_are_repaired(&league);
    explain_names_every_reason(&league);
    let good = a_policy_is_swapped(&league);
    bad_policies_do_not_decide(&league, &good);
    a_lost_member_is_replaced_and_comes_back(&mut league);
    the_old_token_is_not_used(&league, &aged);
    assert_fails(&silent.join().expect("it ends"), 1, "failed to reach the cluster");
    deletion_empties_the_members(&league);
    members_leave(&mut league, &baseline);
}

#[test]
fn bad_names_are_usage_errors() {
    let fedctl = Fedctl::new(Vec::new());
    for name in ["", "EU", "eu.west", "eu_west", "eu-", &"x".repeat(49)] {
        let output = fedctl.run(&["join", "--", name]);
        assert_fails(&output, 2, "is no name for a cluster");
    }
    assert_fails(&fedctl.run(&["join"]), 2, "<NAME>");
    assert_fails(&fedctl.run(&["join", "eu", "--mode", "pull"]), 2, "agent");
    assert_fails(&fedctl.run(&["join", "eu"]), 1, "failed to read the kubeconfig");
}

#[test]
fn the_hub_gets_no_wholesale_rights_in_a_member() {
    let fedctl = Fedctl::new(Vec::new());
    let words = ["join", "eu", "--print-rbac", "--enable-type", "example.com/widgets"];
    let output = fedctl.run(&words);
    assert!(output.success, "{output:#?}");
    for part in ["kind: ClusterRole", "kind: ServiceAccount", "widgets", "serviceaccounts/token"] {
        assert!(output.stdout.contains(part), "{part} is missing: {}", output.stdout);
    }
    for excess in ["'*'", "\"*\"", "- *", "impersonate", "escalate", "bind\n", "cluster-admin"] {
        assert!(!output.stdout.contains(excess), "{excess} is granted: {}", output.stdout);
    }
}

fn assert_fails(output: &Output, code: i32, part: &str) {
    assert_eq!(output.code, Some(code), "{output:#?}");
    assert!(output.stderr.contains(part), "{part:?} is missing: {output:#?}");
}

/// Whatever init and join could have left in a cluster.
fn traces(cluster: &Cluster) -> BTreeSet<String> {
    let http = cluster.http();
    let of_kind = |path: &'static str| {
        let items = http.get(path).body["items"].as_array().cloned().unwrap_or_default();
        items.into_iter().map(move |item| {
            let metadata = &item["metadata"];
            format!("{path} {} {} {}", metadata["namespace"], metadata["name"], metadata["uid"])
        })
    };
    KINDS.into_iter().flat_map(of_kind).collect()
}

/// Runs what must change neither the hub nor a member.
fn changing_nothing<T>(league: &League, act: impl FnOnce() -> T) -> T {
    let before = [traces(&league.hub), traces(&league.eu), traces(&league.us)];
    let result = act();
    soon("all is as it was", || {
        before == [traces(&league.hub), traces(&league.eu), traces(&league.us)]
    });
    result
}

fn init_can_be_repeated(league: &League) {
    let dry = changing_nothing(league, || league.fedctl_ok(&["init", "--dry-run"]));
    assert!(dry.contains("created (dry run)"), "{dry}");
    league.fedctl_ok(&["init"]);
    let again = changing_nothing(league, || league.fedctl_ok(&["init"]));
    let written = again.lines().filter(|line| line.contains('/'));
    written.for_each(|line| assert!(line.ends_with(" unchanged"), "{line}"));
    assert!(again.contains("league is ready"), "{again}");
}

/// A join with a server that takes connections and never says a word; it ends by itself.
fn join_who_is_silent(hub: &Cluster) -> JoinHandle<Output> {
    let mut fedctl = Fedctl::new(vec![hub.kubeconfig()]);
    thread::spawn(move || {
        let silent = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let address = silent.local_addr().expect("it is bound");
        fedctl.add_context("silent", &format!("https://{address}"));
        fedctl.run(&["join", "silent"])
    })
}

fn joins_that_fail_leave_nothing(league: &mut League) {
    league.fedctl.add_context("nowhere", "https://127.0.0.1:1");
    let join = |args: &[&str]| league.fedctl(&[&["join"], args].concat());
    changing_nothing(league, || {
        assert_fails(&join(&["nowhere"]), 1, "failed to reach the cluster");
        assert_fails(&join(&["absent"]), 1, "failed to use context \"absent\"");
        assert_fails(&join(&["league"]), 3, "is the hub itself");
        assert_fails(&join(&["eu-west", "--secret-name", "No_Name"]), 1, "failed to join");
        assert_fails(&join(&["eu-west", "--credential-seconds", "5"]), 1, "failed to join");
        let dry = join(&["eu-west", "--dry-run"]);
        assert!(dry.success && dry.stdout.contains("created (dry run)"), "{dry:#?}");
        assert_fails(&league.fedctl(&["unjoin", "eu-west"]), 1, "is no member");
    });
}

fn both_members_join(league: &League) {
    for name in ["eu-west", "us-east"] {
        let said = league.fedctl_ok(&["join", name]);
        assert!(said.contains(&format!("cluster {name} is ready")), "{said}");
    }
    soon("both are shown with all their columns", || {
        let table = league.fedctl_ok(&["get", "clusters"]);
        ["eu-west", "us-east"].iter().all(|name| {
            let row = table.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            let cells: Vec<_> = row.split_whitespace().collect();
            let zone = format!("{name}-a");
            cells.len() == 9
                && cells[1] == "True"
                && cells[2].starts_with("v1.36")
                && cells[3..7] == [name, &*zone, "local", "1/1"]
        })
    });
}

fn no_cluster_joins_twice(league: &League) {
    let join = |args: &[&str]| league.fedctl(&[&["join"], args].concat());
    changing_nothing(league, || {
        let other = join(&["other", "--cluster-context", "eu-west"]);
        assert_fails(&other, 3, "joined already, as eu-west");
        let taken = join(&["eu-west", "--cluster-context", "us-east"]);
        assert_fails(&taken, 3, "joined already");
        assert_fails(&join(&["eu-west"]), 3, "eu-west has joined already");
        assert_fails(&join(&["hub", "--cluster-context", "league"]), 3, "is the hub itself");
        let again = join(&["eu-west", "--error-on-existing=false"]);
        assert!(again.success, "{again:#?}");
    });
}

/// Gives the hub a token of eu-west whose life is nearly over; answers it.
fn the_token_is_renewed(league: &League) -> String {
    let hub = league.hub.kubectl_in(Version::V1_33, "karmada-cluster");
    let template = "go-template={{.data.token | base64decode}}";
    let token = || hub.ok(&["get", "secret", "eu-west", "-o", template]);
    let key = SigningKey::from_pem(&league.eu.service_account_key_pem()).expect("it is a key");
    let claims = |token: &str| key.verify(token).expect("the member signed it");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
    let mut aged = claims(&token());
    aged["iat"] = json!(now - 1000);
    aged["nbf"] = json!(now - 1000);
    aged["exp"] = json!(now + 10);
    let aged = key.sign(&aged).expect("the key signs");
    let patch = json!({"stringData": {"token": aged}}).to_string();
    hub.ok(&["patch", "secret", "eu-west", "--type=merge", "-p", &patch]);
    soon("the token is renewed for as long as it was made for", || {
        let claims = claims(&token());
        let number = |name: &str| claims[name].as_u64().expect("it is a time");
        number("iat") >= now && number("exp") - number("iat") == 1010
    });
    aged
}

fn the_old_token_is_not_used(league: &League, aged: &str) {
    let old = league.eu.http_as(Some(aged));
    soon("the old token has expired", || old.get("/version").code == 401);
    assert_eq!(ready(league, "eu-west"), "True");
}

/// The Ready condition's status.
fn ready(league: &League, name: &str) -> String {
    let cluster = league.hub.http().get(&format!("{CLUSTERS}/{name}")).body;
    let conditions = cluster["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready");
    ready.and_then(|ready| ready["status"].as_str()).unwrap_or_default().to_owned()
}

/// The sample as it is, but for the probe, which pods that only pretend cannot pass.
fn storefront() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/samples/storefront");
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("the sample is there")
        .map(|entry| entry.expect("the folder is readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    let documents = files.iter().map(|path| fs::read_to_string(path).expect("it is text"));
    let all = documents.collect::<Vec<_>>().join("\n---\n");
    let (before, probe) = all.split_once("          readinessProbe:").expect("it has a probe");
    let (_, after) = probe.split_once("          resources:").expect("resources follow it");
    format!("{before}          resources:{after}")
}

/// Wanted replicas, if just as many are ready and run, and no other pod is there.
fn settled(cluster: &Cluster) -> Option<u64> {
    let http = cluster.http();
    let deployment = http.get(DEPLOYMENT).body;
    let wanted = deployment["spec"]["replicas"].as_u64().unwrap_or(0);
    let ready = deployment["status"]["readyReplicas"].as_u64().unwrap_or(0);
    let pods = http.get(PODS).body["items"].as_array().map_or(0, Vec::len);
    (wanted == ready && usize::try_from(wanted).is_ok_and(|wanted| wanted == pods))
        .then_some(wanted)
}

fn spread(league: &League) -> Option<[u64; 2]> {
    Some([settled(&league.eu)?, settled(&league.us)?])
}

fn hub_shows(league: &League, replicas: &str) -> bool {
    let hub = league.hub.kubectl_in(Version::V1_27, "storefront");
    hub.ok(&["get", "deployment", "storefront"]).contains(replicas)
}

fn the_storefront_is_divided(league: &League) {
    let hub = league.hub.kubectl_in(Version::V1_33, "storefront");
    hub.apply(&storefront());
    soon("four run in eu-west and two in us-east", || spread(league) == Some([4, 2]));
    soon("the hub shows six of six", || hub_shows(league, " 6/6 "));
    let data = |cluster: &Cluster| cluster.http().get(CONFIG_MAP).body["data"].clone();
    assert_eq!(data(&league.hub), json!({"region": "nowhere", "greeting": "Hello"}));
    assert_eq!(data(&league.eu), json!({"region": "eu-west", "greeting": "Moin"}));
    assert_eq!(data(&league.us), json!({"region": "us-east", "greeting": "Howdy"}));
    assert_eq!(workload(league, "eu-west"), ["4", "4", "Healthy"]);
    assert_eq!(workload(league, "us-east"), ["2", "2", "Healthy"]);
}

/// What `fedctl get workloads` says of the storefront in a member: replicas, ready ones, health.
fn workload(league: &League, member: &str) -> [String; 3] {
    let table = league.fedctl_ok(&["get", "workloads", "-n", "storefront"]);
    let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row[1..3] == ["deployment/storefront", member]);
    let row = row.unwrap_or_else(|| panic!("{member} is missing:\n{table}"));
    [row[4], row[5], row[6]].map(str::to_owned)
}

fn members_are_repaired(league: &League) {
    let eu = league.eu.kubectl_in(Version::V1_33, "storefront");
    let patch = r#"{"data": {"greeting": "Ahoy"}}"#;
    eu.ok(&["patch", "configmap", "storefront", "--type=merge", "-p", patch]);
    eu.ok(&["scale", "deployment", "storefront", "--replicas=1"]);
    eu.ok(&["delete", "service", "storefront"]);
    let http = league.eu.http();
    soon("the greeting is the league's", || {
        http.get(CONFIG_MAP).body["data"]["greeting"] == "Moin"
    });
    soon("four run in eu-west again", || settled(&league.eu) == Some(4));
    let service = "/api/v1/namespaces/storefront/services/storefront";
    soon("the Service is there again", || http.get(service).code == 200);
}

/// The decision about the storefront.
fn decision(league: &League) -> Value {
    let words = ["explain", "deployment/storefront", "-n", "storefront", "-o", "json"];
    serde_json::from_str(&league.fedctl_ok(&words)).expect("it is JSON")
}

fn digest_of(guest: &str) -> String {
    let text = fs::read_to_string(guests().join(format!("{guest}.sha256")));
    text.expect("`cargo xtask guests` writes it").trim().to_owned()
}

fn explain_names_every_reason(league: &League) {
    let decision = decision(league);
    let digest = digest_of("federation-default");
    assert_eq!(decision["policy"]["digest"], *digest, "{decision:#}");
    let clusters = decision["clusters"].as_array().expect("it speaks of clusters");
    let words = ["explain", "deployment/storefront", "-n", "storefront"];
    let text = league.fedctl_ok(&words);
    assert!(text.contains(&digest), "{text}");
    for (name, weight, replicas) in [("eu-west", 2, 4), ("us-east", 1, 2)] {
        let own = clusters.iter().find(|cluster| cluster["name"] == name);
        let own = own.unwrap_or_else(|| panic!("{name} is missing: {decision:#}"));
        assert_eq!((&own["weight"], &own["replicas"]), (&json!(weight), &json!(replicas)));
        for (list, field) in [("filters", "filter"), ("scores", "scorer")] {
            let reasons = own[list].as_array().expect("there are reasons");
            assert!(!reasons.is_empty(), "{name} has no {list}");
            let names = reasons.iter().filter_map(|reason| reason[field].as_str());
            names.for_each(|name| assert!(text.contains(name), "{name} is missing:\n{text}"));
        }
        assert!(own["filters"].as_array().is_some_and(|f| f.iter().all(|f| f["passed"] == true)));
    }
}

/// Puts a built guest into a ConfigMap of the hub; answers its digest.
fn store(hub: &Kubectl, guest: &str) -> String {
    let file = guests().join(format!("{guest}.wasm"));
    let from = format!("--from-file=policy.wasm={}", file.display());
    hub.ok(&["create", "configmap", guest, &from]);
    digest_of(guest)
}

/// Applies the Plugin `prefer` with the component of a ConfigMap; answers its generation.
fn apply_plugin(hub: &Kubectl, map: &str, digest: &str, more: &Value) -> u64 {
    let source = json!({"configMap": {"namespace": "default", "name": map, "key": "policy.wasm"}});
    let mut spec = json!({"world": "federation", "digest": digest, "source": source});
    for (name, value) in more.as_object().into_iter().flatten() {
        spec[name] = value.clone();
    }
    let plugin = json!({"apiVersion": "plugins.hansa.dev/v1alpha1", "kind": "Plugin",
        "metadata": {"name": "prefer"}, "spec": spec});
    hub.apply(&plugin.to_string());
    let generation = hub.path(&["plugin", "prefer"], "{.metadata.generation}");
    generation.parse().expect("it is a number")
}

/// Status, reason and message of the Plugin's Ready condition, once it speaks of a generation.
fn verdict(league: &League, generation: u64) -> Option<[String; 3]> {
    let status = league.hub.http().get(PLUGIN).body["status"].clone();
    let condition = &status["conditions"][0];
    let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
    (status["observedGeneration"] == generation)
        .then(|| [text("status"), text("reason"), text("message")])
}

fn decides(league: &League) -> String {
    let plugin = league.hub.http().get(PLUGIN).body;
    plugin["status"]["activeDigest"].as_str().unwrap_or_default().to_owned()
}

const PREFER: &str = "federation-prefer-region";
const TRAPPING: &str = "federation-trapping";

fn prefer_us(hub: &Kubectl, digest: &str) -> u64 {
    apply_plugin(hub, PREFER, digest, &json!({"config": {"prefer": "us-east"}}))
}

/// Lets another placement policy decide; answers its digest.
fn a_policy_is_swapped(league: &League) -> String {
    let hub = league.hub.kubectl_in(Version::V1_33, "default");
    let before = [league.hub.pid(), league.eu.pid(), league.us.pid()];
    let digest = store(&hub, PREFER);
    let generation = prefer_us(&hub, &digest);
    soon("the new policy decides", || {
        verdict(league, generation).is_some_and(|[status, ..]| status == "True")
    });
    assert_eq!(decides(league), digest);
    soon("most replicas run in us-east", || {
        spread(league).is_some_and(|[eu, us]| us > eu && eu + us == 6)
    });
    let decision = decision(league);
    assert_eq!(decision["policy"]["digest"], *digest, "{decision:#}");
    assert!(decision["movedFrom"].is_array(), "what moved is told: {decision:#}");
    let processes = [league.hub.pid(), league.eu.pid(), league.us.pid()];
    assert_eq!(processes, before, "nothing was restarted");
    digest
}

/// A version of the Plugin that must not decide: what it is, ConfigMap, digest (its own if empty),
/// the rest of the spec, and the condition's reason and a part of its message.
type Bad = (&'static str, &'static str, &'static str, Value, &'static str, &'static str);

/// Neither WebAssembly, nor a component.
const NO_COMPONENTS: &str = "apiVersion: v1
kind: ConfigMap
metadata: {name: hello, namespace: default}
binaryData: {policy.wasm: aGVsbG8=}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: module, namespace: default}
binaryData: {policy.wasm: AGFzbQEAAAA=}
";
const HELLO: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
const MODULE: &str = "sha256:93a44bbb96c751218e4c00d479e4c14358122a389acca16205b1e4d0dc5f9476";
const ZEROS: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
const OTHER_WORLD: &str = "scheduler-node-name";

fn bad_versions() -> Vec<Bad> {
    let at = |at: &str| json!({"config": {"at": at}});
    let limited = |at: &str, limits: Value| json!({"config": {"at": at}, "limits": limits});
    let quick = json!({"initMs": 300, "callMs": 300});
    vec![
        ("a wrong digest", PREFER, ZEROS, json!({}), "Refused", "check the digest"),
        ("no ConfigMap", "absent", ZEROS, json!({}), "Refused", "default/absent"),
        ("no WebAssembly", "hello", HELLO, json!({}), "Refused", "not WebAssembly"),
        ("no component", "module", MODULE, json!({}), "Refused", "core module"),
        ("another world", OTHER_WORLD, "", json!({}), "Refused", "world"),
        ("an unknown world", PREFER, "", json!({"world": "weather"}), "Refused", "weather"),
        ("settings it refuses", TRAPPING, "", at("validate"), "Refused", "never good"),
        ("a trap at the start", TRAPPING, "", at("configure"), "Refused", "trap"),
        (
            "no end of the start",
            TRAPPING,
            "",
            limited("loop-configure", quick.clone()),
            "Refused",
            "no answer within 300 ms",
        ),
        ("a trap", TRAPPING, "", at("decision"), "FencedOff", "trap"),
        (
            "no end of a decision",
            TRAPPING,
            "",
            limited("loop", quick),
            "FencedOff",
            "no answer within 300 ms",
        ),
        (
            "too much memory",
            TRAPPING,
            "",
            limited("memory", json!({"memoryMiB": 16})),
            "FencedOff",
            "more than 16 MiB",
        ),
        ("an answer that cannot be", TRAPPING, "", at("score"), "FencedOff", "use the answer"),
    ]
}

fn bad_policies_do_not_decide(league: &League, good: &str) {
    let hub = league.hub.kubectl_in(Version::V1_33, "default");
    hub.apply(NO_COMPONENTS);
    store(&hub, TRAPPING);
    store(&hub, OTHER_WORLD);
    let before = spread(league);
    for (what, map, digest, more, reason, part) in bad_versions() {
        let own = if digest.is_empty() { digest_of(map) } else { digest.to_owned() };
        let generation = apply_plugin(&hub, map, &own, &more);
        soon(&format!("{what} is {reason}"), || {
            verdict(league, generation)
                .is_some_and(|[status, own, _]| status == "False" && own == reason)
        });
        let [_, _, message] = verdict(league, generation).expect("nobody else changes it");
        assert!(message.contains(part), "{what}: {message}");
        assert_eq!(decides(league), good, "the earlier version goes on after {what}");
    }
    soon("the earlier version decided last", || decision(league)["policy"]["digest"] == good);
    assert_eq!(spread(league), before, "nothing moved");
    let listed = league.fedctl_ok(&["policy", "list"]);
    assert!(listed.contains(&good[..19]), "{listed}");
    prefer_us(&hub, good);
    soon("the good version decides alone", || decides(league) == good);
}

fn a_lost_member_is_replaced_and_comes_back(league: &mut League) {
    league.us.kill();
    soon("the hub shows us-east as not ready", || ready(league, "us-east") != "True");
    soon("all six run in eu-west", || settled(&league.eu) == Some(6));
    soon("the hub shows six of six", || hub_shows(league, " 6/6 "));
    assert_eq!(workload(league, "eu-west")[..2], ["6", "6"]);
    league.us.restart();
    soon("us-east is ready again", || ready(league, "us-east") == "True");
    soon("each member runs what the hub decided, six in all", || {
        let Some(spread) = spread(league) else { return false };
        spread.iter().sum::<u64>() == 6 && spread == decided(league) && hub_shows(league, " 6/6 ")
    });
}

/// Replicas of eu-west and us-east in the binding.
fn decided(league: &League) -> [u64; 2] {
    let binding = league.hub.http().get(BINDING).body;
    let clusters = binding["spec"]["clusters"].as_array().cloned().unwrap_or_default();
    let of = |name: &str| {
        let own = clusters.iter().find(|cluster| cluster["name"] == name);
        own.and_then(|own| own["replicas"].as_u64()).unwrap_or(0)
    };
    [of("eu-west"), of("us-east")]
}

fn deletion_empties_the_members(league: &League) {
    let hub = league.hub.kubectl_in(Version::V1_33, "storefront");
    let deleted = hub.with(&["delete", "--ignore-not-found"], &storefront());
    assert!(deleted.success, "{deleted:#?}");
    for member in [&league.eu, &league.us] {
        let http = member.http();
        soon("the namespace is gone from the member", || {
            http.get("/api/v1/namespaces/storefront").code == 404
        });
        assert_eq!((http.get(DEPLOYMENT).code, http.get(CONFIG_MAP).code), (404, 404));
        assert!(http.get(PODS).names().is_empty());
    }
    let works = "/apis/work.karmada.io/v1alpha1/works";
    let http = league.hub.http();
    soon("no Work of it is left", || {
        http.get(works).names().iter().all(|name| !name.contains("storefront"))
    });
}

/// A ConfigMap for every member.
const EVERYWHERE: &str = "apiVersion: v1
kind: Namespace
metadata: {name: late}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: late, namespace: late}
data: {k: v}
---
apiVersion: policy.karmada.io/v1alpha1
kind: PropagationPolicy
metadata: {name: late, namespace: late}
spec:
  resourceSelectors: [{apiVersion: v1, kind: ConfigMap}]
  placement: {replicaScheduling: {replicaSchedulingType: Duplicated}}
";

fn members_leave(league: &mut League, baseline: &BTreeSet<String>) {
    league.hub.kubectl_in(Version::V1_33, "late").apply(EVERYWHERE);
    let (eu, us) = (league.eu.http(), league.us.http());
    soon("the ConfigMap is in both", || [&eu, &us].iter().all(|m| m.get(LATE).code == 200));

    let bindings = "/apis/work.karmada.io/v1alpha2/namespaces/late/resourcebindings";
    let bound = league.hub.http().get(bindings);
    assert_eq!(bound.names(), ["late-configmap"], "each cluster has its own root CA");

    let dry = changing_nothing(league, || league.fedctl_ok(&["unjoin", "eu-west", "--dry-run"]));
    assert!(dry.contains("(dry run)"), "{dry}");
    league.fedctl_ok(&["unjoin", "eu-west"]);
    soon("eu-west is as it was before it joined", || traces(&league.eu) == *baseline);

    league.fedctl_ok(&["unjoin", "us-east", "--orphan"]);
    assert_eq!(us.get(LATE).body["data"]["k"], "v", "it stays");
    let rights = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let ours = |name: &&str| name.starts_with("hansa-federation");
    assert_eq!(us.get(rights).names().into_iter().find(ours), None, "the hub's rights do not");

    league.fedctl_ok(&["join", "us-east"]);
    soon("the ConfigMap is the league's again", || {
        league.fedctl_ok(&["get", "works"]).lines().any(|row| {
            row.contains("ConfigMap") && row.split_whitespace().any(|cell| cell == "True")
        })
    });
    league.us.kill();
    let stuck = league.fedctl(&["unjoin", "us-east", "--wait-seconds", "1"]);
    assert_fails(&stuck, 1, "--force");
    league.fedctl_ok(&["unjoin", "us-east", "--force", "--wait-seconds", "1"]);
    let hub = league.hub.http();
    assert!(hub.get(CLUSTERS).names().is_empty());
    soon("the hub has nothing of us-east any more", || {
        !traces(&league.hub).iter().any(|trace| trace.contains("us-east"))
    });
}
