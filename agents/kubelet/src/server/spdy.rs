//! SPDY/3.1 as far as exec, attach and port-forward need it: streams with headers over one
//! connection, either side opening them. No flow control: the other ends have none either.
//!
//! Frames and the header dictionary are those of the SPDY Protocol drafts 3 and 3.1.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

/// Both directions of a connection.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Io for T {}

/// Header names and values of a stream.
pub type Headers = Vec<(String, String)>;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const FIN: u8 = 1;

/// The longest frame taken, bytes: far above what peers send.
const LONGEST: usize = 4 << 20;

/// The most data in one frame, bytes.
const DATA_CHUNK: usize = 32 * 1024;

/// Words of the header dictionary, each preceded by its length.
const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding \
accept-language accept-ranges age allow authorization cache-control connection content-base \
content-encoding content-language content-length content-location content-md5 content-range \
content-type date etag expect expires from host if-match if-modified-since if-none-match if-range \
if-unmodified-since last-modified location max-forwards pragma proxy-authenticate \
proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade \
user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public \
set-cookie keep-alive origin";

/// The dictionary's end, without lengths.
const TAIL: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416\
417502504505203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 \
Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service \
UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, \
Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,\
text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,\
utf-,*,enq=0.";

fn dictionary() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1423);
    for word in WORDS.split(' ').map(|word| word.replace('_', " ")) {
        put_text(&mut bytes, &word);
    }
    bytes.extend_from_slice(TAIL.as_bytes());
    bytes
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend_from_slice(&(text.len() as u32).to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

/// Compresses header blocks: one stream per direction of a connection.
struct Packer(Compress);

impl Packer {
    fn new() -> io::Result<Self> {
        let mut compress = Compress::new(Compression::new(6), true);
        compress.set_dictionary(&dictionary()).map_err(io::Error::other)?;
        Ok(Self(compress))
    }

    fn pack(&mut self, headers: &[(String, String)]) -> io::Result<Vec<u8>> {
        let mut plain = (headers.len() as u32).to_be_bytes().to_vec();
        for (name, value) in headers {
            put_text(&mut plain, &name.to_lowercase());
            put_text(&mut plain, value);
        }
        let mut packed = Vec::with_capacity(plain.len() + 256);
        self.0.compress_vec(&plain, &mut packed, FlushCompress::Sync).map_err(io::Error::other)?;
        Ok(packed)
    }
}

struct Unpacker(Decompress);

impl Unpacker {
    fn new() -> Self {
        Self(Decompress::new(true))
    }

    fn unpack(&mut self, packed: &[u8]) -> io::Result<Headers> {
        let mut plain = Vec::with_capacity(packed.len() * 8 + 4096);
        let mut read = 0;
        while read < packed.len() {
            let before = self.0.total_in();
            let rest = &packed[read..];
            match self.0.decompress_vec(rest, &mut plain, FlushDecompress::Sync) {
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0.set_dictionary(&dictionary()).map_err(io::Error::other)?;
                }
                Err(error) => return Err(io::Error::other(error)),
                Ok(_) => {}
            }
            let used = usize::try_from(self.0.total_in() - before).unwrap_or(0);
            read += used;
            if plain.len() > LONGEST {
                return Err(bad("a header block is too long"));
            }
            if used == 0 || plain.len() == plain.capacity() {
                plain.reserve(4096);
            }
        }
        parse_headers(&plain)
    }
}

fn bad(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn parse_headers(plain: &[u8]) -> io::Result<Headers> {
    let mut rest = plain;
    let count = take_number(&mut rest)?;
    let mut headers = Headers::new();
    for _ in 0..count {
        headers.push((take_text(&mut rest)?, take_text(&mut rest)?));
    }
    Ok(headers)
}

fn take_number(rest: &mut &[u8]) -> io::Result<usize> {
    let (head, tail) = rest.split_first_chunk::<4>().ok_or_else(|| bad("short headers"))?;
    *rest = tail;
    Ok(u32::from_be_bytes(*head) as usize)
}

fn take_text(rest: &mut &[u8]) -> io::Result<String> {
    let length = take_number(rest)?;
    let (text, tail) = rest.split_at_checked(length).ok_or_else(|| bad("short headers"))?;
    *rest = tail;
    Ok(String::from_utf8_lossy(text).into_owned())
}

fn control(kind: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = (0x8003_u16).to_be_bytes().to_vec();
    frame.extend_from_slice(&kind.to_be_bytes());
    frame.extend_from_slice(&length(flags, payload.len()));
    frame.extend_from_slice(payload);
    frame
}

fn data(id: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = id.to_be_bytes().to_vec();
    frame.extend_from_slice(&length(flags, payload.len()));
    frame.extend_from_slice(payload);
    frame
}

fn length(flags: u8, length: usize) -> [u8; 4] {
    ((u32::from(flags) << 24) | (length as u32 & 0x00ff_ffff)).to_be_bytes()
}

/// One stream of a session.
#[derive(Debug)]
pub struct Stream {
    /// What the side that opened it said of it.
    pub headers: Headers,
    /// What the other side sends; ends when it has finished.
    pub incoming: mpsc::Receiver<Bytes>,
    /// Where to send.
    pub outgoing: Outgoing,
}

impl Stream {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }
}

