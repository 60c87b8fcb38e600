//! How replicas divide over clusters: exact sums, the same result for the same input.
//!
//! Seats are given by Webster's method (Sainte-Laguë): one at a time to the party with the greatest
//! votes / (2 × seats + 1). Ties go to the party with fewer seats, then by name, ascending or
//! descending by a bit of the object's uid so that not every object favours the same cluster.

use std::cmp::Ordering;

use crate::kinds::{
    Cluster, ClusterPreferences, ReplicaDivisionPreference, ReplicaSchedulingStrategy,
    ReplicaSchedulingType, TargetCluster,
};
use crate::{affinity, names};

/// How replicas divide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Every cluster gets all.
    Duplicated,
    /// By fixed weights, which capacity does not change.
    StaticWeight,
    /// By the room that clusters have; what is placed stays.
    DynamicWeight,
    /// Into as few clusters as have room; what is placed stays.
    Aggregated,
}

impl Strategy {
    /// The strategy that a placement asks for; none is [`Strategy::Duplicated`].
    pub fn of(scheduling: Option<&ReplicaSchedulingStrategy>) -> Self {
        let Some(scheduling) = scheduling else { return Self::Duplicated };
        if scheduling.replica_scheduling_type == ReplicaSchedulingType::Duplicated {
            return Self::Duplicated;
        }
        let preference = scheduling.replica_division_preference.unwrap_or_default();
        let weights = scheduling.weight_preference.as_ref();
        match preference {
            ReplicaDivisionPreference::Aggregated => Self::Aggregated,
            ReplicaDivisionPreference::Weighted
                if weights.is_some_and(|w| w.dynamic_weight.is_some()) =>
            {
                Self::DynamicWeight
            }
            ReplicaDivisionPreference::Weighted => Self::StaticWeight,
        }
    }

    /// The name that explanations use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Duplicated => "Duplicated",
            Self::StaticWeight => "StaticWeight",
            Self::DynamicWeight => "DynamicWeight",
            Self::Aggregated => "Aggregated",
        }
    }
}

/// A cluster that may get replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub name: String,
    /// Its fixed weight.
    pub weight: i64,
    /// How many more replicas it has room for.
    pub available: i64,
    /// How many it has.
    pub current: i64,
    /// How much it is preferred, the greater the more.
    pub score: i64,
}

/// Too little room: `fitting` of `wanted` replicas fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("fit {wanted} replicas: the clusters have room for {fitting}")]
pub struct TooLittleRoom {
    /// How many were wanted.
    pub wanted: i64,
    /// How many fit.
    pub fitting: i64,
}

/// Divides `replicas` over the candidates; clusters that get none are left out.
///
/// `uid` breaks ties; `fresh` forgets what is placed.
pub fn divide(
    strategy: Strategy,
    replicas: i64,
    candidates: &[Candidate],
    uid: &str,
    fresh: bool,
) -> Result<Vec<TargetCluster>, TooLittleRoom> {
    let shares = match strategy {
        Strategy::Duplicated => candidates.iter().map(|c| (c.name.clone(), replicas)).collect(),
        Strategy::StaticWeight => by_weight(replicas, candidates, uid),
        Strategy::DynamicWeight | Strategy::Aggregated if fresh => {
            let freed: Vec<Candidate> = candidates.iter().map(vacated).collect();
            add(strategy, replicas, &freed, uid)?
        }
        Strategy::DynamicWeight | Strategy::Aggregated => {
            steady(strategy, replicas, candidates, uid)?
        }
    };
    Ok(targets(shares))
}

/// The fixed weight of each candidate: the greatest that a rule gives it, else 0. Without rules,
/// or if they give no candidate a weight, all weigh the same.
pub fn static_weights(preferences: Option<&ClusterPreferences>, clusters: &[&Cluster]) -> Vec<i64> {
    let rules = preferences.map_or(&[][..], |p| &p.static_weight_list);
    let weight_of = |cluster: &Cluster| {
        let matching = rules.iter().filter(|r| affinity::chooses(&r.target_cluster, cluster));
        matching.map(|r| r.weight).max().unwrap_or(0)
    };
    let weights: Vec<i64> = clusters.iter().map(|c| weight_of(c)).collect();
    if weights.iter().all(|w| *w == 0) {
        return vec![1; clusters.len()];
    }
    weights
}

