//! Files of a volume, changed all at once: they live in a folder with a fresh name, `..data`
//! points to it, and each file is a link through `..data`. Swapping `..data` is one rename.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path};

/// A volume's files by relative path.
pub type Payload = BTreeMap<String, File>;

/// One file of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its content.
    pub data: Vec<u8>,
    /// Its permissions.
    pub mode: u32,
}

const DATA: &str = "..data";

/// Makes the folder hold exactly these files. True if anything changed.
///
/// # Errors
/// A path leaves the folder, or the disk says no.
pub fn write(dir: &Path, payload: &Payload) -> io::Result<bool> {
    payload.keys().try_for_each(|path| check(path))?;
    std::fs::create_dir_all(dir)?;
    let current = std::fs::read_link(dir.join(DATA)).ok();
    if current.as_ref().is_some_and(|name| holds(&dir.join(name), payload)) {
        return Ok(false);
    }
    let fresh = format!("..{}", fresh_name());
    write_files(&dir.join(&fresh), payload)?;
    let swap = dir.join("..data_tmp");
    let _ = std::fs::remove_file(&swap);
    symlink(&fresh, &swap)?;
    std::fs::rename(&swap, dir.join(DATA))?;
    link_top_level(dir, payload)?;
    if let Some(old) = current {
        let _ = std::fs::remove_dir_all(dir.join(old));
    }
    Ok(true)
}

fn fresh_name() -> String {
    let now = jiff::Timestamp::now().strftime("%Y_%m_%d_%H_%M_%S").to_string();
    format!("{now}.{}", rand::random::<u32>())
}

/// Relative, without `..`, and not in the way of our own names.
fn check(path: &str) -> io::Result<()> {
    let plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if path.is_empty() || !plain || path.starts_with("..") {
        let text = format!("the path {path:?} is not inside the volume");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(())
}

fn write_files(dir: &Path, payload: &Payload) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755))?;
    for (path, file) in payload {
        let path = dir.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, &file.data)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(file.mode))?;
    }
    Ok(())
}

/// Links every first part of a path through `..data`, and removes links that lead nowhere now.
fn link_top_level(dir: &Path, payload: &Payload) -> io::Result<()> {
    let wanted: BTreeSet<&str> =
        payload.keys().map(|path| path.split('/').next().unwrap_or(path)).collect();
    for name in &wanted {
        let link = dir.join(name);
        if std::fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(name), &link)?;
        }
    }
    for entry in std::fs::read_dir(dir)?.filter_map(Result::ok) {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with("..") && !wanted.contains(name.as_ref()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
    Ok(())
}

fn holds(dir: &Path, payload: &Payload) -> bool {
    let same = |(path, file): (&String, &File)| {
        let path = dir.join(path);
        let mode = std::fs::metadata(&path).map(|data| data.permissions().mode() & 0o7777);
        mode.is_ok_and(|mode| mode == file.mode)
            && std::fs::read(&path).is_ok_and(|data| data == file.data)
    };
    payload.iter().all(same) && count_files(dir) == payload.len()
}

fn count_files(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    let count = |entry: std::fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => count_files(&entry.path()),
        _ => 1,
    };
    entries.map(count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let file = |text: &str| File { data: text.as_bytes().to_vec(), mode: 0o644 };
        files.iter().map(|(path, text)| (path.to_string(), file(text))).collect()
    }

    #[test]
    fn files_change_all_at_once_and_old_ones_go() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("volume");
        assert!(write(&dir, &payload(&[("a", "1"), ("sub/b", "2")])).unwrap());
        assert_eq!(std::fs::read_to_string(dir.join("sub/b")).unwrap(), "2");
        let before = std::fs::read_link(dir.join(DATA)).unwrap();
        assert!(!write(&dir, &payload(&[("a", "1"), ("sub/b", "2")])).unwrap(), "no change");
        assert_eq!(std::fs::read_link(dir.join(DATA)).unwrap(), before);

        assert!(write(&dir, &payload(&[("a", "3"), ("c", "4")])).unwrap());
        assert_eq!(std::fs::read_to_string(dir.join("a")).unwrap(), "3");
        assert_eq!(std::fs::read_to_string(dir.join("c")).unwrap(), "4");
        assert!(!dir.join("sub").exists());
        assert!(!dir.join(before).exists(), "the old files are gone");
    }

    #[test]
    fn no_file_outside_the_volume() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["../x", "/etc/passwd", "a/../../x", "..data", ""] {
            assert!(write(dir.path(), &payload(&[(path, "1")])).is_err(), "{path}");
        }
    }
}
