//! Connections to the members: one client, its informers and its queues per member, made anew when
//! the endpoint or the credential changes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hansa_api::k8s_openapi::api::core::v1::Secret;
use hansa_client::kube::api::DynamicObject;
use hansa_client::kube::config::AuthInfo;
use hansa_client::kube::runtime::watcher;
use hansa_client::kube::{self, Client};
use hansa_client::{Informer, Informers, ObjectKey, Workqueue};
use hansa_federation_api::kinds::Cluster;
use hansa_federation_api::names;
use parking_lot::{Mutex, RwLock};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result, code};
use crate::kinds::{Kinds, Served};

/// How to reach a member.
#[derive(Clone, PartialEq, Eq)]
pub struct Access {
    endpoint: String,
    insecure: bool,
    proxy: String,
    ca: Vec<u8>,
    token: String,
}

impl Access {
    /// What the Cluster object and its Secret say, or why they cannot be used.
    pub fn from(cluster: &Cluster, secret: Option<&Secret>) -> Result<Self, String> {
        let spec = &cluster.spec;
        if spec.api_endpoint.is_empty() {
            return Err("spec.apiEndpoint is empty".into());
        }
        let Some(secret) = secret else {
            return Err("the Secret of spec.secretRef is missing".into());
        };
        let data = |key: &str| secret.data.as_ref().and_then(|d| d.get(key)).map(|v| v.0.clone());
        let token = data("token").and_then(|t| String::from_utf8(t).ok());
        let token = token.filter(|t| !t.trim().is_empty());
        Ok(Self {
            endpoint: spec.api_endpoint.clone(),
            insecure: spec.insecure_skip_tls_verification,
            proxy: spec.proxy_url.clone(),
            ca: data("caBundle").unwrap_or_default(),
            token: token.ok_or("the Secret has no token")?.trim().to_owned(),
        })
    }

    /// The bearer token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// A client for the member.
    pub fn client(&self, timeout: Duration) -> Result<Client, String> {
        let text = |e: &dyn std::fmt::Display| e.to_string();
        let mut config = kube::Config::new(self.endpoint.parse().map_err(|e| text(&e))?);
        config.connect_timeout = Some(timeout);
        config.read_timeout = Some(Duration::from_secs(90));
        config.accept_invalid_certs = self.insecure;
        if !self.proxy.is_empty() {
            config.proxy_url = Some(self.proxy.parse().map_err(|e| text(&e))?);
        }
        if !self.ca.is_empty() {
            config.root_cert = Some(certificates(&self.ca)?);
        }
        config.auth_info =
            AuthInfo { token: Some(self.token.clone().into()), ..AuthInfo::default() };
        Client::try_from(config).map_err(|e| text(&e))
    }
}

/// The DER certificates of a PEM bundle.
fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    use base64::Engine;
    let text = std::str::from_utf8(pem).map_err(|e| format!("caBundle is not PEM: {e}"))?;
    let mut certificates = Vec::new();
    for block in text.split("-----BEGIN CERTIFICATE-----").skip(1) {
        let body = block.split("-----END").next().unwrap_or_default();
        let body: String = body.split_whitespace().collect();
        let der = base64::engine::general_purpose::STANDARD.decode(body);
        certificates.push(der.map_err(|e| format!("caBundle is not PEM: {e}"))?);
    }
    if certificates.is_empty() {
        return Err("caBundle holds no certificate".into());
    }
    Ok(certificates)
}

/// A member that can be talked to.
pub struct Member {
    /// Its name.
    pub name: String,
    /// To read and write.
    pub client: Client,
    /// What it serves.
    pub kinds: Kinds,
    /// To watch.
    pub informers: Informers,
    /// Works to carry out.
    pub execution: Workqueue<ObjectKey>,
    /// Works to report on.
    pub reports: Workqueue<ObjectKey>,
    /// Ends everything about this connection.
    pub stop: CancellationToken,
    /// How it is reached.
    pub access: Access,
    /// Whether it answers server-side apply.
    pub server_side_apply: AtomicBool,
    timeout: Duration,
    breaker: Mutex<Breaker>,
    watched: Mutex<HashSet<(String, String)>>,
}

impl Member {
    fn new(
        name: &str,
        access: Access,
        timeout: Duration,
        stop: CancellationToken,
    ) -> Result<Self, String> {
        let client = access.client(timeout)?;
        Ok(Self {
            name: name.into(),
            kinds: Kinds::new(client.clone()),
            informers: Informers::new(client.clone(), stop.clone()),
            client,
            execution: Workqueue::new(),
            reports: Workqueue::new(),
            stop,
            access,
            server_side_apply: AtomicBool::new(true),
            timeout,
            breaker: Mutex::default(),
            watched: Mutex::default(),
        })
    }

    /// A call to the member: bounded in time, counted by the circuit breaker.
    pub async fn call<T>(&self, call: impl Future<Output = Result<T, kube::Error>>) -> Result<T> {
        self.bounded(async { call.await.map_err(Error::Member) }).await
    }

