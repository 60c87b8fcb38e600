//! Builds the guests: `plugins/<world>/<name>` → `target/guests/<world>-<name>.wasm`, a component.
//!
//! Compiling for wasm32 needs a target that a plain toolchain may lack; [`Toolchain::find`] takes
//! the first way that works: it is installed, rustup adds it, or Debian's packages build it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use wit_component::ComponentEncoder;

use crate::setup;

const TARGET: &str = "wasm32-unknown-unknown";
const PROFILE: &str = "guest";
/// The folders under `plugins/` that hold guests.
const WORLDS: [&str; 4] = ["scheduler", "cloud", "federation", "admission"];
/// Debian 12's Rust 1.96 with its library sources, and a linker that knows wasm.
const DEBIAN: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "lld-22"];

/// Builds the named guests (`scheduler-node-name`, …; all of them if `names` is empty) under the
/// repository `root`, and returns the components' files. What is up to date is not built again.
///
/// # Errors
/// There is no way to get a wasm32 target, a guest does not compile, or a name is unknown.
pub fn build_guests(root: &Path, names: &[&str]) -> Result<Vec<PathBuf>> {
    let known = discover(root)?;
    for name in names {
        ensure!(known.iter().any(|have| have == name), "no guest is called {name:?}");
    }
    let wanted: Vec<String> =
        known.into_iter().filter(|name| names.is_empty() || names.contains(&&**name)).collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let packages: Vec<_> = wanted.iter().map(|name| format!("hansa-guest-{name}")).collect();
    compile(root, &Toolchain::find()?, &packages)?;
    wanted.iter().zip(&packages).map(|(name, package)| componentize(root, package, name)).collect()
}

/// Builds any package that is a component, such as a sample, into `target/guests/<name>.wasm`.
///
/// # Errors
/// As [`build_guests`].
pub fn build_component(root: &Path, package: &str, name: &str) -> Result<PathBuf> {
    compile(root, &Toolchain::find()?, &[package.to_owned()])?;
    componentize(root, package, name)
}

/// Makes sure that there is a wasm32 target, installing one if need be.
///
/// # Errors
/// There is no way to get one.
pub fn ensure_target() -> Result<()> {
    Toolchain::find().map(drop)
}

/// The names of all guests, `<world>-<name>`, in order. A crate beside them that is no guest (what
/// guests share, what tests them) has another kind of package name.
pub fn discover(root: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for world in WORLDS {
        let Ok(entries) = fs::read_dir(root.join("plugins").join(world)) else { continue };
        for entry in entries {
            let entry = entry.with_context(|| format!("list plugins/{world}"))?;
            let name = format!("{world}-{}", entry.file_name().to_string_lossy());
            let manifest = fs::read_to_string(entry.path().join("Cargo.toml")).unwrap_or_default();
            if manifest.contains(&format!("\"hansa-guest-{name}\"")) {
                names.push(name);
            }
        }
    }
    names.sort();
    Ok(names)
}

/// A cargo that can compile for wasm32.
enum Toolchain {
    /// The one we run under has the target.
    Ready,
    /// Debian's, which builds the standard library itself.
    Debian,
}

impl Toolchain {
    fn find() -> Result<Self> {
        if has_target() {
            return Ok(Self::Ready);
        }
        if Command::new("rustup").arg("--version").output().is_ok() {
            say("the Rust target wasm32-unknown-unknown is missing: rustup target add");
            let added = Command::new("rustup").args(["target", "add", TARGET]).status();
            if added.is_ok_and(|status| status.success()) && has_target() {
                return Ok(Self::Ready);
            }
        }
        install_debian()?;
        Ok(Self::Debian)
    }

    fn cargo(&self, root: &Path) -> Command {
        let mut cargo = match self {
            Self::Ready => Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into())),
            Self::Debian => debian_cargo(),
        };
        cargo.current_dir(root).args(["build", "--quiet", "--profile", PROFILE]);
        cargo.args(["--target", TARGET]);
        cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", "-Ctarget-feature=+simd128");
        if matches!(self, Self::Debian) {
            cargo.arg("-Zbuild-std=std,panic_abort");
        }
        cargo
    }
}

fn debian_cargo() -> Command {
    let mut cargo = Command::new("/usr/bin/cargo");
    cargo.env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1");
    cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", "wasm-ld-22");
    // A rustup proxy would hand every inner call back to the toolchain without the target.
    cargo.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
    cargo
}

/// Whether the toolchain that we run under has the target's libraries.
fn has_target() -> bool {
    let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
    let asked = Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).output();
    let Ok(output) = asked else { return false };
    let dir = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let mut files = fs::read_dir(dir).into_iter().flatten().flatten();
    output.status.success()
        && files.any(|file| file.file_name().to_string_lossy().starts_with("libstd-"))
}

fn install_debian() -> Result<()> {
    let installed = Command::new("dpkg").arg("-s").args(DEBIAN).output();
    if installed.is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    say(&format!("no wasm32 target and no rustup: installing {} with apt-get", DEBIAN.join(" ")));
    setup::apt_install(&DEBIAN).context("get a wasm32 target: not installed, and no rustup")
}

fn compile(root: &Path, toolchain: &Toolchain, packages: &[String]) -> Result<()> {
    let mut cargo = toolchain.cargo(root);
    for package in packages {
        cargo.args(["-p", package]);
    }
    let status = cargo.status().context("run cargo for the guests")?;
    ensure!(status.success(), "compile the guests: cargo ended with {status}");
    Ok(())
}

/// Wraps a core module into a component and writes its digest beside it.
fn componentize(root: &Path, package: &str, name: &str) -> Result<PathBuf> {
    let out = root.join("target/guests");
    fs::create_dir_all(&out).with_context(|| format!("create {}", out.display()))?;
    let file = format!("{}.wasm", package.replace('-', "_"));
    let module = root.join("target").join(TARGET).join(PROFILE).join(file);
    let component = out.join(name).with_extension("wasm");
    let digest = component.with_extension("sha256");
    if is_newer(&digest, &module)? && component.is_file() {
        return Ok(component);
    }
    let bytes = fs::read(&module).with_context(|| format!("read {}", module.display()))?;
    let encoded = encode(&bytes).with_context(|| format!("make a component of {name}"))?;
    fs::write(&component, &encoded).with_context(|| format!("write {}", component.display()))?;
    fs::write(&digest, digest_of(&encoded) + "\n")
        .with_context(|| format!("write {}", digest.display()))?;
    Ok(component)
}

fn encode(module: &[u8]) -> Result<Vec<u8>> {
    ComponentEncoder::default().validate(true).module(module)?.encode()
}

/// `sha256:<hex>`, as a `Plugin` object writes it.
pub fn digest_of(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn is_newer(made: &Path, from: &Path) -> Result<bool> {
    let Ok(made) = fs::metadata(made) else { return Ok(false) };
    let from = fs::metadata(from).with_context(|| format!("look at {}", from.display()))?;
    Ok(made.modified()? >= from.modified()?)
}

fn say(what: &str) {
    eprintln!("guests: {what}");
}
