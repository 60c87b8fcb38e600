//! The books: which sandboxes and containers exist, with which addresses. With a folder they are
//! written down as they change, one file each, so that they outlive the process.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use k8s_cri::v1 as cri;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::address::{AddressError, AddressPool, Cidr};
use crate::record::{ContainerRecord, Exit, Phase, SandboxRecord, new_id, now_nanos};

/// Why the books could not be changed. Completes "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// No address for the pod, or a bad pod CIDR.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A record could not be written or read.
    #[error("record state in {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The same pod attempt has a sandbox already.
    #[error("create a sandbox for pod {0}: it has one already")]
    SandboxExists(String),
    /// The request has no config or no metadata.
    #[error("read the request: it has no {0}")]
    Missing(&'static str),
    /// No such sandbox.
    #[error("find sandbox {0:?}")]
    NoSandbox(String),
    /// No such container.
    #[error("find container {0:?}")]
    NoContainer(String),
}

/// All sandboxes and containers of one runtime.
#[derive(Debug, Default)]
pub struct Book {
    dir: Option<PathBuf>,
    sandboxes: HashMap<String, SandboxRecord>,
    containers: HashMap<String, ContainerRecord>,
    addresses: AddressPool,
}

impl Book {
    /// The books found in `dir`. What ran when they were written runs no more: those containers
    /// are exited now, so that the kubelet starts them anew. Sandboxes keep their addresses.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub fn load(dir: &Path) -> Result<Self, BookError> {
        let mut book = Self { dir: Some(dir.to_path_buf()), ..Self::default() };
        for sandbox in read_all::<SandboxRecord>(&dir.join("sandboxes"))? {
            sandbox.address.into_iter().for_each(|address| book.addresses.adopt(address));
            book.sandboxes.insert(sandbox.id.clone(), sandbox);
        }
        for container in read_all::<ContainerRecord>(&dir.join("containers"))? {
            if book.sandboxes.contains_key(&container.sandbox_id) {
                book.write_container(ended_by_restart(container))?;
            } else {
                remove(&dir.join("containers"), &container.id)?;
            }
        }
        if let Ok(cidr) = std::fs::read_to_string(dir.join("pod-cidr")) {
            book.addresses.set_cidr(cidr.trim().parse()?);
        }
        Ok(book)
    }

    /// Whether pods can get addresses.
    #[must_use]
    pub fn network_ready(&self) -> bool {
        self.addresses.ready()
    }

    /// Sets the network pods get their addresses from.
    ///
    /// # Errors
    /// Not an IPv4 network, or the disk says no.
    pub fn set_cidr(&mut self, text: &str) -> Result<(), BookError> {
        let cidr: Cidr = text.parse()?;
        if let Some(dir) = &self.dir {
            write_whole(&dir.join("pod-cidr"), text.as_bytes())?;
        }
        self.addresses.set_cidr(cidr);
        Ok(())
    }

    /// Makes a sandbox with an address of its own.
    ///
    /// # Errors
    /// The pod attempt has one already, no address is free, or the disk says no.
    pub fn add_sandbox(
        &mut self,
        config: cri::PodSandboxConfig,
        handler: String,
    ) -> Result<SandboxRecord, BookError> {
        let metadata = config.metadata.clone().ok_or(BookError::Missing("pod metadata"))?;
        if self.sandboxes.values().any(|known| known.config.metadata.as_ref() == Some(&metadata)) {
            return Err(BookError::SandboxExists(format!(
                "{}/{}",
                metadata.namespace, metadata.name
            )));
        }
        let host_network = SandboxRecord::host_network(&config);
        let address = if host_network { None } else { Some(self.addresses.allocate()?) };
        let id = new_id();
        let sandbox =
            SandboxRecord { id, config, handler, ready: true, address, created_at: now_nanos() };
        self.write_sandbox(sandbox.clone())?;
        Ok(sandbox)
    }

    /// Marks a sandbox as stopped; its address stays its own until it is removed.
    ///
    /// # Errors
    /// The disk says no. An unknown sandbox is fine.
    pub fn stop_sandbox(&mut self, id: &str) -> Result<(), BookError> {
        match self.sandboxes.get(id).cloned() {
            Some(sandbox) => self.write_sandbox(SandboxRecord { ready: false, ..sandbox }),
            None => Ok(()),
        }
    }

    /// Forgets a sandbox with its containers and frees its address.
    ///
    /// # Errors
    /// The disk says no. An unknown sandbox is fine.
    pub fn remove_sandbox(&mut self, id: &str) -> Result<(), BookError> {
        let Some(sandbox) = self.sandboxes.get(id).cloned() else {
            return Ok(());
        };
        for container in self.containers_of(id) {
            self.remove_container(&container.id)?;
        }
        if let Some(dir) = &self.dir {
            remove(&dir.join("sandboxes"), id)?;
        }
        self.sandboxes.remove(id);
        sandbox.address.into_iter().for_each(|address| self.addresses.release(address));
        Ok(())
    }

    /// Writes down a new container.
    ///
    /// # Errors
    /// Its sandbox is unknown, or the disk says no.
    pub fn add_container(&mut self, container: ContainerRecord) -> Result<(), BookError> {
        self.sandbox(&container.sandbox_id)?;
        self.write_container(container)
    }

    /// Writes down how far a container got. An unknown one is fine: it was removed meanwhile.
    ///
    /// # Errors
    /// The disk says no.
    pub fn set_phase(&mut self, id: &str, phase: Phase) -> Result<(), BookError> {
        match self.containers.get(id).cloned() {
            Some(container) => self.write_container(ContainerRecord { phase, ..container }),
            None => Ok(()),
        }
    }

    /// Forgets a container. An unknown one is fine.
    ///
    /// # Errors
    /// The disk says no.
    pub fn remove_container(&mut self, id: &str) -> Result<(), BookError> {
        if let Some(dir) = &self.dir {
            remove(&dir.join("containers"), id)?;
        }
        self.containers.remove(id);
        Ok(())
    }

    /// The sandbox with this ID.
    ///
    /// # Errors
    /// There is none.
    pub fn sandbox(&self, id: &str) -> Result<&SandboxRecord, BookError> {
        self.sandboxes.get(id).ok_or_else(|| BookError::NoSandbox(id.to_string()))
    }

    /// The container with this ID.
    ///
    /// # Errors
    /// There is none.
    pub fn container(&self, id: &str) -> Result<&ContainerRecord, BookError> {
        self.containers.get(id).ok_or_else(|| BookError::NoContainer(id.to_string()))
    }

    /// All sandboxes, oldest first.
    #[must_use]
    pub fn sandboxes(&self) -> Vec<&SandboxRecord> {
        let mut all: Vec<_> = self.sandboxes.values().collect();
        all.sort_by_key(|sandbox| sandbox.created_at);
        all
    }

    /// All containers, oldest first.
    #[must_use]
    pub fn containers(&self) -> Vec<&ContainerRecord> {
        let mut all: Vec<_> = self.containers.values().collect();
        all.sort_by_key(|container| container.created_at);
        all
    }

    /// The containers of one sandbox, oldest first.
    #[must_use]
    pub fn containers_of(&self, sandbox_id: &str) -> Vec<ContainerRecord> {
        let all = self.containers().into_iter();
        all.filter(|container| container.sandbox_id == sandbox_id).cloned().collect()
    }

    fn write_sandbox(&mut self, sandbox: SandboxRecord) -> Result<(), BookError> {
        if let Some(dir) = &self.dir {
            write_record(&dir.join("sandboxes"), &sandbox.id, &sandbox)?;
        }
        self.sandboxes.insert(sandbox.id.clone(), sandbox);
        Ok(())
    }

    fn write_container(&mut self, container: ContainerRecord) -> Result<(), BookError> {
        if let Some(dir) = &self.dir {
            write_record(&dir.join("containers"), &container.id, &container)?;
        }
        self.containers.insert(container.id.clone(), container);
        Ok(())
    }
}