/// The sending half of a stream.
#[derive(Debug, Clone)]
pub struct Outgoing {
    id: u32,
    frames: mpsc::Sender<Vec<u8>>,
}

impl Outgoing {
    /// Sends; false if the connection is gone.
    pub async fn send(&self, bytes: &[u8]) -> bool {
        for chunk in bytes.chunks(DATA_CHUNK) {
            if self.frames.send(data(self.id, 0, chunk)).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Says that nothing more will be sent.
    pub async fn finish(&self) {
        let _ = self.frames.send(data(self.id, FIN, &[])).await;
    }
}

/// Which side of the connection we are: its parity is that of the streams it opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Opens odd streams.
    Client,
    /// Opens even streams.
    Server,
}

/// One connection with many streams. Dropping it closes the connection.
pub struct Session {
    next: AtomicU32,
    packer: tokio::sync::Mutex<Packer>,
    frames: mpsc::Sender<Vec<u8>>,
    streams: Streams,
    accepted: tokio::sync::Mutex<mpsc::Receiver<Stream>>,
    reader: tokio::task::AbortHandle,
}

type Streams = Arc<Mutex<HashMap<u32, mpsc::Sender<Bytes>>>>;

impl Drop for Session {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Session {
    /// A session over a connection that was just upgraded.
    ///
    /// # Errors
    /// The compressor cannot be set up.
    pub fn new(io: impl Io, role: Role) -> io::Result<Self> {
        let (read, mut write) = tokio::io::split(io);
        let (frames, mut queue) = mpsc::channel::<Vec<u8>>(64);
        tokio::spawn(async move {
            while let Some(frame) = queue.recv().await {
                if write.write_all(&frame).await.is_err() || write.flush().await.is_err() {
                    return;
                }
            }
            let _ = write.shutdown().await;
        });
        let streams = Streams::default();
        let (accept, accepted) = mpsc::channel(64);
        let unpacker = Unpacker::new();
        let packer = Packer::new()?;
        let reader = Reader { io: read, unpacker, streams: streams.clone(), accept };
        let weak = frames.downgrade();
        let task = tokio::spawn(reader.run(weak));
        Ok(Self {
            next: AtomicU32::new(if role == Role::Client { 1 } else { 2 }),
            packer: tokio::sync::Mutex::new(packer),
            frames,
            streams,
            accepted: tokio::sync::Mutex::new(accepted),
            reader: task.abort_handle(),
        })
    }

    /// Opens a stream.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn open(&self, headers: Headers) -> io::Result<Stream> {
        let mut packer = self.packer.lock().await;
        let id = self.next.fetch_add(2, Ordering::Relaxed);
        let (send, incoming) = mpsc::channel(16);
        self.streams.lock().insert(id, send);
        let mut payload = id.to_be_bytes().to_vec();
        payload.extend_from_slice(&[0; 6]);
        payload.extend(packer.pack(&headers)?);
        let sent = self.frames.send(control(SYN_STREAM, 0, &payload)).await;
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        let outgoing = Outgoing { id, frames: self.frames.clone() };
        Ok(Stream { headers, incoming, outgoing })
    }

