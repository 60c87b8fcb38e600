//! A loaded version: the component, its settings and bounds, and how it fares.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

use hansa_extension::admission::Scope;
use hansa_extension::runtime::{FailurePolicy, Limits, World};
use hansa_extension::{Identity, PluginError, PolicySource};
use parking_lot::Mutex;
use wasmtime::Store;
use wasmtime::component::InstancePre;

use crate::breaker::Breaker;
use crate::engine::Runner;
use crate::guest::{Guest, GuestState};

/// What a version was loaded with.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    /// The world.
    pub world: World,
    /// The settings document; empty if there is none.
    pub settings: Arc<[u8]>,
    /// The bounds.
    pub limits: Limits,
    /// What a score counts.
    pub weight: u32,
    /// Which requests it is about; null where that means nothing.
    pub constraints: serde_json::Value,
    /// What happens when it fails and nothing steps in.
    pub failure: FailurePolicy,
    /// It came with the product.
    pub shipped: bool,
}

/// A version that passed the checks.
pub struct Version {
    /// Which one.
    pub identity: Identity,
    /// With what.
    pub setup: Setup,
    /// Calls answered or failed.
    pub calls: AtomicU64,
    /// Calls failed.
    pub failures: AtomicU64,
    /// What an admission policy is about, known when it was inspected.
    pub scope: OnceLock<Scope>,
    runner: Arc<Runner>,
    pre: InstancePre<GuestState>,
    breaker: Mutex<Breaker>,
}

/// The exports that every world has, in one shape.
pub trait Lifecycle: Sized {
    /// Instantiates the world's bindings.
    fn make(pre: &InstancePre<GuestState>, store: &mut Store<GuestState>)
    -> wasmtime::Result<Self>;
    /// Name and version that the component gives itself.
    fn describe(&self, store: &mut Store<GuestState>) -> wasmtime::Result<(String, String)>;
    /// Notes or errors about the settings.
    fn validate(
        &self,
        store: &mut Store<GuestState>,
        settings: &[u8],
    ) -> wasmtime::Result<Result<Vec<String>, Vec<String>>>;
    /// Applies the settings; a text if they are refused.
    fn configure(
        &self,
        store: &mut Store<GuestState>,
        settings: &[u8],
    ) -> wasmtime::Result<Result<(), String>>;
}

macro_rules! lifecycle {
    ($bindings:ty, $pre:ty) => {
        impl $crate::version::Lifecycle for $bindings {
            fn make(
                pre: &wasmtime::component::InstancePre<$crate::guest::GuestState>,
                store: &mut wasmtime::Store<$crate::guest::GuestState>,
            ) -> wasmtime::Result<Self> {
                <$pre>::new(pre.clone())?.instantiate(store)
            }
            fn describe(
                &self,
                store: &mut wasmtime::Store<$crate::guest::GuestState>,
            ) -> wasmtime::Result<(String, String)> {
                let said = self.hansa_core_lifecycle().call_describe(store)?;
                Ok((said.name, said.version))
            }
            fn validate(
                &self,
                store: &mut wasmtime::Store<$crate::guest::GuestState>,
                settings: &[u8],
            ) -> wasmtime::Result<Result<Vec<String>, Vec<String>>> {
                self.hansa_core_lifecycle().call_validate_settings(store, &settings.to_vec())
            }
            fn configure(
                &self,
                store: &mut wasmtime::Store<$crate::guest::GuestState>,
                settings: &[u8],
            ) -> wasmtime::Result<Result<(), String>> {
                let done = self.hansa_core_lifecycle().call_configure(store, &settings.to_vec())?;
                Ok(done.map_err(|failure| failure.message))
            }
        }
    };
}
pub(crate) use lifecycle;

impl Version {
    /// A version whose component is linked. Nothing of it has run yet.
    pub fn new(
        identity: Identity,
        setup: Setup,
        runner: Arc<Runner>,
        pre: InstancePre<GuestState>,
    ) -> Self {
        Self {
            identity,
            setup,
            calls: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            scope: OnceLock::new(),
            runner,
            pre,
            breaker: Mutex::default(),
        }
    }