type Shares = Vec<(String, i64)>;

fn by_weight(replicas: i64, candidates: &[Candidate], uid: &str) -> Shares {
    let parties = candidates.iter().map(|c| Party::new(&c.name, c.weight, 0));
    webster(replicas, parties.collect(), uid)
}

fn steady(
    strategy: Strategy,
    replicas: i64,
    candidates: &[Candidate],
    uid: &str,
) -> Result<Shares, TooLittleRoom> {
    let placed: i64 = candidates.iter().map(|c| c.current).sum();
    match replicas.cmp(&placed) {
        Ordering::Equal => Ok(candidates.iter().map(|c| (c.name.clone(), c.current)).collect()),
        Ordering::Less => {
            let parties = candidates.iter().map(|c| Party::new(&c.name, c.current, 0));
            Ok(webster(replicas, parties.collect(), uid))
        }
        Ordering::Greater => {
            let more = add(strategy, replicas - placed, candidates, uid)?;
            Ok(merge(candidates, more))
        }
    }
}

/// Finds room for `replicas` more.
fn add(
    strategy: Strategy,
    replicas: i64,
    candidates: &[Candidate],
    uid: &str,
) -> Result<Shares, TooLittleRoom> {
    let fitting = candidates.iter().fold(0_i64, |sum, c| sum.saturating_add(c.available.max(0)));
    if fitting < replicas {
        return Err(TooLittleRoom { wanted: replicas, fitting });
    }
    let among = match strategy {
        Strategy::Aggregated => fewest(replicas, candidates),
        _ => candidates.iter().collect(),
    };
    let parties = among.iter().map(|c| Party::new(&c.name, c.available, 0)).collect();
    Ok(capped(replicas, parties, &among, uid))
}

/// The fewest clusters with room for all: those in use first, then the preferred, then the
/// roomiest.
fn fewest(replicas: i64, candidates: &[Candidate]) -> Vec<&Candidate> {
    let mut order: Vec<&Candidate> = candidates.iter().filter(|c| c.available > 0).collect();
    order.sort_by(|a, b| {
        let in_use = (b.current > 0).cmp(&(a.current > 0));
        let roomier = b.score.cmp(&a.score).then(b.available.cmp(&a.available));
        in_use.then(roomier).then(a.name.cmp(&b.name))
    });
    if let Some(one) = order.iter().find(|c| c.available >= replicas && c.current > 0) {
        return vec![one];
    }
    let mut room = 0_i64;
    let mut chosen = Vec::new();
    for candidate in order {
        if room >= replicas {
            break;
        }
        room = room.saturating_add(candidate.available);
        chosen.push(candidate);
    }
    chosen
}

/// Webster's division, with nobody above the room that it has.
fn capped(replicas: i64, parties: Vec<Party>, among: &[&Candidate], uid: &str) -> Shares {
    let mut shares = webster(replicas, parties, uid);
    let mut surplus = 0;
    for (share, candidate) in shares.iter_mut().zip(among) {
        surplus += (share.1 - candidate.available).max(0);
        share.1 = share.1.min(candidate.available.max(0));
    }
    for (share, candidate) in shares.iter_mut().zip(among) {
        let more = (candidate.available - share.1).clamp(0, surplus);
        share.1 += more;
        surplus -= more;
    }
    shares
}

fn vacated(candidate: &Candidate) -> Candidate {
    let available = candidate.available.saturating_add(candidate.current);
    Candidate { current: 0, available, ..candidate.clone() }
}

fn merge(candidates: &[Candidate], more: Shares) -> Shares {
    let extra = |name: &str| more.iter().find(|m| m.0 == name).map_or(0, |m| m.1);
    candidates.iter().map(|c| (c.name.clone(), c.current + extra(&c.name))).collect()
}

fn targets(shares: Shares) -> Vec<TargetCluster> {
    let some = shares.into_iter().filter(|(_, n)| *n > 0);
    some.map(|(name, n)| TargetCluster { name, replicas: i32::try_from(n).unwrap_or(i32::MAX) })
        .collect()
}

