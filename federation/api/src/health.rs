//! A member's condition from its probes, with thresholds, and the taints that follow.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Taint;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::names::{TAINT_NOT_READY, TAINT_UNREACHABLE};

/// Reason: the hub has no way to talk to the member that the member would take.
const MALFORMED: &str = "ClusterConfigMalformed";

/// What one probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// The member answered that it is ready.
    Ready,
    /// The member answered that it is not, with its words.
    NotReady(String),
    /// The member did not answer, with the reason.
    Unreachable(String),
    /// The Cluster object or its Secret cannot be used, or the member refuses the credential, with
    /// the reason.
    Malformed(String),
}

impl Probe {
    fn is_good(&self) -> bool {
        *self == Self::Ready
    }

    fn condition(&self) -> (&'static str, &'static str, String) {
        match self {
            Self::Ready => ("True", "ClusterReady", "cluster is healthy and ready".into()),
            Self::NotReady(text) => ("False", "ClusterNotReady", text.clone()),
            Self::Unreachable(text) => ("False", "ClusterNotReachable", text.clone()),
            Self::Malformed(text) => ("False", MALFORMED, text.clone()),
        }
    }
}

/// How many probes in a row change a condition.
#[derive(Clone, Copy, Debug)]
pub struct Thresholds {
    /// Bad ones until a ready member is not ready.
    pub failures: u32,
    /// Good ones until a member that was not ready is.
    pub successes: u32,
}

/// Probes in a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Streak {
    good: bool,
    length: u32,
}

impl Streak {
    /// Counts a probe; whether the condition may now say what the probe says.
    pub fn count(&mut self, probe: &Probe, thresholds: Thresholds) -> bool {
        if self.good != probe.is_good() || self.length == 0 {
            *self = Self { good: probe.is_good(), length: 0 };
        }
        self.length = self.length.saturating_add(1);
        let needed = if self.good { thresholds.successes } else { thresholds.failures };
        self.length >= needed.max(1)
    }
}

/// The condition `Ready` after a probe that counts. The moment stays while the verdict stays, and
/// so
/// does the message while the reason stays: nothing is rewritten to say the same again.
pub fn ready_condition(before: Option<&Condition>, probe: &Probe, now: Timestamp) -> Condition {
    let (status, reason, message) = probe.condition();
    condition(before, "Ready", status, reason, &message, now)
}

/// A condition that keeps its moment while its status stays.
pub fn condition(
    before: Option<&Condition>,
    type_: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Condition {
    let since = before.filter(|b| b.status == status).map(|b| b.last_transition_time.clone());
    let same_reason = before.filter(|b| b.status == status && b.reason == reason);
    let keep_message = type_ == "Ready" && status == "False";
    Condition {
        type_: type_.into(),
        status: status.into(),
        reason: reason.into(),
        message: same_reason
            .filter(|_| keep_message)
            .map_or_else(|| message.to_owned(), |b| b.message.clone()),
        last_transition_time: since.unwrap_or_else(|| Time(whole_seconds(now))),
        observed_generation: None,
    }
}

/// The moment without fractions, as the API writes it.
pub fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// How long members may be lost, and how long they must be back.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// How long a member may be not ready before workloads are evicted; none never evicts.
    pub eviction_grace: Option<SignedDuration>,
    /// How long a member must be ready before it is used again.
    pub recovery: SignedDuration,
}

/// The taints that a member should have, and when to look again if that changes with time.
///
/// Not ready: NoSchedule at once, NoExecute after the grace. Ready again: both stay until it has
/// been ready for a while, so that a member that comes and goes does not make workloads come and
/// go. A member whose credential or address is no good may be well: it gets nothing new, and keeps
/// what it has.
pub fn taints(
    present: &[Taint],
    ready: Option<&Condition>,
    patience: Patience,
    now: Timestamp,
) -> (Vec<Taint>, Option<SignedDuration>) {
    let ours = |t: &&Taint| [TAINT_NOT_READY, TAINT_UNREACHABLE].contains(&t.key.as_str());
    let mut wanted: Vec<Taint> = present.iter().filter(|t| !ours(t)).cloned().collect();
    let Some(ready) = ready else { return (present.to_vec(), None) };
    let elapsed = now.duration_since(ready.last_transition_time.0);
    if ready.status == "True" {
        let had: Vec<Taint> = present.iter().filter(ours).cloned().collect();
        if had.is_empty() || elapsed >= patience.recovery {
            return (wanted, None);
        }
        wanted.extend(had);
        return (wanted, Some(patience.recovery - elapsed));
    }
    let unreachable = ready.reason != "ClusterNotReady";
    let key = if unreachable { TAINT_UNREACHABLE } else { TAINT_NOT_READY };
    wanted.push(taint(key, "NoSchedule", present, now));
    let grace = patience.eviction_grace.filter(|_| ready.reason != MALFORMED);
    let Some(grace) = grace else { return (wanted, None) };
    if elapsed < grace {
        return (wanted, Some(grace - elapsed));
    }
    wanted.push(taint(key, "NoExecute", present, now));
    (wanted, None)
}

