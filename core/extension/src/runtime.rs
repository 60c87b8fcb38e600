//! What the controller of `Plugin` objects drives: loading, activating, and looking.
//!
//! A *version* is a plugin's name with bytes and settings. It is loaded (everything is checked,
//! nothing decides differently), then activated (decides from the next decision on). Activating
//! another version of the same name replaces it and keeps it as the last good one. In the worlds
//! where one component decides alone (`cloud`, `federation`) the plugin activated last decides;
//! when it is deactivated, the one before does. Deactivating what was never there is fine.

use async_trait::async_trait;
use hansa_api::plugin::PluginLimits;
use serde::{Deserialize, Serialize};

use crate::PluginError;
use crate::active::Identity;

/// A world that plugins can be loaded for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum World {
    /// Predicates and priorities over nodes.
    Scheduler,
    /// A cloud provider.
    Cloud,
    /// A placement policy over member clusters.
    Federation,
    /// A policy about what objects may look like.
    Admission,
}

impl World {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Scheduler, Self::Cloud, Self::Federation, Self::Admission];

    /// The word in `spec.world`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduler => "scheduler",
            Self::Cloud => "cloud",
            Self::Federation => "federation",
            Self::Admission => "admission",
        }
    }

    /// Whether one component decides alone, and not all that are active, each in its turn.
    pub fn is_sole(self) -> bool {
        matches!(self, Self::Cloud | Self::Federation)
    }

    /// The world that `spec.world` names.
    ///
    /// # Errors
    /// [`PluginError::World`] for every other word.
    pub fn parse(word: &str) -> Result<Self, PluginError> {
        Self::ALL.into_iter().find(|world| world.as_str() == word).ok_or_else(|| {
            PluginError::World {
                world: word.into(),
                detail: "this host runs scheduler, cloud, federation and admission".into(),
            }
        })
    }
}

/// Bounds on a guest, complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Limits {
    /// Linear memory, MiB.
    pub memory_mib: u32,
    /// One call, milliseconds.
    pub call_ms: u32,
    /// Instantiation and configuration, milliseconds.
    pub init_ms: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory_mib: 64, call_ms: 250, init_ms: 2000 }
    }
}

impl From<Option<&PluginLimits>> for Limits {
    fn from(spec: Option<&PluginLimits>) -> Self {
        let default = Self::default();
        let Some(spec) = spec else { return default };
        Self {
            memory_mib: spec.memory_mib.unwrap_or(default.memory_mib),
            call_ms: spec.call_ms.unwrap_or(default.call_ms),
            init_ms: spec.init_ms.unwrap_or(default.init_ms),
        }
    }
}

/// What happens when a guest fails and no older version of it is there to step in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FailurePolicy {
    /// The last good state goes on: a new plugin that never decided well is taken out again, and
    /// one that did goes on deciding; what it fails on, fails.
    #[default]
    Fallback,
    /// As `Fallback`; but in the world `admission` what it fails on passes without it.
    Skip,
    /// Nothing is decided until it works: for what must not be left out, as the shipped predicates.
    Closed,
}

impl FailurePolicy {
    /// The policy that `spec.failurePolicy` names; none is the default.
    pub fn parse(word: Option<&str>) -> Option<Self> {
        match word {
            None | Some("Fallback") => Some(Self::Fallback),
            Some("Skip") => Some(Self::Skip),
            Some("Closed") => Some(Self::Closed),
            Some(_) => None,
        }
    }
}

/// A version to load.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadRequest {
    /// The plugin's name.
    pub name: String,
    /// The world.
    pub world: World,
    /// The component.
    pub bytes: Vec<u8>,
    /// `sha256:<hex>` that the bytes must have.
    pub digest: String,
    /// The settings document.
    pub config: serde_json::Value,
    /// The bounds.
    pub limits: Limits,
    /// What a score of this plugin counts (world `scheduler`).
    pub weight: u32,
    /// Which requests it is about (world `admission`): `matchConstraints`, null elsewhere.
    pub constraints: serde_json::Value,
    /// What happens when it fails.
    pub failure: FailurePolicy,
}

/// A version that passed every check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loaded {
    /// Which version.
    pub identity: Identity,
    /// What the component says of itself.
    pub guest_name: String,
    /// And its version.
    pub guest_version: String,
    /// Notes of the settings check.
    pub notes: Vec<String>,
    /// From bytes to checked, milliseconds.
    pub took_ms: u64,
}

/// What runs in one process under a plugin's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginState {
    /// The plugin's name.
    pub name: String,
    /// Its world.
    pub world: World,
    /// The version that was activated last.
    pub wanted: Identity,
    /// The version that decides: another one than `wanted` when that is fenced off; none when
    /// another plugin decides alone in this world, or nothing is left.
    pub active: Option<Identity>,
    /// The versions that decided before, newest first, at most ten.
    pub history: Vec<Identity>,
    /// Why `wanted` is fenced off, if it is.
    pub fenced: Option<PluginError>,
    /// Calls answered by this name's versions since the process started.
    pub calls: u64,
    /// Calls that failed.
    pub failures: u64,
}

/// A host of components.
#[async_trait]
pub trait PluginRuntime: Send + Sync {
    /// Checks digest, size, world, imports and settings, and compiles (or takes the compiled code
    /// from the cache). Nothing decides differently afterwards. Loading the same again gives the
    /// same identity.
    async fn load(&self, request: LoadRequest) -> Result<Loaded, PluginError>;
    /// Lets a loaded version decide from the next decision on. Nothing happens if it was the last
    /// one to be activated; if it is fenced off since, it stays so.
    async fn activate(&self, identity: &Identity) -> Result<(), PluginError>;
    /// Takes a plugin's versions out of deciding.
    async fn deactivate(&self, name: &str) -> Result<(), PluginError>;
    /// What runs, by name.
    fn status(&self) -> Vec<PluginState>;
    /// Waits until the state is another than when it had the number `seen`, and returns its number.
    /// Starts from 0. For writing a status when a version is fenced off between two reconciles.
    async fn changed(&self, seen: u64) -> u64;
}