/// Who competes for seats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// Its name.
    pub name: String,
    /// Its votes; none get no seat.
    pub votes: i64,
    /// The seats it has already.
    pub seats: i64,
}

impl Party {
    /// A party.
    pub fn new(name: &str, votes: i64, seats: i64) -> Self {
        Self { name: name.into(), votes: votes.max(0), seats }
    }

    /// Compares what the next seat costs: greater is better off with it.
    fn claim(&self, other: &Self) -> Ordering {
        let mine = i128::from(self.votes) * i128::from(2 * other.seats + 1);
        let theirs = i128::from(other.votes) * i128::from(2 * self.seats + 1);
        mine.cmp(&theirs).then(other.seats.cmp(&self.seats))
    }
}

/// Gives `seats` more seats to the parties, in the order they came in; without any votes nobody
/// gets one.
pub fn webster(seats: i64, mut parties: Vec<Party>, uid: &str) -> Vec<(String, i64)> {
    let ascending = names::fnv32a(uid) & 1 == 0;
    let given = bulk(seats, &mut parties);
    for _ in given..seats {
        let best = parties.iter().enumerate().filter(|(_, p)| p.votes > 0).max_by(|a, b| {
            let by_name = if ascending { b.1.name.cmp(&a.1.name) } else { a.1.name.cmp(&b.1.name) };
            a.1.claim(b.1).then(by_name)
        });
        let Some((at, _)) = best else { break };
        parties[at].seats += 1;
    }
    parties.into_iter().map(|p| (p.name, p.seats)).collect()
}