fn taint(key: &str, effect: &str, present: &[Taint], now: Timestamp) -> Taint {
    let known = present.iter().find(|t| t.key == key && t.effect == effect);
    known.cloned().unwrap_or_else(|| Taint {
        key: key.into(),
        effect: effect.into(),
        time_added: Some(Time(whole_seconds(now))),
        value: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn lost(second: i64) -> Condition {
        ready_condition(None, &Probe::Unreachable("refused".into()), at(second))
    }

    #[test]
    fn one_bad_probe_is_no_verdict() {
        let thresholds = Thresholds { failures: 3, successes: 1 };
        let bad = Probe::Unreachable("x".into());
        let mut streak = Streak::default();
        let verdicts: Vec<bool> = [&Probe::Ready, &bad, &bad, &Probe::Ready, &bad, &bad, &bad]
            .into_iter()
            .map(|p| streak.count(p, thresholds))
            .collect();
        assert_eq!(verdicts, [true, false, false, true, false, false, true]);
    }

    #[test]
    fn a_condition_keeps_its_moment_and_words_while_it_stays() {
        let first = lost(100);
        let again = ready_condition(Some(&first), &Probe::Unreachable("timed out".into()), at(110));
        assert_eq!(again, first);
        let back = ready_condition(Some(&first), &Probe::Ready, at(120));
        assert_eq!((back.status.as_str(), back.last_transition_time.0), ("True", at(120)));
    }

    const PATIENCE: Patience = Patience {
        eviction_grace: Some(SignedDuration::from_secs(30)),
        recovery: SignedDuration::from_secs(10),
    };

    fn effects(taints: &[Taint]) -> Vec<&str> {
        taints.iter().map(|t| t.effect.as_str()).collect()
    }

    #[test]
    fn a_lost_member_is_avoided_at_once_and_emptied_after_the_grace() {
        let own = Taint { key: "mine".into(), effect: "NoSchedule".into(), ..Default::default() };
        let (early, wake) = taints(std::slice::from_ref(&own), Some(&lost(100)), PATIENCE, at(110));
        assert_eq!(effects(&early), ["NoSchedule", "NoSchedule"]);
        assert_eq!(early[0], own);
        assert_eq!(wake, Some(SignedDuration::from_secs(20)));
        let (late, wake) = taints(&early, Some(&lost(100)), PATIENCE, at(131));
        assert_eq!(effects(&late), ["NoSchedule", "NoSchedule", "NoExecute"]);
        assert_eq!(wake, None);
        let never = Patience { eviction_grace: None, ..PATIENCE };
        assert_eq!(effects(&taints(&[], Some(&lost(0)), never, at(9999)).0), ["NoSchedule"]);
    }

    #[test]
    fn a_bad_credential_empties_no_member() {
        let refused = ready_condition(None, &Probe::Malformed("Unauthorized".into()), at(0));
        assert_eq!(effects(&taints(&[], Some(&refused), PATIENCE, at(9999)).0), ["NoSchedule"]);
    }

    #[test]
    fn a_member_that_is_back_is_used_when_it_stays_back() {
        let (had, _) = taints(&[], Some(&lost(0)), PATIENCE, at(60));
        let back = ready_condition(None, &Probe::Ready, at(100));
        let (still, wake) = taints(&had, Some(&back), PATIENCE, at(104));
        assert_eq!(still, had);
        assert_eq!(wake, Some(SignedDuration::from_secs(6)));
        assert_eq!(taints(&had, Some(&back), PATIENCE, at(110)).0, []);
    }
}
