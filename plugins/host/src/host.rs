//! The host: loads versions, knows who decides, and fences off who fails.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use async_trait::async_trait;
use hansa_extension::admission::AdmissionPolicy;
use hansa_extension::cloud::CloudProvider;
use hansa_extension::federation::PlacementPolicy;
use hansa_extension::runtime::{
    FailurePolicy, Limits, LoadRequest, Loaded, PluginRuntime, PluginState, World,
};
use hansa_extension::scheduler::SchedulerPolicy;
use hansa_extension::{ActiveSet, Identity, PluginError, PolicySource};
use parking_lot::Mutex;
use tokio::sync::watch;
use wasmtime::component::{Component, Linker};

use crate::cache::Cache;
use crate::cloud::{Cloud, CloudGuest};
use crate::engine::Runner;
use crate::guest::{GuestState, linker};
use crate::slots::{Slots, Versioned};
use crate::version::{Fence, Setup, Source, Version};
use crate::{admission, bindings, cloud, federation, loader, scheduler};

/// Loaded versions that are kept, active or not.
const MAX_LOADED: usize = 128;

/// How a host is set up.
#[derive(Clone, Debug, Default)]
pub struct HostConfig {
    /// The folder of compiled code; none: compile at every start.
    pub cache_dir: Option<PathBuf>,
}

/// A component that comes with the product.
#[derive(Clone, Debug)]
pub struct Shipped<'a> {
    /// The plugin's name.
    pub name: &'a str,
    /// Its world.
    pub world: World,
    /// The component.
    pub bytes: Vec<u8>,
    /// Its settings.
    pub config: serde_json::Value,
    /// What its scores count.
    pub weight: u32,
}

/// One process's host of components. Clones are the same host.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

struct Inner {
    runner: Arc<Runner>,
    linker: Linker<GuestState>,
    cache: Option<Cache>,
    components: Mutex<HashMap<String, Component>>,
    loaded: Mutex<Vec<Arc<Version>>>,
    generation: AtomicU64,
    slots: Mutex<Slots<Arc<Version>>>,
    scheduler: Arc<ActiveSet<dyn SchedulerPolicy>>,
    federation: Arc<ActiveSet<dyn PlacementPolicy>>,
    cloud: Arc<ActiveSet<CloudGuest>>,
    admission: Arc<ActiveSet<dyn AdmissionPolicy>>,
    provider: Arc<Cloud>,
    changes: watch::Sender<u64>,
    me: Weak<Inner>,
}

impl Host {
    /// Starts a host without plugins.
    ///
    /// # Errors
    /// [`PluginError::Load`] if there can be no engine. A cache that cannot be opened is done
    /// without.
    pub fn new(config: &HostConfig) -> Result<Self, PluginError> {
        let runner = Arc::new(Runner::new()?);
        let linker = linker(&runner.engine);
        let linker = linker.map_err(|error| PluginError::Load(error.to_string()))?;
        let cache = config.cache_dir.as_deref().and_then(open_cache);
        let cloud = Arc::new(ActiveSet::default());
        let provider = Arc::new(Cloud::new(Arc::clone(&cloud)));
        Ok(Self(Arc::new_cyclic(|me| Inner {
            runner,
            linker,
            cache,
            components: Mutex::default(),
            loaded: Mutex::default(),
            generation: AtomicU64::new(0),
            slots: Mutex::default(),
            scheduler: Arc::default(),
            federation: Arc::default(),
            cloud,
            admission: Arc::default(),
            provider,
            changes: watch::Sender::new(1),
            me: Weak::clone(me),
        })))
    }

    /// Who decides where pods run; for `scheduler::PluginSet`.
    pub fn scheduler(&self) -> Arc<ActiveSet<dyn SchedulerPolicy>> {
        Arc::clone(&self.0.scheduler)
    }

    /// Who decides where workloads run; for `federation::PolicySet`.
    pub fn federation(&self) -> Arc<ActiveSet<dyn PlacementPolicy>> {
        Arc::clone(&self.0.federation)
    }

    /// Whoever is the cloud at the time of a call.
    pub fn cloud(&self) -> Arc<dyn CloudProvider> {
        Arc::clone(&self.0.provider) as Arc<dyn CloudProvider>
    }

