//! Entries of the log, as bytes: little-endian numbers, length-prefixed strings, one tag byte each.

use bytes::{Buf, BufMut, Bytes, TryGetError};

use crate::{LeaseId, Revision};

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// The key gets this value and lease.
    Put { key: Bytes, value: Bytes, lease: LeaseId },
    /// The key goes.
    Delete { key: Bytes },
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// What one revision changed.
    Commit { revision: Revision, ops: Vec<Op> },
    /// A lease begins.
    Grant { lease: LeaseId, ttl_secs: u64 },
    /// A lease ends; the deletion of its keys is the commit that follows.
    Revoke { lease: LeaseId },
    /// History below this revision is given up.
    Compact { revision: Revision },
}

/// Why bytes that passed their checksum are no entries.
#[derive(Debug, thiserror::Error)]
pub(super) enum Malformed {
    #[error("entry ends early")]
    Short(#[from] TryGetError),
    #[error("unknown tag {0}")]
    Tag(u8),
}

const COMMIT: u8 = 1;
const GRANT: u8 = 2;
const REVOKE: u8 = 3;
const COMPACT: u8 = 4;
const PUT: u8 = 1;
const DELETE: u8 = 2;

/// Appends one entry to `out`.
pub(super) fn encode(entry: &Entry, out: &mut Vec<u8>) {
    match entry {
        Entry::Commit { revision, ops } => {
            out.put_u8(COMMIT);
            out.put_u64_le(*revision);
            out.put_u32_le(ops.len() as u32);
            ops.iter().for_each(|op| encode_op(op, out));
        }
        Entry::Grant { lease, ttl_secs } => {
            out.put_u8(GRANT);
            out.put_i64_le(*lease);
            out.put_u64_le(*ttl_secs);
        }
        Entry::Revoke { lease } => {
            out.put_u8(REVOKE);
            out.put_i64_le(*lease);
        }
        Entry::Compact { revision } => {
            out.put_u8(COMPACT);
            out.put_u64_le(*revision);
        }
    }
}

fn encode_op(op: &Op, out: &mut Vec<u8>) {
    match op {
        Op::Put { key, value, lease } => {
            out.put_u8(PUT);
            put_bytes(key, out);
            put_bytes(value, out);
            out.put_i64_le(*lease);
        }
        Op::Delete { key } => {
            out.put_u8(DELETE);
            put_bytes(key, out);
        }
    }
}

/// Reads all entries of one payload. Keys and values are copied, so that `payload` can be freed.
pub(super) fn decode_all(mut payload: &[u8]) -> Result<Vec<Entry>, Malformed> {
    let mut entries = Vec::new();
    while payload.has_remaining() {
        entries.push(decode(&mut payload)?);
    }
    Ok(entries)
}

fn decode(input: &mut &[u8]) -> Result<Entry, Malformed> {
    match input.try_get_u8()? {
        COMMIT => decode_commit(input),
        GRANT => {
            Ok(Entry::Grant { lease: input.try_get_i64_le()?, ttl_secs: input.try_get_u64_le()? })
        }
        REVOKE => Ok(Entry::Revoke { lease: input.try_get_i64_le()? }),
        COMPACT => Ok(Entry::Compact { revision: input.try_get_u64_le()? }),
        tag => Err(Malformed::Tag(tag)),
    }
}

fn decode_commit(input: &mut &[u8]) -> Result<Entry, Malformed> {
    let revision = input.try_get_u64_le()?;
    let count = input.try_get_u32_le()?;
    let ops = (0..count).map(|_| decode_op(input)).collect::<Result<_, _>>()?;
    Ok(Entry::Commit { revision, ops })
}

fn decode_op(input: &mut &[u8]) -> Result<Op, Malformed> {
    match input.try_get_u8()? {
        PUT => Ok(Op::Put {
            key: get_bytes(input)?,
            value: get_bytes(input)?,
            lease: input.try_get_i64_le()?,
        }),
        DELETE => Ok(Op::Delete { key: get_bytes(input)? }),
        tag => Err(Malformed::Tag(tag)),
    }
}

/// Appends a length-prefixed string.
pub(super) fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.put_u32_le(bytes.len() as u32);
    out.put_slice(bytes);
}

/// Reads a length-prefixed string into memory of its own.
pub(super) fn get_bytes(input: &mut &[u8]) -> Result<Bytes, Malformed> {
    let length = input.try_get_u32_le()? as usize;
    if input.remaining() < length {
        let available = input.remaining();
        return Err(Malformed::Short(TryGetError { requested: length, available }));
    }
    let (bytes, rest) = input.split_at(length);
    *input = rest;
    Ok(Bytes::copy_from_slice(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        let put = Op::Put { key: "/a".into(), value: Bytes::from(vec![0, 255]), lease: -3 };
        vec![
            Entry::Grant { lease: 9, ttl_secs: 60 },
            Entry::Commit { revision: 2, ops: vec![put, Op::Delete { key: "/b".into() }] },
            Entry::Revoke { lease: 9 },
            Entry::Compact { revision: 2 },
        ]
    }

    #[test]
    fn entries_survive_the_way_through_bytes() {
        let mut bytes = Vec::new();
        entries().iter().for_each(|entry| encode(entry, &mut bytes));
        assert_eq!(decode_all(&bytes).unwrap(), entries());
    }

    #[test]
    fn a_payload_cut_within_an_entry_is_refused() {
        for entry in entries() {
            let mut bytes = Vec::new();
            encode(&entry, &mut bytes);
            for cut in 1..bytes.len() {
                assert!(decode_all(&bytes[..cut]).is_err(), "{entry:?} cut at {cut}");
            }
        }
    }
}
