//! Kubeconfig files: built, merged into, cleaned up. Fields that we do not know are kept.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::files::{self, Lock};
use crate::pki::CertKey;

/// Why a kubeconfig could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be accessed.
    #[error("access {path}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file is no YAML mapping, or has lists where none belong; it is left as it is.
    #[error("read {path} as a kubeconfig: {why}")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The document cannot be written as YAML.
    #[error("write the kubeconfig as YAML: {0}")]
    Render(String),
}

/// How a user proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A client certificate.
    Certificate(CertKey),
    /// A bearer token.
    Token(String),
}

/// One context: a cluster and a user under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Name of the context and the cluster.
    pub name: String,
    /// Name of the user entry.
    pub user: String,
    /// URL of the API server.
    pub server: String,
    /// The CA of its certificate, PEM.
    pub ca_pem: String,
    /// The user's credential.
    pub credential: Credential,
}

const LISTS: [&str; 3] = ["clusters", "users", "contexts"];

impl Entry {
    /// An administrator's context: its user is called `NAME-admin`.
    pub fn admin(name: &str, server: &str, ca_pem: &str, certificate: CertKey) -> Self {
        Self {
            name: name.to_string(),
            user: format!("{name}-admin"),
            server: server.to_string(),
            ca_pem: ca_pem.to_string(),
            credential: Credential::Certificate(certificate),
        }
    }

    /// A whole kubeconfig with nothing but this context, selected.
    pub fn document(&self) -> Value {
        let mut document = json!({"apiVersion": "v1", "kind": "Config", "preferences": {}});
        merge(&mut document, self, true);
        document
    }

    /// The same as YAML.
    ///
    /// # Errors
    /// If the document cannot be rendered, which does not happen.
    pub fn to_yaml(&self) -> Result<String, Error> {
        render(&self.document())
    }

    /// Writes a kubeconfig with nothing but this context.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        make_dir(path)?;
        files::replace(path, self.to_yaml()?.as_bytes()).map_err(at(path))
    }

    /// Puts the context into a kubeconfig, replacing one of the same name; `select` makes it the
    /// current one. Everything else in the file stays.
    ///
    /// # Errors
    /// If the file is no kubeconfig or cannot be accessed; it is not changed then.
    pub fn merge_into(&self, path: &Path, select: bool) -> Result<(), Error> {
        edit(path, |document| {
            merge(document, self, select);
            true
        })
    }

    fn user_fields(&self) -> Value {
        match &self.credential {
            Credential::Certificate(pair) => json!({
                "client-certificate-data": STANDARD.encode(&pair.certificate_pem),
                "client-key-data": STANDARD.encode(&pair.key_pem),
            }),
            Credential::Token(token) => json!({"token": token}),
        }
    }

    fn cluster_fields(&self) -> Value {
        json!({
            "certificate-authority-data": STANDARD.encode(&self.ca_pem),
            "server": self.server,
        })
    }
}

/// Where `kubectl` keeps its kubeconfig: the first file of `kubeconfig_env` (the value of
/// `KUBECONFIG`), else `.kube/config` in the home directory.
pub fn default_path(kubeconfig_env: Option<&str>, home: &Path) -> PathBuf {
    let first = kubeconfig_env.and_then(|list| list.split(':').find(|path| !path.is_empty()));
    first.map_or_else(|| home.join(".kube/config"), PathBuf::from)
}

/// Takes a context out of a kubeconfig, with its cluster and its user if no other context needs
/// them. A file or context that is not there is no error; returns whether anything was removed.
///
/// # Errors
/// If the file is no kubeconfig or cannot be accessed.
pub fn remove_from(path: &Path, name: &str) -> Result<bool, Error> {
    if !path.exists() {
        return Ok(false);
    }
    let mut removed = false;
    edit(path, |document| {
        removed = remove(document, name);
        removed
    })?;
    Ok(removed)
}

/// Reads a kubeconfig; a file that is not there is an empty one.
///
/// # Errors
/// If the file is no kubeconfig or cannot be read.
pub fn load(path: &Path) -> Result<Value, Error> {
    match fs::read_to_string(path) {
        Ok(text) => parse(path, &text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(empty()),
        Err(source) => Err(Error::Io { path: path.to_path_buf(), source }),
    }
}

/// Writes to a link go where it points, so that the link stays.
fn edit(path: &Path, change: impl FnOnce(&mut Value) -> bool) -> Result<(), Error> {
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    make_dir(path)?;
    let _lock = Lock::take(path).map_err(at(path))?;
    let mut document = load(path)?;
    if change(&mut document) {
        files::replace(path, render(&document)?.as_bytes()).map_err(at(path))?;
    }
    Ok(())
}

fn make_dir(path: &Path) -> Result<(), Error> {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => files::private_dir(dir).map_err(at(dir)),
        _ => Ok(()),
    }
}

fn empty() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "preferences": {},
        "clusters": [], "users": [], "contexts": [], "current-context": "",
    })
}

