//! StatefulSets.

use hansa_api::field::{FieldError, child, index};
use hansa_api::meta::{
    self, Fields, at, default_field, default_text, fields_mut, int_at, list_at, str_at,
};
use hansa_api::names;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::check::Check;
use super::pod::defaults;
use super::{cells, persistentvolumeclaim, replicaset, workload};
use crate::generic::context::Context;
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, ScalePaths, Strategy};

const MAX_UNAVAILABLE: [&str; 4] = ["spec", "updateStrategy", "rollingUpdate", "maxUnavailable"];

pub(super) fn resource() -> Resource {
    Resource::new("apps", "v1", "StatefulSet", "statefulsets")
        .namespaced()
        .short(&["sts"])
        .categories(&["all"])
        .scale()
        .status()
}

/// The strategy of StatefulSets.
pub(super) struct StatefulSets;

impl Strategy for StatefulSets {
    fn default(&self, obj: &mut Value) {
        let spec = fields_mut(obj, &["spec"]);
        default_text(spec, "podManagementPolicy", "OrderedReady");
        default_field(spec, "replicas", 1);
        default_field(spec, "revisionHistoryLimit", 10);
        let retention = fields_mut(obj, &["spec", "persistentVolumeClaimRetentionPolicy"]);
        default_text(retention, "whenDeleted", "Retain");
        default_text(retention, "whenScaled", "Retain");
        default_update_strategy(fields_mut(obj, &["spec", "updateStrategy"]));
        defaults::each(fields_mut(obj, &["spec"]), "volumeClaimTemplates", |claim| {
            default_text(claim, "apiVersion", "v1");
            default_text(claim, "kind", "PersistentVolumeClaim");
            defaults::within(claim, "spec", |spec| {
                default_text(spec, "volumeMode", "Filesystem");
            });
            default_field(claim, "status", json!({"phase": "Pending"}));
        });
        workload::default_template(obj);
        replicaset::default_status(obj);
    }

    fn prepare_create(&self, _: &Context, obj: &mut Value) {
        drop_max_unavailable(obj);
    }

    fn prepare_update(&self, _: &Context, obj: &mut Value, old: &Value) {
        if at(old, &MAX_UNAVAILABLE).is_none() {
            drop_max_unavailable(obj);
        }
    }

    fn validate_name(&self, name: &str) -> Vec<String> {
        names::dns1123_label(name)
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| validate(check, &obj["spec"], true))
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            validate(check, &obj["spec"], false);
            if frozen(obj) != frozen(old) {
                let why = "updates to statefulset spec for fields other than 'replicas', \
                           'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', \
                           'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are \
                           forbidden";
                check.forbidden("spec", why);
            }
        })
    }

    fn validate_status_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        const PARTS: [&str; 4] =
            ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
        Check::run(|check| {
            workload::counts(check, obj, &["replicas"]);
            workload::counts(check, obj, &PARTS);
            workload::counts(check, obj, &["observedGeneration", "collisionCount"]);
            workload::counts_fit(check, obj, &PARTS, "status.readyReplicas");
            workload::collisions_grow(check, obj, old);
        })
    }

    fn warnings(&self, obj: &Value, old: Option<&Value>) -> Vec<String> {
        let step = if old.is_some() { ".Spec" } else { "" };
        let mut warnings = Vec::new();
        for (at, claim) in list_at(obj, &["spec", "volumeClaimTemplates"]).iter().enumerate() {
            let path = format!("{}{step}", index("spec.volumeClaimTemplates", at));
            warnings.extend(persistentvolumeclaim::spec_warnings(&path, &claim["spec"]));
        }
        if int_at(obj, &["spec", "revisionHistoryLimit"]).is_some_and(|limit| limit < 0) {
            warnings.push(
                "spec.revisionHistoryLimit: a negative value retains all historical revisions; \
                 a value >= 0 is recommended"
                    .into(),
            );
        }
        warnings
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Ready", "Pods that are ready, of those wanted."),
            Column::age(),
            Column::wide("Containers", "The template's containers."),
            Column::wide("Images", "The template's images."),
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let ready = cells::int(obj, &["status", "readyReplicas"]);
        let wanted = cells::int(obj, &["spec", "replicas"]);
        let [containers, images] = cells::containers(&obj["spec"]["template"]["spec"]);
        vec![
            cells::name(obj),
            format!("{ready}/{wanted}").into(),
            cells::age(obj, now),
            containers,
            images,
        ]
    }

    fn scale_paths(&self) -> Option<ScalePaths> {
        Some(ScalePaths::usual())
    }
}

