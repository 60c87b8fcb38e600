//! Allocation over the embedded store: unique, given back, taken over, refused.

use std::sync::Arc;
use std::time::Duration;

use hansa_storage::Storage;
use hansa_storage::embedded::Engine;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::claims::{self, Item, Owner};
use super::*;
use crate::generic::catalog::{Catalog, Served};
use crate::generic::options::DeleteOptions;

async fn registry(cidr: &str, node_ports: (u16, u16)) -> (Arc<Registry>, Arc<Served>) {
    let storage: Arc<dyn Storage> = Arc::new(Engine::ephemeral().unwrap());
    let addresses = AddressRange::parse(cidr).unwrap();
    let served = Served::builtin(resource(), Services { addresses, node_ports });
    let catalog = Arc::new(Catalog::new(vec![served]));
    let registry = Registry::new(storage, catalog, CancellationToken::new()).await.unwrap();
    let served = registry.served("", "services").unwrap();
    (registry, served)
}

fn named(name: &str, mut spec: Value) -> Value {
    spec["ports"] = json!([{"port": 80}]);
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
}

async fn create(
    registry: &Arc<Registry>,
    served: &Arc<Served>,
    name: &str,
    spec: Value,
) -> Result<Value, ApiError> {
    let ctx = Context::internal("create", "n", "");
    Ok(registry.create(served, &ctx, named(name, spec)).await?.obj)
}

fn ip(service: &Value) -> &str {
    str_at(service, &["spec", "clusterIP"])
}

#[tokio::test]
async fn every_service_has_an_address_of_its_own_until_the_range_is_full() {
    let (registry, served) = registry("10.0.0.0/29", NODE_PORTS).await;
    let mut seen = Vec::new();
    for at in 0..5 {
        let service = create(&registry, &served, &format!("s{at}"), json!({})).await.unwrap();
        seen.push(ip(&service).to_owned());
    }
    seen.sort();
    assert_eq!(seen, ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]);
    let error = create(&registry, &served, "full", json!({})).await.unwrap_err();
    assert!(error.message.contains("range is full"), "{error}");
}

#[tokio::test]
async fn a_deleted_services_address_can_be_asked_for_again() {
    let (registry, served) = registry("10.0.0.0/24", NODE_PORTS).await;
    let spec = json!({"clusterIP": "10.0.0.9"});
    create(&registry, &served, "a", spec.clone()).await.unwrap();
    let error = create(&registry, &served, "b", spec.clone()).await.unwrap_err();
    assert_eq!(
        error.message,
        "Service \"b\" is invalid: spec.clusterIPs: Invalid value: [\"10.0.0.9\"]: failed to \
         allocate IP 10.0.0.9: provided IP is already allocated"
    );
    let outside = create(&registry, &served, "b", json!({"clusterIP": "10.9.9.9"})).await;
    assert!(outside.unwrap_err().message.contains("The range of valid IPs is 10.0.0.0/24"));
    let ctx = Context::internal("delete", "n", "a");
    registry.delete(&served, &ctx, &DeleteOptions::default()).await.unwrap();
    let again = create(&registry, &served, "b", spec).await.unwrap();
    assert_eq!(ip(&again), "10.0.0.9");
}

#[tokio::test]
async fn a_write_that_fails_gives_back_what_it_took() {
    let (registry, served) = registry("10.0.0.0/24", (30000, 30001)).await;
    let node_port = json!({"type": "NodePort"});
    create(&registry, &served, "a", node_port.clone()).await.unwrap();
    let error = create(&registry, &served, "a", node_port.clone()).await.unwrap_err();
    assert!(error.is_already_exists());
    // The port comes back in the background.
    for _ in 0..200 {
        if create(&registry, &served, "b", node_port.clone()).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the failed write kept its port");
}

#[tokio::test]
async fn a_claim_that_nobody_holds_is_taken_over_once_it_is_old() {
    let (registry, served) = registry("10.0.0.0/24", NODE_PORTS).await;
    let spec = json!({"clusterIP": "10.0.0.9"});
    let item = Item::Address("10.0.0.9".into());
    let owner = |at| Owner { namespace: "n".into(), name: "lost".into(), at };
    let fresh = owner(Timestamp::now().as_second());
    claims::claim(registry.storage(), &item, &fresh, None).await.unwrap().ok().unwrap();
    assert!(create(&registry, &served, "a", spec.clone()).await.is_err(), "may be in flight");
    let held = claims::find(registry.storage(), &item).await.unwrap();
    claims::claim(registry.storage(), &item, &owner(0), held.as_ref()).await.unwrap().ok().unwrap();
    assert_eq!(ip(&create(&registry, &served, "a", spec).await.unwrap()), "10.0.0.9");
}

#[tokio::test]
async fn a_dry_run_takes_nothing() {
    let (registry, served) = registry("10.0.0.0/24", NODE_PORTS).await;
    let ctx = Context { dry_run: true, ..Context::internal("create", "n", "") };
    let spec = json!({"clusterIP": "10.0.0.9"});
    for _ in 0..2 {
        let tried = registry.create(&served, &ctx, named("a", spec.clone())).await.unwrap();
        assert_eq!(ip(&tried.obj), "10.0.0.9");
    }
    assert_eq!(registry.storage().count(b"/registry/ranges/").await.unwrap(), 0);
}

const NODE_PORTS: (u16, u16) = (30000, 32767);
