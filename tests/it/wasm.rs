//! Pods that are WASI components: their logs, their Services, and what they plainly do not have.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use hansa_tests::{Kubectl, STOREFRONT, eventually, soon};

use crate::scenario::on;

on!(wasm:
    logs,
    a_service_spreads_over_its_pods,
    no_exec_and_it_says_so,
    a_pod_is_replaced_and_ready_gates_the_service,
    a_missing_image_is_told,
    port_forwarding,
    a_failing_probe_restarts_and_the_old_log_stays,
);

fn shop(replicas: u32) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: shop}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: shop}}}}
  template:
    metadata: {{labels: {{app: shop}}}}
    spec:
      containers:
      - name: web
        image: {STOREFRONT}
        ports: [{{name: http, containerPort: 8080}}]
        env:
        - {{name: POD_NAME, valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}}}
        - {{name: NODE_NAME, valueFrom: {{fieldRef: {{fieldPath: spec.nodeName}}}}}}
        - {{name: REGION, valueFrom: {{configMapKeyRef: {{name: shop, key: region}}}}}}
        - {{name: GREETING, valueFrom: {{secretKeyRef: {{name: shop, key: greeting}}}}}}
        readinessProbe: {{httpGet: {{path: /healthz, port: http}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: shop}}
spec: {{selector: {{app: shop}}, ports: [{{name: http, port: 8088, targetPort: http}}]}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: shop}}
data: {{region: hanse}}
---
apiVersion: v1
kind: Secret
metadata: {{name: shop}}
stringData: {{greeting: Moin}}
"
    )
}

/// Applies the shop, waits until it is open, and answers the Service's address.
fn open(kubectl: &Kubectl, replicas: u32) -> String {
    kubectl.apply(&shop(replicas));
    kubectl.ok(&["rollout", "status", "deployment/shop", "--timeout=180s"]);
    kubectl.path(&["service", "shop"], "{.spec.clusterIP}:{.spec.ports[0].port}")
}

/// What `GET path` answers; nothing if there is no answer.
pub(crate) fn fetch(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").ok()?;
    // Forwarded connections may end in a reset, after the answer.
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}

fn pods(kubectl: &Kubectl) -> Vec<String> {
    let names = kubectl.path(&["pods", "-l", "app=shop"], "{.items[*].metadata.name}");
    names.split_whitespace().map(str::to_owned).collect()
}