/// What a container that ran, or was about to, is after the process that ran it went away.
fn ended_by_restart(container: ContainerRecord) -> ContainerRecord {
    let started_at = match container.phase {
        Phase::Created => 0,
        Phase::Running { started_at } => started_at,
        Phase::Exited { .. } => return container,
    };
    let message = "the runtime's process ended and took the container with it".to_string();
    let exit = Exit { code: 137, reason: "ContainerStatusUnknown".to_string(), message };
    let phase = Phase::Exited { started_at, finished_at: now_nanos(), exit };
    ContainerRecord { phase, ..container }
}

fn io_error(path: &Path, source: io::Error) -> BookError {
    BookError::Io { path: path.to_path_buf(), source }
}

/// Reads every record of a folder. A file cut short by a dying process is dropped: what it
/// described was never acknowledged.
fn read_all<T: DeserializeOwned>(dir: &Path) -> Result<Vec<T>, BookError> {
    std::fs::create_dir_all(dir).map_err(|source| io_error(dir, source))?;
    let entries = std::fs::read_dir(dir).map_err(|source| io_error(dir, source))?;
    let mut records = Vec::new();
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        let bytes = std::fs::read(&path).map_err(|source| io_error(&path, source))?;
        match serde_json::from_slice(&bytes) {
            Ok(record) => records.push(record),
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "dropped an unreadable record");
                let _ = std::fs::remove_file(&path);
            }
        }
    }
    Ok(records)
}

