//! Scheduler plugins as guests, through the set.

use hansa_extension::bitmap;
use hansa_extension::scheduler::{NodeRow, PluginSet, PodView, Want};
use serde_json::Value;

use super::*;
use crate::Shipped;

/// A set with `count` nodes called `n0`, `n1`, ….
fn nodes(host: &Host, count: u32) -> PluginSet {
    let mut set = PluginSet::new(host.scheduler());
    for ix in 0..count {
        let name = set.mirror().sym(&format!("n{ix}"));
        set.mirror().upsert(NodeRow { ix, name, ..Default::default() });
    }
    set
}

#[tokio::test]
async fn a_predicate_judges_all_nodes_in_one_call() {
    let host = host();
    let node_name = request("NodeName", World::Scheduler, "scheduler-node-name", Value::Null);
    let loaded = load_and_activate(&host, node_name).await.unwrap();
    assert_eq!(loaded.guest_name, "NodeName");
    let mut set = nodes(&host, 11);
    let all = set.decide(&PodView::default(), Want::REASONS).unwrap();
    assert_eq!((bitmap::count(&all.feasible), all.rejections.len()), (11, 0));

    let node_name = set.mirror().sym("n9");
    let pod = PodView { node_name, ..Default::default() };
    let one = set.decide(&pod, Want::REASONS).unwrap();
    assert_eq!(bitmap::ones(&one.feasible).collect::<Vec<_>>(), [9]);
    let (by, reason) = one.rejection(3).unwrap();
    assert_eq!(by, &loaded.identity);
    assert_eq!(reason.unwrap().texts, ["node(s) didn't match the requested node name"]);
    assert!(!reason.unwrap().preemptible);
}

#[tokio::test]
async fn removed_and_added_nodes_reach_the_guest() {
    let host = host();
    let node_name = request("NodeName", World::Scheduler, "scheduler-node-name", Value::Null);
    load_and_activate(&host, node_name).await.unwrap();
    let mut set = nodes(&host, 3);
    set.decide(&PodView::default(), Want::FILTER).unwrap();
    set.mirror().remove(1);
    assert_eq!(set.mirror().free_ix(), 1);
    let left = set.decide(&PodView::default(), Want::FILTER).unwrap();
    assert_eq!(bitmap::ones(&left.feasible).collect::<Vec<_>>(), [0, 2]);
    let name = set.mirror().sym("again");
    set.mirror().upsert(NodeRow { ix: 1, name, ..Default::default() });
    let pod = PodView { node_name: name, ..Default::default() };
    let found = set.decide(&pod, Want::FILTER).unwrap();
    assert_eq!(bitmap::ones(&found.feasible).collect::<Vec<_>>(), [1]);
}

#[tokio::test]
async fn loading_the_same_again_is_the_same_version() {
    let host = host();
    let again = || request("NodeName", World::Scheduler, "scheduler-node-name", Value::Null);
    let first = host.load(again()).await.unwrap().identity;
    assert_eq!(host.load(again()).await.unwrap().identity, first);
    let heavier = LoadRequest { weight: 2, ..again() };
    assert_ne!(host.load(heavier).await.unwrap().identity, first);
}

#[tokio::test]
async fn a_cover_taken_off_leaves_what_was_shipped() {
    let host = host();
    let (name, bytes, config) = ("NodeName", guest("scheduler-node-name"), Value::Null);
    let world = World::Scheduler;
    let shipped = host.install(Shipped { name, world, bytes, config, weight: 1 }).unwrap();
    let cover = request(name, world, "scheduler-node-unschedulable", Value::Null);
    let cover = load_and_activate(&host, cover).await.unwrap();
    let mut set = nodes(&host, 1);
    assert_eq!(set.identities(), [cover.identity]);
    host.deactivate(name).await.unwrap();
    assert_eq!(set.identities(), [shipped.identity]);
}
