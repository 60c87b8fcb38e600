//! A container's output in the CRI log format: one line of
//! `<RFC 3339 time> <stdout|stderr> <F|P> <text>` per line written, P when the line goes on.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

/// Longer lines are cut into partial ones, bytes. The same bound as other runtimes'.
const LONGEST_LINE: usize = 16 * 1024;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// The log file of one container; or nothing, if the kubelet wants no log.
#[derive(Debug)]
pub struct LogFile {
    path: Option<PathBuf>,
    file: Mutex<Option<File>>,
}

impl LogFile {
    /// Opens the file for appending and makes its folder. `None` swallows all output.
    ///
    /// # Errors
    /// The disk says no.
    pub fn open(path: Option<&Path>) -> io::Result<Self> {
        let file = path.map(append_to).transpose()?;
        Ok(Self { path: path.map(Path::to_path_buf), file: Mutex::new(file) })
    }

    /// Opens the path again: the kubelet has moved the old file away.
    ///
    /// # Errors
    /// The disk says no.
    pub fn reopen(&self) -> io::Result<()> {
        let file = self.path.as_deref().map(append_to).transpose()?;
        *self.file.lock() = file;
        Ok(())
    }

    /// Writes one record. A full disk loses output, not the container.
    pub fn write(&self, stream: Stream, complete: bool, text: &[u8]) {
        let mut file = self.file.lock();
        let Some(file) = file.as_mut() else { return };
        let tag = if complete { 'F' } else { 'P' };
        let mut record =
            format!("{:.9} {} {tag} ", jiff::Timestamp::now(), stream.name()).into_bytes();
        record.extend_from_slice(text);
        record.push(b'\n');
        if let Err(error) = file.write_all(&record) {
            tracing::warn!(%error, path = ?self.path, "container log lost a line");
        }
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

/// Hands a guest writers onto one stream of the log.
#[derive(Debug, Clone)]
pub struct LogStream {
    log: Arc<LogFile>,
    stream: Stream,
}

impl LogStream {
    /// A stream of `log`.
    #[must_use]
    pub fn new(log: Arc<LogFile>, stream: Stream) -> Self {
        Self { log, stream }
    }

    fn writer(&self) -> LineWriter {
        LineWriter { log: self.log.clone(), stream: self.stream, rest: Vec::new() }
    }
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.writer())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.writer())
    }
}

/// Cuts what is written into lines; what is left at the end becomes a line of its own.
#[derive(Debug)]
pub struct LineWriter {
    log: Arc<LogFile>,
    stream: Stream,
    rest: Vec<u8>,
}

impl LineWriter {
    fn push(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            self.write_line(&line[..end], true);
        }
        if self.rest.len() > LONGEST_LINE {
            let line = std::mem::take(&mut self.rest);
            self.write_line(&line, false);
        }
    }

    fn write_line(&self, line: &[u8], complete: bool) {
        let mut chunks = line.chunks(LONGEST_LINE).peekable();
        if chunks.peek().is_none() {
            self.log.write(self.stream, complete, b"");
        }
        while let Some(chunk) = chunks.next() {
            self.log.write(self.stream, complete && chunks.peek().is_none(), chunk);
        }
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        if !self.rest.is_empty() {
            let line = std::mem::take(&mut self.rest);
            self.write_line(&line, true);
        }
    }
}

impl AsyncWrite for LineWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.push(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[async_trait::async_trait]
impl Pollable for LineWriter {
    async fn ready(&mut self) {}
}

impl OutputStream for LineWriter {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StreamError> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 * 1024)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &Path) -> Vec<(String, String, String)> {
        let text = std::fs::read_to_string(path).unwrap();
        let parse = |line: &str| {
            let mut parts = line.splitn(4, ' ');
            parts.next().unwrap().parse::<jiff::Timestamp>().unwrap();
            let mut next = || parts.next().unwrap().to_string();
            (next(), next(), next())
        };
        text.lines().map(parse).collect()
    }

    #[test]
    fn writes_become_lines_and_the_last_one_is_not_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pod/web/0.log");
        let log = Arc::new(LogFile::open(Some(&path)).unwrap());
        let mut writer = LogStream::new(log.clone(), Stream::Stdout).writer();
        writer.push(b"one\ntw");
        writer.push(b"o\n\nend");
        drop(writer);
        let texts: Vec<_> = lines(&path).into_iter().map(|(_, tag, text)| tag + &text).collect();
        assert_eq!(texts, ["Fone", "Ftwo", "F", "Fend"]);
    }

    #[test]
    fn a_line_without_end_is_cut_and_marked_partial() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let log = Arc::new(LogFile::open(Some(&path)).unwrap());
        let mut writer = LogStream::new(log, Stream::Stderr).writer();
        writer.push(&vec![b'x'; LONGEST_LINE + 10]);
        writer.push(b"y\n");
        let got: Vec<_> = lines(&path).into_iter().map(|(s, tag, t)| (s, tag, t.len())).collect();
        let want = [("P", LONGEST_LINE), ("P", 10), ("F", 1)];
        let want = want.map(|(tag, len)| ("stderr".to_string(), tag.to_string(), len));
        assert_eq!(got, want);
    }

    #[test]
    fn after_reopen_lines_go_to_a_new_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let log = LogFile::open(Some(&path)).unwrap();
        log.write(Stream::Stdout, true, b"old");
        std::fs::rename(&path, dir.path().join("0.log.1")).unwrap();
        log.reopen().unwrap();
        log.write(Stream::Stdout, true, b"new");
        assert_eq!(lines(&path)[0].2, "new");
    }
}
