//! Plugin objects: fetches the component that a Plugin names, has the host load and activate it, and
//! writes what runs into its status.

use std::path::PathBuf;
use std::sync::Arc;

use hansa_api::k8s_openapi::api::core::v1::ConfigMap;
use hansa_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use hansa_api::k8s_openapi::jiff::Timestamp;
use hansa_api::plugin::{Plugin, PluginSource, PluginSpec, PluginStatus, PluginVersion};
use hansa_api::selector::Selector;
use hansa_client::kube::api::{Patch, PatchParams};
use hansa_client::kube::{Api, Client, Error};
use hansa_client::{Informer, ObjectKey, Requeue, Workqueue, run_workers};
use hansa_extension::PluginError;
use hansa_extension::runtime::{
    FailurePolicy, LoadRequest, Loaded, PluginRuntime, PluginState, World,
};
use serde_json::{Value, json};

use crate::Context;
use crate::owned::name_of;
use crate::wiring::enqueue_self;

const READY: &str = "Ready";
/// The reason of a Plugin whose present generation the host does not take.
const REFUSED: &str = "Refused";
/// Most versions that the status remembers.
const HISTORY: usize = 10;
/// The largest file that is read, bytes; the host may take less.
const MAX_FILE: u64 = 64 << 20;
/// When a refused version is tried again.
const RETRY: std::time::Duration = std::time::Duration::from_secs(15);

/// Where components are run, and from where their files may be read.
#[derive(Clone)]
pub struct Plugins {
    /// The host.
    pub runtime: Arc<dyn PluginRuntime>,
    /// The directory of `spec.source.file`; `None` refuses files.
    pub directory: Option<PathBuf>,
}

