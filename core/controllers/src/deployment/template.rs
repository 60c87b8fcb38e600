//! Pod templates: which are the same, and a short name for each.

use hansa_api::k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use hansa_api::k8s_openapi::api::core::v1::PodTemplateSpec;

/// The label that tells the pods of one template from those of another.
pub(super) const HASH_LABEL: &str = "pod-template-hash";

/// Letters that spell no words.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A template's hash, as it goes into names and labels; `collisions` makes it another one.
pub(super) fn hash(template: &PodTemplateSpec, collisions: i32) -> String {
    let bytes = serde_json::to_vec(template).expect("a template is plain data");
    let mut hash = fnv1a(0x811c_9dc5, &bytes);
    if collisions > 0 {
        hash = fnv1a(hash, &collisions.to_le_bytes());
    }
    let digits = hash.to_string();
    digits.bytes().map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()])).collect()
}

fn fnv1a(start: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(start, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Whether a ReplicaSet runs this Deployment's template.
pub(super) fn runs(set: &ReplicaSet, deployment: &Deployment) -> bool {
    let wanted = deployment.spec.as_ref().map(|spec| without_hash(spec.template.clone()));
    template_of(set).map(without_hash) == wanted
}

/// Whether two ReplicaSets run the same template.
pub(super) fn same(a: &ReplicaSet, b: &ReplicaSet) -> bool {
    template_of(a).map(without_hash) == template_of(b).map(without_hash)
}

fn template_of(set: &ReplicaSet) -> Option<PodTemplateSpec> {
    set.spec.as_ref()?.template.clone()
}

fn without_hash(mut template: PodTemplateSpec) -> PodTemplateSpec {
    let metadata = template.metadata.get_or_insert_default();
    if let Some(labels) = &mut metadata.labels {
        labels.remove(HASH_LABEL);
    }
    if metadata.labels.as_ref().is_some_and(std::collections::BTreeMap::is_empty) {
        metadata.labels = None;
    }
    metadata.creation_timestamp = None;
    template
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_stable_and_a_collision_changes_it() {
        let template = PodTemplateSpec::default();
        assert_eq!(hash(&template, 0), hash(&template, 0));
        assert_ne!(hash(&template, 0), hash(&template, 1));
        assert!(hash(&template, 0).bytes().all(|letter| ALPHABET.contains(&letter)));
    }

    #[test]
    fn the_hash_label_does_not_make_another_template() {
        let mut deployment = Deployment::default();
        deployment.spec.get_or_insert_default();
        let mut set = ReplicaSet::default();
        let template = set.spec.get_or_insert_default().template.get_or_insert_default();
        let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
        labels.insert(HASH_LABEL.into(), "abc".into());
        assert!(runs(&set, &deployment));
    }
}