fn write_record<T: Serialize>(dir: &Path, id: &str, record: &T) -> Result<(), BookError> {
    let bytes = serde_json::to_vec(record).expect("records have string keys only");
    write_whole(&dir.join(format!("{id}.json")), &bytes)
}

fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), BookError> {
    let beside = path.with_extension("tmp");
    std::fs::write(&beside, bytes).map_err(|source| io_error(&beside, source))?;
    std::fs::rename(&beside, path).map_err(|source| io_error(path, source))
}

fn remove(dir: &Path, id: &str) -> Result<(), BookError> {
    let path = dir.join(format!("{id}.json"));
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error(&path, error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample_container;

    fn pod(name: &str) -> cri::PodSandboxConfig {
        let metadata = cri::PodSandboxMetadata { name: name.to_string(), ..Default::default() };
        cri::PodSandboxConfig { metadata: Some(metadata), ..Default::default() }
    }

    #[test]
    fn after_a_restart_addresses_stay_and_containers_are_exited() {
        let dir = tempfile::tempdir().unwrap();
        let mut book = Book::load(dir.path()).unwrap();
        book.set_cidr("127.64.1.0/24").unwrap();
        let sandbox = book.add_sandbox(pod("a"), String::new()).unwrap();
        book.add_container(sample_container("c1", &sandbox.id)).unwrap();
        book.set_phase("c1", Phase::Running { started_at: 5 }).unwrap();

        let mut again = Book::load(dir.path()).unwrap();
        assert_eq!(again.sandbox(&sandbox.id).unwrap(), &sandbox);
        let Phase::Exited { started_at: 5, exit, .. } = &again.container("c1").unwrap().phase
        else {
            panic!("{:?}", again.container("c1"));
        };
        assert_eq!(exit.code, 137);
        let other = again.add_sandbox(pod("b"), String::new()).unwrap();
        assert_ne!(other.address, sandbox.address);
    }

    #[test]
    fn a_removed_sandbox_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let mut book = Book::load(dir.path()).unwrap();
        book.set_cidr("127.64.1.0/30").unwrap();
        let sandbox = book.add_sandbox(pod("a"), String::new()).unwrap();
        book.add_container(sample_container("c1", &sandbox.id)).unwrap();
        assert!(book.add_sandbox(pod("b"), String::new()).is_err(), "the network has one address");
        book.remove_sandbox(&sandbox.id).unwrap();
        book.remove_sandbox(&sandbox.id).unwrap();
        assert!(book.containers().is_empty());
        for kind in ["sandboxes", "containers"] {
            assert_eq!(std::fs::read_dir(dir.path().join(kind)).unwrap().count(), 0, "{kind}");
        }
        assert_eq!(book.add_sandbox(pod("b"), String::new()).unwrap().address, sandbox.address);
    }

    #[test]
    fn one_pod_attempt_has_one_sandbox() {
        let mut book = Book::default();
        book.set_cidr("127.64.1.0/24").unwrap();
        book.add_sandbox(pod("a"), String::new()).unwrap();
        assert!(book.add_sandbox(pod("a"), String::new()).is_err());
    }
}
