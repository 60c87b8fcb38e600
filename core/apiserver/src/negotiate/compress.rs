//! Gzip for large answers, as upstream: get and list, above 128 KiB, at the fastest level.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::HeaderMap;
use http::header::ACCEPT_ENCODING;

/// Smaller answers are sent as they are.
pub const THRESHOLD: usize = 128 << 10;

/// Whether the client reads gzip.
pub fn accepts_gzip(headers: &HeaderMap) -> bool {
    let texts = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        parts.next() == Some("gzip") && !parts.any(|part| part == "q=0")
    })
}

/// Compresses a body chunk by chunk.
pub struct Gzip(GzEncoder<Vec<u8>>);

impl Gzip {
    /// A fresh stream.
    pub fn new() -> Self {
        Self(GzEncoder::new(Vec::new(), Compression::fast()))
    }

    /// Takes a chunk; gives back what is ready, possibly nothing.
    pub fn push(&mut self, chunk: &[u8]) -> Bytes {
        self.0.write_all(chunk).expect("compressing into memory does not fail");
        Bytes::from(std::mem::take(self.0.get_mut()))
    }

    /// Ends the stream.
    pub fn finish(self) -> Bytes {
        Bytes::from(self.0.finish().expect("compressing into memory does not fail"))
    }
}

impl Default for Gzip {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn chunks_come_out_as_one_stream() {
        let mut gzip = Gzip::new();
        let mut packed = Vec::new();
        for _ in 0..100 {
            packed.extend_from_slice(&gzip.push(&[b'x'; 5000]));
        }
        packed.extend_from_slice(&gzip.finish());
        let mut text = String::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).unwrap();
        assert_eq!(text, "x".repeat(500_000));
        assert!(packed.len() < 50_000);
    }

    #[test]
    fn clients_say_whether_they_read_it() {
        let accepts = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, text.parse().unwrap());
            accepts_gzip(&headers)
        };
        assert!(accepts("deflate, gzip;q=1.0"));
        assert!(!accepts("gzip;q=0") && !accepts("br"));
    }
}
