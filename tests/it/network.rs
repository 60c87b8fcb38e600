//! How pods are reached: Services of every type, from where their clients are, and their names.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use hansa_tests::{Kubectl, STOREFRONT, eventually, soon};

use crate::scenario::on;
use crate::wasm::fetch;

on!(wasm: services_of_every_type_have_addresses_and_names);

fn shop() -> String {
    let service = |name: &str, more: &str| {
        format!(
            "apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{selector: {{app: shop}}, ports: [{{name: http, port: 8089, targetPort: 8080}}], {more}}}
---
"
        )
    };
    let services = [
        service("balanced", "type: LoadBalancer"),
        service("headless", "clusterIP: None"),
        "apiVersion: v1
kind: Service
metadata: {name: elsewhere}
spec: {type: ExternalName, externalName: balanced.NAMESPACE.svc.cluster.local}
---
"
        .to_owned(),
    ];
    format!(
        "{}apiVersion: apps/v1
kind: Deployment
metadata: {{name: shop}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: shop}}}}
  template:
    metadata: {{labels: {{app: shop}}}}
    spec:
      containers:
      - name: web
        image: {STOREFRONT}
        readinessProbe: {{httpGet: {{path: /healthz, port: 8080}}, periodSeconds: 1}}
",
        services.concat()
    )
}

fn services_of_every_type_have_addresses_and_names(kubectl: &Kubectl) {
    kubectl.apply(&shop().replace("NAMESPACE", &kubectl.namespace));
    kubectl.ok(&["rollout", "status", "deployment/shop", "--timeout=180s"]);
    let service = ["service", "balanced"];
    let outside = eventually("the balancer has an address", || {
        let ip = kubectl.path(&service, "{.status.loadBalancer.ingress[0].ip}");
        (!ip.is_empty()).then_some(ip)
    });
    let inside = kubectl.path(&service, "{.spec.clusterIP}");
    let node = kubectl.path(&["pods", "-l", "app=shop"], "{.items[0].status.hostIP}");
    let node_port = kubectl.path(&service, "{.spec.ports[0].nodePort}");
    for address in
        [format!("{outside}:8089"), format!("{inside}:8089"), format!("{node}:{node_port}")]
    {
        soon(&format!("{address} leads to the pods"), || {
            fetch(&address, "/healthz").is_some_and(|text| !text.is_empty())
        });
    }
    let pods = kubectl.path(&["pods", "-l", "app=shop"], "{.items[*].status.podIP}");
    let name = |service: &str| format!("{service}.{}.svc.cluster.local", kubectl.namespace);
    soon("the name is the Service's address", || {
        lookup(&inside, &name("balanced")) == [inside.as_str()]
    });
    soon("a headless name is its pods' addresses", || {
        let mut expected: Vec<_> = pods.split(' ').collect();
        expected.sort_unstable();
        lookup(&inside, &name("headless")) == expected
    });
    soon("an alias is followed", || lookup(&inside, &name("elsewhere")) == [inside.as_str()]);
    assert!(lookup(&inside, &name("absent")).is_empty());
    kubectl.ok(&["delete", "service", "balanced", "--timeout=180s"]);
    soon("the name goes with the Service", || lookup(&inside, &name("balanced")).is_empty());
    soon("and so does the address", || fetch(&format!("{outside}:8089"), "/healthz").is_none());
}

/// The IPv4 addresses that the DNS server of a cluster gives for a name, in order. `near` is the
/// address of any of its Services.
fn lookup(near: &str, name: &str) -> Vec<String> {
    let near: Ipv4Addr = near.parse().expect("Services have IPv4 addresses");
    let [a, b, c, _] = near.octets();
    let server = Ipv4Addr::new(a, b, c & 0x80, 10);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    socket.set_read_timeout(Some(Duration::from_secs(2))).expect("a time can be set");
    let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).expect("labels are short"));
        query.extend(label.bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    // Where it may not bind port 53, it listens on another.
    for port in [53, 10_053] {
        let _ = socket.send_to(&query, (server, port));
    }
    let mut answer = [0; 2048];
    let length = socket.recv(&mut answer).unwrap_or(0);
    addresses(&answer[..length], query.len())
}

/// The A records of an answer, whose question has the length of the query.
fn addresses(answer: &[u8], question: usize) -> Vec<String> {
    let count = answer.get(6..8).map_or(0, |count| u16::from_be_bytes([count[0], count[1]]));
    let mut rest = answer.get(question..).unwrap_or_default();
    let mut found = Vec::new();
    for _ in 0..count {
        let name = match rest.first() {
            Some(first) if first & 0xc0 == 0xc0 => 2,
            _ => rest.iter().position(|byte| *byte == 0).expect("a name ends") + 1,
        };
        let (kind, length) = (rest[name + 1], usize::from(rest[name + 9]));
        let data = &rest[name + 10..name + 10 + length];
        if let (1, [a, b, c, d]) = (kind, data) {
            found.push(Ipv4Addr::new(*a, *b, *c, *d).to_string());
        }
        rest = &rest[name + 10 + length..];
    }
    found.sort_unstable();
    found
}