/// Why a Plugin does not decide.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("name exactly one source: configMap or file")]
    Source,
    #[error("know the failure policy: it must be Fallback, Skip or Closed")]
    FailurePolicy,
    #[error(
        "know what it is about: a policy of the world admission needs matchConstraints with \
         resourceRules"
    )]
    NoConstraints,
    #[error("use matchConstraints: a plugin of the world {0} decides about no requests")]
    Constraints(String),
    #[error("use the {0} of matchConstraints: {1}")]
    Selector(&'static str, String),
    #[error("read ConfigMap {0}: it has no such key in binaryData")]
    NoKey(String),
    #[error("read file {0}: this process was started without a plugin directory")]
    NoDirectory(String),
    #[error("read file {0}: the name must be that of a file in the plugin directory")]
    OutsideDirectory(String),
    #[error("read file {0}: it must be a regular file of at most {max} MiB", max = MAX_FILE >> 20)]
    NoSuchFile(String),
    #[error("read file {0}")]
    File(String, #[source] std::io::Error),
    #[error("read ConfigMap {0}")]
    ConfigMap(String, #[source] Box<Error>),
    #[error(transparent)]
    Plugin(#[from] PluginError),
}

struct Controller {
    client: Client,
    all: Informer<Plugin>,
    plugins: Plugins,
}

pub(crate) async fn run(context: Context, plugins: Plugins) {
    let all = context.informers.of::<Plugin>();
    all.synced().await;
    let queue = Workqueue::new();
    enqueue_self(&all, &queue);
    follow_host(&queue, &all, &plugins, &context);
    let controller = Controller { client: context.client.clone(), all, plugins };
    let controller = &controller;
    let reconcile = |key: ObjectKey| async move { controller.reconcile(&key).await };
    run_workers(queue, 1, context.stop, reconcile).await;
}

/// A version that is fenced off in the middle of its work wakes the Plugins, too.
fn follow_host(
    queue: &Workqueue<ObjectKey>,
    all: &Informer<Plugin>,
    plugins: &Plugins,
    context: &Context,
) {
    let (queue, all, runtime) = (queue.clone(), all.clone(), plugins.runtime.clone());
    let stop = context.stop.clone();
    tokio::spawn(async move {
        let mut seen = 0;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                number = runtime.changed(seen) => seen = number,
            }
            all.list().iter().for_each(|plugin| queue.add(ObjectKey::of(&**plugin)));
        }
    });
}

impl Controller {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, Error> {
        let Some(plugin) = self.all.get_key(key) else {
            if let Err(error) = self.plugins.runtime.deactivate(&key.name).await {
                tracing::warn!(plugin = %key, %error, "failed to deactivate");
            }
            return Ok(Requeue::Done);
        };
        let outcome = match self.is_wanted(&plugin) {
            true => Ok(()),
            false => self.install(&plugin).await,
        };
        if let Err(refusal) = &outcome {
            tracing::warn!(plugin = %key, error = %chain(refusal), "plugin refused");
        }
        let states = self.plugins.runtime.status();
        let state = states.iter().find(|state| state.name == key.name);
        let refusal = outcome.err().map(|refusal| chain(&refusal));
        let status = plan_status(&plugin, state, refusal.as_deref(), Timestamp::now());
        self.write_status(&plugin, status).await?;
        // What was refused may be mended outside the object, such as by its ConfigMap's arrival.
        Ok(refusal.map_or(Requeue::Done, |_| Requeue::After(RETRY)))
    }

    /// Whether the host already was given this very version, fenced off or not.
    fn is_wanted(&self, plugin: &Plugin) -> bool {
        let states = self.plugins.runtime.status();
        let state = states.iter().find(|state| state.name == name_of(&plugin.metadata));
        state.is_some_and(|state| was_taken(plugin, &state.wanted.digest))
    }

    async fn install(&self, plugin: &Plugin) -> Result<(), Refusal> {
        let loaded = self.load(plugin).await?;
        self.plugins.runtime.activate(&loaded.identity).await?;
        let name = name_of(&plugin.metadata);
        tracing::info!(plugin = name, digest = %loaded.identity.digest, "plugin decides");
        Ok(())
    }

    async fn load(&self, plugin: &Plugin) -> Result<Loaded, Refusal> {
        let spec = &plugin.spec;
        let request = LoadRequest {
            name: name_of(&plugin.metadata).to_owned(),
            world: World::parse(&spec.world)?,
            constraints: constraints(spec)?,
            bytes: self.fetch(&spec.source).await?,
            digest: spec.digest.clone(),
            config: spec.config.clone().unwrap_or_else(|| json!({})),
            limits: spec.limits.as_ref().into(),
            weight: 1,
            failure: FailurePolicy::parse(spec.failure_policy.as_deref())
                .ok_or(Refusal::FailurePolicy)?,
        };
        Ok(self.plugins.runtime.load(request).await?)
    }

    async fn fetch(&self, source: &PluginSource) -> Result<Vec<u8>, Refusal> {
        match (&source.config_map, &source.file) {
            (Some(map), None) => {
                let what = format!("{}/{}", map.namespace, map.name);
                let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &map.namespace);
                let object = api
                    .get(&map.name)
                    .await
                    .map_err(|error| Refusal::ConfigMap(what.clone(), Box::new(error)))?;
                let data = object.binary_data.and_then(|mut data| data.remove(&map.key));
                data.map(|bytes| bytes.0).ok_or(Refusal::NoKey(format!("{what}, key {}", map.key)))
            }
            (None, Some(name)) => self.read_file(name).await,
            _ => Err(Refusal::Source),
        }
    }

    async fn read_file(&self, name: &str) -> Result<Vec<u8>, Refusal> {
        let Some(directory) = &self.plugins.directory else {
            return Err(Refusal::NoDirectory(name.into()));
        };
        if !is_plain_file_name(name) {
            return Err(Refusal::OutsideDirectory(name.into()));
        }
        let failed = |error| Refusal::File(name.into(), error);
        let path = directory.join(name);
        // Asked before it is opened: whoever opens a pipe waits for its writer.
        let found = tokio::fs::metadata(&path).await.map_err(failed)?;
        if !found.is_file() || found.len() > MAX_FILE {
            return Err(Refusal::NoSuchFile(name.into()));
        }
        tokio::fs::read(&path).await.map_err(failed)
    }

    async fn write_status(&self, plugin: &Plugin, status: PluginStatus) -> Result<(), Error> {
        if plugin.status.as_ref() != Some(&status) {
            let api: Api<Plugin> = Api::all(self.client.clone());
            let patch = Patch::Merge(json!({ "status": status }));
            let name = name_of(&plugin.metadata);
            match api.patch_status(name, &PatchParams::default(), &patch).await {
                Err(Error::Api(status)) if status.is_not_found() => {}
                outcome => drop(outcome?),
            }
        }
        Ok(())
    }
}

