//! `kill -9` and a restart: what was acknowledged is there, nothing else is, pods run once.

use hansa_tests::{Cluster, Options, STOREFRONT, Version, soon};

use crate::scenario::config_map;
use crate::wasm::fetch;

const SHOP: &str = "apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, ports: [{port: 8088, targetPort: 8080}]}
";

#[test]
fn a_killed_cluster_comes_back_with_its_data_and_its_pods() {
    let options = Options { name: "crash", runtime: "wasm", nodes: 1, hub: false };
    let mut cluster = Cluster::start(&options);
    cluster.import("storefront.wasm", STOREFRONT);
    let kubectl = cluster.kubectl(Version::V1_33, "crash");
    kubectl.apply(SHOP);
    kubectl.ok(&["create", "deployment", "shop", &format!("--image={STOREFRONT}"), "--replicas=2"]);
    kubectl.ok(&["rollout", "status", "deployment/shop", "--timeout=180s"]);
    let address = kubectl.path(&["service", "shop"], "{.spec.clusterIP}:{.spec.ports[0].port}");
    let pods = || kubectl.path(&["pods", "-l", "app=shop"], "{.items[*].metadata.uid}");
    let before = pods();
    kubectl.apply(&config_map("last", "k", "acknowledged"));
    cluster.kill();
    assert!(!kubectl.run(&["get", "pods", "--request-timeout=5s"]).success, "it is dead");
    cluster.restart();
    assert_eq!(kubectl.path(&["cm", "last"], "{.data.k}"), "acknowledged");
    kubectl.ok(&["rollout", "status", "deployment/shop", "--timeout=180s"]);
    assert_eq!(pods(), before, "the same two pods, not others and not more");
    soon("they serve again", || fetch(&address, "/").is_some_and(|text| text.contains(" from ")));
    let counts =
        kubectl.path(&["deployment", "shop"], "{.status.replicas} {.status.readyReplicas}");
    assert_eq!(counts, "2 2");
}
