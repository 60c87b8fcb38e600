//! A live instance: its store with bounds, what it may call, and calls into it.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use hansa_extension::PluginError;
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Engine, ResourceLimiter, Store, Trap};

use crate::bindings::{clock, config, log, metrics};
use crate::engine::{Runner, ticks_for};

/// Lines that a guest may log per second.
const LOG_LINES: u32 = 100;
/// Bytes of a guest's text that are kept: a log line, a registered name, a message.
const TEXT: usize = 4096;
/// Metrics that a guest may register.
const MAX_METRICS: usize = 50;
/// The most elements of a guest's table.
const MAX_TABLE: usize = 100_000;

/// What belongs to one instance on the host's side.
pub struct GuestState {
    name: Arc<str>,
    settings: Arc<[u8]>,
    max_memory: usize,
    out_of_memory: bool,
    last_words: Option<String>,
    log_window: (u64, u32),
    metrics: Vec<f64>,
    born: Instant,
}

impl GuestState {
    /// The state of a fresh instance.
    pub fn new(name: Arc<str>, settings: Arc<[u8]>, memory_mib: u32) -> Self {
        Self {
            name,
            settings,
            max_memory: memory_mib as usize * (1 << 20),
            out_of_memory: false,
            last_words: None,
            log_window: (0, 0),
            metrics: Vec::new(),
            born: Instant::now(),
        }
    }

    /// Counts a log line; false if there were too many in this second.
    fn may_log(&mut self) -> bool {
        let second = self.born.elapsed().as_secs();
        if self.log_window.0 != second {
            self.log_window = (second, 0);
        }
        self.log_window.1 += 1;
        self.log_window.1 <= LOG_LINES
    }
}

impl ResourceLimiter for GuestState {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.out_of_memory |= desired > self.max_memory;
        Ok(desired <= self.max_memory)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= MAX_TABLE)
    }
}

/// A linker that offers what every component may use, and nothing else.
///
/// # Errors
/// wasmtime's, if an interface is offered twice.
pub fn linker(engine: &Engine) -> wasmtime::Result<Linker<GuestState>> {
    let mut linker = Linker::new(engine);
    log::add_to_linker::<_, HasSelf<GuestState>>(&mut linker, |state| state)?;
    clock::add_to_linker::<_, HasSelf<GuestState>>(&mut linker, |state| state)?;
    metrics::add_to_linker::<_, HasSelf<GuestState>>(&mut linker, |state| state)?;
    config::add_to_linker::<_, HasSelf<GuestState>>(&mut linker, |state| state)?;
    Ok(linker)
}

/// A world's instance in its store, behind deadlines.
pub struct Guest<B> {
    runner: Arc<Runner>,
    store: Store<GuestState>,
    bindings: B,
    call_ms: u32,
}

impl<B> Guest<B> {
    /// Instantiates with `make` within `init_ms`; later calls have `call_ms`.
    ///
    /// # Errors
    /// The guest's start function failed.
    pub fn new(
        runner: Arc<Runner>,
        state: GuestState,
        (init_ms, call_ms): (u32, u32),
        make: impl FnOnce(&mut Store<GuestState>) -> wasmtime::Result<B>,
    ) -> Result<Self, PluginError> {
        let mut store = Store::new(&runner.engine, state);
        store.limiter(|state| state);
        let made = bounded(&runner, &mut store, init_ms, make)?;
        Ok(Self { runner, store, bindings: made, call_ms })
    }

    /// Calls within the deadline for calls.
    ///
    /// # Errors
    /// [`PluginError::Trap`], [`PluginError::Timeout`] or [`PluginError::Memory`]; the instance is
    /// then dead.
    pub fn call<R>(
        &mut self,
        call: impl FnOnce(&B, &mut Store<GuestState>) -> wasmtime::Result<R>,
    ) -> Result<R, PluginError> {
        self.call_within(self.call_ms, call)
    }

