//! A local cluster on disk: its directory, its settings, its state, and whether it runs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use hansa_component::ComponentState;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::cli::Which;
use crate::network::Network;

/// What a cluster was made with; kept in `cluster.json` and used again at every start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// The cluster's name.
    pub name: String,
    /// A federation hub: no nodes, no workload controllers.
    pub hub: bool,
    /// Region label of its nodes.
    pub region: String,
    /// Zone label of its nodes.
    pub zone: String,
    /// The cloud provider's name.
    pub provider: String,
    /// Number of nodes.
    pub nodes: u16,
    /// `wasm`, `hollow`, `containerd` or `crio`.
    pub runtime: String,
    /// The socket of a CRI runtime outside of this process.
    pub cri_endpoint: Option<String>,
    /// etcd's endpoints; empty is the embedded store.
    pub etcd_servers: Vec<String>,
    /// The API server's port on 127.0.0.1.
    pub api_port: u16,
    /// The number of its /16.
    pub network: u8,
}

/// How far the process is; kept in `state.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The process.
    pub pid: u32,
    /// Everything answers.
    pub ready: bool,
    /// What is waited for, while not ready.
    pub waiting_for: String,
    /// Components by name, as JSON of [`ComponentState`].
    pub components: BTreeMap<String, serde_json::Value>,
}

/// A cluster's directory.
#[derive(Clone, Debug)]
pub struct Instance {
    /// The cluster's name.
    pub name: String,
    /// The directory.
    pub dir: PathBuf,
}

/// The right to run a cluster: one process at a time holds it.
pub struct RunLock(#[allow(dead_code)] Flock<File>);

impl Instance {
    /// The instance that the arguments name.
    ///
    /// # Errors
    /// A name that is no DNS label, or no home to put data in.
    pub fn of(which: &Which) -> Result<Self> {
        check_name(&which.name)?;
        let dir = match &which.data_dir {
            Some(dir) => std::path::absolute(dir)?,
            None => pointed_to(&home()?.join(&which.name)),
        };
        Ok(Self { name: which.name.clone(), dir })
    }

    /// All clusters of this user, by name.
    ///
    /// # Errors
    /// If there is no home to look in.
    pub fn all() -> Result<Vec<Self>> {
        let Ok(entries) = fs::read_dir(home()?) else { return Ok(Vec::new()) };
        let mut all: Vec<_> = entries
            .filter_map(Result::ok)
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let instance = Self { name, dir: pointed_to(&entry.path()) };
                instance.settings_path().exists().then_some(instance)
            })
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Makes the directory, readable by its owner only; one elsewhere than in the usual place is
    /// noted there, so that other commands find it by the cluster's name.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn create(&self) -> Result<()> {
        use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
        let make = |dir: &Path| fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        make(&self.dir).with_context(|| format!("failed to create {}", self.dir.display()))?;
        fs::set_permissions(&self.dir, fs::Permissions::from_mode(0o700))?;
        let usual = home()?.join(&self.name);
        if usual != self.dir {
            make(&usual)?;
            fs::write(usual.join(POINTER), self.dir.as_os_str().as_encoded_bytes())?;
        }
        Ok(())
    }

    /// The settings of a cluster that was started before.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn settings(&self) -> Result<Option<Settings>> {
        let path = self.settings_path();
        match fs::read(&path) {
            Ok(bytes) => {
                let settings = serde_json::from_slice(&bytes);
                settings.map(Some).with_context(|| format!("failed to read {}", path.display()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("failed to read {}", path.display())),
        }
    }

    /// The settings, of a cluster that must exist.
    ///
    /// # Errors
    /// If there is no such cluster.
    pub fn existing(&self) -> Result<Settings> {
        match self.settings()? {
            Some(settings) => Ok(settings),
            None => bail!("no cluster named {} in {}", self.name, self.dir.display()),
        }
    }

    /// Keeps the settings.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn save_settings(&self, settings: &Settings) -> Result<()> {
        replace_file(&self.settings_path(), &serde_json::to_vec_pretty(settings)?)
    }

    /// The running process's state; `None` if it does not run.
    pub fn state(&self) -> Option<State> {
        let bytes = fs::read(self.dir.join("state.json")).ok()?;
        let state: State = serde_json::from_slice(&bytes).ok()?;
        self.is_running().then_some(state)
    }

    /// Forgets the state of a process that is gone, before another one is started.
    ///
    /// # Errors
    /// If the file cannot be removed.
    pub fn clear_state(&self) -> Result<()> {
        match fs::remove_file(self.dir.join("state.json")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Publishes the state.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save_state(
        &self,
        ready: bool,
        waiting_for: &str,
        components: &BTreeMap<String, ComponentState>,
    ) -> Result<()> {
        let components = components
            .iter()
            .map(|(name, state)| Ok((name.clone(), serde_json::to_value(state)?)))
            .collect::<Result<_>>()?;
        let pid = std::process::id();
        let state = State { pid, ready, waiting_for: waiting_for.into(), components };
        replace_file(&self.dir.join("state.json"), &serde_json::to_vec_pretty(&state)?)
    }

    /// Whether a process runs this cluster.
    pub fn is_running(&self) -> bool {
        // A shared lock: commands that look at the same time do not mistake each other for it.
        let file = File::open(self.dir.join(LOCK));
        file.is_ok_and(|file| Flock::lock(file, FlockArg::LockSharedNonblock).is_err())
    }

    /// Takes the right to run the cluster.
    ///
    /// # Errors
    /// If another process has it.
    pub fn lock(&self) -> Result<RunLock> {
        let path = self.dir.join(LOCK);
        let mut file = File::options().create(true).truncate(false).write(true).open(&path)?;
        for _ in 0..LOCK_TRIES {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(held) => return Ok(RunLock(held)),
                // Whoever only looks lets go at once.
                Err((back, _)) => file = back,
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        bail!("failed to lock {}: the cluster runs already", path.display())
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("admin.conf")
    }

    /// The log.
    pub fn log(&self) -> PathBuf {
        self.dir.join("hansa.log")
    }

    /// Where a node keeps its things.
    pub fn node_dir(&self, node: &str) -> PathBuf {
        self.dir.join("nodes").join(node)
    }

    /// Removes the cluster and everything that it stored.
    ///
    /// # Errors
    /// If something cannot be removed.
    pub fn purge(&self) -> Result<()> {
        let usual = home()?.join(&self.name);
        for dir in [&self.dir, &usual] {
            if dir.exists() {
                fs::remove_dir_all(dir)
                    .with_context(|| format!("failed to remove {}", dir.display()))?;
            }
        }
        Ok(())
    }

    fn settings_path(&self) -> PathBuf {
        self.dir.join("cluster.json")
    }
}

impl Settings {
    /// The cluster's addresses.
    ///
    /// # Errors
    /// If the stored number is none of ours.
    pub fn addresses(&self) -> Result<Network> {
        Network::from_index(self.network)
            .with_context(|| format!("failed to read the network number {}", self.network))
    }

    /// The API server's URL.
    pub fn server(&self) -> String {
        format!("https://127.0.0.1:{}", self.api_port)
    }

    /// The nodes' names: the cluster's own for a single one.
    pub fn node_names(&self) -> Vec<String> {
        match self.nodes {
            _ if self.hub => Vec::new(),
            1 => vec![self.name.clone()],
            nodes => (1..=nodes).map(|number| format!("{}-{number}", self.name)).collect(),
        }
    }
}

const LOCK: &str = "lock";
const LOCK_TRIES: u32 = 10;
const POINTER: &str = "data-dir";

/// `$XDG_DATA_HOME/hansa`, or `~/.local/share/hansa`.
fn home() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let base = set("XDG_DATA_HOME")
        .map(PathBuf::from)
        .or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".local/share")));
    let base = base.context("failed to find a data directory: neither XDG_DATA_HOME nor HOME")?;
    Ok(base.join("hansa"))
}