/// What a policy of the world `admission` is about, and nothing for all others.
fn constraints(spec: &PluginSpec) -> Result<Value, Refusal> {
    let admits = spec.world == World::Admission.as_str();
    let given = match (admits, &spec.match_constraints) {
        (false, None) => return Ok(Value::Null),
        (false, Some(_)) => return Err(Refusal::Constraints(spec.world.clone())),
        (true, given) => given.clone().unwrap_or_default(),
    };
    if given.resource_rules.as_ref().is_none_or(Vec::is_empty) {
        return Err(Refusal::NoConstraints);
    }
    let given = json!(given);
    for field in ["namespaceSelector", "objectSelector"] {
        Selector::from_object(given.get(field))
            .map_err(|error| Refusal::Selector(field, error.to_string()))?;
    }
    Ok(given)
}

/// Whether the host, that was last given `digest`, was given it as the Plugin stands: a refused
/// generation may name the same bytes with other settings.
fn was_taken(plugin: &Plugin, digest: &str) -> bool {
    let status = plugin.status.clone().unwrap_or_default();
    digest == plugin.spec.digest
        && status.observed_generation == plugin.metadata.generation
        && !status.conditions.iter().any(|condition| condition.reason == REFUSED)
}

fn is_plain_file_name(name: &str) -> bool {
    !name.is_empty() && name != ".." && name != "." && !name.contains(['/', '\0'])
}

/// An error with its sources, outermost first.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// What the Plugin says of itself, from what runs under its name and why it was refused, if it was.
fn plan_status(
    plugin: &Plugin,
    state: Option<&PluginState>,
    refusal: Option<&str>,
    now: Timestamp,
) -> PluginStatus {
    let old = plugin.status.clone().unwrap_or_default();
    let active = state.and_then(|state| state.active.as_ref()).map(|active| active.digest.clone());
    let fenced = state.and_then(|state| state.fenced.as_ref()).map(PluginError::to_string);
    let (ready, reason, message) = match (refusal, fenced, &active) {
        (Some(refusal), _, _) => (false, REFUSED, format!("failed to {refusal}")),
        (None, Some(fenced), _) => (false, "FencedOff", fenced),
        (None, None, Some(digest)) => (true, "Deciding", format!("{digest} decides")),
        (None, None, None) => (false, "Standby", "another plugin of this world decides".into()),
    };
    let mut history = old.history.clone();
    if ready && active.as_ref() == Some(&plugin.spec.digest) {
        remember(&mut history, plugin.spec.version());
    }
    let condition = condition(plugin, &old, ready, reason, message, now);
    PluginStatus {
        observed_generation: plugin.metadata.generation,
        active_digest: active,
        history,
        conditions: vec![condition],
    }
}

fn remember(history: &mut Vec<PluginVersion>, version: PluginVersion) {
    history.retain(|known| *known != version);
    history.insert(0, version);
    history.truncate(HISTORY);
}

fn condition(
    plugin: &Plugin,
    old: &PluginStatus,
    holds: bool,
    reason: &str,
    message: String,
    now: Timestamp,
) -> Condition {
    let status = if holds { "True" } else { "False" };
    let before = old.conditions.iter().find(|condition| condition.type_ == READY);
    let since = before.filter(|before| before.status == status);
    Condition {
        type_: READY.into(),
        status: status.into(),
        reason: reason.into(),
        message,
        observed_generation: plugin.metadata.generation,
        last_transition_time: since.map_or(Time(now), |before| before.last_transition_time.clone()),
    }
}

#[cfg(test)]
mod tests {
    use hansa_api::custom::Kind;
    use hansa_extension::Identity;

    use super::*;

    fn plugin(status: Option<PluginStatus>) -> Plugin {
        Plugin {
            types: Plugin::type_meta(),
            metadata: Default::default(),
            spec: Default::default(),
            status,
        }
    }

