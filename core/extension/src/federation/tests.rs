//! Tests of the checks on what policies answer.

use super::*;

#[test]
fn a_division_must_be_one_that_can_be_carried_out() {
    let share = |cluster, replicas| Share { cluster, replicas };
    let good = [
        Division::ByPolicy,
        Division::Weights(vec![0, 1]),
        Division::Replicas(vec![share(4, 6)]),
        Division::Replicas(vec![share(2, 1), share(4, 5)]),
    ];
    for division in good {
        assert_eq!(division.check(6, &[2, 4]), Ok(()), "{division:?}");
    }
    let bad = [
        Division::Weights(vec![1]),
        Division::Weights(vec![0, 0]),
        Division::Replicas(vec![share(2, 7)]),
        Division::Replicas(vec![share(3, 6)]),
        Division::Replicas(vec![share(2, 3), share(2, 3)]),
        Division::Replicas(vec![]),
    ];
    for division in bad {
        assert!(division.check(6, &[2, 4]).is_err(), "{division:?}");
    }
}

#[test]
fn a_verdict_speaks_of_members_that_are_there() {
    let verdict = |version, feasible, score| Evaluation {
        version,
        feasible: vec![feasible],
        scores: vec![score; 3],
        ..Evaluation::default()
    };
    assert_eq!(verdict(1, 0b101, 100).check(3, 1, &[0b101]), Ok(()));
    for lie in [verdict(2, 1, 0), verdict(1, 0b111, 0), verdict(1, 1, 101)] {
        assert!(lie.check(3, 1, &[0b101]).is_err(), "{lie:?}");
    }
    let short = Evaluation { scores: vec![0; 2], ..verdict(1, 1, 0) };
    assert!(short.check(3, 1, &[0b101]).is_err());
}

#[test]
fn members_are_found_by_name_and_indices_reused() {
    let mut mirror = Mirror::default();
    for name in ["eu-west", "us-east"] {
        let (ix, name) = (mirror.free_ix(), mirror.sym(name));
        mirror.upsert(ClusterRow { ix, name, ..ClusterRow::default() });
    }
    assert_eq!(mirror.ix("us-east"), Some(1));
    mirror.remove(0);
    assert_eq!((mirror.ix("eu-west"), mirror.free_ix(), mirror.slots()), (None, 0, 2));
    assert_eq!(mirror.present(), [0b10]);
}
