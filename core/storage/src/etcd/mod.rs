//! The backend on a real etcd v3: one [`Storage`] over a connection to its members.
//!
//! Keys are kept under a prefix, so that several clusters can share one etcd. Writes are single
//! transactions; reads are linearizable; a watch resumes by itself after a lost connection.

mod convert;
#[cfg(test)]
mod tests;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use etcd_client::{
    Certificate, Client, Compare, ConnectOptions, DeleteOptions, GetOptions, Identity, KvClient,
    PutOptions, TlsOptions, Txn, TxnOp, TxnOpResponse, TxnResponse,
};
use tokio::task::AbortHandle;

use self::convert::Keyspace;
use crate::{
    Error, Expect, KeyValue, LeaseId, Outcome, RangeQuery, RangeResult, Revision, Storage,
    WatchStream,
};

/// Keys asked for at a time; a larger answer is put together from several.
const PAGE: usize = 1000;
/// Messages may be as large as the server makes them: it knows its limits.
const MESSAGE_LIMIT: usize = 1 << 30;

/// Where etcd is and how to speak to it.
#[derive(Clone, Debug)]
pub struct Options {
    /// URLs of the members, `http://…` or `https://…`.
    pub endpoints: Vec<String>,
    /// PEM file of the authority that signed the members' certificates.
    pub ca: Option<PathBuf>,
    /// PEM file of the client's certificate; needs `key`.
    pub cert: Option<PathBuf>,
    /// PEM file of the client's private key; needs `cert`.
    pub key: Option<PathBuf>,
    /// What all keys begin with in etcd, such as `/league`; nothing by default.
    pub prefix: String,
    /// How long a request may take.
    pub request_timeout: Duration,
    /// How long a watch may be silent before it is asked for a sign of life, and how long that may
    /// take before the watch is begun anew.
    pub watch_patience: Duration,
    /// How long a watch tries to resume before it ends with [`Error::Unavailable`].
    pub resume_for: Duration,
    /// How much history is kept; five minutes, as kube-apiserver does. `None` leaves compaction to
    /// etcd or another client.
    pub keep: Option<Duration>,
}

impl Options {
    /// The defaults, for these members.
    pub fn new(endpoints: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            ca: None,
            cert: None,
            key: None,
            prefix: String::new(),
            request_timeout: Duration::from_secs(30),
            watch_patience: Duration::from_secs(10),
            resume_for: Duration::from_secs(30),
            keep: Some(Duration::from_secs(300)),
        }
    }
}

/// What the store and its watches share.
struct Inner {
    client: Client,
    keyspace: Keyspace,
    /// The highest revision known to be compacted to.
    compacted: AtomicU64,
    /// Counts requests for progress; each running watch passes them on.
    progress: tokio::sync::watch::Sender<u64>,
    /// Whether the server answers a request for progress only after all events before it.
    exact_progress: bool,
    watch_patience: Duration,
    resume_for: Duration,
}

/// A store on a real etcd.
pub struct Etcd {
    inner: Arc<Inner>,
    compactor: Option<AbortHandle>,
}

impl Etcd {
    /// Connects, and makes sure that etcd answers.
    pub async fn connect(options: Options) -> Result<Self, Error> {
        let connect = connect_options(&options).await?;
        let client = Client::connect(&options.endpoints, Some(connect))
            .await
            .map_err(|error| unavailable(&error))?;
        let status = client.clone().status().await.map_err(|error| unavailable(&error))?;
        let inner = Arc::new(Inner {
            client,
            keyspace: Keyspace::new(options.prefix.as_bytes()),
            compacted: AtomicU64::new(0),
            progress: tokio::sync::watch::Sender::new(0),
            exact_progress: has_exact_progress(status.version()),
            watch_patience: options.watch_patience,
            resume_for: options.resume_for,
        });
        let compactor = options.keep.map(|keep| spawn_compactor(inner.clone(), keep));
        Ok(Self { inner, compactor })
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        if let Some(compactor) = &self.compactor {
            compactor.abort();
        }
    }
}

async fn connect_options(options: &Options) -> Result<ConnectOptions, Error> {
    let connect = ConnectOptions::new()
        .with_timeout(options.request_timeout)
        .with_connect_timeout(Duration::from_secs(5))
        .with_keep_alive(Duration::from_secs(10), Duration::from_secs(5))
        .with_keep_alive_while_idle(true)
        .with_require_leader(true);
    if options.ca.is_none() && options.cert.is_none() {
        return Ok(connect);
    }
    Ok(connect.with_tls(tls_options(options).await?))
}

async fn tls_options(options: &Options) -> Result<TlsOptions, Error> {
    let mut tls = TlsOptions::new();
    if let Some(ca) = &options.ca {
        tls = tls.ca_certificate(Certificate::from_pem(tokio::fs::read(ca).await?));
    }
    match (&options.cert, &options.key) {
        (Some(cert), Some(key)) => {
            let (cert, key) = (tokio::fs::read(cert).await?, tokio::fs::read(key).await?);
            Ok(tls.identity(Identity::from_pem(cert, key)))
        }
        (None, None) => Ok(tls),
        _ => Err(Error::Unavailable("a client certificate needs its key, and a key it".into())),
    }
}

