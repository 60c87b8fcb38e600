//! Placement policies: swapped while they decide, fenced off when they fail.

use std::sync::atomic::{AtomicBool, Ordering};

use hansa_extension::federation::Division;
use serde_json::{Value, json};

use super::*;

#[tokio::test]
async fn the_next_decision_is_the_new_policys_and_names_it() {
    let host = host();
    let first = placement(&host, "default", "federation-default", Value::Null).await;
    let mut set = members(&host);
    let decision = set.select(&storefront()).unwrap();
    assert_eq!(decision.by, first.identity);
    assert_eq!(decision.evaluation.scores, [99, 99]);
    let divided = set.divide(&storefront(), &[0, 1], &[99, 99], &[9, 9]).unwrap();
    assert_eq!(divided.division, Division::ByPolicy);

    let prefer = json!({"prefer": "us-east"});
    let second = placement(&host, "prefer", "federation-prefer-region", prefer).await;
    assert_ne!(first.identity.digest, second.identity.digest);
    let decision = set.select(&storefront()).unwrap();
    assert_eq!(decision.by, second.identity);
    assert_eq!(decision.evaluation.scores, [10, 100]);
    let divided = set.divide(&storefront(), &[0, 1], &[10, 100], &[9, 9]).unwrap();
    assert_eq!(divided.division, Division::Weights(vec![1, 5]));

    host.deactivate("prefer").await.unwrap();
    assert_eq!(set.select(&storefront()).unwrap().by, first.identity);
}

#[tokio::test]
async fn a_version_that_traps_is_fenced_off_and_the_second_goes_on() {
    let host = host();
    placement(&host, "default", "federation-default", Value::Null).await;
    let prefer = json!({"prefer": "us-east"});
    let second = placement(&host, "policy", "federation-prefer-region", prefer).await;
    let mut set = members(&host);
    set.select(&storefront()).unwrap();
    let seen = host.changed(0).await;

    let third = placement(&host, "policy", "federation-trapping", Value::Null).await;
    let decision = set.select(&storefront()).unwrap();
    assert_eq!(decision.by, second.identity, "the decision is not lost");
    assert_ne!(host.changed(seen).await, seen);
    let state = host.status().into_iter().find(|state| state.name == "policy").unwrap();
    assert_eq!(state.wanted, third.identity);
    assert_eq!(state.active, Some(second.identity.clone()));
    assert_eq!(state.failures, 1);
    let why = state.fenced.unwrap().to_string();
    assert!(why.contains("traps on purpose"), "{why}");
    assert_eq!(set.identity(), Some(second.identity));
}

#[tokio::test]
async fn a_proven_version_survives_a_trap_with_its_state_replayed() {
    let host = host();
    placement(&host, "default", "federation-default", Value::Null).await;
    let at = json!({"at": "second"});
    let proven = placement(&host, "policy", "federation-trapping", at).await;
    let mut set = members(&host);
    assert_eq!(set.select(&storefront()).unwrap().by, proven.identity);
    assert_ne!(set.select(&storefront()).unwrap().by, proven.identity, "it trapped");
    let again = set.select(&storefront()).unwrap();
    assert_eq!(again.by, proven.identity, "rebuilt: the first decision of a fresh instance");
    assert_eq!(again.evaluation.feasible, [0b11], "with both members");
}

#[tokio::test]
async fn no_decision_is_lost_or_mixed_up_while_policies_are_swapped() {
    let host = host();
    let default = placement(&host, "p", "federation-default", Value::Null).await;
    let prefer = json!({"prefer": "us-east"});
    let preferring = placement(&host, "p", "federation-prefer-region", prefer).await;
    let (mut set, stop) = (members(&host), std::sync::Arc::new(AtomicBool::new(false)));
    let (stopped, names) = (stop.clone(), (default.identity.clone(), preferring.identity.clone()));
    let deciding = std::thread::spawn(move || {
        let mut counts = [0u32; 2];
        while !stopped.load(Ordering::Relaxed) {
            let decision = set.select(&storefront()).unwrap();
            let (new, scores) = (decision.by == names.1, &decision.evaluation.scores);
            assert!(new || decision.by == names.0);
            assert_eq!(*scores, if new { [10, 100] } else { [99, 99] });
            counts[usize::from(new)] += 1;
        }
        counts
    });
    for round in 0..20 {
        let next = if round % 2 == 0 { &default } else { &preferring };
        host.activate(&next.identity).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    stop.store(true, Ordering::Relaxed);
    let counts = deciding.join().unwrap();
    assert!(counts[0] > 0 && counts[1] > 0, "{counts:?}");
}