fn logs(kubectl: &Kubectl) {
    let address = open(kubectl, 1);
    let pod = &pods(kubectl)[0];
    let follow = kubectl.stream(&["logs", "-f", pod]);
    assert!(fetch(&address, "/one").is_some());
    follow.wait_for("404 /one");
    assert!(fetch(&address, "/two").is_some());
    follow.wait_for("404 /two");
    let all = kubectl.ok(&["logs", "deployment/shop", "--timestamps"]);
    let line = all.lines().find(|line| line.ends_with("404 /one")).expect("the line stays");
    assert_eq!(&line[4..5], "-", "it begins with a time: {line}");
    assert_eq!(kubectl.ok(&["logs", pod, "--tail=1"]).lines().count(), 1);
    let error = kubectl.fails(&["logs", pod, "--previous"]);
    assert!(error.contains(r#"previous terminated container "web""#), "{error}");
    let error = kubectl.fails(&["logs", pod, "-c", "absent"]);
    assert!(error.contains("container absent is not valid for pod"), "{error}");
}

fn a_service_spreads_over_its_pods(kubectl: &Kubectl) {
    let address = open(kubectl, 3);
    let mut greeted = std::collections::BTreeSet::new();
    soon("every pod answers behind the Service", || {
        greeted.extend(fetch(&address, "/"));
        greeted.len() == 3
    });
    for pod in pods(kubectl) {
        let line = format!("Moin from {pod} in hanse on wasm");
        assert!(greeted.iter().any(|text| text.contains(&line)), "{line}: {greeted:?}");
    }
    let slices = ["endpointslices", "-l", "kubernetes.io/service-name=shop"];
    let ready = kubectl.path(&slices, "{.items[*].endpoints[*].conditions.ready}");
    assert_eq!(ready, "true true true");
    kubectl.ok(&["scale", "deployment/shop", "--replicas=0"]);
    soon("nothing answers for no pods", || fetch(&address, "/").is_none_or(|text| text.is_empty()));
}

fn no_exec_and_it_says_so(kubectl: &Kubectl) {
    open(kubectl, 1);
    let pod = &pods(kubectl)[0];
    let plain = "the wasm runtime has no exec";
    assert!(kubectl.fails(&["exec", pod, "--", "ls"]).contains(plain));
    assert!(kubectl.fails(&["cp", "/etc/hostname", &format!("{pod}:/x")]).contains(plain));
    assert!(kubectl.fails(&["attach", pod]).contains("the wasm runtime has no attach"));
}

fn a_pod_is_replaced_and_ready_gates_the_service(kubectl: &Kubectl) {
    let address = open(kubectl, 1);
    let first = pods(kubectl);
    kubectl.ok(&["delete", "pod", &first[0]]);
    kubectl.ok(&["rollout", "status", "deployment/shop", "--timeout=180s"]);
    let second = eventually("there is another pod", || Some(pods(kubectl)).filter(|p| *p != first));
    soon("the new pod answers", || fetch(&address, "/").is_some_and(|t| t.contains(&second[0])));
    let broken = shop(1).replace("path: /healthz", "path: /absent");
    kubectl.apply(&broken);
    kubectl.fails(&["rollout", "status", "deployment/shop", "--timeout=3s"]);
    let answer = fetch(&address, "/").expect("the old pod goes on serving");
    assert!(answer.contains(&second[0]), "{answer}");
}

fn a_missing_image_is_told(kubectl: &Kubectl) {
    kubectl.ok(&[
        "run",
        "ghost",
        "--image=hansa.dev/absent:v1",
        "--image-pull-policy=IfNotPresent",
    ]);
    let reason = "{.status.containerStatuses[0].state.waiting.reason}";
    let reason = eventually("the pod says what it waits for", || {
        let reason = kubectl.path(&["pod", "ghost"], reason);
        ["ErrImagePull", "ImagePullBackOff"].contains(&&*reason).then_some(reason)
    });
    let shown = kubectl.ok(&["get", "pod", "ghost"]);
    assert!(
        shown.contains("ErrImagePull") || shown.contains("ImagePullBackOff"),
        "{reason}: {shown}"
    );
    assert!(kubectl.ok(&["describe", "pod", "ghost"]).contains("hansa.dev/absent:v1"));
}

fn port_forwarding(kubectl: &Kubectl) {
    open(kubectl, 1);
    let forward = kubectl.stream(&["port-forward", "deployment/shop", ":8080"]);
    forward.wait_for("Forwarding from 127.0.0.1:");
    let lines = forward.so_far();
    let line = lines.iter().find(|line| line.contains("127.0.0.1:")).expect("it was printed");
    let port = line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    let answer = fetch(&format!("127.0.0.1:{port}"), "/").expect("the pod answers");
    assert!(answer.contains("Moin from shop-"), "{answer}");
}

fn a_failing_probe_restarts_and_the_old_log_stays(kubectl: &Kubectl) {
    let spec = format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: sick}}
spec:
  containers:
  - name: web
    image: {STOREFRONT}
    ports: [{{containerPort: 8080}}]
    livenessProbe: {{httpGet: {{path: /sick, port: 8080}}, periodSeconds: 1, failureThreshold: 2}}
"
    );
    kubectl.apply(&spec);
    let count = "{.status.containerStatuses[0].restartCount}";
    soon("the container is started again", || {
        kubectl.path(&["pod", "sick"], count).parse().unwrap_or(0) > 0
    });
    soon("the log of the run before is there", || {
        kubectl.run(&["logs", "sick", "--previous"]).stdout.contains("404 /sick")
    });
    let events = kubectl.ok(&["describe", "pod", "sick"]);
    assert!(events.contains("Unhealthy") && events.contains("Killing"), "{events}");
}
