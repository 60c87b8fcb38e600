//! Small deeds on files.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Lets any user of a container write the file.
///
/// # Errors
/// The disk says no.
pub fn open_to_all(path: &Path) -> io::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))
}

/// Removes a folder and all in it; one that is not there is fine.
///
/// # Errors
/// The disk says no.
pub fn remove_dir(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