    /// The next stream that the other side opened, answered already; `None` at the end.
    pub async fn accept(&self) -> Option<Stream> {
        let stream = self.accepted.lock().await.recv().await?;
        let mut packer = self.packer.lock().await;
        let mut payload = stream.outgoing.id.to_be_bytes().to_vec();
        payload.extend(packer.pack(&[]).ok()?);
        self.frames.send(control(SYN_REPLY, 0, &payload)).await.ok()?;
        Some(stream)
    }
}

struct Reader<R> {
    io: R,
    unpacker: Unpacker,
    streams: Streams,
    accept: mpsc::Sender<Stream>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    async fn run(mut self, frames: mpsc::WeakSender<Vec<u8>>) {
        while let Ok(true) = self.frame(&frames).await {}
        self.streams.lock().clear();
    }

    /// Reads and handles one frame; false at the end of the connection.
    async fn frame(&mut self, frames: &mpsc::WeakSender<Vec<u8>>) -> io::Result<bool> {
        let mut head = [0; 8];
        self.io.read_exact(&mut head).await?;
        let first = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let flags = head[4];
        let length = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
        if length > LONGEST {
            return Err(bad("a frame is too long"));
        }
        let mut payload = vec![0; length];
        self.io.read_exact(&mut payload).await?;
        if first & 0x8000_0000 == 0 {
            self.data(first, flags, payload).await;
            return Ok(true);
        }
        let Some(frames) = frames.upgrade() else { return Ok(false) };
        let kind = (first & 0xffff) as u16;
        self.control(kind, flags, payload, frames).await
    }

    async fn data(&mut self, id: u32, flags: u8, payload: Vec<u8>) {
        let stream = self.streams.lock().get(&id).cloned();
        if let Some(stream) = stream.filter(|_| !payload.is_empty()) {
            let _ = stream.send(payload.into()).await;
        }
        if flags & FIN != 0 {
            self.streams.lock().remove(&id);
        }
    }

    async fn control(
        &mut self,
        kind: u16,
        flags: u8,
        payload: Vec<u8>,
        frames: mpsc::Sender<Vec<u8>>,
    ) -> io::Result<bool> {
        let id =
            || payload.first_chunk::<4>().map_or(0, |id| u32::from_be_bytes(*id) & 0x7fff_ffff);
        match kind {
            SYN_STREAM => {
                let block = payload.get(10..).ok_or_else(|| bad("a short frame"))?;
                let headers = self.unpacker.unpack(block)?;
                let (send, incoming) = mpsc::channel(16);
                if flags & FIN == 0 {
                    self.streams.lock().insert(id(), send);
                }
                let outgoing = Outgoing { id: id(), frames };
                let stream = Stream { headers, incoming, outgoing };
                return Ok(self.accept.send(stream).await.is_ok());
            }
            SYN_REPLY => {
                // Its headers say nothing, but keep the decompressor in step.
                let block = payload.get(4..).ok_or_else(|| bad("a short frame"))?;
                self.unpacker.unpack(block)?;
                if flags & FIN != 0 {
                    self.streams.lock().remove(&id());
                }
            }
            RST_STREAM => drop(self.streams.lock().remove(&id())),
            PING => drop(frames.send(control(PING, 0, &payload)).await),
            GOAWAY => return Ok(false),
            _ => {}
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dictionary_is_the_drafts() {
        let dictionary = dictionary();
        assert_eq!(dictionary.len(), 1423);
        let (mut a, mut b) = (1_u32, 0_u32);
        for byte in &dictionary {
            a = (a + u32::from(*byte)) % 65521;
            b = (b + a) % 65521;
        }
        assert_eq!((b << 16) | a, 0xe3c6_a7c2, "its checksum is in every SPDY/3 header block");
    }

    #[tokio::test]
    async fn both_sides_open_streams_send_and_finish() {
        let (left, right) = tokio::io::duplex(1024);
        let client = Session::new(left, Role::Client).unwrap();
        let server = Session::new(right, Role::Server).unwrap();
        for kind in ["error", "stdin", "stdout"] {
            let headers = vec![("streamType".to_string(), kind.to_string())];
            let mut near = client.open(headers).await.unwrap();
            let mut far = server.accept().await.unwrap();
            assert_eq!(far.header("streamType"), kind);
            let long = vec![7; 100_000];
            let (sent, got) = tokio::join!(near.outgoing.send(&long), async {
                let mut got = 0;
                while got < long.len() {
                    got += far.incoming.recv().await.unwrap().len();
                }
                got
            });
            assert!(sent && got == long.len());
            near.outgoing.finish().await;
            assert_eq!(far.incoming.recv().await, None);
            far.outgoing.send(b"answer").await;
            assert_eq!(near.incoming.recv().await.unwrap(), "answer");
        }
    }
}
