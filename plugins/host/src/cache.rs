//! The ahead-of-time cache: compiled components in a private folder.
//!
//! wasmtime does not check compiled code (a flipped bit is accepted and run), so every file carries
//! an HMAC under a key that never leaves the folder. What does not verify is compiled again.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hmac::{Hmac, Mac};
use sha2::Sha256;
use wasmtime::Engine;
use wasmtime::component::Component;

/// Bytes of the tag in front of the code.
const TAG: usize = 32;
/// Bytes of the key.
const KEY: usize = 32;

/// A folder of compiled components.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
    key: [u8; KEY],
}

/// Why a cached file was not used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CacheMiss {
    /// There is no such file.
    #[error("not cached")]
    Absent,
    /// The file is not what this process's user wrote.
    #[error("the cached code does not verify")]
    Forged,
    /// The code verifies and wasmtime refuses it: another version or another machine.
    #[error("the cached code is for another engine: {0}")]
    Foreign(String),
}

impl Cache {
    /// Opens the folder, making it (mode 0700) and its key if they are not there.
    ///
    /// # Errors
    /// The folder cannot be made, or others may write to it.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let mode = fs::metadata(dir)?.permissions().mode();
        if mode & 0o077 != 0 {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
        }
        let key = key(&dir.join("key"))?;
        Ok(Self { dir: dir.into(), key })
    }

    /// The compiled component for bytes with this digest.
    ///
    /// # Errors
    /// [`CacheMiss`]: compile it.
    pub fn load(&self, engine: &Engine, digest: &str) -> Result<Component, CacheMiss> {
        let path = self.path(engine, digest);
        let file = fs::read(&path).map_err(|_| CacheMiss::Absent)?;
        let (tag, code) = file.split_at_checked(TAG).ok_or(CacheMiss::Forged)?;
        let verified = self.mac(&path, code).verify_slice(tag);
        verified.map_err(|_| CacheMiss::Forged)?;
        deserialize(engine, code).map_err(|error| CacheMiss::Foreign(error.to_string()))
    }

    /// Keeps a compiled component. A cache that cannot be written costs time and nothing else.
    ///
    /// # Errors
    /// The code cannot be serialised or written.
    pub fn store(&self, engine: &Engine, digest: &str, component: &Component) -> io::Result<()> {
        let code = component.serialize().map_err(|error| io::Error::other(error.to_string()))?;
        let path = self.path(engine, digest);
        let part = path.with_extension(format!("part-{}", std::process::id()));
        let mut file = private(fs::OpenOptions::new().create(true).truncate(true), &part)?;
        file.write_all(&self.mac(&path, &code).finalize().into_bytes())?;
        file.write_all(&code)?;
        fs::rename(&part, &path)
    }

    /// Where the code of bytes with this digest is kept, for this engine.
    pub fn path(&self, engine: &Engine, digest: &str) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
        self.dir.join(format!("{hex}-{:016x}.cwasm", hasher.finish()))
    }

    /// The tag covers the name too: code of one component must not pass for another's.
    fn mac(&self, path: &Path, code: &[u8]) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of every length");
        mac.update(path.file_name().unwrap_or_default().as_encoded_bytes());
        mac.update(code);
        mac
    }
}

/// The one place that hands native code to the engine.
#[allow(unsafe_code)]
fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the code carries a valid HMAC under this folder's key, so `Cache::store` wrote it
    // from
    // `Component::serialize`; wasmtime itself checks that engine and version are the same.
    unsafe { Component::deserialize(engine, code) }
}

/// Reads the key, or makes one; two processes that start at once agree on the first.
fn key(path: &Path) -> io::Result<[u8; KEY]> {
    if let Some(key) = read_key(path) {
        return Ok(key);
    }
    let fresh: [u8; KEY] = rand::random();
    let part = path.with_extension(format!("part-{}", std::process::id()));
    private(fs::OpenOptions::new().create(true).truncate(true), &part)?.write_all(&fresh)?;
    let won = fs::hard_link(&part, path);
    fs::remove_file(&part)?;
    match (won, read_key(path)) {
        (Ok(()), _) => Ok(fresh),
        (Err(_), Some(theirs)) => Ok(theirs),
        (Err(error), None) => Err(error),
    }
}

fn read_key(path: &Path) -> Option<[u8; KEY]> {
    fs::read(path).ok()?.try_into().ok()
}

fn private(options: &mut fs::OpenOptions, path: &Path) -> io::Result<fs::File> {
    options.write(true).mode(0o600).open(path)
}
