//! Follows APIServices and the Services behind them: one task per aggregated server asks it again and
//! again how it is, so that a slow one keeps nobody else waiting.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hansa_api::{ApiError, meta};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::available::{Verdict, of_service};
use super::backend::Backend;
use super::{GROUP, PLURAL, documents};
use crate::generic::cache::Subscription;
use crate::generic::context::Context;
use crate::generic::entry::Change;
use crate::generic::update::Part;
use crate::objects::Objects;
use crate::server::ApiServer;

const RETRY: Duration = Duration::from_millis(200);
/// How often a server is asked that answers well, and at most how often one that does not.
const RESYNC: Duration = Duration::from_secs(30);
/// How soon a server that failed is asked again at first.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// At least one of so many attempts must succeed; each may reach another endpoint.
const ATTEMPTS: usize = 5;

/// One aggregated server's task.
struct Keeper {
    spec: Value,
    wake: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Follows everything until the server stops.
pub(super) async fn run(server: Arc<ApiServer>) {
    let stop = server.stop.clone();
    stop.run_until_cancelled(async {
        let mut keepers = HashMap::new();
        loop {
            if let Err(error) = follow(&server, &mut keepers).await {
                tracing::warn!(%error, "failed to follow APIServices");
            }
            tokio::time::sleep(RETRY).await;
        }
    })
    .await;
}

/// Ends when a watch is cut; the next one starts from what is there then.
async fn follow(
    server: &Arc<ApiServer>,
    keepers: &mut HashMap<String, Keeper>,
) -> Result<(), ApiError> {
    let (_, mut services) = server.registry.watch_cached("", "services").await?;
    let (_, mut slices) =
        server.registry.watch_cached("discovery.k8s.io", "endpointslices").await?;
    let (_, mut own) = server.registry.watch_cached(GROUP, PLURAL).await?;
    rebuild(server, keepers).await?;
    loop {
        tokio::select! {
            changed = next(&mut own) => match changed {
                Some(_) => rebuild(server, keepers).await?,
                None => return Ok(()),
            },
            changed = next(&mut services) => match changed {
                Some(change) => wake(server, keepers, &change, change.entry().name()),
                None => return Ok(()),
            },
            changed = next(&mut slices) => match changed {
                Some(change) => {
                    let label = change.entry().labels.get("kubernetes.io/service-name");
                    wake(server, keepers, &change, label.map_or("", String::as_str));
                }
                None => return Ok(()),
            },
        }
    }
}

async fn next(subscription: &mut Subscription) -> Option<Arc<Change>> {
    subscription.live.recv().await.ok()
}

/// The routes as the APIServices are now, and a keeper for each of them.
async fn rebuild(
    server: &Arc<ApiServer>,
    keepers: &mut HashMap<String, Keeper>,
) -> Result<(), ApiError> {
    let services = server.registry.list_cached(GROUP, PLURAL, "").await?;
    let aggregator = &server.aggregator;
    let make = |service: &Value| Backend::new(service, aggregator.front_proxy.as_ref());
    let routes = Arc::new(aggregator.routes().next(&services, make));
    aggregator.routes.store(routes.clone());
    let spec_of = |name: &str| {
        let service = services.iter().find(|service| meta::name(service) == name)?;
        Some(&service["spec"])
    };
    keepers.retain(|name, keeper| spec_of(name) == Some(&keeper.spec));
    for backend in routes.all() {
        let spec = spec_of(&backend.name).cloned().unwrap_or_default();
        keepers.entry(backend.name.clone()).or_insert_with(|| Keeper::start(server, backend, spec));
    }
    Ok(())
}

/// Something changed about a Service: whoever is behind it is looked at.
fn wake(server: &ApiServer, keepers: &HashMap<String, Keeper>, change: &Change, service: &str) {
    let namespace = change.entry().namespace();
    for backend in server.aggregator.routes().all() {
        if let Some(keeper) = keepers.get(&backend.name)
            && backend.is_behind(namespace, service)
        {
            keeper.wake.notify_one();
        }
    }
}

impl Keeper {
    fn start(server: &Arc<ApiServer>, backend: &Backend, spec: Value) -> Self {
        let wake = Arc::new(Notify::new());
        let keep =
            keep(server.clone(), backend.group.clone(), backend.version.clone(), wake.clone());
        let stop = server.stop.clone();
        let task = tokio::spawn(async move {
            stop.run_until_cancelled(keep).await;
        });
        Self { spec, wake, task }
    }
}

async fn keep(server: Arc<ApiServer>, group: String, version: String, wake: Arc<Notify>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let Some(backend) = server.aggregator.routes().of(&group, &version).cloned() else {
            return;
        };
        let verdict = look(&server, &backend).await;
        let passed = verdict.is_passed();
        if let Err(error) = record(&server, &backend.name, &verdict).await {
            tracing::debug!(name = backend.name, %error, "failed to record the condition");
        }
        let changed = match passed {
            true => documents::refresh(&server, &backend).await,
            false => documents::forsake(&backend),
        };
        if changed {
            server.aggregator.touch();
        }
        pause = if passed { FIRST_PAUSE } else { (pause * 2).min(RESYNC) };
        let wait = if passed { RESYNC } else { pause };
        tokio::select! {
            () = wake.notified() => pause = FIRST_PAUSE,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn look(server: &Arc<ApiServer>, backend: &Backend) -> Verdict {
    let wanted = &backend.service;
    let service = server.objects().get("services", &wanted.namespace, &wanted.name).await;
    let slices = backend.slices(server).await;
    let slices = slices.as_deref().map_err(ToString::to_string);
    if let Some(verdict) = of_service(wanted, service.as_deref(), slices) {
        return verdict;
    }
    let mut attempts: FuturesUnordered<_> =
        (0..ATTEMPTS).map(|_| attempt(server, backend)).collect();
    let mut last = String::new();
    while let Some(result) = attempts.next().await {
        match result {
            Ok(()) => return Verdict::passed(),
            Err(why) => last = why,
        }
    }
    Verdict::failed_discovery(last)
}

/// Asks for the document that every API server has.
async fn attempt(server: &Arc<ApiServer>, backend: &Backend) -> Result<(), String> {
    let to = backend.resolve(server).await?;
    let url = format!("https://{to}{}", backend.root());
    let failed = |why: String| format!("failing or missing response from {url}: {why}");
    let answer = documents::get(server, backend, &backend.root(), "application/json").await;
    let (code, ..) = answer.map_err(|why| failed(format!("Get {url:?}: {why}")))?;
    match code.is_success() {
        true => Ok(()),
        false => Err(failed(format!("bad status from {url}: {}", code.as_u16()))),
    }
}

async fn record(server: &Arc<ApiServer>, name: &str, verdict: &Verdict) -> Result<(), ApiError> {
    let served = server.registry.served(GROUP, PLURAL)?;
    let live = server.registry.get(&served, "", name).await?;
    if verdict.applied(&live, Timestamp::now()).is_none() {
        return Ok(());
    }
    let mut ctx = Context::internal("update", "", name);
    ctx.subresource = "status".into();
    let make =
        |live: &Value| Ok(verdict.applied(live, Timestamp::now()).unwrap_or_else(|| live.clone()));
    server.registry.update(&served, &ctx, Part::Status, make).await.map(drop)
}