/// Gives at once what no tie can touch, so that a million replicas cost no million rounds: each
/// party's exact share less one per party is below its Webster share.
fn bulk(seats: i64, parties: &mut [Party]) -> i64 {
    let total: i128 = parties.iter().map(|p| i128::from(p.votes)).sum();
    let begun = parties.iter().any(|p| p.seats > 0);
    let slack = i64::try_from(parties.len()).unwrap_or(i64::MAX);
    if begun || total == 0 || seats <= slack.saturating_mul(4) {
        return 0;
    }
    let mut given = 0;
    for party in parties {
        let exact = i128::from(seats) * i128::from(party.votes) / total;
        party.seats = i64::try_from(exact).unwrap_or(i64::MAX).saturating_sub(slack).max(0);
        given += party.seats;
    }
    given
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(name: &str, weight: i64, available: i64, current: i64) -> Candidate {
        Candidate { name: name.into(), weight, available, current, score: 0 }
    }

    fn shares(targets: &[TargetCluster]) -> Vec<(&str, i32)> {
        targets.iter().map(|t| (t.name.as_str(), t.replicas)).collect()
    }

    fn ask(strategy: Strategy, n: i64, of: &[Candidate]) -> Vec<TargetCluster> {
        divide(strategy, n, of, "", false).unwrap()
    }

    #[test]
    fn weights_of_two_to_one() {
        let of = [candidate("eu", 2, 0, 0), candidate("us", 1, 0, 0)];
        assert_eq!(shares(&ask(Strategy::StaticWeight, 6, &of)), [("eu", 4), ("us", 2)]);
        assert_eq!(shares(&ask(Strategy::StaticWeight, 1, &of)), [("eu", 1)]);
        assert_eq!(shares(&ask(Strategy::StaticWeight, 7, &of)), [("eu", 5), ("us", 2)]);
    }

    #[test]
    fn webster_gives_the_published_example() {
        let parties = [("a", 53_000), ("b", 24_000), ("c", 23_000)];
        let parties = parties.map(|(name, votes)| Party::new(name, votes, 0)).to_vec();
        let seats: Vec<i64> = webster(7, parties, "").into_iter().map(|s| s.1).collect();
        assert_eq!(seats, [3, 2, 2]);
    }

    #[test]
    fn ties_turn_with_the_uid_and_with_nothing_else() {
        let of = [candidate("a", 1, 0, 0), candidate("b", 1, 0, 0)];
        let winner =
            |uid: &str| divide(Strategy::StaticWeight, 1, &of, uid, false).unwrap().remove(0).name;
        let uids: Vec<String> = (0..64).map(|n| format!("uid-{n}")).collect();
        assert!(uids.iter().any(|u| winner(u) == "a") && uids.iter().any(|u| winner(u) == "b"));
        assert!(uids.iter().all(|u| winner(u) == winner(u)));
    }

    #[test]
    fn sums_are_exact_and_bulk_changes_nothing() {
        for replicas in [0, 1, 5, 99, 100, 1_000, 12_345] {
            let of: Vec<Candidate> =
                (1..=7).map(|n| candidate(&format!("c{n}"), n * n + 3, 0, 0)).collect();
            let fast = by_weight(replicas, &of, "x");
            assert_eq!(fast.iter().map(|s| s.1).sum::<i64>(), replicas);
            let mut slow: Vec<Party> =
                of.iter().map(|c| Party::new(&c.name, c.weight, 0)).collect();
            for _ in 0..replicas {
                let given = webster(1, slow.clone(), "x");
                slow.iter_mut().zip(given).for_each(|(p, g)| p.seats = g.1);
            }
            let slow: Vec<i64> = slow.into_iter().map(|p| p.seats).collect();
            assert_eq!(fast.into_iter().map(|s| s.1).collect::<Vec<_>>(), slow, "{replicas}");
        }
    }

    #[test]
    fn steady_keeps_what_is_placed() {
        let of = [candidate("a", 0, 10, 4), candidate("b", 0, 30, 2)];
        let up = ask(Strategy::DynamicWeight, 10, &of);
        assert_eq!(shares(&up), [("a", 5), ("b", 5)]);
        let same = ask(Strategy::DynamicWeight, 6, &of);
        assert_eq!(shares(&same), [("a", 4), ("b", 2)]);
        let down = ask(Strategy::DynamicWeight, 3, &of);
        assert_eq!(shares(&down), [("a", 2), ("b", 1)]);
    }

    #[test]
    fn aggregated_uses_as_few_clusters_as_it_can() {
        let of = [candidate("a", 0, 3, 0), candidate("b", 0, 9, 0), candidate("c", 0, 5, 0)];
        assert_eq!(shares(&ask(Strategy::Aggregated, 8, &of)), [("b", 8)]);
        let two = ask(Strategy::Aggregated, 12, &of);
        assert_eq!(two.iter().map(|t| t.replicas).sum::<i32>(), 12);
        assert_eq!(two.len(), 2);
        let grown = [candidate("a", 0, 9, 0), candidate("b", 0, 4, 5)];
        assert_eq!(shares(&ask(Strategy::Aggregated, 8, &grown)), [("b", 8)]);
    }

    #[test]
    fn room_is_never_exceeded_and_its_lack_is_said() {
        let of = [candidate("a", 0, 1, 0), candidate("b", 0, 6, 0)];
        let all = ask(Strategy::DynamicWeight, 7, &of);
        assert_eq!(shares(&all), [("a", 1), ("b", 6)]);
        let error = divide(Strategy::DynamicWeight, 8, &of, "", false).unwrap_err();
        assert_eq!(error, TooLittleRoom { wanted: 8, fitting: 7 });
    }

    #[test]
    fn fresh_forgets_what_is_placed() {
        let of = [candidate("a", 0, 0, 6), candidate("b", 0, 6, 0)];
        assert_eq!(shares(&ask(Strategy::DynamicWeight, 6, &of)), [("a", 6)]);
        let fresh = divide(Strategy::DynamicWeight, 6, &of, "", true).unwrap();
        assert_eq!(shares(&fresh), [("a", 3), ("b", 3)]);
    }

    #[test]
    fn weights_come_from_the_greatest_matching_rule() {
        let preferences: ClusterPreferences = serde_json::from_value(serde_json::json!({
            "staticWeightList": [
                {"targetCluster": {"clusterNames": ["eu"]}, "weight": 2},
                {"targetCluster": {}, "weight": 1}
            ]
        }))
        .unwrap();
        let eu = crate::testing::cluster("eu", "", "", &[]);
        let us = crate::testing::cluster("us", "", "", &[]);
        assert_eq!(static_weights(Some(&preferences), &[&eu, &us]), [2, 1]);
        assert_eq!(static_weights(None, &[&eu, &us]), [1, 1]);
    }

    /// Candidates from numbers: weight, room, what is placed, score.
    fn candidates() -> impl proptest::strategy::Strategy<Value = Vec<Candidate>> {
        use proptest::strategy::Strategy as _;
        let numbers = (0..9_i64, 0..60_i64, 0..20_i64, 0..4_i64);
        proptest::collection::vec(numbers, 1..9).prop_map(|all| {
            let one = |(at, (weight, available, current, score))| Candidate {
                score,
                ..candidate(&format!("c{at}"), weight, available, current)
            };
            all.into_iter().enumerate().map(one).collect()
        })
    }

    /// Webster's method as it is written down: seat by seat, by quotients.
    fn by_the_book(seats: i64, parties: &[Party], uid: &str) -> Vec<(String, i64)> {
        let ascending = names::fnv32a(uid) & 1 == 0;
        let mut seated: Vec<(String, i64)> = parties.iter().map(|p| (p.name.clone(), 0)).collect();
        for _ in 0..seats {
            let quotient = |at: usize| (parties[at].votes, 2 * seated[at].1 + 1);
            let better = |a: usize, b: usize| {
                let ((va, da), (vb, db)) = (quotient(a), quotient(b));
                let by_name = parties[b].name.cmp(&parties[a].name);
                let by_name = if ascending { by_name } else { by_name.reverse() };
                (va * db).cmp(&(vb * da)).then(db.cmp(&da)).then(by_name) == Ordering::Greater
            };
            let voted = (0..parties.len()).filter(|at| parties[*at].votes > 0);
            let Some(best) = voted.reduce(|a, b| if better(b, a) { b } else { a }) else { break };
            seated[best].1 += 1;
        }
        seated
    }

    proptest::proptest! {
        #[test]
        fn webster_is_as_it_is_written_down(of in candidates(), seats in 0..900_i64, uid: u8) {
            let uid = uid.to_string();
            let parties: Vec<Party> = of.iter().map(|c| Party::new(&c.name, c.weight, 0)).collect();
            let expected = by_the_book(seats, &parties, &uid);
            proptest::prop_assert_eq!(webster(seats, parties, &uid), expected);
        }

        /// Exactly as many as wanted, never more than fit, in whatever order clusters are named.
        #[test]
        fn sums_are_exact_and_room_is_kept(
            of in candidates(), replicas in 0..300_i64, fresh: bool, uid: u8,
        ) {
            let uid = uid.to_string();
            let placed: i64 = of.iter().map(|c| c.current).sum();
            let room: i64 = of.iter().map(|c| c.available).sum();
            let mut turned = of.clone();
            turned.reverse();
            let by_room = [Strategy::DynamicWeight, Strategy::Aggregated];
            for strategy in by_room.into_iter().chain([Strategy::StaticWeight]) {
                let divided = divide(strategy, replicas, &of, &uid, fresh);
                let sorted = |of: &Result<Vec<TargetCluster>, TooLittleRoom>| {
                    let mut targets = of.clone().unwrap_or_default();
                    targets.sort_by(|a, b| a.name.cmp(&b.name));
                    targets
                };
                let again = divide(strategy, replicas, &turned, &uid, fresh);
                proptest::prop_assert_eq!(sorted(&divided), sorted(&again));
                let Ok(targets) = divided else {
                    proptest::prop_assert!(replicas > placed + room);
                    continue;
                };
                let sum: i64 = targets.iter().map(|t| i64::from(t.replicas)).sum();
                let nobody = strategy == Strategy::StaticWeight && of.iter().all(|c| c.weight == 0);
                proptest::prop_assert_eq!(sum, if nobody { 0 } else { replicas });
                let capped = strategy != Strategy::StaticWeight;
                for target in targets.iter().filter(|_| capped) {
                    let own = of.iter().find(|c| c.name == target.name).unwrap();
                    let most = own.available + own.current;
                    proptest::prop_assert!(i64::from(target.replicas) <= most, "{target:?}");
                }
            }
        }
    }
}
