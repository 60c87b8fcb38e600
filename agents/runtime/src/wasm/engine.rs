//! One engine for all components, and their compiled form cached by digest.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Weak;
use std::time::Duration;

use anyhow::{Context, bail};
use parking_lot::Mutex;
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine};
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use super::guest::Guest;

/// How often a running guest gives way to others, and notices that it should end.
pub const TICK: Duration = Duration::from_millis(10);

/// A component ready to be instantiated.
#[derive(Clone)]
pub enum Program {
    /// Exports `wasi:cli/run`: runs to completion.
    Command(CommandPre<Guest>),
    /// Exports `wasi:http/incoming-handler`: answers requests.
    Proxy(ProxyPre<Guest>),
}

/// Compiles components, once each: in memory by digest, on disk by digest and engine version.
pub struct Compiler {
    engine: Engine,
    linker: Linker<Guest>,
    cache: PathBuf,
    programs: Mutex<HashMap<String, Program>>,
    _ticker: Ticker,
}

impl Compiler {
    /// A compiler whose disk cache is `cache`, readable by nobody else: what is in there is
    /// trusted as machine code.
    ///
    /// # Errors
    /// The engine cannot be set up or the folder cannot be made.
    pub fn new(cache: &Path) -> anyhow::Result<Self> {
        let mut config = Config::new();
        config.wasm_component_model(true).epoch_interruption(true);
        let engine = Engine::new(&config).map_err(plain)?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).map_err(plain)?;
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker).map_err(plain)?;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(cache)
            .with_context(|| format!("make {}", cache.display()))?;
        let ticker = Ticker::start(&engine);
        let (cache, programs) = (cache.to_path_buf(), Mutex::default());
        Ok(Self { engine, linker, cache, programs, _ticker: ticker })
    }

    /// The program in `blob`. Slow the first time: call it off the async threads.
    ///
    /// # Errors
    /// The file is no component, or one that exports neither world, or that imports what the
    /// runtime does not offer.
    pub fn load(&self, digest: &str, blob: &Path) -> anyhow::Result<Program> {
        if let Some(program) = self.programs.lock().get(digest) {
            return Ok(program.clone());
        }
        let component = self.component(digest, blob)?;
        let program = self.link(&component)?;
        self.programs.lock().insert(digest.to_string(), program.clone());
        Ok(program)
    }

    fn component(&self, digest: &str, blob: &Path) -> anyhow::Result<Component> {
        let cached = self.cache.join(format!("{digest}-{:016x}.cwasm", self.engine_hash()));
        if cached.exists() {
            match load_compiled(&self.engine, &cached) {
                Ok(component) => return Ok(component),
                Err(error) => tracing::warn!(%error, "compiling anew: the cached form is no good"),
            }
        }
        let bytes = std::fs::read(blob).with_context(|| format!("read {}", blob.display()))?;
        let compiled = self.engine.precompile_component(&bytes).map_err(plain)?;
        let beside = cached.with_extension(format!("{}.tmp", uuid::Uuid::new_v4().simple()));
        std::fs::write(&beside, compiled).context("write the compiled component")?;
        std::fs::rename(&beside, &cached).context("write the compiled component")?;
        load_compiled(&self.engine, &cached).map_err(plain)
    }

    fn engine_hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.engine.precompile_compatibility_hash().hash(&mut hasher);
        hasher.finish()
    }

    fn link(&self, component: &Component) -> anyhow::Result<Program> {
        let ty = component.component_type();
        let exports: Vec<_> = ty.exports(&self.engine).map(|(name, _)| name.to_string()).collect();
        let has = |interface: &str| exports.iter().any(|name| name.starts_with(interface));
        let pre = self.linker.instantiate_pre(component).map_err(plain)?;
        if has("wasi:http/incoming-handler@0.2") {
            return Ok(Program::Proxy(ProxyPre::new(pre).map_err(plain)?));
        }
        if has("wasi:cli/run@0.2") {
            return Ok(Program::Command(CommandPre::new(pre).map_err(plain)?));
        }
        bail!(
            "the component exports neither wasi:http/incoming-handler@0.2 nor wasi:cli/run@0.2, \
             but {exports:?}"
        )
    }
}

/// wasmtime's error with its causes, as one of ours.
pub fn plain(error: wasmtime::Error) -> anyhow::Error {
    anyhow::anyhow!("{error:#}")
}

/// Maps a compiled component into memory.
#[expect(unsafe_code, reason = "wasmtime cannot prove that a file is its own machine code")]
fn load_compiled(engine: &Engine, path: &Path) -> wasmtime::Result<Component> {
    // SAFETY: the folder is ours alone (mode 0700) and files in it are written whole by
    // `Compiler::component` from the engine's own output, then never changed; wasmtime checks
    // that version and settings are this engine's.
    unsafe { Component::deserialize_file(engine, path) }
}

/// Advances the engine's epoch until dropped.
struct Ticker {
    _alive: std::sync::Arc<()>,
}

impl Ticker {
    fn start(engine: &Engine) -> Self {
        let alive = std::sync::Arc::new(());
        let (engine, watched): (_, Weak<()>) = (engine.weak(), std::sync::Arc::downgrade(&alive));
        std::thread::Builder::new()
            .name("wasm-epoch".to_string())
            .spawn(move || {
                while watched.strong_count() > 0 {
                    std::thread::sleep(TICK);
                    let Some(engine) = engine.upgrade() else {
                        return;
                    };
                    engine.increment_epoch();
                }
            })
            .expect("a thread at start-up");
        Self { _alive: alive }
    }
}