    /// Calls within `ms` milliseconds.
    ///
    /// # Errors
    /// As [`Guest::call`].
    pub fn call_within<R>(
        &mut self,
        ms: u32,
        call: impl FnOnce(&B, &mut Store<GuestState>) -> wasmtime::Result<R>,
    ) -> Result<R, PluginError> {
        let bindings = &self.bindings;
        bounded(&self.runner, &mut self.store, ms, |store| call(bindings, store))
    }
}

fn bounded<R>(
    runner: &Runner,
    store: &mut Store<GuestState>,
    ms: u32,
    call: impl FnOnce(&mut Store<GuestState>) -> wasmtime::Result<R>,
) -> Result<R, PluginError> {
    let _ticking = runner.ticking();
    // Before every call: a deadline that was set once is over some time.
    store.set_epoch_deadline(ticks_for(ms));
    call(store).map_err(|error| translate(&error, store.data(), ms))
}

fn translate(error: &wasmtime::Error, state: &GuestState, ms: u32) -> PluginError {
    if state.out_of_memory {
        return PluginError::Memory { limit_mib: (state.max_memory >> 20) as u64 };
    }
    match (error.downcast_ref::<Trap>(), &state.last_words) {
        (Some(Trap::Interrupt), _) => PluginError::Timeout { limit_ms: u64::from(ms) },
        (Some(trap), Some(words)) => PluginError::Trap(format!("{trap}: {words}")),
        (Some(trap), None) => PluginError::Trap(trap.to_string()),
        (None, _) => PluginError::Trap(error.root_cause().to_string()),
    }
}

/// As much of a guest's text as is kept.
pub fn cut(mut text: String) -> String {
    let end = text.floor_char_boundary(TEXT);
    text.truncate(end);
    text
}

impl log::Host for GuestState {
    fn enabled(&mut self, level: log::Level) -> bool {
        !matches!(level, log::Level::Trace | log::Level::Debug)
    }

    fn write(
        &mut self,
        level: log::Level,
        target: String,
        message: String,
        fields: Vec<(String, String)>,
    ) {
        let message = cut(message);
        if matches!(level, log::Level::Error) {
            self.last_words = Some(message.clone());
        }
        if !self.may_log() {
            return;
        }
        let (plugin, target) = (&*self.name, cut(target));
        match level {
            log::Level::Error => tracing::error!(plugin, target, ?fields, "{message}"),
            log::Level::Warn => tracing::warn!(plugin, target, ?fields, "{message}"),
            log::Level::Info => tracing::info!(plugin, target, ?fields, "{message}"),
            log::Level::Debug => tracing::debug!(plugin, target, ?fields, "{message}"),
            log::Level::Trace => tracing::trace!(plugin, target, ?fields, "{message}"),
        }
    }
}

impl clock::Host for GuestState {
    fn now_ms(&mut self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |age| age.as_millis() as u64)
    }

    fn mono_ns(&mut self) -> u64 {
        self.born.elapsed().as_nanos() as u64
    }
}

impl metrics::Host for GuestState {
    fn counter(&mut self, _name: String, _help: String) -> u32 {
        if self.metrics.len() < MAX_METRICS {
            self.metrics.push(0.0);
        }
        self.metrics.len() as u32
    }

    fn histogram(&mut self, name: String, help: String, _buckets: Vec<f64>) -> u32 {
        self.counter(name, help)
    }

    fn add(&mut self, id: u32, value: f64) {
        if let Some(sum) = (id as usize).checked_sub(1).and_then(|at| self.metrics.get_mut(at)) {
            *sum += value;
        }
    }
}

impl config::Host for GuestState {
    fn settings(&mut self) -> Vec<u8> {
        self.settings.to_vec()
    }

    fn get(&mut self, key: String) -> Option<String> {
        let document: serde_json::Value = serde_json::from_slice(&self.settings).ok()?;
        match document.get(&key)? {
            serde_json::Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }

    fn gate(&mut self, _name: String) -> bool {
        false
    }

    fn host_version(&mut self) -> (u32, u32, u32) {
        let part = |text: &str| text.parse().unwrap_or(0);
        (
            part(env!("CARGO_PKG_VERSION_MAJOR")),
            part(env!("CARGO_PKG_VERSION_MINOR")),
            part(env!("CARGO_PKG_VERSION_PATCH")),
        )
    }
}
