//! What a decision component can do wrong.

/// Why a component was refused, or why its answer was not used.
///
/// Every variant is a fragment that completes "failed to …: ". `Clone`, so that one failure can be
/// reported in a status, an event and a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PluginError {
    /// The bytes are no component that this host can run.
    #[error("load the component: {0}")]
    Load(String),
    /// The bytes do not have the digest that was asked for.
    #[error("check the digest: want {want}, the bytes have {have}")]
    Digest {
        /// What the `Plugin` object says.
        want: String,
        /// What the bytes hash to.
        have: String,
    },
    /// The component exports something else than the world it was loaded for.
    #[error("find world {world:?}: {detail}")]
    World {
        /// The world that was asked for.
        world: String,
        /// What is missing or too much.
        detail: String,
    },
    /// The component imports what nobody granted.
    #[error("grant the imports {0:?}")]
    Imports(Vec<String>),
    /// The guest refused its settings.
    #[error("apply the settings: {0}")]
    Settings(String),
    /// The guest trapped; its instance is gone.
    #[error("run the guest: trap: {0}")]
    Trap(String),
    /// The guest did not return in time; its instance is gone.
    #[error("run the guest: no answer within {limit_ms} ms")]
    Timeout {
        /// The limit, milliseconds.
        limit_ms: u64,
    },
    /// The guest wanted more memory than it may have; its instance is gone.
    #[error("run the guest: more than {limit_mib} MiB of memory wanted")]
    Memory {
        /// The limit, MiB.
        limit_mib: u64,
    },
    /// The guest answered, and the answer cannot be true.
    #[error("use the answer: {0}")]
    Contract(String),
    /// Nobody can decide: nothing is loaded, or everything loaded is fenced off.
    #[error("find a component that decides for {0:?}")]
    Nobody(String),
}

impl PluginError {
    /// One CamelCase word for a condition's `reason`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Load(_) => "NotAComponent",
            Self::Digest { .. } => "DigestMismatch",
            Self::World { .. } => "WrongWorld",
            Self::Imports(_) => "ImportsNotGranted",
            Self::Settings(_) => "SettingsRefused",
            Self::Trap(_) => "Trapped",
            Self::Timeout { .. } => "TimedOut",
            Self::Memory { .. } => "OutOfMemory",
            Self::Contract(_) => "ContractBroken",
            Self::Nobody(_) => "NobodyDecides",
        }
    }
}
