//! Pods on real containerd and runc: what only they can do, with both versions of kubectl. A
//! containerd of the test's own, an image made by hand, pods on the host's network.

use std::fs;
use std::thread;

use hansa_kubelet::testing::Containerd;
use hansa_kubelet::testing::containerd::BUSYBOX;
use hansa_tests::{Cluster, Kubectl, Options, Version, free_port, soon};

use crate::wasm::fetch;

/// The cluster ends before the runtime that it uses.
struct Machine {
    cluster: Cluster,
    containerd: Containerd,
}

#[test]
fn pods_of_real_containers() {
    let dir = tempfile::Builder::new().prefix("hansa-cri-").tempdir().expect("a folder");
    let containerd = Containerd::start(dir.path()).unwrap_or_else(|text| panic!("{text}"));
    let endpoint = format!("--cri-endpoint=unix://{}", containerd.socket().display());
    let options = Options { name: "real", runtime: "containerd", nodes: 1, hub: false };
    let cluster = Cluster::start_with(&options, &[&endpoint]);
    let machine = Machine { cluster, containerd };
    thread::scope(|scope| {
        for version in [Version::V1_33, Version::V1_27] {
            let machine = &machine;
            scope.spawn(move || scenario(machine, version));
        }
    });
    drop(machine);
    let below = format!(" {}/", dir.path().display());
    let mounts = fs::read_to_string("/proc/mounts").expect("there is /proc");
    assert!(!mounts.contains(&below), "something is still mounted: {mounts}");
}

fn scenario(machine: &Machine, version: Version) {
    let kubectl = &machine.cluster.kubectl(version, "real");
    let port = free_port();
    kubectl.apply(&web(port));
    kubectl.ok(&["wait", "--for=condition=Ready", "pod/web", "--timeout=180s"]);
    commands(kubectl);
    copies(kubectl);
    forwards(kubectl, port);
    readiness(kubectl);
    logs_of_one_that_ends(kubectl);
    liveness(kubectl);
    attaches(kubectl);
    graceful_deletion(kubectl, machine);
    deletion_of_one_that_will_not_go(kubectl, machine);
}

/// Serves a page and ends with 3 when `/tmp/end` appears; all three kinds of probes ask it.
fn web(port: u16) -> String {
    let script = format!(
        "echo started; echo warned >&2; echo > /www/ready; httpd -p 127.0.0.1:{port} -h /www; \
         trap 'echo bye; exit 0' TERM; while ! test -e /tmp/end; do sleep 0.1; done; \
         echo ending; exit 3"
    );
    format!(
        "apiVersion: v1
kind: ConfigMap
metadata: {{name: page}}
data: {{text: 'hello from a real container'}}
---
apiVersion: v1
kind: Pod
metadata: {{name: web}}
spec:
  hostNetwork: true
  terminationGracePeriodSeconds: 20
  volumes: [{{name: page, configMap: {{name: page}}}}, {{name: www, emptyDir: {{}}}}]
  containers:
  - name: web
    image: {BUSYBOX}
    command: [sh, -c, {script:?}]
    volumeMounts: [{{name: page, mountPath: /page}}, {{name: www, mountPath: /www}}]
    startupProbe: {{tcpSocket: {{host: 127.0.0.1, port: {port}}}, periodSeconds: 1}}
    readinessProbe: {{httpGet: {{host: 127.0.0.1, port: {port}, path: /ready}}, periodSeconds: 1}}
    livenessProbe:
      exec: {{command: [sh, -c, 'test ! -e /tmp/sick']}}
      periodSeconds: 1
      failureThreshold: 1
  - {{name: side, image: {BUSYBOX}, command: [sleep, '3600']}}
"
    )
}

/// A pod of one container that runs a script.
fn plain(name: &str, script: &str, more: &str) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  hostNetwork: true
  restartPolicy: Never
  terminationGracePeriodSeconds: 2
  containers:
  - {{name: main, image: {BUSYBOX}, command: [sh, -c, {script:?}]{more}}}
"
    )
}

fn shell<'a>(more: &[&'a str], script: &'a str) -> Vec<&'a str> {
    [&["exec"], more, &["web", "-c", "web", "--", "sh", "-c", script]].concat()
}