    fn state(active: &str) -> PluginState {
        let identity = Identity { name: "prefer".into(), digest: active.into(), generation: 1 };
        PluginState {
            name: "prefer".into(),
            world: World::Federation,
            wanted: identity.clone(),
            active: Some(identity),
            history: Vec::new(),
            fenced: None,
            calls: 0,
            failures: 0,
        }
    }

    #[test]
    fn a_refused_version_leaves_the_one_that_decides_in_the_status() {
        let now = Timestamp::UNIX_EPOCH;
        let first = plan_status(&plugin(None), Some(&state("sha256:b")), None, now);
        let refused = plan_status(
            &plugin(Some(first)),
            Some(&state("sha256:b")),
            Some("load the component: it traps"),
            now,
        );
        assert_eq!(refused.active_digest.as_deref(), Some("sha256:b"));
        assert_eq!(refused.conditions[0].reason, "Refused");
        assert!(refused.history.is_empty(), "what was refused is no version to come back to");
    }

    #[test]
    fn the_same_bytes_with_refused_settings_were_not_taken() {
        let now = Timestamp::UNIX_EPOCH;
        let with = |status| {
            let mut plugin = plugin(Some(status));
            plugin.spec.digest = "sha256:b".into();
            plugin
        };
        let decides = plan_status(&plugin(None), Some(&state("sha256:b")), None, now);
        assert!(was_taken(&with(decides), "sha256:b"));
        let refused = plan_status(&plugin(None), Some(&state("sha256:b")), Some("why"), now);
        assert!(!was_taken(&with(refused), "sha256:b"));
    }

    #[test]
    fn a_swap_is_remembered() {
        let now = Timestamp::UNIX_EPOCH;
        let with = |digest: &str, status| {
            let mut plugin = plugin(status);
            plugin.spec.digest = digest.into();
            plugin.spec.config = Some(json!({ "of": digest }));
            plugin
        };
        let first = plan_status(&with("sha256:a", None), Some(&state("sha256:a")), None, now);
        let swapped = with("sha256:b", Some(first));
        let second = plan_status(&swapped, Some(&state("sha256:b")), None, now);
        let digests: Vec<_> = second.history.iter().map(|version| &version.digest).collect();
        assert_eq!(digests, ["sha256:b", "sha256:a"]);
        assert_eq!(second.history[1].config, Some(json!({ "of": "sha256:a" })));
        assert_eq!(second.conditions[0].reason, "Deciding");
    }

    #[test]
    fn only_admission_policies_say_which_requests_they_are_about() {
        let spec = |world: &str, constraints: Value| PluginSpec {
            world: world.into(),
            match_constraints: serde_json::from_value(constraints).unwrap(),
            ..PluginSpec::default()
        };
        let rules = json!({"resourceRules": [{"operations": ["CREATE"], "apiGroups": [""],
            "apiVersions": ["v1"], "resources": ["configmaps"]}]});
        assert_eq!(constraints(&spec("admission", rules.clone())).unwrap(), rules);
        assert_eq!(constraints(&spec("cloud", Value::Null)).unwrap(), Value::Null);
        let mut odd = rules.clone();
        odd["objectSelector"] = json!({"matchExpressions": [{"key": "a", "operator": "Near"}]});
        let refused = [
            spec("admission", Value::Null),
            spec("admission", json!({"resourceRules": []})),
            spec("admission", odd),
            spec("scheduler", rules),
        ];
        let said: Vec<String> =
            refused.iter().map(|spec| constraints(spec).unwrap_err().to_string()).collect();
        assert!(said[0] == said[1] && said[0].contains("needs matchConstraints"), "{said:?}");
        assert!(said[2].starts_with("use the objectSelector of matchConstraints"), "{said:?}");
        assert!(said[3].contains("world scheduler"), "{said:?}");
    }

    #[test]
    fn files_come_only_from_the_plugin_directory() {
        assert!(is_plain_file_name("prefer-region.wasm"));
        for name in ["", "..", "../shadow", "/etc/passwd", "a/b"] {
            assert!(!is_plain_file_name(name), "{name}");
        }
    }
}
