//! A container's log as a user wants it: the CRI log format read back, from the end, followed.

use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::mpsc::Sender;

/// How often a followed file is looked at.
const POLL: Duration = Duration::from_millis(100);

/// One read from a file, bytes.
const CHUNK: usize = 64 * 1024;

/// Which part of a log is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Go on as long as the container runs.
    pub follow: bool,
    /// The container before this one.
    pub previous: bool,
    /// With times.
    pub timestamps: bool,
    /// Only so many last lines.
    pub tail: Option<usize>,
    /// Only what is newer.
    pub since: Option<Timestamp>,
    /// Only so many bytes.
    pub limit: Option<usize>,
    /// Only stdout, or only stderr.
    pub stream: Option<String>,
}

impl Options {
    /// Reads a query's parameters; `now` is what `sinceSeconds` counts from.
    ///
    /// # Errors
    /// The name of the parameter that makes no sense.
    pub fn parse(query: &[(String, String)], now: Timestamp) -> Result<Self, String> {
        let mut options = Self::default();
        for (key, value) in query {
            let bad = |_| format!("{key}: Invalid value: {value:?}");
            let count = || value.parse::<usize>().map_err(|_| bad(()));
            match key.as_str() {
                "follow" => options.follow = truth(value),
                "previous" => options.previous = truth(value),
                "timestamps" => options.timestamps = truth(value),
                "tailLines" => options.tail = Some(count()?),
                "limitBytes" => options.limit = Some(count()?),
                "sinceTime" => options.since = Some(value.parse().map_err(|_| bad(()))?),
                "sinceSeconds" => {
                    let secs = Duration::from_secs(count()? as u64);
                    options.since = now.checked_sub(secs).ok();
                }
                "stream" if value != "All" => options.stream = Some(value.to_lowercase()),
                _ => {}
            }
        }
        Ok(options)
    }
}

/// Whether a query's value means yes.
#[must_use]
pub fn truth(value: &str) -> bool {
    matches!(value, "true" | "True" | "1")
}

/// One line of the CRI log format.
#[derive(Debug, PartialEq, Eq)]
struct Record<'a> {
    time: &'a [u8],
    stream: &'a [u8],
    complete: bool,
    text: &'a [u8],
}

fn record(line: &[u8]) -> Option<Record<'_>> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let (time, stream, tag) = (parts.next()?, parts.next()?, parts.next()?);
    let text = parts.next().unwrap_or_default();
    Some(Record { time, stream, complete: !tag.starts_with(b"P"), text })
}

/// The user's part of the end of a log: of these lines the last `lines`, of those the last `bytes`.
#[must_use]
pub fn end_of(log: &[u8], lines: usize, bytes: usize) -> String {
    let all: Vec<&[u8]> = log.split_inclusive(|byte| *byte == b'\n').collect();
    let mut renderer = Renderer::new(Options::default());
    let last = all[all.len().saturating_sub(lines)..].iter();
    let text: Vec<u8> =
        last.flat_map(|line| renderer.line(line.strip_suffix(b"\n").unwrap_or(line))).collect();
    String::from_utf8_lossy(&text[text.len().saturating_sub(bytes)..]).into_owned()
}

/// Turns lines of the file into what the user sees. Pure but for its own counters.
#[derive(Debug)]
pub struct Renderer {
    options: Options,
    sent: usize,
    mid_line: bool,
}

impl Renderer {
    /// For these options; the tail was chosen before.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options, sent: 0, mid_line: false }
    }

    /// What one line becomes: nothing if it is filtered out.
    pub fn line(&mut self, line: &[u8]) -> Vec<u8> {
        let Some(record) = record(line) else { return Vec::new() };
        if !self.wanted(&record) {
            return Vec::new();
        }
        let mut out = Vec::with_capacity(line.len());
        if self.options.timestamps && !self.mid_line {
            out.extend_from_slice(record.time);
            out.push(b' ');
        }
        out.extend_from_slice(record.text);
        if record.complete {
            out.push(b'\n');
        }
        self.mid_line = !record.complete;
        if let Some(limit) = self.options.limit {
            out.truncate(limit.saturating_sub(self.sent));
        }
        self.sent += out.len();
        out
    }

    /// Whether the limit is reached.
    #[must_use]
    pub fn full(&self) -> bool {
        self.options.limit.is_some_and(|limit| self.sent >= limit)
    }

    fn wanted(&self, record: &Record<'_>) -> bool {
        let of_stream = self.options.stream.as_ref();
        if of_stream.is_some_and(|stream| stream.as_bytes() != record.stream) {
            return false;
        }
        let Some(since) = self.options.since else { return true };
        let time = std::str::from_utf8(record.time).ok().and_then(|text| text.parse().ok());
        time.is_none_or(|time: Timestamp| time >= since)
    }
}

/// Where in the file its last `lines` lines begin. Partial lines count with their end.
async fn tail_offset(file: &mut File, lines: usize) -> io::Result<u64> {
    let size = file.seek(SeekFrom::End(0)).await?;
    if lines == 0 {
        return Ok(size);
    }
    let (mut end, mut seen) = (size, 0);
    while end > 0 {
        let begin = end.saturating_sub(CHUNK as u64);
        let mut chunk = vec![0; usize::try_from(end - begin).unwrap_or(CHUNK)];
        file.seek(SeekFrom::Start(begin)).await?;
        file.read_exact(&mut chunk).await?;
        for (index, _) in chunk.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let after = begin + index as u64 + 1;
            if after < size {
                seen += 1;
            }
            if seen == lines {
                return Ok(after);
            }
        }
        end = begin;
    }
    Ok(0)
}

