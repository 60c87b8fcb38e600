//! A container's environment from its sources. Pure: the sources were read before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hansa_api::k8s_openapi::api::core::v1::{
    ConfigMap, Container, EnvVarSource, Pod, Secret, Service,
};

use crate::fields::{self, FieldError, Place};

/// Why there is no environment. The texts are those that pod statuses show.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum EnvError {
    /// A ConfigMap is not there.
    #[error("configmap {0:?} not found")]
    NoConfigMap(String),
    /// A Secret is not there.
    #[error("secret {0:?} not found")]
    NoSecret(String),
    /// A key is not in its ConfigMap or Secret.
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    NoKey {
        /// The key.
        key: String,
        /// ConfigMap or Secret.
        kind: &'static str,
        /// Of the object.
        namespace: String,
        /// Of the object.
        name: String,
    },
    /// A field or resource cannot be shown.
    #[error("failed to {0}")]
    Field(#[from] FieldError),
}

/// ConfigMaps and Secrets by name, as far as they exist.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// ConfigMaps of the pod's namespace.
    pub config_maps: BTreeMap<String, ConfigMap>,
    /// Secrets of the pod's namespace.
    pub secrets: BTreeMap<String, Secret>,
    /// Services the pod is told about.
    pub services: Vec<Arc<Service>>,
}

/// The names of the ConfigMaps and of the Secrets a container's environment needs.
#[must_use]
pub fn needs(container: &Container) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut config_maps, mut secrets) = (BTreeSet::new(), BTreeSet::new());
    for from in container.env_from.iter().flatten() {
        config_maps.extend(from.config_map_ref.iter().map(|source| source.name.clone()));
        secrets.extend(from.secret_ref.iter().map(|source| source.name.clone()));
    }
    let sources = container.env.iter().flatten().filter_map(|env| env.value_from.as_ref());
    for from in sources {
        config_maps.extend(from.config_map_key_ref.iter().map(|source| source.name.clone()));
        secrets.extend(from.secret_key_ref.iter().map(|source| source.name.clone()));
    }
    (config_maps, secrets)
}

/// The environment: what the pod asks for, then Services under names not taken.
///
/// # Errors
/// A source that is not optional is missing.
pub fn environment(
    pod: &Pod,
    container: &Container,
    place: &Place,
    sources: &Sources,
) -> Result<Vec<(String, String)>, EnvError> {
    let services = service_variables(&sources.services);
    let mut env = Environment { pod, container, place, sources, set: Vec::new() };
    env.add_from()?;
    let known: BTreeMap<_, _> = services.iter().cloned().collect();
    env.add_listed(&known)?;
    let mut set = env.set;
    for (name, value) in services {
        if set.iter().all(|(taken, _)| *taken != name) {
            set.push((name, value));
        }
    }
    Ok(set)
}

struct Environment<'a> {
    pod: &'a Pod,
    container: &'a Container,
    place: &'a Place,
    sources: &'a Sources,
    set: Vec<(String, String)>,
}

