//! What the machine has, from `/proc`, `/sys` and `/etc`.

use std::collections::BTreeMap;
use std::path::Path;

use hansa_api::k8s_openapi::api::core::v1::NodeSystemInfo;

use crate::config::Config;

/// The Kubernetes version we speak.
pub const KUBELET_VERSION: &str = hansa_api::version::GIT_VERSION;

/// CPU, memory, disk and pods of the node; what the config claims comes first.
#[must_use]
pub fn capacity(config: &Config) -> BTreeMap<String, String> {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut all = BTreeMap::from([
        ("cpu".to_string(), cpus.to_string()),
        ("memory".to_string(), format!("{}Ki", memory_kib())),
        ("ephemeral-storage".to_string(), format!("{}Ki", disk_kib(&config.root_dir))),
        ("pods".to_string(), config.max_pods.to_string()),
    ]);
    all.extend(config.capacity.clone());
    all
}

fn memory_kib() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    meminfo(&text, "MemTotal").unwrap_or(0)
}

/// One figure of `/proc/meminfo`, KiB.
fn meminfo(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Bytes of memory in use by everything but caches.
#[must_use]
pub fn memory_working_set() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = meminfo(&text, "MemTotal").unwrap_or(0);
    total.saturating_sub(meminfo(&text, "MemAvailable").unwrap_or(0)) * 1024
}

fn disk_kib(path: &Path) -> u64 {
    let existing = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    nix::sys::statvfs::statvfs(existing).map_or(0, |fs| fs.blocks() * fs.fragment_size() / 1024)
}

/// The node's software and identity.
#[must_use]
pub fn system_info(runtime: &(String, String)) -> NodeSystemInfo {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_string();
    NodeSystemInfo {
        architecture: architecture().to_string(),
        boot_id: read("/proc/sys/kernel/random/boot_id"),
        container_runtime_version: format!("{}://{}", runtime.0, runtime.1),
        kernel_version: read("/proc/sys/kernel/osrelease"),
        kube_proxy_version: String::new(),
        kubelet_version: KUBELET_VERSION.to_string(),
        machine_id: read("/etc/machine-id"),
        operating_system: "linux".to_string(),
        os_image: os_image(&read("/etc/os-release")),
        system_uuid: read("/sys/class/dmi/id/product_uuid"),
        swap: None,
    }
}

fn os_image(release: &str) -> String {
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or("Linux").trim_matches('"').to_string()
}

/// The machine's architecture by its Go name, as labels have it.
#[must_use]
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_come_from_proc_and_claims_win() {
        assert_eq!(
            meminfo("MemTotal:       100 kB\nMemAvailable: 7 kB\n", "MemAvailable"),
            Some(7)
        );
        assert_eq!(os_image("NAME=x\nPRETTY_NAME=\"Debian 12\"\n"), "Debian 12");
        let mut config = Config::new("n", "/x", "/".into());
        config.capacity.insert("cpu".to_string(), "96".to_string());
        let all = capacity(&config);
        assert_eq!((all["cpu"].as_str(), all["pods"].as_str()), ("96", "110"));
        assert_ne!(all["ephemeral-storage"], "0Ki");
    }
}
