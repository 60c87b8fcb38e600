//! Who may do what: can-i, impersonation, RBAC, service accounts and their tokens, forged ones.

use std::time::{SystemTime, UNIX_EPOCH};

use hansa_apiserver::authn::jwt::SigningKey;
use hansa_tests::{Answer, Http, Kubectl, hollow};
use serde_json::json;

use crate::scenario::on;

on!(hollow:
    can_i,
    components_have_roles_of_their_own,
    roles_are_enforced,
    nobody_gives_what_he_has_not,
    a_kubelet_keeps_to_its_own_node,
    a_service_accounts_token_works,
);

fn can_i(kubectl: &Kubectl) {
    assert_eq!(kubectl.ok(&["auth", "can-i", "create", "pods"]), "yes\n");
    let robot = format!("system:serviceaccount:{}:default", kubectl.namespace);
    let asked = kubectl.run(&["auth", "can-i", "create", "pods", "--as", &robot]);
    assert_eq!((asked.code, asked.stdout.as_str()), (Some(1), "no\n"), "{asked:?}");
    let all = kubectl.ok(&["auth", "can-i", "--list"]);
    assert!(all.contains("*.*"), "{all}");
    let few = kubectl.ok(&["auth", "can-i", "--list", "--as", &robot]);
    assert!(few.contains("selfsubjectaccessreviews") && !few.contains("*.*"), "{few}");
    let who = kubectl.ok(&["auth", "whoami", "--as", "ann", "--as-group", "readers", "-o", "json"]);
    assert!(who.contains(r#""username": "ann""#) && who.contains("readers"), "{who}");
}

fn components_have_roles_of_their_own(kubectl: &Kubectl) {
    let masters = r#"jsonpath={range .items[?(@.roleRef.name=="cluster-admin")]}{.metadata.name}
        {.subjects[*].name}{end}"#;
    let masters = kubectl.ok(&["get", "clusterrolebindings", "-o", masters]);
    let masters: Vec<_> = masters.split_whitespace().collect();
    assert_eq!(masters, ["cluster-admin", "system:masters"], "nobody else may do everything");
    for (user, may) in [
        ("system:kube-scheduler", ["create", "bindings"]),
        ("system:kube-controller-manager", ["create", "pods"]),
        ("system:cloud-controller-manager", ["patch", "nodes"]),
        ("system:kube-proxy", ["watch", "services"]),
        ("system:hansa:dns", ["watch", "services"]),
    ] {
        let ask = |what: [&str; 2]| {
            let output = kubectl.run(&["auth", "can-i", what[0], what[1], "-A", "--as", user]);
            output.stdout.trim_end().to_owned()
        };
        assert_eq!((ask(may), ask(["*", "*"])), ("yes".into(), "no".into()), "{user} {may:?}");
        assert_eq!(ask(["impersonate", "users"]), "no", "{user}");
    }
}

fn roles_are_enforced(kubectl: &Kubectl) {
    let ann = |args: &[&str]| kubectl.run(&[args, &["--as", "ann"]].concat());
    let refused = ann(&["get", "pods"]).stderr;
    let why = format!(
        "pods is forbidden: User \"ann\" cannot list resource \"pods\" in API group \"\" in the \
         namespace {:?}",
        kubectl.namespace
    );
    assert!(refused.contains(&why), "{refused}");
    kubectl.ok(&["create", "role", "reader", "--verb=get,list", "--resource=pods"]);
    kubectl.ok(&["create", "rolebinding", "reads", "--role=reader", "--user=ann"]);
    hansa_tests::soon("the role counts", || ann(&["get", "pods"]).success);
    assert!(ann(&["get", "pods", "-n", "kube-system"]).stderr.contains("forbidden"));
    assert!(ann(&["delete", "pod", "any"]).stderr.contains("cannot delete resource"));
    assert!(ann(&["get", "secrets"]).stderr.contains("forbidden"));
    kubectl.ok(&["delete", "rolebinding", "reads"]);
    hansa_tests::soon("the role no longer counts", || !ann(&["get", "pods"]).success);
}

fn nobody_gives_what_he_has_not(kubectl: &Kubectl) {
    let user = &format!("editor-{}", kubectl.version.suffix());
    kubectl.ok(&[
        "create",
        "rolebinding",
        "admin",
        "--clusterrole=admin",
        &format!("--user={user}"),
    ]);
    hansa_tests::soon("the admin role counts", || {
        kubectl.run(&["get", "roles", "--as", user]).success
    });
    let role = ["create", "role", "more", "--verb=*", "--resource=nodes", "--as", user];
    let error = kubectl.fails(&role);
    assert!(error.contains("attempting to grant RBAC permissions not currently held"), "{error}");
    let role = ["create", "role", "same", "--verb=get", "--resource=pods", "--as", user];
    kubectl.ok(&role);
}

fn a_kubelet_keeps_to_its_own_node(kubectl: &Kubectl) {
    let label = |node: &str, label: &str| {
        let as_node = ["--as", "system:node:hollow-1", "--as-group", "system:nodes"];
        kubectl.run(&[&["label", "--overwrite", "node", node, label][..], &as_node].concat())
    };
    let own = format!("example.com/{}=1", kubectl.namespace);
    assert!(label("hollow-1", &own).success, "its own label");
    for (node, change, why) in [
        ("hollow-1", "node-restriction.kubernetes.io/pool=gold", "is not allowed to modify labels"),
        ("hollow-1", "x.kubernetes.io/role=control-plane", "is not allowed to modify labels"),
        ("hollow-2", &own, "node may only access its own Node object"),
    ] {
        let refused = label(node, change);
        assert!(!refused.success && refused.stderr.contains(why), "{change}: {refused:?}");
    }
}

fn a_service_accounts_token_works(kubectl: &Kubectl) {
    kubectl.ok(&["create", "serviceaccount", "robot"]);
    let token = kubectl.ok(&["create", "token", "robot", "--duration=10m"]);
    let robot = hollow().http_as(Some(token.trim()));
    let pods = format!("/api/v1/namespaces/{}/pods", kubectl.namespace);
    robot.get(&pods).assert_status(403, "Forbidden");
    let account = format!("{}:robot", kubectl.namespace);
    kubectl.ok(&[
        "create",
        "rolebinding",
        "views",
        "--clusterrole=view",
        "--serviceaccount",
        &account,
    ]);
    hansa_tests::soon("the token may read", || robot.get(&pods).code == 200);
    kubectl.ok(&["delete", "serviceaccount", "robot"]);
    hansa_tests::soon("the token of a deleted account is void", || robot.get(&pods).code == 401);
}

fn unauthorized(http: &Http) -> Answer {
    http.get("/api/v1/namespaces/default/configmaps")
}

#[test]
fn forged_and_foreign_tokens_are_refused() {
    let admin = hollow().http();
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let asked =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let made = admin.post(path, &asked);
    assert_eq!(made.code, 201, "{}", made.text);
    let good = made.body["status"]["token"].as_str().unwrap().to_owned();
    unauthorized(&hollow().http_as(Some(&good))).assert_status(403, "Forbidden");
    let (head, signature) = good.rsplit_once('.').unwrap();
    let (header, _) = head.split_once('.').unwrap();
    let other = if signature.starts_with('A') { "B" } else { "A" };
    let foreign = json!({"spec": {"audiences": ["somewhere-else"]}});
    let foreign = admin.post(path, &foreign).body["status"]["token"].as_str().unwrap().to_owned();
    let forged = [
        "nonsense".to_owned(),
        format!("{head}."),
        format!("{head}.{other}{}", &signature[1..]),
        format!("eyJhbGciOiJub25lIn0.{}.", head.split_once('.').unwrap().1),
        format!("{header}.eyJzdWIiOiJhZG1pbiJ9.{signature}"),
        foreign,
    ];
    for token in forged {
        unauthorized(&hollow().http_as(Some(&token))).assert_status(401, "Unauthorized");
    }
    unauthorized(&hollow().http_as(None)).assert_status(403, "Forbidden");
}

/// A genuine token whose times were another: signed with the cluster's own key.
fn aged(token: &str, ended_secs_ago: i64) -> String {
    let key = SigningKey::from_pem(&hollow().service_account_key_pem()).expect("it is a key");
    let mut claims = key.verify(token).expect("the cluster signed it");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
    let now = i64::try_from(now).expect("it is before the year 292 billion");
    for (name, at) in [("iat", -7200), ("nbf", -7200), ("exp", -ended_secs_ago)] {
        claims[name] = json!(now + at);
    }
    key.sign(&claims).expect("the key signs")
}

#[test]
fn an_expired_token_is_refused() {
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let made = hollow().http().post(path, &json!({"spec": {}}));
    let token = made.body["status"]["token"].as_str().expect("a token was made");
    let valid = aged(token, -3600);
    unauthorized(&hollow().http_as(Some(&valid))).assert_status(403, "Forbidden");
    let expired = aged(token, 3600);
    unauthorized(&hollow().http_as(Some(&expired))).assert_status(401, "Unauthorized");
}

#[test]
fn a_token_bound_to_a_pod_ends_with_it() {
    let admin = hollow().http();
    let pod = json!({"metadata": {"name": "bound"}, "spec": {"containers": [
        {"name": "main", "image": "pause:1"}], "terminationGracePeriodSeconds": 0}});
    let pod = admin.post("/api/v1/namespaces/default/pods", &pod);
    assert_eq!(pod.code, 201, "{}", pod.text);
    let bound = json!({"kind": "Pod", "apiVersion": "v1", "name": "bound",
        "uid": pod.body["metadata"]["uid"]});
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let made = admin.post(path, &json!({"spec": {"boundObjectRef": bound}}));
    let token = made.body["status"]["token"].as_str().unwrap();
    let robot = hollow().http_as(Some(token));
    unauthorized(&robot).assert_status(403, "Forbidden");
    admin.send("DELETE", "/api/v1/namespaces/default/pods/bound?gracePeriodSeconds=0", &[], "");
    hansa_tests::soon("the pod's token is void", || unauthorized(&robot).code == 401);
}