impl Environment<'_> {
    fn put(&mut self, name: String, value: String) {
        match self.set.iter_mut().find(|(taken, _)| *taken == name) {
            Some(entry) => entry.1 = value,
            None => self.set.push((name, value)),
        }
    }

    fn add_from(&mut self) -> Result<(), EnvError> {
        for from in self.container.env_from.iter().flatten() {
            let prefix = from.prefix.clone().unwrap_or_default();
            let pairs = if let Some(source) = &from.config_map_ref {
                self.all_of_config_map(&source.name, source.optional)?
            } else if let Some(source) = &from.secret_ref {
                self.all_of_secret(&source.name, source.optional)?
            } else {
                Vec::new()
            };
            for (key, value) in pairs.into_iter().filter(|(key, _)| valid_name(key)) {
                self.put(format!("{prefix}{key}"), value);
            }
        }
        Ok(())
    }

    fn all_of_config_map(
        &self,
        name: &str,
        optional: Option<bool>,
    ) -> Result<Vec<(String, String)>, EnvError> {
        match self.sources.config_maps.get(name) {
            Some(map) => Ok(map.data.clone().unwrap_or_default().into_iter().collect()),
            None if optional == Some(true) => Ok(Vec::new()),
            None => Err(EnvError::NoConfigMap(name.to_string())),
        }
    }

    fn all_of_secret(
        &self,
        name: &str,
        optional: Option<bool>,
    ) -> Result<Vec<(String, String)>, EnvError> {
        match self.sources.secrets.get(name) {
            Some(secret) => Ok(secret_texts(secret).into_iter().collect()),
            None if optional == Some(true) => Ok(Vec::new()),
            None => Err(EnvError::NoSecret(name.to_string())),
        }
    }

    fn add_listed(&mut self, services: &BTreeMap<String, String>) -> Result<(), EnvError> {
        for env in self.container.env.iter().flatten() {
            let value = match &env.value_from {
                Some(from) => self.value_from(from)?,
                None => {
                    let text = env.value.as_deref().unwrap_or_default();
                    Some(expand(text, |name| self.lookup(name, services)))
                }
            };
            if let Some(value) = value {
                self.put(env.name.clone(), value);
            }
        }
        Ok(())
    }

    fn lookup(&self, name: &str, services: &BTreeMap<String, String>) -> Option<String> {
        let own = self.set.iter().find(|(taken, _)| taken == name).map(|(_, value)| value.clone());
        own.or_else(|| services.get(name).cloned())
    }

    /// `None` when an optional source is missing: then the variable is not set at all.
    fn value_from(&self, from: &EnvVarSource) -> Result<Option<String>, EnvError> {
        if let Some(source) = &from.field_ref {
            return Ok(Some(fields::field(self.pod, self.place, &source.field_path)?));
        }
        if let Some(source) = &from.resource_field_ref {
            let own = Some(self.container);
            return Ok(Some(fields::resource(self.pod, own, self.place, source)?));
        }
        if let Some(source) = &from.config_map_key_ref {
            let map = self.sources.config_maps.get(&source.name);
            let texts = map.map(|map| map.data.clone().unwrap_or_default());
            let missing = EnvError::NoConfigMap(source.name.clone());
            return self.key(
                texts,
                &source.key,
                ("ConfigMap", &source.name),
                source.optional,
                missing,
            );
        }
        if let Some(source) = &from.secret_key_ref {
            let texts = self.sources.secrets.get(&source.name).map(secret_texts);
            let missing = EnvError::NoSecret(source.name.clone());
            return self.key(
                texts,
                &source.key,
                ("Secret", &source.name),
                source.optional,
                missing,
            );
        }
        Ok(None)
    }

    fn key(
        &self,
        texts: Option<BTreeMap<String, String>>,
        key: &str,
        (kind, name): (&'static str, &str),
        optional: Option<bool>,
        missing: EnvError,
    ) -> Result<Option<String>, EnvError> {
        let optional = optional == Some(true);
        let Some(mut texts) = texts else {
            return if optional { Ok(None) } else { Err(missing) };
        };
        match texts.remove(key) {
            None if !optional => Err(EnvError::NoKey {
                key: key.to_string(),
                kind,
                namespace: self.pod.metadata.namespace.clone().unwrap_or_default(),
                name: name.to_string(),
            }),
            found => Ok(found),
        }
    }
}

fn secret_texts(secret: &Secret) -> BTreeMap<String, String> {
    let data = secret.data.iter().flatten();
    data.map(|(key, bytes)| (key.clone(), String::from_utf8_lossy(&bytes.0).into_owned())).collect()
}

/// What a variable may be called (KEP-4369): printable ASCII without `=`.
fn valid_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'=')
}