/// From these releases on, a manually requested progress notification is not sent before the events
/// it covers (the list that Kubernetes uses: 3.4.31, 3.5.13, everything later).
fn has_exact_progress(version: &str) -> bool {
    let mut parts = version.split(['.', '-', '+']).map(|part| part.parse::<u64>().ok());
    match (parts.next().flatten(), parts.next().flatten(), parts.next().flatten()) {
        (Some(3), Some(4), Some(patch)) => patch >= 31,
        (Some(3), Some(5), Some(patch)) => patch >= 13,
        (Some(major), Some(minor), _) => (major, minor) > (3, 5),
        _ => false,
    }
}

/// Gives up history as kube-apiserver does: every `keep`, up to where the store was `keep` ago.
fn spawn_compactor(inner: Arc<Inner>, keep: Duration) -> AbortHandle {
    let compact = async move {
        let mut before = None;
        loop {
            let now = inner.current_revision().await.ok();
            if let Some(revision) = before {
                match inner.compact(revision).await {
                    // Compacted: another client was there first.
                    Ok(()) | Err(Error::Compacted { .. }) => {}
                    Err(error) => tracing::warn!(%error, revision, "could not compact etcd"),
                }
            }
            before = now;
            tokio::time::sleep(keep).await;
        }
    };
    tokio::spawn(compact).abort_handle()
}

impl Inner {
    fn kv(&self) -> KvClient {
        let kv = self.client.kv_client();
        kv.max_decoding_message_size(MESSAGE_LIMIT).max_encoding_message_size(MESSAGE_LIMIT)
    }

    async fn current_revision(&self) -> Result<Revision, Error> {
        let options = GetOptions::new().with_count_only();
        let answer = self.kv().get(self.keyspace.key(b"\0"), Some(options)).await;
        let answer = answer.map_err(|error| unavailable(&error))?;
        Ok(convert::revision(answer.header()))
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        match self.kv().compact(revision as i64, None).await {
            Ok(_) => {
                self.compacted.fetch_max(revision, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => Err(self.refusal(error, revision, 0).await),
        }
    }

    async fn get_page(
        &self,
        prefix: &[u8],
        start: &[u8],
        options: GetOptions,
        revision: Option<Revision>,
    ) -> Result<etcd_client::GetResponse, Error> {
        let (from, end) = self.keyspace.range(prefix, start);
        let at = revision.unwrap_or(0);
        let options = options.with_range(end).with_revision(at as i64);
        match self.kv().get(from, Some(options)).await {
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.refusal(error, at, 0).await),
        }
    }

    /// Reads page after page, all at the revision of the first.
    async fn range(
        &self,
        query: &RangeQuery,
        revision: Option<Revision>,
    ) -> Result<RangeResult, Error> {
        let limit = if query.limit == 0 { usize::MAX } else { query.limit };
        let mut start = query.start.clone().unwrap_or_else(|| query.prefix.clone());
        let mut result = RangeResult { revision: revision.unwrap_or(0), ..RangeResult::default() };
        loop {
            let want = PAGE.min(limit - result.kvs.len());
            let options = GetOptions::new().with_limit(want as i64);
            let at = Some(result.revision).filter(|revision| *revision != 0);
            let mut page = self.get_page(&query.prefix, &start, options, at).await?;
            if at.is_none() {
                result.revision = convert::revision(page.header());
            }
            let (total, kvs) = (page.count() as usize, page.take_kvs());
            result.remaining = total.saturating_sub(kvs.len()) as u64;
            result.more = result.remaining > 0;
            result.kvs.extend(kvs.into_iter().map(|kv| self.keyspace.key_value(kv)));
            let Some(last) = result.kvs.last() else { return Ok(result) };
            if !result.more || result.kvs.len() >= limit {
                return Ok(result);
            }
            start = [&last.key[..], &[0]].concat().into();
        }
    }

    async fn txn(&self, txn: Txn, lease: LeaseId) -> Result<TxnResponse, Error> {
        match self.kv().txn(txn).await {
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.refusal(error, 0, lease).await),
        }
    }

    /// Runs a conditional write; when the condition does not hold, reads what is there instead.
    async fn write(
        &self,
        key: Vec<u8>,
        condition: Vec<Compare>,
        op: TxnOp,
        lease: LeaseId,
    ) -> Result<Outcome, Error> {
        let read = TxnOp::get(key, None);
        let txn = Txn::new().when(condition).and_then([op]).or_else([read]);
        let answer = self.txn(txn, lease).await?;
        Ok(self.outcome(&answer))
    }

    fn outcome(&self, answer: &TxnResponse) -> Outcome {
        let found = answer.op_responses().pop().and_then(|response| match response {
            TxnOpResponse::Put(mut put) => put.take_prev_key(),
            TxnOpResponse::Delete(mut delete) => delete.take_prev_kvs().pop(),
            TxnOpResponse::Get(mut get) => get.take_kvs().pop(),
            TxnOpResponse::Txn(_) => None,
        });
        let found = found.map(|kv| self.keyspace.key_value(kv));
        if answer.succeeded() {
            let revision = convert::revision(answer.header());
            return Outcome::Committed { revision, previous: found };
        }
        Outcome::Conflict { current: found }
    }

