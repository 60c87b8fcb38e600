//! What has to be on the machine, and how it gets there: Debian's packages and a wasm target.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{guests, run};

/// A program, the package that brings it, and what it is for.
struct Need {
    program: &'static str,
    package: &'static str,
    purpose: &'static str,
}

const DEMO: [Need; 3] = [
    Need { program: "cc", package: "gcc", purpose: "builds the C and assembly parts of TLS" },
    Need { program: "kubectl", package: "kubernetes-client", purpose: "drives the clusters" },
    Need { program: "curl", package: "curl", purpose: "asks the sample's Service" },
];

const TESTS: [Need; 9] = [
    Need {
        program: "etcd",
        package: "etcd-server",
        purpose: "the store that ours is held against",
    },
    Need { program: "containerd", package: "containerd", purpose: "runs the kubelet's real pods" },
    Need { program: "runc", package: "runc", purpose: "runs containerd's containers" },
    Need { program: "busybox", package: "busybox-static", purpose: "the image of those pods" },
    Need { program: "ip", package: "iproute2", purpose: "makes network namespaces" },
    Need { program: "openssl", package: "openssl", purpose: "reads certificates as others do" },
    Need { program: "python3", package: "python3-venv", purpose: "runs a client of PyPI" },
    Need { program: "npm", package: "npm", purpose: "runs a client of npm" },
    Need { program: "git", package: "git", purpose: "tells which files are the project's" },
];

/// Installs what the demo needs.
///
/// # Errors
/// If something is missing and cannot be installed.
pub fn for_demo() -> Result<()> {
    install(DEMO.iter())?;
    wasm_target()
}

/// Installs what the tests need.
///
/// # Errors
/// If something is missing and cannot be installed.
pub fn for_tests(_root: &Path) -> Result<()> {
    install(DEMO.iter().chain(&TESTS))?;
    wasm_target()
}

/// Makes sure that guests can be compiled.
///
/// # Errors
/// If there is no way to a wasm32 target.
pub fn wasm_target() -> Result<()> {
    guests::ensure_target().context("failed to get a wasm32 target")
}

fn install<'a>(needs: impl Iterator<Item = &'a Need>) -> Result<()> {
    let missing: Vec<_> = needs.filter(|need| !run::is_installed(need.program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for need in &missing {
        println!("{} is missing: installing {} ({})", need.program, need.package, need.purpose);
    }
    let packages: Vec<_> = missing.iter().map(|need| need.package).collect();
    apt_install(&packages)?;
    let still: Vec<_> = missing.iter().filter(|need| !run::is_installed(need.program)).collect();
    if let Some(need) = still.first() {
        bail!("{} was installed, but there is no {}", need.package, need.program);
    }
    Ok(())
}

/// Installs Debian's packages.
///
/// # Errors
/// If apt-get fails, or there is no way to run it as root.
pub fn apt_install(packages: &[&str]) -> Result<()> {
    apt(&["update", "-qq"])?;
    let mut words = vec!["install", "-y", "-qq", "--no-install-recommends"];
    words.extend(packages);
    apt(&words)
}

/// apt-get as root: directly, or through sudo.
///
/// # Errors
/// If we are not root and there is no sudo, or apt-get fails.
fn apt(words: &[&str]) -> Result<()> {
    let mut command = if is_root() {
        Command::new("apt-get")
    } else if run::is_installed("sudo") {
        let mut sudo = Command::new("sudo");
        sudo.arg("apt-get");
        sudo
    } else {
        bail!("root is needed once, to run: apt-get {}", words.join(" "));
    };
    command.args(words).env("DEBIAN_FRONTEND", "noninteractive");
    command.stdout(std::process::Stdio::null());
    run::ok(&mut command)
}

fn is_root() -> bool {
    run::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}
