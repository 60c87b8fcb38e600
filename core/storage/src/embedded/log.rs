//! The write-ahead log: segments of frames, named after the number of their first frame.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::frame;

/// Where frames are appended to: a file, or in tests something that fails.
pub(super) trait Medium: Send {
    /// Appends all of `bytes`.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Returns when everything appended is durable.
    fn sync(&mut self) -> io::Result<()>;
}

impl Medium for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// The log as its one writer sees it.
pub(super) struct Log {
    dir: PathBuf,
    medium: Box<dyn Medium>,
    durable: bool,
    /// Number of the next frame.
    next: u64,
    segment_bytes: u64,
}

impl Log {
    /// Continues the segment `path` of `dir`, which holds `segment_bytes`, with frame `next`.
    pub(super) fn open(
        dir: &Path,
        path: &Path,
        segment_bytes: u64,
        next: u64,
        durable: bool,
    ) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).open(path)?;
        Ok(Self { dir: dir.into(), medium: Box::new(file), durable, next, segment_bytes })
    }

    /// Writes through `medium` from now on.
    #[cfg(test)]
    pub(super) fn replace_medium(&mut self, medium: Box<dyn Medium>) {
        self.medium = medium;
    }

    /// Bytes in the segment that is being written.
    pub(super) fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// Numbers the frame that was begun in `buffer`, appends it and makes it durable.
    pub(super) fn append(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        frame::finish(buffer, frame::LOG_MAGIC, self.next);
        self.medium.append(buffer)?;
        if self.durable {
            self.medium.sync()?;
        }
        self.next += 1;
        self.segment_bytes += buffer.len() as u64;
        Ok(())
    }

    /// Begins a new segment; returns the number of its first frame, or nothing when there is none
    /// and the old one goes on. After an error there may be one, and no frame may be appended.
    pub(super) fn roll(&mut self) -> io::Result<Option<u64>> {
        match create_segment(&self.dir, self.next) {
            Ok(file) => {
                self.medium = Box::new(file);
                self.segment_bytes = 0;
                Ok(Some(self.next))
            }
            Err(error) => {
                tracing::warn!(%error, "could not begin a new log segment; staying with the old");
                remove_durably(&self.dir, &segment_path(&self.dir, self.next))?;
                Ok(None)
            }
        }
    }
}

fn remove_durably(dir: &Path, path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => sync_dir(dir),
    }
}

/// Creates the segment that begins with frame `first`, durably.
pub(super) fn create_segment(dir: &Path, first: u64) -> io::Result<File> {
    let path = segment_path(dir, first);
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    file.sync_all()?;
    sync_dir(dir)?;
    Ok(file)
}

/// Path of the segment that begins with frame `first`.
pub(super) fn segment_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:016x}.log"))
}

/// Makes creations, renames and removals in `dir` durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// The files of `dir` with this extension, by the number in their name.
pub(super) fn numbered_files(dir: &Path, extension: &str) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let wanted = path.extension().is_some_and(|e| e == extension);
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let number = stem.and_then(|stem| u64::from_str_radix(stem, 16).ok());
        if let (true, Some(number)) = (wanted, number) {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found)
}