    /// An instance that is not configured yet.
    pub fn bare<B: Lifecycle>(&self) -> Result<Guest<B>, PluginError> {
        let limits = self.setup.limits;
        let name = self.identity.name.as_str().into();
        let state = GuestState::new(name, Arc::clone(&self.setup.settings), limits.memory_mib);
        let times = (limits.init_ms, limits.call_ms);
        Guest::new(Arc::clone(&self.runner), state, times, |store| B::make(&self.pre, store))
    }

    /// A configured instance.
    ///
    /// # Errors
    /// [`PluginError::Settings`] if the guest refuses them, or what went wrong.
    pub fn guest<B: Lifecycle>(&self) -> Result<Guest<B>, PluginError> {
        let mut guest = self.bare::<B>()?;
        let settings = &self.setup.settings;
        guest
            .call_within(self.setup.limits.init_ms, |b, store| b.configure(store, settings))?
            .map_err(PluginError::Settings)?;
        Ok(guest)
    }

    /// Tries it out as far as possible without deciding: name and version of the component, and the
    /// notes of its settings check.
    ///
    /// # Errors
    /// Whatever makes it unusable.
    pub fn inspect<B: Lifecycle>(&self) -> Result<(String, String, Vec<String>), PluginError> {
        let mut bare = self.bare::<B>()?;
        let (init, settings) = (self.setup.limits.init_ms, &self.setup.settings);
        let (name, version) = bare.call_within(init, |b, store| b.describe(store))?;
        let checked = bare.call_within(init, |b, store| b.validate(store, settings))?;
        let notes = checked.map_err(|errors| PluginError::Settings(errors.join("; ")))?;
        self.guest::<B>()?;
        Ok((name, version, notes))
    }

    /// Whether it ever decided well.
    pub fn is_proven(&self) -> bool {
        self.breaker.lock().is_proven()
    }

    /// Notes an outcome; true if the version is to be fenced off.
    fn note(&self, outcome: Result<(), &PluginError>) -> bool {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let mut breaker = self.breaker.lock();
        match outcome {
            Ok(()) => {
                breaker.succeeded();
                false
            }
            Err(error) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                breaker.failed(error, Instant::now())
            }
        }
    }
}

/// Hears of versions that are to be fenced off.
pub trait Fence: Send + Sync {
    /// Takes a version out of deciding.
    fn fence(&self, identity: &Identity, error: &PluginError);
}

/// A version as a source of instances, with the versions that step in for it.
pub struct Source<I: ?Sized> {
    version: Arc<Version>,
    fallback: Option<Arc<Source<I>>>,
    make: fn(&Version) -> Result<Box<I>, PluginError>,
    fence: Weak<dyn Fence>,
}

impl<I: ?Sized + 'static> Source<I> {
    /// A source for the first version of `chain`; the rest step in, in order. None if it is empty.
    pub fn chain(
        chain: &[Arc<Version>],
        make: fn(&Version) -> Result<Box<I>, PluginError>,
        fence: &Weak<dyn Fence>,
    ) -> Option<Arc<Self>> {
        let (first, rest) = chain.split_first()?;
        let fallback = Self::chain(rest, make, fence);
        let version = Arc::clone(first);
        Some(Arc::new(Self { version, fallback, make, fence: Weak::clone(fence) }))
    }
}

impl<I: ?Sized + 'static> PolicySource<I> for Source<I> {
    fn identity(&self) -> &Identity {
        &self.version.identity
    }

    fn weight(&self) -> u32 {
        self.version.setup.weight
    }

    fn scope(&self) -> Option<&Scope> {
        self.version.scope.get()
    }

    fn instantiate(&self) -> Result<Box<I>, PluginError> {
        (self.make)(&self.version)
    }

    fn report(&self, outcome: Result<(), &PluginError>) {
        let fence = self.version.note(outcome);
        if let (true, Err(error), Some(host)) = (fence, outcome, self.fence.upgrade()) {
            host.fence(&self.version.identity, error);
        }
    }

    fn fallback(&self) -> Option<Arc<dyn PolicySource<I>>> {
        let fallback = Arc::clone(self.fallback.as_ref()?);
        Some(fallback)
    }
}
