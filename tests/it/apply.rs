//! Objects from files: create, client-side apply with its three-way merge, diff, edit.

use hansa_tests::Kubectl;

use crate::scenario::{config_map, deployment, on};

on!(hollow:
    creates_once,
    generators,
    apply_removes_what_the_file_no_longer_has,
    diff_tells_and_changes_nothing,
    edits,
    dry_runs,
);

const ENV: &str = "{.spec.template.spec.containers[0].env[*].name}";

fn creates_once(kubectl: &Kubectl) {
    let made = kubectl.with(&["create"], &config_map("once", "k", "v"));
    assert_eq!(made.stdout, "configmap/once created\n");
    let again = kubectl.with(&["create"], &config_map("once", "k", "other"));
    assert!(again.stderr.contains(r#"configmaps "once" already exists"#), "{again:?}");
    assert_eq!(kubectl.path(&["cm", "once"], "{.data.k}"), "v");
}

fn generators(kubectl: &Kubectl) {
    kubectl.ok(&["create", "configmap", "made", "--from-literal=a=1"]);
    kubectl.ok(&["create", "secret", "generic", "hidden", "--from-literal=a=1"]);
    assert_eq!(kubectl.path(&["secret", "hidden"], "{.data.a}{.type}"), "MQ==Opaque");
    kubectl.ok(&["create", "deployment", "web", "--image=pause:1", "--replicas=1"]);
    kubectl.ok(&["expose", "deployment", "web", "--port=8080"]);
    kubectl.ok(&["create", "serviceaccount", "robot"]);
    kubectl.ok(&["create", "role", "reader", "--verb=get,list", "--resource=pods"]);
    kubectl.ok(&["create", "rolebinding", "reads", "--role=reader", "--user=ann"]);
    assert_eq!(kubectl.path(&["service", "web"], "{.spec.ports[0].port}"), "8080");
}

fn apply_removes_what_the_file_no_longer_has(kubectl: &Kubectl) {
    kubectl.apply(&deployment("web", 1));
    let less = deployment("web", 1).replace("        - {name: SECOND, value: two}\n", "");
    // What somebody else set stays: it is neither in the file nor was it.
    kubectl.ok(&["annotate", "deployment", "web", "note=mine"]);
    assert_eq!(kubectl.apply(&less), "deployment.apps/web configured\n");
    assert_eq!(kubectl.path(&["deployment", "web"], ENV), "FIRST");
    assert_eq!(kubectl.path(&["deployment", "web"], "{.metadata.annotations.note}"), "mine");
    assert_eq!(kubectl.apply(&less), "deployment.apps/web unchanged\n");
}

fn diff_tells_and_changes_nothing(kubectl: &Kubectl) {
    kubectl.apply(&deployment("web", 1));
    let before = kubectl.path(&["deployment", "web"], "{.metadata.resourceVersion}");
    let changed = deployment("web", 1).replace("value: two", "value: three");
    let diff = kubectl.with(&["diff"], &changed);
    assert_eq!(diff.code, Some(1), "{diff:?}");
    assert!(diff.stdout.contains("-          value: two\n+          value: three"), "{diff:?}");
    let same = kubectl.with(&["diff"], &deployment("web", 1));
    assert_eq!((same.code, same.stdout.as_str()), (Some(0), ""), "{same:?}");
    let spec = kubectl.path(&["deployment", "web"], "{.metadata.generation}");
    assert_eq!(spec, "1", "since {before}");
}

fn edits(kubectl: &Kubectl) {
    kubectl.apply(&config_map("notes", "k", "before"));
    let editor = kubectl.write("sh", "#!/bin/sh\nsed -i 's/k: before/k: after/' \"$1\"\n");
    let editor = format!("sh {}", editor.display());
    let edited = kubectl.with_env(&["edit", "configmap", "notes"], &[("EDITOR", &editor)]);
    assert_eq!(edited.stdout, "configmap/notes edited\n", "{edited:?}");
    assert_eq!(kubectl.path(&["cm", "notes"], "{.data.k}"), "after");
    let idle = kubectl.with_env(&["edit", "configmap", "notes"], &[("EDITOR", "true")]);
    assert!(idle.stderr.contains("no changes made") || idle.stdout.contains("no changes made"));
}

fn dry_runs(kubectl: &Kubectl) {
    let map = config_map("never", "k", "v");
    let tried = kubectl.with(&["create", "--dry-run=server", "-o", "yaml"], &map);
    assert!(tried.stdout.contains("uid: "), "the server filled it in: {tried:?}");
    let tried = kubectl.with(&["apply", "--dry-run=server"], &map);
    assert_eq!(tried.stdout, "configmap/never created (server dry run)\n", "{tried:?}");
    assert!(kubectl.fails(&["get", "configmap", "never"]).contains("NotFound"));
    kubectl.apply(&map);
    kubectl.ok(&["delete", "configmap", "never", "--dry-run=server"]);
    assert_eq!(kubectl.path(&["cm", "never"], "{.data.k}"), "v");
}
