//! Frames: the unit in which files are written, checked and torn.
//!
//! A frame is one append and one sync: `magic[4] | length u32 | sequence u64 | payload CRC32C u32 |
//! header CRC32C u32 | payload`, little-endian. A frame is written only after the one before it is
//! durable, so a crash can tear the last frame of a file and no other; damage anywhere else, or in
//! a last frame that is completely there, is corruption.

use std::ops::Range;

/// Marks the frames of a log segment, with the format's version.
pub(super) const LOG_MAGIC: [u8; 4] = *b"HSL1";
/// Marks the frames of a snapshot, with the format's version.
pub(super) const SNAPSHOT_MAGIC: [u8; 4] = *b"HSS1";
/// Bytes before the payload.
pub(super) const HEADER_LEN: usize = 24;
/// The largest payload that is ever written, in bytes.
pub(super) const MAX_PAYLOAD: usize = 1 << 30;
/// The unit in which disks write: a torn frame misses whole sectors.
const SECTOR: usize = 512;

/// Starts a frame in `out`: room for the header, the payload is appended by the caller.
pub(super) fn begin(out: &mut Vec<u8>) {
    out.clear();
    out.resize(HEADER_LEN, 0);
}

/// Ends a frame: fills in the header over the payload that follows it.
pub(super) fn finish(out: &mut [u8], magic: [u8; 4], sequence: u64) {
    let length = u32::try_from(out.len() - HEADER_LEN).expect("payloads stay under MAX_PAYLOAD");
    let payload_crc = crc32c::crc32c(&out[HEADER_LEN..]);
    out[0..4].copy_from_slice(&magic);
    out[4..8].copy_from_slice(&length.to_le_bytes());
    out[8..16].copy_from_slice(&sequence.to_le_bytes());
    out[16..20].copy_from_slice(&payload_crc.to_le_bytes());
    let header_crc = crc32c::crc32c(&out[..20]);
    out[20..24].copy_from_slice(&header_crc.to_le_bytes());
}

/// How a file's content ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// With a whole frame.
    Clean,
    /// With a frame that was being written when the machine stopped.
    Torn,
    /// With something that no crash leaves behind.
    Corrupt(String),
}

/// The whole frames at the beginning of a file, and what follows them.
#[derive(Debug)]
pub(super) struct Scan {
    /// Where the payloads are.
    pub(super) payloads: Vec<Range<usize>>,
    /// Where the last whole frame ends.
    pub(super) end: usize,
    /// What follows it.
    pub(super) tail: Tail,
}

/// Reads the frames of `data`, whose first has the number `first`.
pub(super) fn scan(data: &[u8], magic: [u8; 4], first: u64) -> Scan {
    let mut payloads = Vec::new();
    let mut end = 0;
    let mut sequence = first;
    let tail = loop {
        if end == data.len() {
            break Tail::Clean;
        }
        match read_frame(data, end, magic, sequence) {
            Ok(payload) => {
                end = payload.end;
                payloads.push(payload);
                sequence += 1;
            }
            Err(tail) => break tail,
        }
    };
    Scan { payloads, end, tail }
}

fn read_frame(data: &[u8], at: usize, magic: [u8; 4], seq: u64) -> Result<Range<usize>, Tail> {
    let rest = &data[at..];
    if rest.len() < HEADER_LEN {
        return Err(Tail::Torn);
    }
    let header = &rest[..HEADER_LEN];
    if crc32c::crc32c(&header[..20]) != u32_at(header, 20) {
        return Err(judge_bad_header(data, at, magic, seq));
    }
    let found = u64::from_le_bytes(header[8..16].try_into().expect("eight bytes"));
    if header[..4] != magic || found != seq {
        return Err(corrupt(at, &format!("frame {seq} expected, found {found}")));
    }
    let length = u32_at(header, 4) as usize;
    if rest.len() < HEADER_LEN + length {
        return Err(Tail::Torn);
    }
    let payload = at + HEADER_LEN..at + HEADER_LEN + length;
    if crc32c::crc32c(&data[payload.clone()]) == u32_at(header, 16) {
        return Ok(payload);
    }
    let is_last = payload.end == data.len();
    if is_last && misses_sector(data, at..payload.end) {
        return Err(Tail::Torn);
    }
    Err(corrupt(at, "checksum of the payload does not match"))
}

