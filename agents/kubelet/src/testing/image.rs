//! An OCI image of Debian's `busybox-static`, made by hand: no registry, no builder.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Commands of busybox that the image links.
const COMMANDS: [&str; 12] = [
    "sh", "sleep", "cat", "echo", "httpd", "tar", "ls", "wget", "mkdir", "test", "env", "hostname",
];

/// An archive for `ctr images import` that holds one image under these names.
///
/// # Panics
/// There is no `/bin/busybox`.
#[must_use]
pub fn archive(names: &[&str], entrypoint: &[&str]) -> Vec<u8> {
    let busybox = std::fs::read("/bin/busybox").expect("the package busybox-static is installed");
    let layer = layer(&busybox);
    let architecture = crate::machine::architecture();
    let config = json!({
        "architecture": architecture, "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Entrypoint": entrypoint},
        "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
    });
    let config = config.to_string().into_bytes();
    let kind = |name: &str| format!("application/vnd.oci.image.{name}");
    let manifest = json!({
        "schemaVersion": 2, "mediaType": kind("manifest.v1+json"),
        "config": descriptor(&kind("config.v1+json"), &config),
        "layers": [descriptor(&kind("layer.v1.tar"), &layer)],
    });
    let manifest = manifest.to_string().into_bytes();
    let entries: Vec<Value> = names
        .iter()
        .map(|name| {
            let mut entry = descriptor(&kind("manifest.v1+json"), &manifest);
            entry["annotations"] = json!({"io.containerd.image.name": name});
            entry["platform"] = json!({"architecture": architecture, "os": "linux"});
            entry
        })
        .collect();
    let index = json!({"schemaVersion": 2, "manifests": entries}).to_string();
    let mut tar = Tar::default();
    tar.file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#);
    tar.file("index.json", 0o644, index.as_bytes());
    for blob in [&layer, &config, &manifest] {
        let name = digest(blob).replace(':', "/");
        tar.file(&format!("blobs/{name}"), 0o644, blob);
    }
    tar.end()
}

fn layer(busybox: &[u8]) -> Vec<u8> {
    let mut tar = Tar::default();
    for dir in ["bin/", "tmp/", "etc/", "dev/", "proc/", "sys/"] {
        tar.entry(dir, 0o755, b'5', "", &[]);
    }
    tar.file("bin/busybox", 0o755, busybox);
    for command in COMMANDS {
        tar.entry(&format!("bin/{command}"), 0o777, b'2', "busybox", &[]);
    }
    tar.end()
}

fn digest(bytes: &[u8]) -> String {
    let hex: Vec<_> = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{}", hex.concat())
}

fn descriptor(kind: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()})
}

/// Writes a ustar archive.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn file(&mut self, name: &str, mode: u32, data: &[u8]) {
        self.entry(name, mode, b'0', "", data);
    }

    fn entry(&mut self, name: &str, mode: u32, kind: u8, link: &str, data: &[u8]) {
        let mut head = [0_u8; 512];
        let mut put =
            |at: usize, text: &str| head[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, name);
        put(100, &format!("{mode:07o}"));
        put(108, "0000000");
        put(116, "0000000");
        put(124, &format!("{:011o}", data.len()));
        put(136, "00000000000");
        put(148, "        ");
        put(157, link);
        put(257, "ustar");
        put(263, "00");
        head[156] = kind;
        let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
        head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&head);
        self.0.extend_from_slice(data);
        let rest = self.0.len() % 512;
        self.0.resize(self.0.len() + if rest == 0 { 0 } else { 512 - rest }, 0);
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}