fn parse(path: &Path, text: &str) -> Result<Value, Error> {
    let wrong = |why: String| Error::Parse { path: path.to_path_buf(), why };
    if text.trim().is_empty() {
        return Ok(empty());
    }
    let document: Value = serde_saphyr::from_str(text).map_err(|error| wrong(error.to_string()))?;
    let Some(fields) = document.as_object() else {
        return Err(wrong("it is no mapping".to_string()));
    };
    for list in LISTS {
        let fits = fields.get(list).is_none_or(|value| value.is_array() || value.is_null());
        if !fits {
            return Err(wrong(format!("{list} is no list")));
        }
    }
    Ok(document)
}

fn render(document: &Value) -> Result<String, Error> {
    serde_saphyr::to_string(document).map_err(|error| Error::Render(error.to_string()))
}

fn merge(document: &mut Value, entry: &Entry, select: bool) {
    set(document, "clusters", "cluster", &entry.name, entry.cluster_fields());
    set(document, "users", "user", &entry.user, entry.user_fields());
    let context = json!({"cluster": entry.name, "user": entry.user});
    set(document, "contexts", "context", &entry.name, context);
    if select {
        document["current-context"] = entry.name.as_str().into();
    }
}

/// Sets one named element of a list; of an element that is there, unknown siblings stay.
fn set(document: &mut Value, list: &str, field: &str, name: &str, value: Value) {
    let elements = list_mut(document, list);
    match elements.iter_mut().find(|element| element["name"] == name) {
        Some(element) => element[field] = value,
        None => {
            let mut element = Map::new();
            element.insert(field.to_string(), value);
            element.insert("name".to_string(), name.into());
            elements.push(Value::Object(element));
        }
    }
}

fn list_mut<'a>(document: &'a mut Value, list: &str) -> &'a mut Vec<Value> {
    let slot = &mut document[list];
    if !slot.is_array() {
        *slot = json!([]);
    }
    slot.as_array_mut().expect("made a list above")
}

fn remove(document: &mut Value, name: &str) -> bool {
    let contexts = list_mut(document, "contexts");
    let Some(at) = contexts.iter().position(|context| context["name"] == name) else {
        return false;
    };
    let context = contexts.remove(at);
    for (list, field) in [("clusters", "cluster"), ("users", "user")] {
        let wanted = context["context"][field].clone();
        let others = list_mut(document, "contexts");
        if !others.iter().any(|other| other["context"][field] == wanted) {
            list_mut(document, list).retain(|element| element["name"] != wanted);
        }
    }
    if document["current-context"] == name {
        document["current-context"] = "".into();
    }
    true
}

fn at(path: &Path) -> impl Fn(io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::Io { path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str) -> Entry {
        Entry {
            name: name.to_string(),
            user: format!("{name}-admin"),
            server: "https://127.0.0.1:6443".to_string(),
            ca_pem: "CA".to_string(),
            credential: Credential::Token("t".to_string()),
        }
    }

    #[test]
    fn merging_keeps_what_is_there_and_removing_takes_only_ours() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/config");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let before = "apiVersion: v1\nkind: Config\nx-own: {a: 1}\ncurrent-context: work\n\
                      clusters: [{name: work, cluster: {server: 'https://w', proxy-url: 'p'}}]\n\
                      users: []\ncontexts: [{name: work, context: {cluster: work, user: me}}]\n";
        fs::write(&path, before).unwrap();
        entry("hub").merge_into(&path, true).unwrap();
        let merged = load(&path).unwrap();
        assert_eq!(merged["current-context"], "hub");
        assert_eq!(merged["x-own"]["a"], 1);
        assert_eq!(merged["clusters"][0]["cluster"]["proxy-url"], "p");
        assert!(remove_from(&path, "hub").unwrap());
        let after = load(&path).unwrap();
        assert_eq!(after["clusters"].as_array().unwrap().len(), 1);
        assert_eq!(after["users"], json!([]));
        assert_eq!(after["current-context"], "");
        assert!(!remove_from(&path, "hub").unwrap());
    }

    #[test]
    fn the_same_name_is_replaced_not_doubled() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        entry("a").merge_into(&path, true).unwrap();
        let moved = Entry { server: "https://127.0.0.1:7443".to_string(), ..entry("a") };
        moved.merge_into(&path, false).unwrap();
        let merged = load(&path).unwrap();
        assert_eq!(merged["clusters"].as_array().unwrap().len(), 1);
        assert_eq!(merged["clusters"][0]["cluster"]["server"], "https://127.0.0.1:7443");
    }

    #[test]
    fn a_file_that_is_no_kubeconfig_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        for text in ["- a\n- b\n", "clusters: {a: b}\n", "{unclosed"] {
            fs::write(&path, text).unwrap();
            assert!(entry("a").merge_into(&path, true).is_err(), "{text}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert!(!dir.path().join("config.lock").exists());
    }

    #[test]
    fn writers_at_the_same_time_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        std::thread::scope(|scope| {
            for number in 0..8 {
                let path = &path;
                scope.spawn(move || entry(&format!("c{number}")).merge_into(path, true).unwrap());
            }
        });
        assert_eq!(load(&path).unwrap()["contexts"].as_array().unwrap().len(), 8);
    }

    #[test]
    fn kubectl_decides_where_the_file_is() {
        let home = Path::new("/home/x");
        assert_eq!(default_path(None, home), Path::new("/home/x/.kube/config"));
        assert_eq!(default_path(Some("/a:/b"), home), Path::new("/a"));
        assert_eq!(default_path(Some(""), home), Path::new("/home/x/.kube/config"));
    }
}