fn frozen(obj: &Value) -> Value {
    const FREE: [&str; 7] = [
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ];
    let mut spec = obj["spec"].clone();
    if let Some(fields) = spec.as_object_mut() {
        fields.retain(|name, _| !FREE.contains(&name.as_str()));
    }
    spec
}

fn default_update_strategy(update: &mut Fields) {
    if update.get("type").is_none_or(|kind| kind == "") {
        update.insert("type".into(), "RollingUpdate".into());
        default_field(update, "rollingUpdate", json!({}));
    }
    if update["type"] == "RollingUpdate" {
        defaults::within(update, "rollingUpdate", |rolling| {
            default_field(rolling, "partition", 0);
        });
    }
}

/// The field is off in clusters of this version; only those who have it keep it.
fn drop_max_unavailable(obj: &mut Value) {
    if let Some(rolling) = obj.pointer_mut("/spec/updateStrategy/rollingUpdate") {
        meta::as_fields_mut(rolling).remove("maxUnavailable");
    }
}

fn validate(check: &mut Check, spec: &Value, new: bool) {
    let policy = str_at(spec, &["podManagementPolicy"]);
    if !["OrderedReady", "Parallel"].contains(&policy) {
        let why = "must be 'OrderedReady' or 'Parallel'";
        check.invalid("spec.podManagementPolicy", policy, why);
    }
    update_strategy(check, &spec["updateStrategy"]);
    for when in ["whenDeleted", "whenScaled"] {
        let path = format!("spec.persistentVolumeClaimRetentionPolicy.{when}");
        let policy = spec["persistentVolumeClaimRetentionPolicy"].get(when);
        check.supported(&path, policy, &["Retain", "Delete"]);
    }
    let claims = list_at(spec, &["volumeClaimTemplates"]);
    for (at, claim) in claims.iter().enumerate().filter(|_| new) {
        let path = child(&index("spec.volumeClaimTemplates", at), "spec");
        persistentvolumeclaim::validate_spec(check, &path, &claim["spec"]);
    }
    check.non_negative_field("spec", spec, "replicas");
    check.non_negative_field("spec", spec, "minReadySeconds");
    check.non_negative("spec.ordinals.start", int_at(spec, &["ordinals", "start"]));
    let service = str_at(spec, &["serviceName"]);
    if new {
        check.optional_text("spec.serviceName", service, names::dns1123_label);
    }
    workload::selector(check, spec, "statefulset");
    workload::template(check, &with_claims(spec, claims), "StatefulSet");
}

fn update_strategy(check: &mut Check, update: &Value) {
    const PATH: &str = "spec.updateStrategy";
    let path = child(PATH, "rollingUpdate");
    match (str_at(update, &["type"]), update.get("rollingUpdate")) {
        ("OnDelete", Some(rolling)) => {
            let why = "only allowed for updateStrategy 'RollingUpdate'";
            check.invalid(&path, rolling.clone(), why);
        }
        ("RollingUpdate", Some(rolling)) => rolling_update(check, &path, rolling),
        ("OnDelete" | "RollingUpdate", None) => {}
        _ => check.invalid(PATH, update.clone(), "must be 'RollingUpdate' or 'OnDelete'"),
    }
}

fn rolling_update(check: &mut Check, path: &str, rolling: &Value) {
    check.non_negative_field(path, rolling, "partition");
    let path = child(path, "maxUnavailable");
    let Some(most) = rolling.get("maxUnavailable") else { return };
    check.int_or_percent(&path, Some(most));
    if workload::scaled(Some(most), 100, true) == 0 {
        check.invalid(&path, most.clone(), "cannot be 0");
    }
    workload::at_most_all(check, &path, Some(most));
}