fn pointed_to(usual: &Path) -> PathBuf {
    fs::read_to_string(usual.join(POINTER)).map_or_else(|_| usual.to_path_buf(), PathBuf::from)
}

fn check_name(name: &str) -> Result<()> {
    let letters = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let ends = !name.starts_with('-') && !name.ends_with('-');
    if name.is_empty() || name.len() > 40 || !letters || !ends {
        bail!(
            "invalid cluster name {name:?}: it must be at most 40 lower case letters, digits or \
             '-', and begin and end with a letter or digit"
        );
    }
    Ok(())
}

/// Writes a file whole or not at all.
fn replace_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension(format!("tmp{}", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().with_context(|| format!("failed to write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(dir: &Path) -> Instance {
        Instance { name: "eu-west".into(), dir: dir.to_path_buf() }
    }

    #[test]
    fn one_process_at_a_time_runs_a_cluster() {
        let dir = tempfile::tempdir().unwrap();
        let instance = instance(dir.path());
        assert!(!instance.is_running());
        let held = instance.lock().unwrap();
        assert!(instance.is_running());
        assert!(instance.lock().is_err());
        drop(held);
        assert!(!instance.is_running());
    }

    #[test]
    fn names_are_dns_labels() {
        for good in ["hansa", "eu-west", "a1"] {
            check_name(good).unwrap();
        }
        for bad in ["", "Hansa", "-a", "a-", "a/b", "..", &"x".repeat(41)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_single_node_bears_the_clusters_name() {
        let settings = Settings {
            name: "eu".into(),
            hub: false,
            region: String::new(),
            zone: String::new(),
            provider: "local".into(),
            nodes: 2,
            runtime: "wasm".into(),
            cri_endpoint: None,
            etcd_servers: Vec::new(),
            api_port: 6443,
            network: 0,
        };
        assert_eq!(settings.node_names(), ["eu-1", "eu-2"]);
        assert_eq!(Settings { nodes: 1, ..settings.clone() }.node_names(), ["eu"]);
        assert!(Settings { hub: true, ..settings }.node_names().is_empty());
    }
}
