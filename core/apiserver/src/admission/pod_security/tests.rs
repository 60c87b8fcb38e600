//! The standards against pods, and the labels against their texts.

use serde_json::json;

use super::*;

fn at(level: Level, version: Option<u32>) -> LevelVersion {
    LevelVersion { level, version }
}

fn baseline(version: Option<u32>, spec: Value) -> String {
    evaluate(at(Level::Baseline, version), &json!({"spec": spec})).details()
}

fn restricted(version: Option<u32>, spec: Value) -> String {
    evaluate(at(Level::Restricted, version), &json!({"spec": spec})).details()
}

fn container(context: Value) -> Value {
    json!({"containers": [{"name": "a", "securityContext": context}]})
}

fn safe() -> Value {
    json!({"allowPrivilegeEscalation": false, "runAsNonRoot": true,
        "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}})
}

#[test]
fn an_ordinary_pod_is_baseline_and_a_careful_one_restricted() {
    assert_eq!(baseline(None, container(json!({}))), "");
    assert_eq!(
        restricted(None, container(json!({}))),
        "allowPrivilegeEscalation != false (container \"a\" must set \
         securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \
         \"a\" must set securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or \
         container \"a\" must set securityContext.runAsNonRoot=true), seccompProfile (pod or \
         container \"a\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \
         \"Localhost\")"
    );
    assert_eq!(restricted(None, container(safe())), "");
}

#[test]
fn each_control_says_what_is_wrong() {
    let cases = [
        (
            json!({"hostNetwork": true, "hostPID": true}),
            "host namespaces (hostNetwork=true, hostPID=true)",
        ),
        (
            json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}),
            "hostPath volumes (volume \"v\")",
        ),
        (
            json!({"containers": [{"name": "a", "ports": [{"hostPort": 80}]}, {"name": "b", "ports": [{"hostPort": 81}]}]}),
            "hostPort (containers \"a\", \"b\" use hostPorts 80, 81)",
        ),
        (
            container(json!({"privileged": true, "capabilities": {"add": ["SYS_ADMIN", "CHOWN"]}})),
            "non-default capabilities (container \"a\" must not include \"SYS_ADMIN\" in \
             securityContext.capabilities.add), privileged (container \"a\" must not set \
             securityContext.privileged=true)",
        ),
        (
            container(json!({"procMount": "Unmasked"})),
            "procMount (container \"a\" must not set securityContext.procMount to \"Unmasked\")",
        ),
        (
            json!({"securityContext": {"seLinuxOptions": {"type": "x", "user": "u"}}}),
            "seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type \"x\"; user may \
             not be set)",
        ),
        (
            json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}},
                "containers": [{"name": "a", "securityContext": {"seccompProfile": {"type": "Unconfined"}}}]}),
            "seccompProfile (pod and container \"a\" must not set \
             securityContext.seccompProfile.type to \"Unconfined\")",
        ),
        (
            json!({"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_rmem"}, {"name": "x"}]}}),
            "forbidden sysctls (x)",
        ),
        (
            json!({"securityContext": {"windowsOptions": {"hostProcess": true}}}),
            "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
        ),
        (
            container(json!({"appArmorProfile": {"type": "Unconfined"}})),
            "forbidden AppArmor profile (container \"a\" must not set AppArmor profile type to \
             \"Unconfined\")",
        ),
        (
            json!({"containers": [{"name": "a", "livenessProbe": {"httpGet": {"host": "h"}}}]}),
            "probe or lifecycle host (container \"a\" uses probe or lifecycle host \"h\")",
        ),
    ];
    for (spec, expected) in cases {
        assert_eq!(baseline(None, spec.clone()), expected, "{spec}");
    }
    let mut spec = container(safe());
    spec["volumes"] = json!([{"name": "v", "nfs": {}}, {"name": "w", "emptyDir": {}}]);
    spec["securityContext"] = json!({"runAsUser": 0});
    assert_eq!(
        restricted(None, spec),
        "restricted volume types (volume \"v\" uses restricted volume type \"nfs\"), runAsUser=0 \
         (pod must not set runAsUser=0)"
    );
}

