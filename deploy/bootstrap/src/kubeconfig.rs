//! Kubeconfigs: made whole, or one context merged into the user's own.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::pki::Pair;

/// Why a kubeconfig could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    /// The file could not be read or written.
    #[error("access the kubeconfig {0}")]
    Io(PathBuf, #[source] std::io::Error),
    /// The file is no kubeconfig.
    #[error("parse the kubeconfig {0}: {1}")]
    Malformed(PathBuf, String),
    /// The file cannot be encoded.
    #[error("encode the kubeconfig: {0}")]
    Encode(String),
}

/// A cluster as one user reaches it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The context's, cluster's and user's name.
    pub name: String,
    /// The API server's URL.
    pub server: String,
    /// PEM of the authority that the server is trusted by.
    pub ca_certificate: String,
    /// The client's certificate and key.
    pub client: Pair,
}

const LISTS: [&str; 3] = ["clusters", "users", "contexts"];

/// A kubeconfig with just this entry.
///
/// # Errors
/// If it cannot be encoded.
pub fn render(entry: &Entry) -> Result<String, KubeconfigError> {
    let mut config = empty();
    insert(&mut config, entry);
    encode(&config)
}

/// Puts the entry into a kubeconfig file (made if it is not there) and selects its context. All else
/// in the file stays as it is.
///
/// # Errors
/// If the file cannot be read or written, or is no kubeconfig; it is unchanged then.
pub fn merge(path: &Path, entry: &Entry) -> Result<(), KubeconfigError> {
    change(path, |config| insert(config, entry))
}

/// Removes the entry from a kubeconfig file; a file that is not there is fine.
///
/// # Errors
/// If the file cannot be read or written, or is no kubeconfig; it is unchanged then.
pub fn remove(path: &Path, name: &str) -> Result<(), KubeconfigError> {
    if !path.exists() {
        return Ok(());
    }
    change(path, |config| {
        LISTS.iter().for_each(|list| drop_named(config, list, name));
        if config["current-context"] == name {
            config["current-context"] = json!("");
        }
    })
}

/// The user's kubeconfig: the first of `KUBECONFIG`, else `~/.kube/config`.
pub fn default_path() -> Option<PathBuf> {
    let variable = std::env::var_os("KUBECONFIG").filter(|value| !value.is_empty());
    if let Some(paths) = variable {
        return std::env::split_paths(&paths).next();
    }
    std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".kube/config"))
}

fn empty() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "preferences": {},
        "clusters": [], "users": [], "contexts": [], "current-context": "",
    })
}

fn insert(config: &mut Value, entry: &Entry) {
    let name = &entry.name;
    let data = |pem: &str| STANDARD.encode(pem);
    let values = [
        json!({ "name": name, "cluster": {
            "server": entry.server,
            "certificate-authority-data": data(&entry.ca_certificate),
        } }),
        json!({ "name": name, "user": {
            "client-certificate-data": data(&entry.client.certificate),
            "client-key-data": data(&entry.client.key),
        } }),
        json!({ "name": name, "context": { "cluster": name, "user": name } }),
    ];
    for (list, value) in LISTS.iter().zip(values) {
        drop_named(config, list, name);
        match &mut config[*list] {
            Value::Array(present) => present.push(value),
            other => *other = json!([value]),
        }
    }
    config["current-context"] = json!(name);
}

fn drop_named(config: &mut Value, list: &str, name: &str) {
    if let Some(present) = config.get_mut(list).and_then(Value::as_array_mut) {
        present.retain(|item| item["name"] != name);
    }
}

fn encode(config: &Value) -> Result<String, KubeconfigError> {
    serde_saphyr::to_string(config).map_err(|error| KubeconfigError::Encode(error.to_string()))
}

/// Changes the file under kubectl's own lock file, whole or not at all.
fn change(path: &Path, edit: impl FnOnce(&mut Value)) -> Result<(), KubeconfigError> {
    let io = |error| KubeconfigError::Io(path.to_path_buf(), error);
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(io)?;
    let lock = Lock::take(path).map_err(io)?;
    let mut config = match fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => empty(),
        Ok(text) => parse(path, &text)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => empty(),
        Err(error) => return Err(io(error)),
    };
    edit(&mut config);
    let text = encode(&config)?;
    write(path, &text).map_err(io)?;
    drop(lock);
    Ok(())
}

fn parse(path: &Path, text: &str) -> Result<Value, KubeconfigError> {
    let malformed = |why: String| KubeconfigError::Malformed(path.to_path_buf(), why);
    let config: Value =
        serde_saphyr::from_str(text).map_err(|error| malformed(error.to_string()))?;
    if config.is_object() { Ok(config) } else { Err(malformed("it is no mapping".into())) }
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let temporary = path.with_extension(format!("hansa{}", std::process::id()));
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

/// `<file>.lock`, as kubectl takes it; one that was left behind is waited for a second, then taken.
struct Lock(PathBuf);

impl Lock {
    fn take(path: &Path) -> std::io::Result<Self> {
        let mut lock = path.as_os_str().to_owned();
        lock.push(".lock");
        let lock = PathBuf::from(lock);
        for _ in 0..100 {
            match File::options().write(true).create_new(true).open(&lock) {
                Ok(_) => return Ok(Self(lock)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Self(lock))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str) -> Entry {
        Entry {
            name: name.into(),
            server: "https://127.0.0.1:6443".into(),
            ca_certificate: "CA".into(),
            client: Pair { certificate: "CERT".into(), key: "KEY".into() },
        }
    }

    fn read(path: &Path) -> Value {
        serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    }

    #[test]
    fn a_merge_keeps_what_is_there_and_selects_the_context() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".kube/config");
        merge(&path, &entry("eu-west")).unwrap();
        let mut config = read(&path);
        config["extensions"] = json!([{ "name": "mine" }]);
        fs::write(&path, serde_saphyr::to_string(&config).unwrap()).unwrap();
        merge(&path, &entry("us-east")).unwrap();
        merge(&path, &entry("us-east")).unwrap();
        let config = read(&path);
        assert_eq!(config["contexts"].as_array().unwrap().len(), 2);
        assert_eq!(config["current-context"], "us-east");
        assert_eq!(config["extensions"][0]["name"], "mine");
    }

    #[test]
    fn removal_leaves_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        merge(&path, &entry("eu-west")).unwrap();
        merge(&path, &entry("us-east")).unwrap();
        remove(&path, "us-east").unwrap();
        let config = read(&path);
        assert_eq!(config["clusters"].as_array().unwrap().len(), 1);
        assert_eq!(config["users"][0]["name"], "eu-west");
        assert_eq!(config["current-context"], "");
    }

    #[test]
    fn a_file_that_is_no_kubeconfig_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        fs::write(&path, "- just\n- a list\n").unwrap();
        assert!(matches!(merge(&path, &entry("a")), Err(KubeconfigError::Malformed(..))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "- just\n- a list\n");
    }
}
