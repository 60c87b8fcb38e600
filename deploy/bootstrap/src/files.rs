//! Writing small secret files so that no reader ever sees half of one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

const LOCK_PATIENCE: Duration = Duration::from_secs(10);
/// A lock this old belongs to a process that died.
const LOCK_STALE: Duration = Duration::from_secs(30);

/// Creates a directory and its parents, readable by the owner alone.
pub(crate) fn private_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Replaces a file by another with these bytes, mode 0600, durable when this returns.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = beside(path, &format!("tmp{}", std::process::id()));
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    drop(file);
    written.and_then(|()| fs::rename(&temporary, path)).inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })?;
    sync_dir(path)
}

fn sync_dir(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => File::open(dir)?.sync_all(),
        _ => Ok(()),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(".");
    name.push(suffix);
    name.into()
}

/// The lock file that client-go's tools use beside a kubeconfig; released when dropped.
pub(crate) struct Lock(PathBuf);

impl Lock {
    /// Takes the lock, waiting for other writers.
    pub(crate) fn take(path: &Path) -> io::Result<Self> {
        let lock = beside(path, "lock");
        let start = Instant::now();
        loop {
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&lock) {
                Ok(_) => return Ok(Self(lock)),
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                Err(_) if is_stale(&lock) => remove_stale(&lock)?,
                Err(error) if start.elapsed() > LOCK_PATIENCE => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

fn is_stale(lock: &Path) -> bool {
    let modified = fs::metadata(lock).and_then(|metadata| metadata.modified());
    modified
        .is_ok_and(|then| SystemTime::now().duration_since(then).is_ok_and(|age| age > LOCK_STALE))
}

fn remove_stale(lock: &Path) -> io::Result<()> {
    match fs::remove_file(lock) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_replaced_file_is_private_and_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(&path, "old and longer").unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_lock_excludes_and_is_released() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        let lock = Lock::take(&path).unwrap();
        assert!(dir.path().join("config.lock").exists());
        drop(lock);
        assert!(!dir.path().join("config.lock").exists());
    }
}
