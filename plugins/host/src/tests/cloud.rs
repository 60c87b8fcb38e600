//! The local cloud provider, through the host's trait.

use hansa_extension::cloud::{AddressKind, CloudError, InstanceState, LbSpec, NodeRef};
use serde_json::{Value, json};

use super::*;

fn node(name: &str) -> NodeRef {
    NodeRef { name: name.into(), ..Default::default() }
}

#[tokio::test]
async fn the_local_cloud_knows_nodes_and_gives_out_addresses() {
    let host = host();
    let cloud = host.cloud();
    let nobody = cloud.local_zone().await.unwrap_err();
    assert!(matches!(nobody, CloudError::Plugin(PluginError::Nobody(_))), "{nobody}");

    let config = json!({"region": "eu-west", "zone": "eu-west-1", "pool": "127.64.255.0/24"});
    load_and_activate(&host, request("cloud", World::Cloud, "cloud-local", config)).await.unwrap();
    assert_eq!(cloud.local_zone().await.unwrap(), ("eu-west".into(), "eu-west-1".into()));
    let nodes = [node("n1"), node("n2")];
    assert_eq!(cloud.instance_states(&nodes).await.unwrap(), [InstanceState::Running; 2]);
    let known = cloud.instance_metadata(&nodes).await.unwrap().remove(1).unwrap();
    assert_eq!(known.provider_id, "local://eu-west-1/n2");
    assert_eq!(known.addresses[0].kind, AddressKind::Hostname);

    let spec = LbSpec { uid: "1234-5678".into(), ..Default::default() };
    assert_eq!(cloud.load_balancer(&spec).await.unwrap(), None);
    assert_eq!(cloud.load_balancer_name(&spec).await.unwrap(), "a12345678");
    let given = cloud.ensure_load_balancer(&spec, &nodes).await.unwrap();
    assert!(given[0].ip.starts_with("127.64.255."), "{given:?}");
    assert_eq!(cloud.load_balancer(&spec).await.unwrap(), Some(given));
    cloud.delete_load_balancer(&spec).await.unwrap();
    assert_eq!(cloud.load_balancer(&spec).await.unwrap(), None);
}

#[tokio::test]
async fn a_providers_no_is_told_from_a_broken_provider() {
    let host = host();
    let request = request("cloud", World::Cloud, "cloud-local", Value::Null);
    load_and_activate(&host, request).await.unwrap();
    let refused = host.cloud().ensure_load_balancer(&LbSpec::default(), &[]).await.unwrap_err();
    assert!(refused.is_unsupported(), "{refused}");
    assert_eq!(host.status()[0].failures, 0, "a no is no failure of the plugin");
}

/// The address that a Service gets, or keeps.
async fn ensure(host: &Host, uid: &str) -> String {
    let spec = LbSpec { uid: uid.into(), ..Default::default() };
    host.cloud().ensure_load_balancer(&spec, &[]).await.unwrap().remove(0).ip
}

async fn with_pool(host: &Host, zone: &str) {
    let config = json!({"zone": zone, "pool": "127.64.255.0/29"});
    load_and_activate(host, request("cloud", World::Cloud, "cloud-local", config)).await.unwrap();
}

#[tokio::test]
async fn a_swapped_provider_knows_the_addresses_that_the_one_before_gave_away() {
    let cloud = host();
    with_pool(&cloud, "a").await;
    let mut given = Vec::new();
    for uid in ["u0", "u1", "u2", "u3", "u4"] {
        given.push(ensure(&cloud, uid).await);
    }
    with_pool(&cloud, "b").await;
    let newcomer = ensure(&cloud, "newcomer").await;
    assert!(!given.contains(&newcomer), "{newcomer}: {given:?}");
    assert_eq!(ensure(&cloud, "u3").await, given[3]);
    let spec = LbSpec { uid: "one too many".into(), ..Default::default() };
    let full = cloud.cloud().ensure_load_balancer(&spec, &[]).await;
    assert!(full.is_err(), "the new provider knows that all are taken: {full:?}");
}
