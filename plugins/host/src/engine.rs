//! The engine, and the clock that stops guests which do not return.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use hansa_extension::PluginError;
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// The clock's period, milliseconds. Deadlines are counted in ticks.
pub const TICK_MS: u64 = 2;
/// Ticks without a call after which the clock stops, so that an idle process is idle.
const LINGER_TICKS: u32 = 50;
/// The most guest instances that live at once.
const MAX_INSTANCES: u32 = 256;
/// The stack of a guest, bytes.
const STACK: usize = 1 << 20;

/// The engine with its clock. Dropping it stops the clock.
pub struct Runner {
    /// wasmtime's engine.
    pub engine: Engine,
    clock: Arc<Clock>,
    ticker: Thread,
}

/// What the ticker's thread and the callers share.
#[derive(Default)]
struct Clock {
    in_flight: AtomicU64,
    calls: AtomicU64,
    parked: AtomicBool,
    stop: AtomicBool,
}

/// While it lives, the clock ticks.
pub struct Ticking<'a>(&'a Clock);

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Runner {
    /// Makes the engine and starts its clock on a thread of its own.
    ///
    /// # Errors
    /// [`PluginError::Load`] if the machine refuses.
    pub fn new() -> Result<Self, PluginError> {
        let engine = Engine::new(&config(true)).or_else(|_| Engine::new(&config(false)));
        let engine = engine.map_err(|error| PluginError::Load(format!("engine: {error}")))?;
        let clock = Arc::new(Clock::default());
        let (ticked, shared) = (engine.clone(), Arc::clone(&clock));
        let handle = thread::Builder::new()
            .name("plugin-clock".into())
            .spawn(move || tick(&ticked, &shared))
            .map_err(|error| PluginError::Load(format!("the clock's thread: {error}")))?;
        Ok(Self { engine, clock, ticker: handle.thread().clone() })
    }

    /// Keeps the clock ticking for the time of a call.
    pub fn ticking(&self) -> Ticking<'_> {
        self.clock.in_flight.fetch_add(1, Ordering::SeqCst);
        self.clock.calls.fetch_add(1, Ordering::Relaxed);
        if self.clock.parked.load(Ordering::SeqCst) {
            self.ticker.unpark();
        }
        Ticking(&self.clock)
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.clock.stop.store(true, Ordering::SeqCst);
        self.ticker.unpark();
    }
}

/// Ticks that are at least `ms` milliseconds: the first one may come at once.
pub fn ticks_for(ms: u32) -> u64 {
    u64::from(ms).div_ceil(TICK_MS) + 1
}

fn tick(engine: &Engine, clock: &Clock) {
    let (mut seen, mut idle) = (0, 0);
    while !clock.stop.load(Ordering::SeqCst) {
        thread::sleep(Duration::from_millis(TICK_MS));
        engine.increment_epoch();
        let calls = clock.calls.load(Ordering::Relaxed);
        idle = if calls == seen { idle + 1 } else { 0 };
        seen = calls;
        if idle >= LINGER_TICKS {
            park(clock);
        }
    }
}

/// Sleeps until the next call. A call that begins while we park sees `parked` and wakes us, or we
/// see it in flight.
fn park(clock: &Clock) {
    clock.parked.store(true, Ordering::SeqCst);
    while clock.in_flight.load(Ordering::SeqCst) == 0 && !clock.stop.load(Ordering::SeqCst) {
        thread::park();
    }
    clock.parked.store(false, Ordering::SeqCst);
}

fn config(pooling: bool) -> Config {
    let mut config = Config::new();
    // Costs 350 ns a call, and some dependency may switch the default on.
    config.concurrency_support(false);
    config.wasm_component_model(true);
    config.epoch_interruption(true);
    config.max_wasm_stack(STACK);
    if pooling {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool()));
    }
    config
}

fn pool() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(MAX_INSTANCES)
        .total_core_instances(MAX_INSTANCES * 4)
        .total_memories(MAX_INSTANCES)
        .total_tables(MAX_INSTANCES * 4)
        .max_memories_per_component(1)
        .linear_memory_keep_resident(0);
    pool
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_never_shorter_than_asked() {
        assert_eq!(ticks_for(1), 2);
        assert_eq!(ticks_for(250), 126);
    }
}