    /// As [`Member::call`], for what fails with other errors as well.
    pub async fn bounded<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let outcome = match tokio::time::timeout(self.timeout, call).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::Timeout(self.timeout)),
        };
        let silent = match &outcome {
            Err(Error::Member(error)) => code(error).is_none(),
            Err(Error::Timeout(_)) => true,
            _ => false,
        };
        self.breaker.lock().count(!silent, Instant::now());
        outcome
    }

    /// How long to leave the member alone, if it did not answer lately.
    pub fn pause(&self) -> Option<Duration> {
        self.breaker.lock().pause(Instant::now())
    }

    /// Lets calls through again, because a probe was answered.
    pub fn answers(&self) {
        self.breaker.lock().count(true, Instant::now());
    }

    /// The federation's objects of a kind in the member; new kinds are to be followed by the
    /// caller.
    pub fn managed(&self, served: &Served) -> (Informer<DynamicObject>, bool) {
        let config = watcher::Config::default().labels(&format!("{}=true", names::MANAGED_LABEL));
        let informer = self.informers.dynamic_with(&served.resource, config);
        let key = (served.resource.api_version.clone(), served.resource.kind.clone());
        let is_new = self.watched.lock().insert(key);
        (informer, is_new)
    }

    /// Remembers that the member does not know server-side apply.
    pub fn gives_up_server_side_apply(&self) {
        self.server_side_apply.store(false, Ordering::Relaxed);
    }
}

/// Stops calling who does not answer: after three failures for 1 s, then doubling up to 15 s.
#[derive(Debug, Default)]
struct Breaker {
    failures: u32,
    open_until: Option<Instant>,
}

impl Breaker {
    fn count(&mut self, answered: bool, now: Instant) {
        if answered {
            *self = Self::default();
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if let Some(doublings) = self.failures.checked_sub(3) {
            let pause = Duration::from_secs(1 << doublings.min(4)).min(Duration::from_secs(15));
            self.open_until = Some(now + pause);
        }
    }

    fn pause(&self, now: Instant) -> Option<Duration> {
        self.open_until.map(|until| until.saturating_duration_since(now)).filter(|p| !p.is_zero())
    }
}

/// All members that can be talked to, and why others cannot.
pub struct Members {
    timeout: Duration,
    stop: CancellationToken,
    connected: RwLock<HashMap<String, Arc<Member>>>,
    refused: RwLock<BTreeMap<String, String>>,
}

impl Members {
    /// Nobody yet.
    pub fn new(timeout: Duration, stop: CancellationToken) -> Self {
        Self { timeout, stop, connected: RwLock::default(), refused: RwLock::default() }
    }

    /// A member, if it can be talked to.
    pub fn get(&self, name: &str) -> Option<Arc<Member>> {
        self.connected.read().get(name).cloned()
    }

    /// Why a member cannot be talked to, if the reason is in its Cluster object or Secret.
    pub fn refusal(&self, name: &str) -> Option<String> {
        self.refused.read().get(name).cloned()
    }

    /// Connects to a member if what is known of it has changed; returns a new connection.
    pub fn connect(&self, name: &str, access: Result<Access, String>) -> Option<Arc<Member>> {
        let access = match access {
            Ok(access) => access,
            Err(why) => return self.refuse(name, why),
        };
        if self.get(name).is_some_and(|m| m.access == access) {
            return None;
        }
        match Member::new(name, access, self.timeout, self.stop.child_token()) {
            Ok(member) => {
                let member = Arc::new(member);
                self.disconnect(name);
                self.connected.write().insert(name.into(), member.clone());
                Some(member)
            }
            Err(why) => self.refuse(name, why),
        }
    }

    fn refuse(&self, name: &str, why: String) -> Option<Arc<Member>> {
        self.disconnect(name);
        self.refused.write().insert(name.into(), why);
        None
    }

    /// Ends the connection to a member.
    pub fn disconnect(&self, name: &str) {
        self.refused.write().remove(name);
        if let Some(member) = self.connected.write().remove(name) {
            member.stop.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_answer_is_left_alone_for_a_while_and_not_for_ever() {
        let start = Instant::now();
        let mut breaker = Breaker::default();
        breaker.count(false, start);
        breaker.count(false, start);
        assert_eq!(breaker.pause(start), None);
        breaker.count(false, start);
        assert_eq!(breaker.pause(start), Some(Duration::from_secs(1)));
        assert_eq!(breaker.pause(start + Duration::from_secs(1)), None);
        (0..20).for_each(|_| breaker.count(false, start));
        assert_eq!(breaker.pause(start), Some(Duration::from_secs(15)));
        breaker.count(true, start);
        assert_eq!(breaker.pause(start), None);
    }

    #[test]
    fn a_bundle_without_a_certificate_is_refused() {
        assert!(certificates(b"hello").is_err());
        let pem = b"-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n";
        assert_eq!(certificates(pem).unwrap(), [vec![1, 2, 3]]);
    }

    #[test]
    fn a_cluster_without_a_usable_secret_says_which_part_is_missing() {
        let mut cluster = Cluster::new("eu", Default::default());
        assert!(Access::from(&cluster, None).err().unwrap().contains("apiEndpoint"));
        cluster.spec.api_endpoint = "https://127.0.0.1:1".into();
        assert!(Access::from(&cluster, None).err().unwrap().contains("Secret"));
        let empty = Secret::default();
        assert!(Access::from(&cluster, Some(&empty)).err().unwrap().contains("token"));
    }
}
