//! Snapshots: the whole state as of one revision, so that the log before it can go.
//!
//! A snapshot is a file of frames: a head, many frames of keys with their versions, and an end that
//! counts the keys. It is written beside the running engine and takes its name, the number of the
//! first log frame that it does not contain, when it is complete and durable.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::{Buf, BufMut, Bytes};

use super::codec::{Malformed, get_bytes, put_bytes};
use super::frame::{self, Tail};
use super::log::sync_dir;
use super::mvcc::Version;
use crate::{Error, LeaseId, Revision};

/// What a snapshot holds beside the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) revision: Revision,
    pub(super) compacted: Revision,
    /// Each lease and its time to live in seconds.
    pub(super) leases: Vec<(LeaseId, u64)>,
}

/// Keys with their versions.
pub(super) type Keys = Vec<(Bytes, Vec<Version>)>;

const HEAD: u8 = 1;
const KEYS: u8 = 2;
const END: u8 = 3;

/// Path of the snapshot that the log continues with frame `next`.
pub(super) fn path(dir: &Path, next: u64) -> PathBuf {
    dir.join(format!("{next:016x}.snapshot"))
}

/// A snapshot in the making.
pub(super) struct Writer {
    dir: PathBuf,
    temporary: PathBuf,
    name: PathBuf,
    file: File,
    frame: Vec<u8>,
    frames: u64,
    keys: u64,
    bytes: u64,
}

impl Writer {
    /// Begins the snapshot that the log continues with frame `next`.
    pub(super) fn create(dir: &Path, next: u64, head: &Head) -> io::Result<Self> {
        let name = path(dir, next);
        let temporary = name.with_extension("tmp");
        let mut options = OpenOptions::new();
        let file = options.create(true).write(true).truncate(true).mode(0o600).open(&temporary)?;
        let (dir, frame) = (dir.into(), Vec::new());
        let mut writer = Self { dir, temporary, name, file, frame, frames: 0, keys: 0, bytes: 0 };
        writer.write_frame(|out| encode_head(head, out))?;
        Ok(writer)
    }

    /// Adds keys, which must come in order.
    pub(super) fn add(&mut self, keys: &Keys) -> io::Result<()> {
        self.keys += keys.len() as u64;
        self.write_frame(|out| encode_keys(keys, out))
    }

    /// Makes the snapshot durable and gives it its name; returns its size in bytes.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        let keys = self.keys;
        self.write_frame(|out| {
            out.put_u8(END);
            out.put_u64_le(keys);
        })?;
        self.file.sync_all()?;
        fs::rename(&self.temporary, &self.name)?;
        sync_dir(&self.dir)?;
        Ok(self.bytes)
    }

    fn write_frame(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        frame::begin(&mut self.frame);
        encode(&mut self.frame);
        frame::finish(&mut self.frame, frame::SNAPSHOT_MAGIC, self.frames);
        self.frames += 1;
        self.bytes += self.frame.len() as u64;
        self.file.write_all(&self.frame)
    }
}

fn encode_head(head: &Head, out: &mut Vec<u8>) {
    out.put_u8(HEAD);
    out.put_u64_le(head.revision);
    out.put_u64_le(head.compacted);
    for (lease, ttl_secs) in &head.leases {
        out.put_i64_le(*lease);
        out.put_u64_le(*ttl_secs);
    }
}

fn encode_keys(keys: &Keys, out: &mut Vec<u8>) {
    out.put_u8(KEYS);
    for (key, versions) in keys {
        put_bytes(key, out);
        out.put_u32_le(versions.len() as u32);
        versions.iter().for_each(|version| encode_version(version, out));
    }
}

fn encode_version(version: &Version, out: &mut Vec<u8>) {
    out.put_u64_le(version.create);
    out.put_u64_le(version.modified);
    out.put_u64_le(version.version);
    out.put_i64_le(version.lease);
    out.put_u8(u8::from(version.value.is_some()));
    if let Some(value) = &version.value {
        put_bytes(value, out);
    }
}