/// Sends the log into `out` until its end, or with `follow` until `alive` says that the container
/// has ended. A rotated file is followed to its successor.
///
/// # Errors
/// The file cannot be read. A reader who went away is none.
pub async fn stream<F, Fut>(
    path: &Path,
    options: Options,
    out: Sender<Bytes>,
    alive: F,
) -> io::Result<()>
where
    F: Fn() -> Fut,
    Fut: Future<Output = bool>,
{
    let mut file = File::open(path).await?;
    let start = match options.tail {
        Some(lines) => tail_offset(&mut file, lines).await?,
        None => 0,
    };
    file.seek(SeekFrom::Start(start)).await?;
    let follow = options.follow;
    let mut reader = Reader { file, path: path.to_path_buf(), rest: Vec::new() };
    let mut renderer = Renderer::new(options);
    loop {
        let ended = !follow || !alive().await;
        while let Some(lines) = reader.more().await? {
            let text: Vec<u8> = lines.iter().flat_map(|line| renderer.line(line)).collect();
            let gone = !text.is_empty() && out.send(text.into()).await.is_err();
            if gone || renderer.full() {
                return Ok(());
            }
        }
        if ended || out.is_closed() {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
        reader.follow_rotation().await?;
    }
}

struct Reader {
    file: File,
    path: PathBuf,
    rest: Vec<u8>,
}

impl Reader {
    /// The next whole lines; `None` at the end of the file.
    async fn more(&mut self) -> io::Result<Option<Vec<Vec<u8>>>> {
        let mut chunk = vec![0; CHUNK];
        let read = self.file.read(&mut chunk).await?;
        if read == 0 {
            return Ok(None);
        }
        self.rest.extend_from_slice(&chunk[..read]);
        let Some(last) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(Some(Vec::new()));
        };
        let whole: Vec<u8> = self.rest.drain(..=last).collect();
        let lines = whole[..last].split(|byte| *byte == b'\n').map(<[u8]>::to_vec);
        Ok(Some(lines.collect()))
    }

    /// Opens the path again if it is another file by now and this one was read to its end.
    async fn follow_rotation(&mut self) -> io::Result<()> {
        use std::os::unix::fs::MetadataExt;
        let own = self.file.metadata().await?.ino();
        if tokio::fs::metadata(&self.path).await.is_ok_and(|found| found.ino() != own) {
            self.file = File::open(&self.path).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const LOG: &str = "2026-01-01T00:00:01.5Z stdout F one\n\
        2026-01-01T00:00:02.5Z stderr F two\n\
        2026-01-01T00:00:03.5Z stdout P thr\n\
        2026-01-01T00:00:03.6Z stdout F ee\n";

    async fn read(query: &[(&str, &str)]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, LOG).unwrap();
        let query: Vec<_> = query.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let now = "2026-01-01T00:00:04Z".parse().unwrap();
        let options = Options::parse(&query, now).unwrap();
        let (out, mut lines) = tokio::sync::mpsc::channel(8);
        stream(&path, options, out, || async { false }).await.unwrap();
        let mut text = Vec::new();
        while let Some(chunk) = lines.recv().await {
            text.extend_from_slice(&chunk);
        }
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn options_choose_what_is_seen() {
        assert_eq!(read(&[]).await, "one\ntwo\nthree\n");
        assert_eq!(read(&[("tailLines", "0")]).await, "");
        assert_eq!(read(&[("tailLines", "3")]).await, "two\nthree\n");
        assert_eq!(read(&[("limitBytes", "5")]).await, "one\nt");
        assert_eq!(read(&[("stream", "Stderr")]).await, "two\n");
        assert_eq!(read(&[("sinceSeconds", "2")]).await, "two\nthree\n");
        let stamped = read(&[("timestamps", "true"), ("tailLines", "2")]).await;
        assert_eq!(stamped, "2026-01-01T00:00:03.5Z three\n");
    }

    #[test]
    fn the_end_of_a_log_is_its_last_lines_and_bytes() {
        let log = b"t stdout F one\nt stderr F two\nt stdout P thr\nt stdout F ee\n";
        assert_eq!(end_of(log, 3, 100), "two\nthree\n");
        assert_eq!(end_of(log, 3, 4), "ree\n");
        assert_eq!(end_of(b"", 3, 4), "");
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let query = [("tailLines".to_string(), "-1".to_string())];
        let error = Options::parse(&query, Timestamp::UNIX_EPOCH).unwrap_err();
        assert!(error.starts_with("tailLines"), "{error}");
    }

    #[tokio::test]
    async fn following_sees_new_lines_and_ends_with_the_container() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, LOG).unwrap();
        let (out, mut lines) = tokio::sync::mpsc::channel(8);
        let alive = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
        let (watched, followed) = (alive.clone(), path.clone());
        let options = Options { follow: true, tail: Some(0), ..Options::default() };
        let task = tokio::spawn(async move {
            let alive = || {
                let watched = watched.clone();
                async move { watched.load(std::sync::atomic::Ordering::SeqCst) }
            };
            stream(&followed, options, out, alive).await
        });
        tokio::time::sleep(POLL).await;
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        writeln!(file, "2026-01-01T00:00:05Z stdout F new").unwrap();
        assert_eq!(lines.recv().await.unwrap(), "new\n");
        alive.store(false, std::sync::atomic::Ordering::SeqCst);
        task.await.unwrap().unwrap();
        assert!(lines.recv().await.is_none());
    }
}
