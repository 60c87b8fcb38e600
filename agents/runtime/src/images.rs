//! Components on disk under references such as `hansa.dev/storefront:v1`.
//!
//! `DIR/images/blobs/<sha256>.wasm` holds the bytes, `DIR/images/refs/<hex of the reference>.json`
//! says which blob a reference means. Every change is a rename, so that another process may
//! import while a runtime serves from the same folder.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Why the image store could not do it. Completes "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The bytes are not a component.
    #[error("import {reference}: {why}")]
    NotAComponent {
        /// The reference it was to be imported under.
        reference: String,
        /// What the bytes are instead.
        why: &'static str,
    },
    /// The reference is empty or has white space in it.
    #[error("use the image reference {0:?}: it is empty or has white space")]
    BadReference(String),
    /// A file could not be read or written.
    #[error("access {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A reference file is not ours.
    #[error("read {path}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

/// What a reference means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// The full reference, with its tag.
    pub reference: String,
    /// SHA-256 of the component, hexadecimal.
    pub digest: String,
    /// Size of the component in bytes.
    pub size: u64,
    /// When it was imported, seconds since 1970.
    pub imported_secs: u64,
}

impl ImageRecord {
    /// The image's ID as CRI shows it.
    #[must_use]
    pub fn id(&self) -> String {
        format!("sha256:{}", self.digest)
    }

    /// `name@sha256:…`, the digest form of the reference.
    #[must_use]
    pub fn repo_digest(&self) -> String {
        format!("{}@sha256:{}", name_of(&self.reference), self.digest)
    }
}

/// The image store of one runtime.
#[derive(Debug, Clone)]
pub struct ImageStore {
    dir: PathBuf,
}

impl ImageStore {
    /// The store under `root/images`; folders are made when something is imported.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { dir: root.join("images") }
    }

    /// Stores a component under a reference, replacing what the reference meant.
    ///
    /// # Errors
    /// The bytes are not a component, or the disk says no.
    pub fn import(&self, reference: &str, bytes: &[u8]) -> Result<ImageRecord, ImageError> {
        let reference = full_reference(reference)?;
        check_component(&reference, bytes)?;
        let digest = hex(&Sha256::digest(bytes));
        let record =
            ImageRecord { reference, digest, size: bytes.len() as u64, imported_secs: now_secs() };
        write_whole(&self.blob(&record.digest), bytes)?;
        let text = serde_json::to_vec(&record).expect("a record of strings and numbers");
        write_whole(&self.reference_file(&record.reference), &text)?;
        Ok(record)
    }

    /// The image a reference, an ID or a digest names; `None` if there is none.
    ///
    /// # Errors
    /// The disk says no.
    pub fn find(&self, name: &str) -> Result<Option<ImageRecord>, ImageError> {
        if let Some((_, digest)) = name.rsplit_once("sha256:") {
            return Ok(self.list()?.into_iter().find(|image| image.digest == digest));
        }
        let path = self.reference_file(&full_reference(name)?);
        match std::fs::read(&path) {
            Ok(bytes) => parse_record(&path, &bytes).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Ok(self.list()?.into_iter().find(|image| image.digest == name))
            }
            Err(source) => Err(ImageError::Io { path, source }),
        }
    }

    /// All images, by reference.
    ///
    /// # Errors
    /// The disk says no.
    pub fn list(&self) -> Result<Vec<ImageRecord>, ImageError> {
        let dir = self.dir.join("refs");
        let mut records = Vec::new();
        for path in files_of(&dir, "json")? {
            let source = std::fs::read(&path);
            let bytes = source.map_err(|source| ImageError::Io { path: path.clone(), source })?;
            records.push(parse_record(&path, &bytes)?);
        }
        records.sort_by(|a, b| a.reference.cmp(&b.reference));
        Ok(records)
    }

    /// Removes what `name` names, and the bytes if no other reference needs them. Removing what
    /// is not there is fine.
    ///
    /// # Errors
    /// The disk says no.
    pub fn remove(&self, name: &str) -> Result<(), ImageError> {
        let Some(found) = self.find(name)? else {
            return Ok(());
        };
        let by_digest = name.contains("sha256:") || name == found.digest;
        for image in self.list()? {
            let named = if by_digest {
                image.digest == found.digest
            } else {
                image.reference == found.reference
            };
            if named {
                remove_file(&self.reference_file(&image.reference))?;
            }
        }
        if self.list()?.iter().all(|image| image.digest != found.digest) {
            remove_file(&self.blob(&found.digest))?;
        }
        Ok(())
    }

    /// Bytes all blobs take together.
    ///
    /// # Errors
    /// The disk says no.
    pub fn used_bytes(&self) -> Result<u64, ImageError> {
        let blobs = files_of(&self.dir.join("blobs"), "wasm")?;
        Ok(blobs.iter().filter_map(|path| std::fs::metadata(path).ok()).map(|m| m.len()).sum())
    }

    /// Where a component's bytes are.
    #[must_use]
    pub fn blob(&self, digest: &str) -> PathBuf {
        self.dir.join("blobs").join(format!("{digest}.wasm"))
    }

    fn reference_file(&self, reference: &str) -> PathBuf {
        self.dir.join("refs").join(format!("{}.json", hex(reference.as_bytes())))
    }
}