fn commands(kubectl: &Kubectl) {
    let page = kubectl.ok(&["exec", "web", "-c", "web", "--", "cat", "/page/text"]);
    assert_eq!(page, "hello from a real container");
    assert_eq!(kubectl.ok(&["exec", "web", "--", "echo", "the first"]), "the first\n");
    let failed = kubectl.run(&shell(&[], "echo out; echo err >&2; exit 7"));
    assert_eq!((failed.code, &*failed.stdout), (Some(7), "out\n"), "{failed:#?}");
    assert!(failed.stderr.contains("err\n"), "{failed:#?}");
    assert!(failed.stderr.contains("command terminated with exit code 7"), "{failed:#?}");
    let much = "0123456789abcde\n".repeat(1 << 16);
    let echoed = kubectl.with_stdin(&shell(&["-i"], "cat"), &much);
    assert!(echoed.success && echoed.stdout == much, "{} bytes", echoed.stdout.len());
    let cut = kubectl.with_stdin(&shell(&["-i"], "busybox head -c 5"), "0123456");
    assert_eq!((cut.success, &*cut.stdout), (true, "01234"), "{}", cut.stderr);
    let seen = kubectl.in_terminal(&shell(&["-it"], "test -t 0 && echo a terminal; exit 4"));
    assert_eq!(seen.code, Some(4), "{seen:#?}");
    assert!(seen.stdout.contains("a terminal\r\n"), "{seen:#?}");
    let error = kubectl.fails(&["exec", "web", "-c", "web", "--", "absent"]);
    assert!(error.contains(r#"exec: "absent": executable file not found"#), "{error}");
    let error = kubectl.fails(&["exec", "web", "-c", "absent", "--", "ls"]);
    assert!(error.contains("container absent is not valid for pod web"), "{error}");
    let error = kubectl.fails(&["exec", "absent", "--", "ls"]);
    assert!(error.contains(r#"pods "absent" not found"#), "{error}");
}

fn copies(kubectl: &Kubectl) {
    let much = "some words to carry\n".repeat(40_000);
    let here = kubectl.write("there", &much);
    let back = here.with_extension("back");
    let (here, back) = (here.to_string_lossy(), back.to_string_lossy());
    kubectl.ok(&["cp", &here, "web:/tmp/words", "-c", "web"]);
    kubectl.ok(&["cp", "web:/tmp/words", &back, "-c", "web"]);
    assert_eq!(fs::read_to_string(&*back).expect("it was copied"), much);
    let folder = format!("{here}.d");
    fs::create_dir_all(format!("{folder}/deep")).expect("a folder");
    fs::write(format!("{folder}/deep/file"), "found").expect("a file");
    kubectl.ok(&["cp", &folder, "web:/tmp/folder", "-c", "web"]);
    assert_eq!(kubectl.ok(&shell(&[], "cat /tmp/folder/deep/file")), "found");
}

fn forwards(kubectl: &Kubectl, port: u16) {
    let forward = kubectl.stream(&["port-forward", "pod/web", &format!(":{port}")]);
    forward.wait_for("Forwarding from 127.0.0.1:");
    let lines = forward.so_far();
    let near = lines.iter().find_map(|line| line.split("127.0.0.1:").nth(1)?.split(' ').next());
    let near = format!("127.0.0.1:{}", near.expect("the line was printed"));
    kubectl
        .ok(&shell(&[], "echo one > /www/one; busybox yes two | busybox head -n 90000 > /www/two"));
    for _ in 0..3 {
        assert_eq!(fetch(&near, "/one").as_deref(), Some("one\n"));
    }
    let long = fetch(&near, "/two").expect("an answer");
    assert_eq!(long.len(), 4 * 90_000, "nothing of a long answer is lost");
    let closed = kubectl.stream(&["port-forward", "pod/web", &format!(":{}", free_port())]);
    closed.wait_for("Forwarding from 127.0.0.1:");
    let lines = closed.so_far();
    let near = lines.iter().find_map(|line| line.split("127.0.0.1:").nth(1)?.split(' ').next());
    fetch(&format!("127.0.0.1:{}", near.expect("the line was printed")), "/");
    closed.wait_for("connection refused");
}

fn status(kubectl: &Kubectl, field: &str) -> String {
    let path = format!(r#"{{.status.containerStatuses[?(@.name=="web")].{field}}}"#);
    kubectl.path(&["pod", "web"], &path)
}

fn readiness(kubectl: &Kubectl) {
    kubectl.ok(&shell(&[], "busybox rm /www/ready"));
    kubectl.ok(&["wait", "--for=condition=Ready=false", "pod/web", "--timeout=180s"]);
    assert_eq!(
        (status(kubectl, "ready"), status(kubectl, "restartCount")),
        ("false".into(), "0".into())
    );
    kubectl.ok(&shell(&[], "echo > /www/ready"));
    kubectl.ok(&["wait", "--for=condition=Ready", "pod/web", "--timeout=180s"]);
}

fn logs_of_one_that_ends(kubectl: &Kubectl) {
    let error = kubectl.fails(&["logs", "web", "-c", "web", "--previous"]);
    assert!(error.contains(r#"previous terminated container "web""#), "{error}");
    let followed = thread::scope(|scope| {
        let follow = scope.spawn(|| kubectl.ok(&["logs", "-f", "web", "-c", "web"]));
        kubectl.ok(&shell(&[], "echo > /tmp/end"));
        follow.join().expect("it ends with the container")
    });
    for line in ["started\n", "warned\n", "ending\n"] {
        assert!(followed.contains(line), "{followed}");
    }
    soon("the container runs again", || status(kubectl, "restartCount") == "1");
    assert_eq!(status(kubectl, "lastState.terminated.exitCode"), "3");
    assert_eq!(kubectl.ok(&["logs", "web", "-c", "web", "--previous"]), followed);
    assert_eq!(kubectl.ok(&["logs", "web", "-c", "web", "-p", "--tail=1"]), "ending\n");
    kubectl.ok(&["wait", "--for=condition=Ready", "pod/web", "--timeout=180s"]);
    assert!(!kubectl.ok(&["logs", "web", "-c", "web"]).contains("ending"));
}

fn liveness(kubectl: &Kubectl) {
    kubectl.ok(&shell(&[], "echo > /tmp/sick"));
    soon("the sick container runs again", || status(kubectl, "restartCount") == "2");
    let events = kubectl.ok(&["get", "events"]);
    assert!(events.contains("Liveness probe failed"), "{events}");
    assert!(events.contains("Container web failed liveness probe, will be restarted"), "{events}");
    kubectl.ok(&["wait", "--for=condition=Ready", "pod/web", "--timeout=180s"]);
}

fn attaches(kubectl: &Kubectl) {
    let script = "while read line; do echo got $line; done";
    kubectl.apply(&plain("reader", script, ", stdin: true, stdinOnce: true"));
    kubectl.ok(&["wait", "--for=condition=Ready", "pod/reader", "--timeout=180s"]);
    let attached = kubectl.with_stdin(&["attach", "-i", "reader"], "one\ntwo\n");
    assert!(attached.success && attached.stdout.contains("got one\ngot two\n"), "{attached:#?}");
    soon("the container ends with its input", || {
        kubectl.path(&["pod", "reader"], "{.status.phase}") == "Succeeded"
    });
    assert_eq!(kubectl.ok(&["logs", "reader"]), "got one\ngot two\n");
}

/// containerd's containers of a pod.
fn containers(machine: &Machine, uid: &str) -> String {
    let filter = format!(r#"labels."io.kubernetes.pod.uid"=={uid}"#);
    machine.containerd.ctr(&["containers", "list", "-q", &filter]).expect("containerd answers")
}

fn uid(kubectl: &Kubectl, pod: &str) -> String {
    kubectl.path(&["pod", pod], "{.metadata.uid}")
}

fn graceful_deletion(kubectl: &Kubectl, machine: &Machine) {
    let uid = uid(kubectl, "web");
    assert_eq!(containers(machine, &uid).lines().count(), 4, "a sandbox and three containers");
    let log = kubectl.stream(&["logs", "-f", "web", "-c", "web"]);
    log.wait_for("started");
    kubectl.ok(&["delete", "pod", "web", "--timeout=180s"]);
    log.wait_for("bye");
    soon("no container is left", || containers(machine, &uid).is_empty());
}

fn deletion_of_one_that_will_not_go(kubectl: &Kubectl, machine: &Machine) {
    let script = "trap 'echo no' TERM; echo up; while :; do sleep 0.1; done";
    let stubborn = plain("stubborn", script, "");
    let start = |manifest: &str| {
        kubectl.apply(manifest);
        kubectl.ok(&["wait", "--for=condition=Ready", "pod/stubborn", "--timeout=180s"]);
        uid(kubectl, "stubborn")
    };
    let first = start(&stubborn);
    kubectl.ok(&["delete", "pod", "stubborn", "--force", "--grace-period=0"]);
    let second = start(&stubborn.replace("PeriodSeconds: 2", "PeriodSeconds: 3600"));
    assert_eq!(kubectl.ok(&["logs", "stubborn"]), "up\n", "the log is the new pod's");
    soon("the force-deleted pod's container is gone", || containers(machine, &first).is_empty());
    kubectl.ok(&["delete", "pod", "stubborn", "--wait=false"]);
    soon("it hears of it", || kubectl.ok(&["logs", "stubborn"]).contains("no\n"));
    assert!(kubectl.ok(&["get", "pod", "stubborn"]).contains("Terminating"));
    kubectl.ok(&["delete", "pod", "stubborn", "--grace-period=1", "--timeout=180s"]);
    soon("no container is left", || containers(machine, &second).is_empty());
}