    /// What an error of etcd's means for a request about this revision or lease.
    async fn refusal(
        &self,
        error: etcd_client::Error,
        requested: Revision,
        lease: LeaseId,
    ) -> Error {
        match convert::refusal(&error) {
            convert::Refusal::Compacted => {
                let compacted = self.compacted.fetch_max(requested, Ordering::Relaxed);
                Error::Compacted { requested, compacted: compacted.max(requested) }
            }
            convert::Refusal::Future => match Box::pin(self.current_revision()).await {
                Ok(current) => Error::Future { requested, current },
                Err(error) => error,
            },
            convert::Refusal::LeaseNotFound => Error::LeaseNotFound(lease),
            convert::Refusal::Other => unavailable(&error),
        }
    }
}

#[async_trait]
impl Storage for Etcd {
    async fn get(&self, key: &[u8]) -> Result<(Option<KeyValue>, Revision), Error> {
        let inner = &self.inner;
        let answer = inner.kv().get(inner.keyspace.key(key), None).await;
        let mut answer = answer.map_err(|error| unavailable(&error))?;
        let found = answer.take_kvs().pop().map(|kv| inner.keyspace.key_value(kv));
        Ok((found, convert::revision(answer.header())))
    }

    async fn range(&self, query: RangeQuery) -> Result<RangeResult, Error> {
        if let Some(revision) = query.revision.filter(|revision| *revision != 0) {
            return self.inner.range(&query, Some(revision)).await;
        }
        loop {
            match self.inner.range(&query, None).await {
                // "Now" was compacted between two pages: read a younger now.
                Err(Error::Compacted { .. }) => {}
                answer => return answer,
            }
        }
    }

    async fn count(&self, prefix: &[u8]) -> Result<u64, Error> {
        let options = GetOptions::new().with_count_only();
        Ok(self.inner.get_page(prefix, prefix, options, None).await?.count() as u64)
    }

    async fn put(
        &self,
        key: &[u8],
        value: Bytes,
        expect: Expect,
        lease: LeaseId,
    ) -> Result<Outcome, Error> {
        let options = PutOptions::new().with_lease(lease).with_prev_key();
        let key = self.inner.keyspace.key(key);
        let op = TxnOp::put(key.clone(), value, Some(options));
        let condition = convert::put_condition(&key, expect);
        self.inner.write(key, condition, op, lease).await
    }

    async fn delete(&self, key: &[u8], expect: Expect) -> Result<Outcome, Error> {
        let options = DeleteOptions::new().with_prev_key();
        let key = self.inner.keyspace.key(key);
        let op = TxnOp::delete(key.clone(), Some(options));
        let condition = convert::delete_condition(&key, expect);
        self.inner.write(key, condition, op, 0).await
    }

    async fn watch(&self, prefix: &[u8], from: Option<Revision>) -> Result<WatchStream, Error> {
        let from = from.filter(|revision| *revision != 0);
        watch::start(self.inner.clone(), Bytes::copy_from_slice(prefix), from).await
    }

    async fn request_progress(&self) -> Result<(), Error> {
        self.inner.progress.send_modify(|count| *count += 1);
        Ok(())
    }

    async fn current_revision(&self) -> Result<Revision, Error> {
        self.inner.current_revision().await
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.inner.compact(revision).await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, Error> {
        let secs = (ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0)).max(1);
        let granted = self.inner.client.lease_client().grant(secs as i64, None).await;
        Ok(granted.map_err(|error| unavailable(&error))?.id())
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration, Error> {
        // The client sends one request and reads its answer; the answer's time to live is dropped.
        let mut leases = self.inner.client.lease_client();
        if let Err(error) = leases.keep_alive(lease).await {
            return Err(self.inner.refusal(error, 0, lease).await);
        }
        match leases.time_to_live(lease, None).await {
            Ok(answer) if answer.granted_ttl() > 0 && answer.ttl() > 0 => {
                Ok(Duration::from_secs(answer.granted_ttl() as u64))
            }
            Ok(_) => Err(Error::LeaseNotFound(lease)),
            Err(error) => Err(self.inner.refusal(error, 0, lease).await),
        }
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), Error> {
        match self.inner.client.lease_client().revoke(lease).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.inner.refusal(error, 0, lease).await),
        }
    }

    async fn health(&self) -> Result<(), Error> {
        self.inner.current_revision().await?;
        let status = self.inner.client.clone().status().await;
        let status = status.map_err(|error| unavailable(&error))?;
        match status.errors() {
            [] => Ok(()),
            errors => Err(Error::Unavailable(errors.join(", "))),
        }
    }

    async fn size_bytes(&self) -> Result<u64, Error> {
        let status = self.inner.client.clone().status().await;
        Ok(status.map_err(|error| unavailable(&error))?.db_size() as u64)
    }
}

fn unavailable(error: &etcd_client::Error) -> Error {
    Error::Unavailable(error.to_string())
}
