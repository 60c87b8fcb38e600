//! A containerd of one's own: its root, state and socket in one folder, with runc. Pods use the
//! host's network, so that no CNI plugin is needed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::image;

/// The image that every containerd of ours has.
pub const BUSYBOX: &str = "hansa.dev/busybox:test";

const PAUSE: &str = "hansa.dev/pause:test";

/// How long containerd may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A network so that the node is ready: pods on the host's network never ask for it.
const NETWORK: &str =
    r#"{"cniVersion": "0.4.0", "name": "none", "plugins": [{"type": "loopback"}]}"#;

/// Runs containerd until standard input ends, which it does when the test process is gone for
/// whatever reason. Then ends what still runs in it, and leaves nothing mounted.
const KEEPER: &str = r#"
trap '' INT
dir=$1
containerd --config "$dir/config.toml" </dev/null >/dev/null 2>"$dir/containerd.log" &
child=$!
read -r _
own() { ctr --address "$dir/c.sock" --namespace k8s.io "$@" 2>/dev/null; }
for round in 1 2 3 4 5 6 7 8; do
    tasks=$(own tasks list -q) containers=$(own containers list -q)
    [ -z "$tasks$containers" ] && break
    for task in $tasks; do own tasks delete --force "$task"; done
    for container in $containers; do own containers delete "$container"; done
done >/dev/null
kill $child
wait $child
while read -r _ at _; do
    case $at in "$dir"/*) umount -l "$at" 2>/dev/null;; esac
done </proc/mounts
rm -rf "$dir/root" "$dir/state"
"#;

/// A running containerd. With this value it ends, and so does all that runs in it.
pub struct Containerd {
    keeper: Child,
    dir: PathBuf,
}

/// What must be there; the message names the Debian packages.
fn missing() -> Option<String> {
    let on_path = |name: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut dirs: Vec<_> = std::env::split_paths(&path).collect();
        dirs.extend(["/usr/sbin".into(), "/sbin".into()]);
        dirs.iter().any(|dir| dir.join(name).exists())
    };
    let needs = [
        (on_path("containerd") && on_path("ctr"), "containerd"),
        (on_path("runc"), "runc"),
        (Path::new("/bin/busybox").exists(), "busybox-static"),
    ];
    let missing: Vec<_> = needs.iter().filter(|(there, _)| !there).map(|(_, name)| *name).collect();
    (!missing.is_empty()).then(|| format!("install the packages: {}", missing.join(" ")))
}

impl Containerd {
    /// Starts one in `dir` and imports the image [`BUSYBOX`].
    ///
    /// # Errors
    /// A package is missing (the text names it), we are not root, or containerd does not start.
    pub fn start(dir: &Path) -> Result<Self, String> {
        if let Some(text) = missing() {
            return Err(text);
        }
        if !nix::unistd::geteuid().is_root() {
            let text =
                "containerd with runc needs root, and the packages containerd runc busybox-static";
            return Err(text.to_string());
        }
        let text = |error: std::io::Error| format!("failed to start containerd: {error}");
        std::fs::create_dir_all(dir.join("cni")).map_err(text)?;
        std::fs::write(dir.join("cni/10-none.conflist"), NETWORK).map_err(text)?;
        std::fs::write(dir.join("config.toml"), settings(dir)).map_err(text)?;
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(text)?;
        let own = Self { keeper, dir: dir.to_path_buf() };
        own.wait()?;
        own.import(&image::archive(&[BUSYBOX, PAUSE], &["/bin/busybox", "sleep", "2147483647"]))?;
        Ok(own)
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.join("c.sock")
    }

    /// Runs `ctr` in the namespace that CRI uses; its output.
    ///
    /// # Errors
    /// It failed; the text is its own.
    pub fn ctr(&self, args: &[&str]) -> Result<String, String> {
        let ran = Command::new("ctr")
            .arg("--address")
            .arg(self.socket())
            .args(["--namespace", "k8s.io"])
            .args(args)
            .output()
            .map_err(|error| error.to_string())?;
        if !ran.status.success() {
            return Err(String::from_utf8_lossy(&ran.stderr).into_owned());
        }
        Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
    }

    /// Imports an archive of images.
    ///
    /// # Errors
    /// containerd says no.
    pub fn import(&self, archive: &[u8]) -> Result<(), String> {
        let path = self.dir.join("image.tar");
        std::fs::write(&path, archive).map_err(|error| error.to_string())?;
        let path = path.display().to_string();
        self.ctr(&["images", "import", "--snapshotter", "native", &path]).map(drop)
    }

    /// The end of its log, for a failing test.
    #[must_use]
    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(self.dir.join("containerd.log")).unwrap_or_default();
        let lines: Vec<_> = text.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    fn wait(&self) -> Result<(), String> {
        let from = Instant::now();
        while let Err(error) = self.ctr(&["version"]) {
            if from.elapsed() > PATIENCE {
                return Err(format!("containerd does not answer: {error}\n{}", self.log()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

fn settings(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        r#"version = 2
root = "{dir}/root"
state = "{dir}/state"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp",
]
[grpc]
  address = "{dir}/c.sock"
[ttrpc]
  address = "{dir}/t.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    conf_dir = "{dir}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"#
    )
}