/// Replaces `$(NAME)` by what `lookup` knows; `$$` stands for `$`, unknown names stay as written.
pub fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        out.push_str(&rest[..dollar]);
        let after = &rest[dollar + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some((name, tail)) = after.strip_prefix('(').and_then(|t| t.split_once(')')) {
            match lookup(name) {
                Some(value) => out.push_str(&value),
                None => out.push_str(&format!("$({name})")),
            }
            rest = tail;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out + rest
}

/// `NAME_SERVICE_HOST` and its kin, for every Service with a cluster IP.
fn service_variables(services: &[Arc<Service>]) -> Vec<(String, String)> {
    services.iter().flat_map(|service| variables_of(service)).collect()
}

fn variables_of(service: &Service) -> Vec<(String, String)> {
    let spec = service.spec.clone().unwrap_or_default();
    let ip = spec.cluster_ip.unwrap_or_default();
    let ports = spec.ports.unwrap_or_default();
    let (Some(first), false) = (ports.first(), ip.is_empty() || ip == "None") else {
        return Vec::new();
    };
    let name = upper(service.metadata.name.as_deref().unwrap_or_default());
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.clone() };
    let url = |protocol: &str, port: i32| format!("{}://{host}:{port}", protocol.to_lowercase());
    let protocol_of = |protocol: &Option<String>| protocol.clone().unwrap_or_else(|| "TCP".into());
    let mut set = vec![
        (format!("{name}_SERVICE_HOST"), ip.clone()),
        (format!("{name}_SERVICE_PORT"), first.port.to_string()),
    ];
    for port in ports.iter().filter(|port| port.name.is_some()) {
        let port_name = upper(port.name.as_deref().unwrap_or_default());
        set.push((format!("{name}_SERVICE_PORT_{port_name}"), port.port.to_string()));
    }
    set.push((format!("{name}_PORT"), url(&protocol_of(&first.protocol), first.port)));
    for port in &ports {
        let protocol = protocol_of(&port.protocol);
        let prefix = format!("{name}_PORT_{}_{protocol}", port.port);
        set.push((prefix.clone(), url(&protocol, port.port)));
        set.push((format!("{prefix}_PROTO"), protocol.to_lowercase()));
        set.push((format!("{prefix}_PORT"), port.port.to_string()));
        set.push((format!("{prefix}_ADDR"), ip.clone()));
    }
    set
}

fn upper(name: &str) -> String {
    name.replace('-', "_").to_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(container: Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "a", "namespace": "shop"},
            "spec": {"containers": [container]},
        }))
        .unwrap()
    }

    fn sources() -> Sources {
        let map: ConfigMap =
            serde_json::from_value(json!({"data": {"REGION": "eu", "a=b": "x"}})).unwrap();
        let secret: Secret = serde_json::from_value(json!({"data": {"KEY": "c2VjcmV0"}})).unwrap();
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": "my-db"},
            "spec": {"clusterIP": "10.0.0.9", "ports": [{"name": "sql", "port": 5432}]},
        }))
        .unwrap();
        Sources {
            config_maps: [("cm".to_string(), map)].into(),
            secrets: [("sec".to_string(), secret)].into(),
            services: vec![Arc::new(service)],
        }
    }

    fn env_of(container: Value) -> Result<BTreeMap<String, String>, EnvError> {
        let pod = pod(container);
        let container = pod.spec.as_ref().unwrap().containers[0].clone();
        let place = Place::default();
        Ok(environment(&pod, &container, &place, &sources())?.into_iter().collect())
    }

    #[test]
    fn every_source_and_later_ones_win() {
        let env = env_of(json!({"name": "c",
            "envFrom": [{"prefix": "CM_", "configMapRef": {"name": "cm"}},
                        {"secretRef": {"name": "sec"}},
                        {"configMapRef": {"name": "absent", "optional": true}}],
            "env": [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    {"name": "KEY", "value": "over"},
                    {"name": "URL", "value": "http://$(POD).$(MY_DB_SERVICE_HOST)/$$(POD)$(NO)"},
                    {"name": "R", "valueFrom":
                        {"configMapKeyRef": {"name": "cm", "key": "REGION"}}},
                    {"name": "GONE", "valueFrom":
                        {"secretKeyRef": {"name": "sec", "key": "no", "optional": true}}}]}))
        .unwrap();
        assert_eq!(env["CM_REGION"], "eu");
        assert!(!env.contains_key("CM_a=b"));
        assert_eq!(env["KEY"], "over");
        assert_eq!(env["URL"], "http://a.10.0.0.9/$(POD)$(NO)");
        assert_eq!(env["R"], "eu");
        assert!(!env.contains_key("GONE"));
        assert_eq!(env["MY_DB_SERVICE_PORT_SQL"], "5432");
        assert_eq!(env["MY_DB_PORT"], "tcp://10.0.0.9:5432");
        assert_eq!(env["MY_DB_PORT_5432_TCP_ADDR"], "10.0.0.9");
    }

    #[test]
    fn what_is_missing_is_named_as_in_upstream() {
        let from = |source: Value| {
            let env = json!([{"name": "X", "valueFrom": source}]);
            env_of(json!({"name": "c", "env": env})).unwrap_err().to_string()
        };
        let absent = json!({"configMapKeyRef": {"name": "absent", "key": "k"}});
        assert_eq!(from(absent), r#"configmap "absent" not found"#);
        let no_key = json!({"secretKeyRef": {"name": "sec", "key": "k"}});
        assert_eq!(from(no_key), "couldn't find key k in Secret shop/sec");
    }
}
