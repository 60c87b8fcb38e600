//! Selectors, terms and tolerations, as every scheduler plugin needs them.

use super::{ABSENT, Group, Label, Nodes, Op, PodView, Requirement, Sym, Taint, Term, Toleration};

/// Whether a value (none: the key is absent) meets a requirement.
pub fn meets(nodes: &Nodes, requirement: &Requirement, value: Option<Sym>) -> bool {
    match requirement.op {
        Op::In => value.is_some_and(|value| requirement.values.contains(&value)),
        Op::NotIn => value.is_none_or(|value| !requirement.values.contains(&value)),
        Op::Exists => value.is_some(),
        Op::DoesNotExist => value.is_none(),
        Op::Gt => compares(nodes, requirement, value, |have, want| have > want),
        Op::Lt => compares(nodes, requirement, value, |have, want| have < want),
    }
}

fn compares(
    nodes: &Nodes,
    requirement: &Requirement,
    value: Option<Sym>,
    holds: impl Fn(i64, i64) -> bool,
) -> bool {
    let number = |sym: Sym| nodes.text(sym).parse::<i64>().ok();
    let [want] = requirement.values.as_slice() else { return false };
    match (value.and_then(number), number(*want)) {
        (Some(have), Some(want)) => holds(have, want),
        _ => false,
    }
}

/// Whether a node's labels meet all requirements.
pub fn labels_match(nodes: &Nodes, ix: usize, all: &[Requirement]) -> bool {
    all.iter().all(|requirement| meets(nodes, requirement, nodes.label(ix, requirement.key)))
}

/// Whether a node meets a term; one with neither expressions nor fields matches nothing.
pub fn term_matches(nodes: &Nodes, ix: usize, term: &Term) -> bool {
    let name = nodes.columns().name[ix];
    let empty = term.expressions.is_empty() && term.fields.is_empty();
    !empty
        && labels_match(nodes, ix, &term.expressions)
        && term.fields.iter().all(|field| meets(nodes, field, Some(name)))
}

/// Whether a node has all these labels.
pub fn has_labels(nodes: &Nodes, ix: usize, labels: &[Label]) -> bool {
    labels.iter().all(|label| nodes.label(ix, label.key) == Some(label.value))
}

/// Whether a node is inside the pod's `nodeSelector` and required node affinity.
pub fn affinity_matches(nodes: &Nodes, ix: usize, pod: &PodView) -> bool {
    has_labels(nodes, ix, &pod.node_selector)
        && (pod.required.is_empty()
            || pod.required.iter().any(|term| term_matches(nodes, ix, term)))
}

/// Whether a group's labels meet all requirements.
pub fn group_matches(nodes: &Nodes, group: &Group, selector: &[Requirement]) -> bool {
    selector.iter().all(|requirement| meets(nodes, requirement, group.label(requirement.key)))
}

/// Whether labels of the pod itself meet all requirements.
pub fn pod_matches(nodes: &Nodes, pod: &PodView, selector: &[Requirement]) -> bool {
    let value = |key| pod.labels.iter().find(|label| label.key == key).map(|label| label.value);
    selector.iter().all(|requirement| meets(nodes, requirement, value(requirement.key)))
}

/// Whether a toleration tolerates a taint (upstream's `ToleratesTaint`: an absent effect and an
/// absent key with `Exists` tolerate all).
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.is_none_or(|effect| effect == taint.effect);
    let key = toleration.key == taint.key || (toleration.key == 0 && toleration.any_value);
    effect && key && (toleration.any_value || toleration.value == taint.value)
}

/// Whether one of the pod's tolerations tolerates a taint.
pub fn tolerated(pod: &PodView, taint: &Taint) -> bool {
    pod.tolerations.iter().any(|toleration| tolerates(toleration, taint))
}

/// Whether a column holds a value at `ix`.
pub fn present(column: &[Sym], ix: usize) -> Option<Sym> {
    column.get(ix).copied().filter(|value| *value != ABSENT)
}
