//! What a container says at its end: the message that it left, or the end of its log where the pod
//! wants that for one that failed.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use hansa_api::k8s_openapi::api::core::v1::Pod;

use crate::context::Context;
use crate::names::{self, identity};
use crate::observed::{Container, Observed, State};
use crate::server::logs;
use crate::worker::spec_of;

/// Most of a message that is kept, bytes.
const MOST: usize = 4096;
/// Most of a log that stands in for a message: lines, and bytes of text.
const MOST_OF_LOG: (usize, usize) = (80, 2048);
/// How much of a log's end is read for that, bytes: every line begins with a time.
const READ_OF_LOG: u64 = 16 * 1024;

/// Adds the last words that ended containers left.
#[must_use]
pub fn with_last_words(context: &Context, pod: &Pod, observed: &Observed) -> Observed {
    let mut observed = observed.clone();
    for found in &mut observed.containers {
        let words = match &found.state {
            State::Exited(ended) => last_words(context, pod, found, ended.code),
            _ => String::new(),
        };
        if let (State::Exited(ended), false) = (&mut found.state, words.is_empty()) {
            ended.message = words;
        }
    }
    observed
}

fn last_words(context: &Context, pod: &Pod, found: &Container, code: i32) -> String {
    let (namespace, name, uid) = identity(pod);
    let path = context.folders.termination_log(uid, &found.name, found.attempt);
    let words = std::fs::read(path).unwrap_or_default();
    let wants_log = || {
        let policy = spec_of(pod, &found.name).and_then(|s| s.termination_message_policy.as_ref());
        policy.is_some_and(|policy| policy == "FallbackToLogsOnError")
    };
    if !words.is_empty() || code == 0 || !wants_log() {
        return String::from_utf8_lossy(&words[..words.len().min(MOST)]).into_owned();
    }
    let logs = context.folders.logs(namespace, name, uid);
    let end = end_of_file(&logs.join(names::log_path(&found.name, found.attempt)));
    logs::end_of(&end.unwrap_or_default(), MOST_OF_LOG.0, MOST_OF_LOG.1)
}

fn end_of_file(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(READ_OF_LOG)))?;
    let mut end = Vec::new();
    file.take(READ_OF_LOG).read_to_end(&mut end)?;
    Ok(end)
}