/// Imports a component under a reference into the runtime whose folder is `root`. Works whether
/// that runtime runs or not.
///
/// # Errors
/// The bytes are not a component, or the disk says no.
pub fn import_image(root: &Path, reference: &str, bytes: &[u8]) -> Result<ImageRecord, ImageError> {
    ImageStore::new(root).import(reference, bytes)
}

/// The reference with its tag: `latest` if none is given.
fn full_reference(reference: &str) -> Result<String, ImageError> {
    if reference.is_empty() || reference.contains(char::is_whitespace) {
        return Err(ImageError::BadReference(reference.to_string()));
    }
    if name_of(reference).len() < reference.len() {
        return Ok(reference.to_string());
    }
    Ok(format!("{reference}:latest"))
}

/// The reference without its tag or digest. A colon before the last slash belongs to a port.
fn name_of(reference: &str) -> &str {
    let without_digest = reference.split('@').next().unwrap_or(reference);
    let last_part = without_digest.rfind('/').map_or(0, |slash| slash + 1);
    match without_digest[last_part..].find(':') {
        Some(colon) => &without_digest[..last_part + colon],
        None => without_digest,
    }
}

/// The first eight bytes say what it is: the component model's version is 13, layer 1.
fn check_component(reference: &str, bytes: &[u8]) -> Result<(), ImageError> {
    let why = match bytes.get(..8) {
        Some([0, b'a', b's', b'm', 13, 0, 1, 0]) => return Ok(()),
        Some([0, b'a', b's', b'm', 1, 0, 0, 0]) => {
            "it is a core WebAssembly module, not a component"
        }
        _ => "it is not WebAssembly",
    };
    Err(ImageError::NotAComponent { reference: reference.to_string(), why })
}

fn parse_record(path: &Path, bytes: &[u8]) -> Result<ImageRecord, ImageError> {
    serde_json::from_slice(bytes)
        .map_err(|source| ImageError::Corrupt { path: path.to_path_buf(), source })
}

fn files_of(dir: &Path, extension: &str) -> Result<Vec<PathBuf>, ImageError> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => {
            return Err(ImageError::Io { path: dir.to_path_buf(), source });
        }
    };
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    Ok(paths.filter(|path| path.extension().is_some_and(|found| found == extension)).collect())
}

fn remove_file(path: &Path) -> Result<(), ImageError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(ImageError::Io { path: path.to_path_buf(), source: error })
        }
        _ => Ok(()),
    }
}

/// Writes beside and renames, so that a reader sees the old file or the new one.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), ImageError> {
    let fail = |source| ImageError::Io { path: path.to_path_buf(), source };
    let dir = path.parent().expect("a file in a folder");
    std::fs::create_dir_all(dir).map_err(fail)?;
    let beside = path.with_extension(format!("{}.tmp", uuid::Uuid::new_v4().simple()));
    let mut file = std::fs::File::create(&beside).map_err(fail)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(fail)?;
    std::fs::rename(&beside, path).map_err(fail)
}

fn now_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn an_image_is_found_by_reference_id_and_digest() {
        let root = tempfile::tempdir().unwrap();
        let record = import_image(root.path(), "hansa.dev/storefront:v1", COMPONENT).unwrap();
        let store = ImageStore::new(root.path());
        for name in ["hansa.dev/storefront:v1", &record.id(), &record.repo_digest()] {
            assert_eq!(store.find(name).unwrap().as_ref(), Some(&record), "{name}");
        }
        assert_eq!(store.find("hansa.dev/storefront:v2").unwrap(), None);
        assert_eq!(std::fs::read(store.blob(&record.digest)).unwrap(), COMPONENT);
    }

    #[test]
    fn bytes_stay_until_the_last_reference_goes() {
        let root = tempfile::tempdir().unwrap();
        let store = ImageStore::new(root.path());
        let record = store.import("a:v1", COMPONENT).unwrap();
        store.import("a:v2", COMPONENT).unwrap();
        store.remove("a:v1").unwrap();
        assert!(store.blob(&record.digest).exists());
        assert_eq!(store.find("a:v1").unwrap(), None);
        store.remove("a:v2").unwrap();
        assert!(!store.blob(&record.digest).exists());
    }

    #[test]
    fn what_is_no_component_is_refused_and_says_what_it_is() {
        let root = tempfile::tempdir().unwrap();
        let module = import_image(root.path(), "a:v1", b"\0asm\x01\0\0\0").unwrap_err();
        assert!(module.to_string().contains("core WebAssembly module"), "{module}");
        assert!(import_image(root.path(), "a:v1", b"#!/bin/sh").is_err());
        assert!(import_image(root.path(), "a b", COMPONENT).is_err());
        assert!(ImageStore::new(root.path()).list().unwrap().is_empty());
    }

    #[test]
    fn a_missing_tag_is_latest_and_a_port_is_no_tag() {
        assert_eq!(full_reference("localhost:5000/a").unwrap(), "localhost:5000/a:latest");
        assert_eq!(full_reference("a:v1").unwrap(), "a:v1");
        assert_eq!(name_of("h:5000/a:v1@sha256:00"), "h:5000/a");
    }
}