/// Reads a whole snapshot; anything less than whole is corruption.
pub(super) fn read(path: &Path) -> Result<(Head, BTreeMap<Bytes, Vec<Version>>), Error> {
    let data = fs::read(path)?;
    let corrupt = |why: &dyn std::fmt::Display| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Error::Corrupt(format!("snapshot {name}: {why}"))
    };
    let scan = frame::scan(&data, frame::SNAPSHOT_MAGIC, 0);
    match scan.tail {
        Tail::Clean => {}
        Tail::Torn => return Err(corrupt(&"it ends early")),
        Tail::Corrupt(why) => return Err(corrupt(&why)),
    }
    let mut reader = Reader::default();
    for payload in scan.payloads {
        reader.read(&data[payload]).map_err(|error| corrupt(&error))?;
    }
    if reader.end != Some(reader.keys.len() as u64) {
        return Err(corrupt(&"keys are missing"));
    }
    Ok((reader.head, reader.keys))
}

#[derive(Default)]
struct Reader {
    head: Head,
    keys: BTreeMap<Bytes, Vec<Version>>,
    end: Option<u64>,
}

impl Reader {
    fn read(&mut self, mut payload: &[u8]) -> Result<(), Malformed> {
        let input = &mut payload;
        match input.try_get_u8()? {
            HEAD => self.head = decode_head(input)?,
            KEYS => self.read_keys(input)?,
            END => self.end = Some(input.try_get_u64_le()?),
            tag => return Err(Malformed::Tag(tag)),
        }
        Ok(())
    }

    fn read_keys(&mut self, input: &mut &[u8]) -> Result<(), Malformed> {
        while input.has_remaining() {
            let key = get_bytes(input)?;
            let count = input.try_get_u32_le()?;
            let versions = (0..count).map(|_| decode_version(input)).collect::<Result<_, _>>()?;
            self.keys.insert(key, versions);
        }
        Ok(())
    }
}

fn decode_head(input: &mut &[u8]) -> Result<Head, Malformed> {
    let (revision, compacted) = (input.try_get_u64_le()?, input.try_get_u64_le()?);
    let mut leases = Vec::new();
    while input.has_remaining() {
        leases.push((input.try_get_i64_le()?, input.try_get_u64_le()?));
    }
    Ok(Head { revision, compacted, leases })
}

fn decode_version(input: &mut &[u8]) -> Result<Version, Malformed> {
    Ok(Version {
        create: input.try_get_u64_le()?,
        modified: input.try_get_u64_le()?,
        version: input.try_get_u64_le()?,
        lease: input.try_get_i64_le()?,
        value: (input.try_get_u8()? == 1).then(|| get_bytes(input)).transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_sample(dir: &Path) -> (Head, Keys) {
        let head = Head { revision: 9, compacted: 4, leases: vec![(7, 60)] };
        let version = |modified, value: Option<&'static str>| Version {
            create: 2,
            modified,
            version: 1,
            lease: 7,
            value: value.map(Bytes::from),
        };
        let keys = vec![
            ("/a".into(), vec![version(2, Some("x")), version(5, None)]),
            ("/b".into(), vec![version(9, Some(""))]),
        ];
        let mut writer = Writer::create(dir, 3, &head).unwrap();
        keys.iter().for_each(|one| writer.add(&vec![one.clone()]).unwrap());
        let bytes = writer.finish().unwrap();
        assert_eq!(bytes, fs::metadata(path(dir, 3)).unwrap().len());
        (head, keys)
    }

    #[test]
    fn a_snapshot_reads_back_as_written() {
        let dir = tempfile::tempdir().unwrap();
        let (head, keys) = write_sample(dir.path());
        let (read_head, read_keys) = read(&path(dir.path(), 3)).unwrap();
        assert_eq!((read_head, read_keys.into_iter().collect::<Keys>()), (head, keys));
    }

    #[test]
    fn a_snapshot_cut_anywhere_is_corrupt() {
        let dir = tempfile::tempdir().unwrap();
        write_sample(dir.path());
        let whole = fs::read(path(dir.path(), 3)).unwrap();
        for cut in 0..whole.len() {
            fs::write(path(dir.path(), 3), &whole[..cut]).unwrap();
            let result = read(&path(dir.path(), 3));
            assert!(matches!(result, Err(Error::Corrupt(_))), "cut at {cut}: {result:?}");
        }
    }
}