#[test]
fn versions_keep_what_they_had() {
    let probe = json!({"containers": [{"name": "a", "livenessProbe": {"httpGet": {"host": "h"}}}]});
    assert_eq!(baseline(Some(33), probe), "");
    let sysctl = json!({"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_rmem"}]}});
    assert_eq!(baseline(Some(31), sysctl), "forbidden sysctls (net.ipv4.tcp_rmem)");
    let mut own_users = container(safe());
    own_users["hostUsers"] = false.into();
    own_users["containers"][0]["securityContext"]["runAsUser"] = 0.into();
    assert_eq!(restricted(None, own_users.clone()), "");
    assert_eq!(
        restricted(Some(34), own_users),
        "runAsUser=0 (container \"a\" must not set runAsUser=0)"
    );
    let mut windows = container(json!({"runAsNonRoot": true}));
    windows["os"] = json!({"name": "windows"});
    assert_eq!(restricted(Some(25), windows.clone()), "");
    assert!(restricted(Some(24), windows).starts_with("allowPrivilegeEscalation"));
}

fn policy(labels: &[(&str, &str)]) -> (String, String, Vec<String>) {
    let label = |(name, value): &(&str, &str)| {
        (format!("pod-security.kubernetes.io/{name}"), Value::from(*value))
    };
    let labels: meta::Fields = labels.iter().map(label).collect();
    let (policy, errors) = Policy::of(Some(&labels));
    let errors = errors.iter().map(ToString::to_string).collect();
    (policy.enforce.to_string(), policy.warn.to_string(), errors)
}

#[test]
fn labels_are_read_as_upstream_reads_them() {
    let cases = [
        (&[][..], "privileged:latest", "privileged:latest", &[][..]),
        (&[("enforce", "baseline")], "baseline:latest", "baseline:latest", &[]),
        (
            &[("enforce", "baseline"), ("enforce-version", "v1.24"), ("warn", "privileged")],
            "baseline:v1.24",
            "privileged:latest",
            &[],
        ),
        (
            &[("enforce", "baseline"), ("enforce-version", "v1.24"), ("warn-version", "v1.5")],
            "baseline:v1.24",
            "baseline:v1.5",
            &[],
        ),
        (
            &[("enforce", "strict"), ("warn-version", "1.5")],
            "restricted:latest",
            "privileged:latest",
            &[
                "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"strict\": \
                 must be one of privileged, baseline, restricted",
                "metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: \"1.5\": \
                 must be \"latest\" or \"v1.x\"",
            ],
        ),
    ];
    for (labels, enforce, warn, errors) in cases {
        let found = policy(labels);
        assert_eq!((found.0.as_str(), found.1.as_str()), (enforce, warn), "{labels:?}");
        assert_eq!(found.2, errors, "{labels:?}");
    }
}

#[test]
fn a_stricter_level_names_the_pods_that_break_it() {
    let pod = |name: &str, owner: &str| {
        let mut pod = json!({"metadata": {"name": name}, "spec": {"hostPID": true}});
        if !owner.is_empty() {
            pod["metadata"]["ownerReferences"] = json!([{"uid": owner, "controller": true}]);
        }
        pod
    };
    let pods = [pod("b", "x"), pod("a", "x"), pod("c", "")];
    let pods = prioritized(pods.iter().collect());
    assert_eq!(pods.iter().map(|pod| meta::name(pod)).collect::<Vec<_>>(), ["b", "c", "a"]);
    assert_eq!(
        violations("shop", at(Level::Baseline, None), &pods),
        [
            "existing pods in namespace \"shop\" violate the new PodSecurity enforce level \
             \"baseline:latest\"",
            "a (and 2 other pods): host namespaces",
        ]
    );
}
