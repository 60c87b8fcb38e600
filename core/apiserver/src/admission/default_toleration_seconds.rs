//! DefaultTolerationSeconds: pods stay five minutes on a node that is not ready or unreachable.

use async_trait::async_trait;
use hansa_api::ApiError;
use hansa_api::meta::{fields_mut, list_at, str_at};
use serde_json::{Value, json};

use crate::generic::admit::{Admission, Attributes, Operation};

const SECONDS: i64 = 300;
const TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

pub(super) struct DefaultTolerationSeconds;

#[async_trait]
impl Admission for DefaultTolerationSeconds {
    fn concerns(&self, attrs: &Attributes<'_>) -> bool {
        let writes = matches!(attrs.operation, Operation::Create | Operation::Update);
        writes && attrs.is_whole() && attrs.is("", "pods")
    }

    async fn mutate(&self, _: &Attributes<'_>, pod: &mut Value) -> Result<(), ApiError> {
        add(pod);
        Ok(())
    }
}

fn add(pod: &mut Value) {
    let own = list_at(pod, &["spec", "tolerations"]);
    let missing: Vec<_> =
        TAINTS.into_iter().filter(|key| !own.iter().any(|one| tolerates(one, key))).collect();
    if missing.is_empty() {
        return;
    }
    let tolerations = fields_mut(pod, &["spec"]).entry("tolerations").or_insert_with(|| json!([]));
    let Some(tolerations) = tolerations.as_array_mut() else { return };
    tolerations.extend(missing.into_iter().map(|key| {
        json!({
            "key": key,
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": SECONDS,
        })
    }));
}

fn tolerates(toleration: &Value, key: &str) -> bool {
    matches!(str_at(toleration, &["key"]), own if own == key || own.is_empty())
        && matches!(str_at(toleration, &["effect"]), "NoExecute" | "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_tolerated_yet_is_added() {
        let mut pod = json!({"spec": {"tolerations": [
            {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute",
                "tolerationSeconds": 5}]}});
        add(&mut pod);
        let all = pod["spec"]["tolerations"].as_array().unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(all[1]["key"], "node.kubernetes.io/unreachable");
        assert_eq!(all[1]["tolerationSeconds"], 300);
        let mut all = json!({"spec": {"tolerations": [{"operator": "Exists"}]}});
        add(&mut all);
        assert_eq!(all["spec"]["tolerations"].as_array().unwrap().len(), 1);
    }
}