/// The spec with the template as its pods will be: a volume for each claim, which hides one of the
/// same name; the names of the pods' hosts are the controller's.
fn with_claims(spec: &Value, claims: &[Value]) -> Value {
    let mut spec = spec.clone();
    let pod = fields_mut(&mut spec, &["template", "spec"]);
    pod.remove("hostname");
    pod.remove("subdomain");
    if claims.is_empty() {
        return spec;
    }
    let name = |object: &Value| meta::name(object).to_owned();
    let names: Vec<_> = claims.iter().map(name).collect();
    let own = pod.remove("volumes");
    let own = own.iter().flat_map(|own| own.as_array()).flatten();
    let own = own.filter(|volume| !names.contains(&str_at(volume, &["name"]).to_owned()));
    let claimed = names
        .iter()
        .map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}}));
    let all: Vec<_> = claimed.chain(own.cloned()).collect();
    pod.insert("volumes".into(), all.into());
    spec
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::check::{refuses, texts};

    fn database(mut more: Value) -> Value {
        let mut obj = json!({"metadata": {"name": "db"}, "spec": {
            "selector": {"matchLabels": {"app": "db"}},
            "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [
                {"name": "a", "image": "b", "volumeMounts": [{"name": "data", "mountPath": "/d"}]}
            ]}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}}}}]}});
        fields_mut(&mut obj, &["spec"]).extend(fields_mut(&mut more, &[]).clone());
        StatefulSets.default(&mut obj);
        obj
    }

    #[test]
    fn defaults_are_upstreams() {
        let spec = &database(json!({}))["spec"];
        let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}});
        assert_eq!(spec["updateStrategy"], rolling);
        let spec = &database(json!({"updateStrategy": {"type": "RollingUpdate"}}))["spec"];
        assert_eq!(spec["updateStrategy"], json!({"type": "RollingUpdate"}));
        let retention = &spec["persistentVolumeClaimRetentionPolicy"];
        assert_eq!(*retention, json!({"whenDeleted": "Retain", "whenScaled": "Retain"}));
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(texts(&StatefulSets.validate_create(&database(json!({})))), [""; 0]);
        let cases = [
            (
                json!({"podManagementPolicy": "Any"}),
                "spec.podManagementPolicy: Invalid value: \"Any\": must be 'OrderedReady' or \
                 'Parallel'",
            ),
            (
                json!({"updateStrategy": {"type": "Never"}}),
                "spec.updateStrategy: Invalid value: {\"type\":\"Never\"}: must be \
                 'RollingUpdate' or 'OnDelete'",
            ),
            (
                json!({"updateStrategy": {"type": "OnDelete", "rollingUpdate": {"partition": 1}}}),
                "spec.updateStrategy.rollingUpdate: Invalid value: {\"partition\":1}: only \
                 allowed for updateStrategy 'RollingUpdate'",
            ),
            (
                json!({"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Keep"}}),
                "spec.persistentVolumeClaimRetentionPolicy.whenScaled: Unsupported value: \
                 \"Keep\": supported values: \"Retain\", \"Delete\"",
            ),
            (
                json!({"ordinals": {"start": -1}}),
                "spec.ordinals.start: Invalid value: -1: must be greater than or equal to 0",
            ),
        ];
        refuses(&StatefulSets, cases.map(|(more, error)| (database(more), error)));
    }

    #[test]
    fn claims_and_names_are_checked_once() {
        let broken = json!({"serviceName": "a.b", "volumeClaimTemplates": [
            {"metadata": {"name": "data"}, "spec": {
                "resources": {"requests": {"storage": "1Gi"}}}}]});
        let broken = database(broken);
        let found = texts(&StatefulSets.validate_create(&broken));
        assert_eq!(
            found[0],
            "spec.volumeClaimTemplates[0].spec.accessModes: Required value: at least 1 access \
             mode is required"
        );
        assert!(found[1].starts_with("spec.serviceName: Invalid value: \"a.b\""));
        assert_eq!(texts(&StatefulSets.validate_update(&broken, &broken)), [""; 0]);
        let errors = texts(&StatefulSets.validate_update(&database(json!({})), &broken));
        assert!(errors[0].starts_with("spec: Forbidden: updates to statefulset spec"));
    }

    #[test]
    fn counts_fit_one_another() {
        let of = |status: Value| json!({"status": status});
        let old = of(json!({"collisionCount": 2}));
        let new = of(json!({"replicas": 1, "currentReplicas": 2, "availableReplicas": 1,
            "collisionCount": 1}));
        assert_eq!(
            texts(&StatefulSets.validate_status_update(&new, &old)),
            [
                "status.currentReplicas: Invalid value: 2: cannot be greater than status.replicas",
                "status.availableReplicas: Invalid value: 1: cannot be greater than \
                 status.readyReplicas",
                "status.collisionCount: Invalid value: 1: cannot be decremented",
            ]
        );
    }
}