/// A header that never reached the disk reads as zeros, and nothing durable can follow it.
fn judge_bad_header(data: &[u8], at: usize, magic: [u8; 4], seq: u64) -> Tail {
    let lost = misses_sector(data, at..at + HEADER_LEN);
    if lost && !later_frame_exists(&data[at + HEADER_LEN..], magic, seq) {
        return Tail::Torn;
    }
    corrupt(at, "checksum of the frame header does not match")
}

fn later_frame_exists(data: &[u8], magic: [u8; 4], seq: u64) -> bool {
    data.windows(HEADER_LEN).any(|header| {
        header[..4] == magic
            && crc32c::crc32c(&header[..20]) == u32_at(header, 20)
            && u64::from_le_bytes(header[8..16].try_into().expect("eight bytes")) > seq
    })
}

/// Whether a disk sector's share of `range` is all zeros, as one that was never written is.
fn misses_sector(data: &[u8], range: Range<usize>) -> bool {
    let mut at = range.start;
    while at < range.end {
        let next = ((at / SECTOR + 1) * SECTOR).min(range.end);
        if data[at..next].iter().all(|byte| *byte == 0) {
            return true;
        }
        at = next;
    }
    false
}

fn u32_at(data: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(data[at..at + 4].try_into().expect("four bytes"))
}

fn corrupt(at: usize, why: &str) -> Tail {
    Tail::Corrupt(format!("at byte {at}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(payloads: &[&[u8]]) -> Vec<u8> {
        let mut all = Vec::new();
        for (index, payload) in payloads.iter().enumerate() {
            let mut frame = Vec::new();
            begin(&mut frame);
            frame.extend_from_slice(payload);
            finish(&mut frame, LOG_MAGIC, 7 + index as u64);
            all.extend_from_slice(&frame);
        }
        all
    }

    fn sample() -> Vec<u8> {
        frames(&[b"one", &[3; 1500], b"three"])
    }

    #[test]
    fn a_file_cut_anywhere_keeps_exactly_the_whole_frames() {
        let data = sample();
        let ends: Vec<usize> = scan(&data, LOG_MAGIC, 7).payloads.iter().map(|p| p.end).collect();
        for cut in 0..data.len() {
            let scan = scan(&data[..cut], LOG_MAGIC, 7);
            let whole = ends.iter().filter(|end| **end <= cut).count();
            assert_eq!(scan.payloads.len(), whole, "cut at {cut}");
            let clean = cut == 0 || ends.contains(&cut);
            assert_eq!(scan.tail, if clean { Tail::Clean } else { Tail::Torn }, "cut at {cut}");
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_corruption() {
        let data = sample();
        for at in 0..data.len() {
            let mut damaged = data.clone();
            damaged[at] ^= 1 << (at % 8);
            let scan = scan(&damaged, LOG_MAGIC, 7);
            assert!(matches!(scan.tail, Tail::Corrupt(_)), "byte {at}: {:?}", scan.tail);
        }
    }

    #[test]
    fn a_sector_that_was_never_written_tears_only_the_last_frame() {
        let mut data = frames(&[b"one", &[3; 1500]]);
        data[512..1024].fill(0);
        assert_eq!(scan(&data, LOG_MAGIC, 7).tail, Tail::Torn);
        let mut data = sample();
        data[512..1024].fill(0);
        assert!(matches!(scan(&data, LOG_MAGIC, 7).tail, Tail::Corrupt(_)));
    }

    #[test]
    fn zeros_after_the_last_frame_are_torn_but_not_before_a_later_one() {
        let mut data = sample();
        data.extend_from_slice(&[0; 700]);
        let clean_end = scan(&sample(), LOG_MAGIC, 7).end;
        let tail = scan(&data, LOG_MAGIC, 7);
        assert_eq!((tail.tail, tail.end), (Tail::Torn, clean_end));
        let mut data = sample();
        data[..27].fill(0);
        assert!(matches!(scan(&data, LOG_MAGIC, 7).tail, Tail::Corrupt(_)));
    }

    #[test]
    fn a_frame_out_of_sequence_is_corruption() {
        assert!(matches!(scan(&sample(), LOG_MAGIC, 8).tail, Tail::Corrupt(_)));
        assert!(matches!(scan(&sample(), SNAPSHOT_MAGIC, 7).tail, Tail::Corrupt(_)));
    }
}