    /// Who decides what objects may look like; for the API server's configuration.
    pub fn admission(&self) -> Arc<ActiveSet<dyn AdmissionPolicy>> {
        Arc::clone(&self.0.admission)
    }

    /// Loads and activates a component that comes with the product: it must not be left out when it
    /// fails. Blocks while it compiles.
    ///
    /// # Errors
    /// As [`PluginRuntime::load`].
    pub fn install(&self, shipped: Shipped<'_>) -> Result<Loaded, PluginError> {
        let request = LoadRequest {
            name: shipped.name.into(),
            world: shipped.world,
            digest: loader::digest_of(&shipped.bytes),
            bytes: shipped.bytes,
            config: shipped.config,
            limits: Limits::default(),
            weight: shipped.weight,
            constraints: serde_json::Value::Null,
            failure: FailurePolicy::Closed,
        };
        let loaded = self.0.load(request, true)?;
        self.0.activate(&loaded.identity)?;
        Ok(loaded)
    }
}

fn open_cache(dir: &Path) -> Option<Cache> {
    let opened = Cache::open(dir);
    opened
        .inspect_err(|error| {
            let dir = dir.display();
            tracing::warn!(%dir, %error, "failed to open the cache of compiled plugins");
        })
        .ok()
}

#[async_trait]
impl PluginRuntime for Host {
    async fn load(&self, request: LoadRequest) -> Result<Loaded, PluginError> {
        let inner = Arc::clone(&self.0);
        let loading = tokio::task::spawn_blocking(move || inner.load(request, false));
        loading.await.map_err(|error| PluginError::Load(error.to_string()))?
    }

    async fn activate(&self, identity: &Identity) -> Result<(), PluginError> {
        self.0.activate(identity)
    }

    async fn deactivate(&self, name: &str) -> Result<(), PluginError> {
        let stays = |v: &Arc<Version>| v.identity.name != name || v.setup.shipped;
        self.0.loaded.lock().retain(stays);
        let mut slots = self.0.slots.lock();
        if slots.deactivate(name) {
            self.0.publish(&slots);
        }
        Ok(())
    }

    fn status(&self) -> Vec<PluginState> {
        self.0.slots.lock().states()
    }

    async fn changed(&self, seen: u64) -> u64 {
        let mut changes = self.0.changes.subscribe();
        let waited = changes.wait_for(|now| *now != seen).await;
        waited.map_or(seen, |now| *now)
    }
}

impl Inner {
    fn load(&self, request: LoadRequest, shipped: bool) -> Result<Loaded, PluginError> {
        let start = Instant::now();
        loader::check_bytes(&request.bytes, &request.digest)?;
        let digest = request.digest.to_ascii_lowercase();
        let component = self.component(&request.bytes, &digest)?;
        loader::check_world(&self.runner.engine, &component, request.world)?;
        let version = self.version(request, digest, &component, shipped)?;
        let (guest_name, guest_version, notes) = inspect(&version)?;
        self.keep(&version);
        Ok(Loaded {
            identity: version.identity.clone(),
            guest_name,
            guest_version,
            notes,
            took_ms: start.elapsed().as_millis() as u64,
        })
    }

    /// Compiled once per process.
    fn component(&self, bytes: &[u8], digest: &str) -> Result<Component, PluginError> {
        if let Some(component) = self.components.lock().get(digest) {
            return Ok(component.clone());
        }
        let engine = &self.runner.engine;
        let component = loader::compile(engine, self.cache.as_ref(), bytes, digest)?;
        let mut components = self.components.lock();
        if components.len() >= MAX_LOADED {
            components.clear();
        }
        components.insert(digest.into(), component.clone());
        Ok(component)
    }

