//! The taints that follow from what a node says of itself, and from its silence. Pure.

use hansa_api::k8s_openapi::api::core::v1::{Node, Taint};
use hansa_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use hansa_api::k8s_openapi::jiff::Timestamp;

use super::{Health, condition};

pub(super) const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub(super) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Conditions that keep new pods away while they hold, and the taints that do so.
const TROUBLES: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];

/// A taint's key and effect.
type Mark = (&'static str, &'static str);

/// The node's taints as they should be, or `None` if they are; those of others stay. `evict` says
/// whether pods may be sent away from a node that is not ready.
pub(super) fn plan(node: &Node, health: Health, evict: bool, now: Timestamp) -> Option<Vec<Taint>> {
    let current = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let due = due(node, health, evict);
    let is_due = |taint: &Taint| due.iter().any(|mark| is(taint, *mark));
    let stays = |taint: &&Taint| !is_ours(taint) || is_due(taint);
    let mut wanted: Vec<Taint> = current.iter().filter(stays).cloned().collect();
    for (key, effect) in due.iter().filter(|mark| !current.iter().any(|taint| is(taint, **mark))) {
        wanted.push(Taint {
            key: (*key).into(),
            effect: (*effect).into(),
            time_added: Some(Time(now)),
            value: None,
        });
    }
    (wanted != current).then_some(wanted)
}

fn due(node: &Node, health: Health, evict: bool) -> Vec<Mark> {
    let mut due = Vec::new();
    let lost = match health {
        Health::Ready => None,
        Health::NotReady => Some(NOT_READY),
        Health::Silent => Some(UNREACHABLE),
    };
    if let Some(key) = lost {
        due.push((key, "NoSchedule"));
        due.extend(evict.then_some((key, "NoExecute")));
    }
    for (kind, key) in TROUBLES {
        if condition(node, kind).is_some_and(|condition| condition.status == "True") {
            due.push((key, "NoSchedule"));
        }
    }
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) {
        due.push((UNSCHEDULABLE, "NoSchedule"));
    }
    due
}

fn is(taint: &Taint, (key, effect): Mark) -> bool {
    taint.key == key && taint.effect == effect
}

/// Whether nobody but this controller sets the taint.
fn is_ours(taint: &Taint) -> bool {
    let lost = [NOT_READY, UNREACHABLE].contains(&taint.key.as_str());
    let trouble = || TROUBLES.iter().any(|(_, key)| taint.key == *key);
    match taint.effect.as_str() {
        "NoExecute" => lost,
        "NoSchedule" => lost || trouble() || taint.key == UNSCHEDULABLE,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use hansa_api::k8s_openapi::api::core::v1::NodeCondition;

    use super::super::tests::node;
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn marks(taints: &[Taint]) -> Vec<String> {
        taints.iter().map(|taint| format!("{}:{}", taint.key, taint.effect)).collect()
    }

    #[test]
    fn taints_follow_health_and_leave_others_alone() {
        let mut sick = node("False");
        let foreign = Taint { key: "team".into(), effect: "NoSchedule".into(), ..Taint::default() };
        sick.spec.get_or_insert_default().taints = Some(vec![foreign.clone()]);
        let taints = plan(&sick, Health::NotReady, true, NOW).unwrap();
        let [schedule, execute] = ["NoSchedule", "NoExecute"].map(|e| format!("{NOT_READY}:{e}"));
        assert_eq!(marks(&taints), ["team:NoSchedule", schedule.as_str(), execute.as_str()]);
        sick.spec.as_mut().unwrap().taints = Some(taints);
        let again = plan(&sick, Health::NotReady, true, NOW);
        assert_eq!(again, None, "a steady state writes nothing");
        assert_eq!(plan(&sick, Health::Ready, true, NOW), Some(vec![foreign]));
        let silent = plan(&sick, Health::Silent, true, NOW).unwrap();
        assert!(marks(&silent)[1..].iter().all(|mark| mark.starts_with(UNREACHABLE)));
    }

    #[test]
    fn nothing_is_sent_away_where_no_node_is_ready() {
        let mut alone = node("Unknown");
        let taints = plan(&alone, Health::Silent, false, NOW).unwrap();
        assert_eq!(marks(&taints), [format!("{UNREACHABLE}:NoSchedule")]);
        alone.spec.get_or_insert_default().taints = plan(&alone.clone(), Health::Silent, true, NOW);
        let taken_back = plan(&alone, Health::Silent, false, NOW).unwrap();
        assert_eq!(marks(&taken_back), [format!("{UNREACHABLE}:NoSchedule")]);
    }

    #[test]
    fn a_cordon_and_pressure_keep_new_pods_away() {
        let mut full = node("True");
        full.spec.get_or_insert_default().unschedulable = Some(true);
        let conditions = full.status.get_or_insert_default().conditions.get_or_insert_default();
        conditions.push(NodeCondition {
            type_: "DiskPressure".into(),
            status: "True".into(),
            ..NodeCondition::default()
        });
        let taints = plan(&full, Health::Ready, true, NOW).unwrap();
        let expected = ["disk-pressure", "unschedulable"];
        let expected = expected.map(|name| format!("node.kubernetes.io/{name}:NoSchedule"));
        assert_eq!(marks(&taints), expected);
        full.spec.as_mut().unwrap().taints = Some(taints);
        full.spec.as_mut().unwrap().unschedulable = None;
        assert_eq!(marks(&plan(&full, Health::Ready, true, NOW).unwrap()), expected[..1]);
    }
}
