//! Defaults of pod specs, shared by pods and the templates of workloads.

use hansa_api::meta::{Fields, as_fields_mut, default_field, default_text, fields_mut};
use serde_json::{Map, Value, json};

/// Defaults of a template: everything but what only pods get.
pub(crate) fn template(template: &mut Value) {
    pod_spec(fields_mut(template, &["spec"]));
}

/// Defaults of a pod: those of its spec, and requests that follow the limits.
pub(crate) fn pod(obj: &mut Value) {
    let spec = fields_mut(obj, &["spec"]);
    pod_spec(spec);
    default_field(spec, "enableServiceLinks", true);
    for list in ["containers", "initContainers"] {
        each(spec, list, requests_follow_limits);
    }
}

/// Runs something on every object of a list.
pub(crate) fn each(fields: &mut Fields, list: &str, mut change: impl FnMut(&mut Fields)) {
    if let Some(Value::Array(items)) = fields.get_mut(list) {
        items.iter_mut().filter_map(Value::as_object_mut).for_each(&mut change);
    }
}

/// Runs something on an object field that is there.
pub(crate) fn within(fields: &mut Fields, name: &str, change: impl FnOnce(&mut Fields)) {
    if let Some(Value::Object(fields)) = fields.get_mut(name) {
        change(fields);
    }
}

fn pod_spec(spec: &mut Fields) {
    default_text(spec, "restartPolicy", "Always");
    default_text(spec, "dnsPolicy", "ClusterFirst");
    default_text(spec, "schedulerName", "default-scheduler");
    default_field(spec, "terminationGracePeriodSeconds", 30);
    default_field(spec, "securityContext", Map::new());
    service_account(spec);
    let host_network = spec.get("hostNetwork") == Some(&Value::Bool(true));
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        each(spec, list, container);
        if host_network {
            each(spec, list, |container| each(container, "ports", host_port));
        }
    }
    each(spec, "volumes", volume);
    each(spec, "topologySpreadConstraints", |constraint| {
        default_text(constraint, "whenUnsatisfiable", "DoNotSchedule");
    });
}

/// `serviceAccount` is the old name of `serviceAccountName`; both are shown.
fn service_account(spec: &mut Fields) {
    let text = |name: &str| spec.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (new, old) = (text("serviceAccountName"), text("serviceAccount"));
    let account = if new.is_empty() { old } else { new };
    if !account.is_empty() {
        spec.insert("serviceAccountName".into(), account.clone().into());
        spec.insert("serviceAccount".into(), account.into());
    }
}

/// On the host's network a port is the host's.
fn host_port(port: &mut Fields) {
    let Some(container_port) = port.get("containerPort").cloned() else { return };
    if port.get("hostPort").and_then(Value::as_i64).unwrap_or_default() == 0 {
        port.insert("hostPort".into(), container_port);
    }
}

fn container(container: &mut Fields) {
    let policy = pull_policy(container.get("image").and_then(Value::as_str).unwrap_or_default());
    default_text(container, "imagePullPolicy", policy);
    default_text(container, "terminationMessagePath", "/dev/termination-log");
    default_text(container, "terminationMessagePolicy", "File");
    default_field(container, "resources", Map::new());
    each(container, "ports", |port| default_text(port, "protocol", "TCP"));
    each(container, "env", |variable| {
        within(variable, "valueFrom", |source| within(source, "fieldRef", field_ref));
    });
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        within(container, name, probe);
    }
    within(container, "lifecycle", |lifecycle| {
        for hook in ["postStart", "preStop"] {
            within(lifecycle, hook, |hook| within(hook, "httpGet", http_get));
        }
    });
}

fn field_ref(reference: &mut Fields) {
    default_text(reference, "apiVersion", "v1");
}

/// Images of a moving tag are pulled always.
pub(crate) fn pull_policy(image: &str) -> &'static str {
    let last = image.rsplit('/').next().unwrap_or(image);
    let (name, digest) = last.split_once('@').map_or((last, None), |(name, d)| (name, Some(d)));
    let tag = name.split_once(':').map(|(_, tag)| tag);
    match (tag, digest) {
        (Some("latest"), _) | (None, None) => "Always",
        _ => "IfNotPresent",
    }
}