    /// The version for this request: the one that is there, if all is the same.
    fn version(
        &self,
        request: LoadRequest,
        digest: String,
        component: &Component,
        shipped: bool,
    ) -> Result<Arc<Version>, PluginError> {
        let setup = Setup {
            world: request.world,
            settings: settings(&request.config),
            limits: request.limits,
            weight: request.weight,
            constraints: request.constraints,
            failure: request.failure,
            shipped,
        };
        let same = |have: &&Arc<Version>| {
            let identity = &have.identity;
            identity.name == request.name && identity.digest == digest && have.setup == setup
        };
        if let Some(have) = self.loaded.lock().iter().find(same) {
            return Ok(Arc::clone(have));
        }
        let pre = self.linker.instantiate_pre(component).map_err(|error| PluginError::World {
            world: request.world.as_str().into(),
            detail: format!("{error:#}"),
        })?;
        let generation = self.generation.fetch_add(1, Ordering::SeqCst) + 1;
        let identity = Identity { name: request.name, digest, generation };
        Ok(Arc::new(Version::new(identity, setup, Arc::clone(&self.runner), pre)))
    }

    fn keep(&self, version: &Arc<Version>) {
        let mut loaded = self.loaded.lock();
        if !loaded.iter().any(|have| Arc::ptr_eq(have, version)) {
            loaded.push(Arc::clone(version));
        }
        let surplus = loaded.len().saturating_sub(MAX_LOADED);
        loaded.drain(..surplus);
    }

    fn activate(&self, identity: &Identity) -> Result<(), PluginError> {
        let known = self.loaded.lock().iter().find(|v| v.identity == *identity).cloned();
        let nobody = || PluginError::Nobody(format!("{} {}", identity.name, identity.digest));
        let version = known.ok_or_else(nobody)?;
        let mut slots = self.slots.lock();
        if slots.activate(version) {
            self.publish(&slots);
            tracing::info!(plugin = identity.name, digest = identity.digest, "plugin activated");
        }
        Ok(())
    }

    /// The swap: from the next decision on, `slots` decide.
    fn publish(&self, slots: &Slots<Arc<Version>>) {
        let fence: Weak<dyn Fence> = self.me.clone();
        let scheduler = slots.chains(World::Scheduler);
        swap(&self.scheduler, &scheduler, scheduler::make, &fence);
        let federation = slots.chains(World::Federation);
        swap(&self.federation, &federation, federation::make, &fence);
        swap(&self.cloud, &slots.chains(World::Cloud), cloud::make, &fence);
        let admission = slots.chains(World::Admission);
        swap(&self.admission, &admission, admission::make, &fence);
        self.changes.send_modify(|number| *number += 1);
    }
}

fn swap<I: ?Sized + 'static>(
    set: &ActiveSet<I>,
    chains: &[Vec<Arc<Version>>],
    make: fn(&Version) -> Result<Box<I>, PluginError>,
    fence: &Weak<dyn Fence>,
) {
    let sources = chains.iter().filter_map(|chain| Source::chain(chain, make, fence));
    set.swap(sources.map(|source| source as Arc<dyn PolicySource<I>>).collect());
}

fn settings(config: &serde_json::Value) -> Arc<[u8]> {
    match config {
        serde_json::Value::Null => Arc::default(),
        document => document.to_string().into_bytes().into(),
    }
}

fn inspect(version: &Version) -> Result<(String, String, Vec<String>), PluginError> {
    match version.setup.world {
        World::Scheduler => version.inspect::<bindings::scheduler::FilterScore>(),
        World::Federation => version.inspect::<bindings::federation::Policy>(),
        World::Cloud => version.inspect::<bindings::cloud::Provider>(),
        World::Admission => admission::inspect(version),
    }
}

impl Fence for Inner {
    fn fence(&self, identity: &Identity, error: &PluginError) {
        let mut slots = self.slots.lock();
        if slots.fence(identity, error) {
            self.publish(&slots);
            let (plugin, digest) = (&identity.name, &identity.digest);
            tracing::error!(plugin, digest, %error, "plugin fenced off, the last good one decides");
        }
    }
}

impl Versioned for Arc<Version> {
    fn identity(&self) -> &Identity {
        &self.identity
    }
    fn world(&self) -> World {
        self.setup.world
    }
    fn failure(&self) -> FailurePolicy {
        self.setup.failure
    }
    fn is_proven(&self) -> bool {
        Version::is_proven(self)
    }
    fn is_shipped(&self) -> bool {
        self.setup.shipped
    }
    fn counts(&self) -> (u64, u64) {
        (self.calls.load(Ordering::Relaxed), self.failures.load(Ordering::Relaxed))
    }
}
