//! Changes of containers' commands and arguments.

use serde_json::Value;

use crate::kinds::{CommandArgsOverrider, OverriderOperator};
use crate::pods;

pub(super) fn apply(object: &mut Value, field: &str, change: &CommandArgsOverrider) {
    let Some(pod) = pods::spec_mut(object) else { return };
    for list in ["containers", "initContainers"] {
        for container in pod.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if container["name"] == change.container_name.as_str() {
                change_words(&mut container[field], change);
            }
        }
    }
}

fn change_words(words: &mut Value, change: &CommandArgsOverrider) {
    let mut now = words.as_array().cloned().unwrap_or_default();
    match change.operator {
        OverriderOperator::Add => now.extend(change.value.iter().cloned().map(Value::from)),
        OverriderOperator::Remove => {
            now.retain(|word| !change.value.iter().any(|gone| word == gone.as_str()));
        }
        OverriderOperator::Replace => now = change.value.iter().cloned().map(Value::from).collect(),
    }
    *words = now.into();
}