fn zero_to(fields: &mut Fields, name: &str, value: i64) {
    if fields.get(name).and_then(Value::as_i64).unwrap_or_default() == 0 {
        fields.insert(name.into(), value.into());
    }
}

fn probe(probe: &mut Fields) {
    zero_to(probe, "timeoutSeconds", 1);
    zero_to(probe, "periodSeconds", 10);
    zero_to(probe, "successThreshold", 1);
    zero_to(probe, "failureThreshold", 3);
    within(probe, "httpGet", http_get);
    within(probe, "grpc", |grpc| default_field(grpc, "service", ""));
}

fn http_get(get: &mut Fields) {
    default_text(get, "path", "/");
    default_text(get, "scheme", "HTTP");
}

fn volume(volume: &mut Fields) {
    if volume.keys().all(|key| key == "name") {
        volume.insert("emptyDir".into(), json!({}));
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        within(volume, source, |source| {
            default_field(source, "defaultMode", 0o644);
            each(source, "items", |item| within(item, "fieldRef", field_ref));
            each(source, "sources", projection);
        });
    }
    within(volume, "hostPath", |path| default_field(path, "type", ""));
    within(volume, "ephemeral", |ephemeral| {
        within(ephemeral, "volumeClaimTemplate", |template| {
            within(template, "spec", |spec| default_text(spec, "volumeMode", "Filesystem"));
        });
    });
}

fn projection(source: &mut Fields) {
    within(source, "serviceAccountToken", |token| {
        default_field(token, "expirationSeconds", 3600);
    });
    within(source, "downwardAPI", |downward| {
        each(downward, "items", |item| within(item, "fieldRef", field_ref));
    });
}

fn requests_follow_limits(container: &mut Fields) {
    let Some(Value::Object(resources)) = container.get_mut("resources") else { return };
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else { return };
    if limits.is_empty() {
        return;
    }
    let requests = resources.entry("requests").or_insert_with(|| json!({}));
    for (name, limit) in limits {
        as_fields_mut(requests).entry(name).or_insert(limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_tags_are_pulled_always() {
        for image in ["web", "web:latest", "a.io:5000/web", "a.io/b/web:latest"] {
            assert_eq!(pull_policy(image), "Always", "{image}");
        }
        for image in ["web:1", "a.io:5000/web:v2", "web@sha256:abc"] {
            assert_eq!(pull_policy(image), "IfNotPresent", "{image}");
        }
    }

    #[test]
    fn a_pod_gets_what_upstream_gives_it() {
        let mut obj = json!({"spec": {"hostNetwork": true, "serviceAccountName": "sa",
            "containers": [{"name": "a", "image": "x:1", "ports": [{"containerPort": 80}],
                "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}},
                "livenessProbe": {"httpGet": {"port": 80}, "periodSeconds": 3},
                "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}],
            "volumes": [{"name": "e"}, {"name": "c", "configMap": {"name": "x"}},
                {"name": "t", "projected": {"sources": [
                    {"serviceAccountToken": {"path": "t"}}]}}]}});
        pod(&mut obj);
        let spec = &obj["spec"];
        assert_eq!(spec["restartPolicy"], "Always");
        assert_eq!(spec["serviceAccount"], "sa");
        assert_eq!(spec["enableServiceLinks"], true);
        let container = &spec["containers"][0];
        assert_eq!(
            container["ports"][0],
            json!({"containerPort": 80, "hostPort": 80, "protocol": "TCP"})
        );
        assert_eq!(container["resources"]["requests"], json!({"cpu": "500m", "memory": "1Gi"}));
        assert_eq!(
            container["livenessProbe"],
            json!({"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "periodSeconds": 3,
                "timeoutSeconds": 1, "successThreshold": 1, "failureThreshold": 3})
        );
        assert_eq!(container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"], "v1");
        assert_eq!(spec["volumes"][0]["emptyDir"], json!({}));
        assert_eq!(spec["volumes"][1]["configMap"]["defaultMode"], 420);
        let token = &spec["volumes"][2]["projected"]["sources"][0]["serviceAccountToken"];
        assert_eq!(token["expirationSeconds"], 3600);
        let again = obj.clone();
        pod(&mut obj);
        assert_eq!(obj, again, "defaulting twice changes nothing");
    }
}
