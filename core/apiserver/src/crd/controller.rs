//! Keeps the catalog in step with the CustomResourceDefinitions, and finishes their deletion.
//!
//! Level-triggered: every change of any definition makes it look at all of them. What is served is
//! rebuilt only where a definition's generation or its names moved, so status writes disturb no
//! watcher.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hansa_api::meta;
use hansa_api::status::ApiError;
use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;

use super::conditions;
use super::conversion::Conversion;
use super::definition::{self, Names};
use super::names::{Taken, Verdict};
use super::status::{cleaned, deleting, with_status};
use super::{CLEANUP, GROUP, PLURAL};
use crate::generic::catalog::Served;
use crate::generic::context::Context;
use crate::generic::options::{DeleteOptions, ListOptions};
use crate::generic::registry::Registry;
use crate::generic::update::Part;

const RETRY: Duration = Duration::from_millis(500);

/// Serves what is defined already, then follows the definitions until the registry stops.
///
/// # Errors
/// If the definitions cannot be read.
pub async fn start(registry: &Arc<Registry>) -> Result<(), ApiError> {
    let mut controller = Controller { registry: registry.clone(), known: BTreeMap::new() };
    controller.reconcile().await?;
    let stop = registry.stop_token().clone();
    tokio::spawn(async move {
        tokio::select! {
            () = controller.run() => {}
            () = stop.cancelled() => {}
        }
    });
    Ok(())
}

/// What a definition's served resources are made from.
#[derive(Clone, PartialEq)]
struct Source {
    uid: String,
    generation: i64,
    names: Names,
}

struct Controller {
    registry: Arc<Registry>,
    /// What is served now, by definition.
    known: BTreeMap<String, Source>,
}

impl Controller {
    async fn run(&mut self) {
        loop {
            match self.registry.watch_cached(GROUP, PLURAL).await {
                Ok((_, subscription)) => self.follow(subscription.live).await,
                Err(error) => tracing::warn!(%error, "cannot watch custom resource definitions"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn follow<T: Clone>(&mut self, mut changes: tokio::sync::broadcast::Receiver<T>) {
        loop {
            let pending = self.reconcile().await.unwrap_or_else(|error| {
                tracing::warn!(%error, "cannot serve custom resource definitions; trying again");
                true
            });
            let retry = if pending { RETRY } else { Duration::from_secs(3600) };
            tokio::select! {
                received = changes.recv() => match received {
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
                () = tokio::time::sleep(retry) => {}
            }
        }
    }

    /// Looks at every definition; true if something has to be looked at again soon.
    async fn reconcile(&mut self) -> Result<bool, ApiError> {
        let mut crds = self.registry.list_cached(GROUP, PLURAL, "").await?;
        crds.sort_by_key(|crd| precedence(crd));
        let mut taken = self.builtin_names();
        let mut pending = false;
        self.forget_all_but(&crds);
        for crd in crds {
            let name = meta::name(&crd).to_string();
            let wanted = Names::read(&crd["spec"]["names"]);
            let before = Names::read(&crd["status"]["acceptedNames"]);
            let group = definition::group(&crd);
            let verdict = taken.decide(group, &wanted, &before, &name);
            taken.give(group, &verdict.accepted, &name);
            let established = conditions::is_true(&crd, "Established");
            if verdict.conflict.is_none() || established {
                self.serve(&name, &crd, &verdict);
            }
            self.report(&crd, &verdict).await?;
            if meta::deletion_timestamp(&crd).is_some() {
                pending |= !self.clean_up(&crd).await;
            }
        }
        Ok(pending)
    }

    /// The names of built-in kinds; their owner is nobody's definition.
    fn builtin_names(&self) -> Taken {
        let mut taken = Taken::default();
        let snapshot = self.registry.catalog.snapshot();
        for served in snapshot.all().filter(|served| !served.is_custom()) {
            taken.give(&served.resource.group, &names_of(served), "built in");
        }
        taken
    }

    fn serve(&mut self, name: &str, crd: &Value, verdict: &Verdict) {
        let source = Source {
            uid: meta::uid(crd).to_string(),
            generation: meta::generation(crd),
            names: verdict.accepted.clone(),
        };
        if self.known.get(name) == Some(&source) {
            return;
        }
        let conversion = Conversion::of(crd, &self.registry);
        let served = definition::served(crd, &verdict.accepted, conversion.as_ref());
        self.registry.catalog.set_custom(name, served);
        self.registry.close_unserved();
        self.known.insert(name.to_string(), source);
        tracing::info!(crd = name, "serving a custom resource");
    }

    fn forget_all_but(&mut self, crds: &[Arc<Value>]) {
        let present: BTreeSet<&str> = crds.iter().map(|crd| meta::name(crd)).collect();
        let gone: Vec<String> =
            self.known.keys().filter(|name| !present.contains(name.as_str())).cloned().collect();
        for name in &gone {
            self.known.remove(name);
            self.registry.catalog.set_custom(name, Vec::new());
            tracing::info!(crd = name, "no longer serving a custom resource");
        }
        if !gone.is_empty() {
            self.registry.close_unserved();
        }
    }

    /// Writes the conditions, if they are not there yet.
    async fn report(&self, crd: &Value, verdict: &Verdict) -> Result<(), ApiError> {
        if with_status(crd, verdict)["status"] == crd["status"] {
            return Ok(());
        }
        let make = |crd: &Value| Ok(with_status(crd, verdict));
        self.update(crd, Part::Raw, make).await
    }

    async fn update(
        &self,
        crd: &Value,
        part: Part,
        make: impl Fn(&Value) -> Result<Value, ApiError> + Send + Sync,
    ) -> Result<(), ApiError> {
        let served = self.registry.served(GROUP, PLURAL)?;
        let ctx = Context::internal("patch", "", meta::name(crd));
        match self.registry.update(&served, &ctx, part, make).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    /// Deletes a dying definition's objects, then lets it go; false while objects are left. What
    /// keeps one definition's objects from going keeps no other definition waiting.
    async fn clean_up(&self, crd: &Value) -> bool {
        if !meta::finalizers(crd).any(|name| name == CLEANUP) {
            return true;
        }
        match self.delete_all(crd).await {
            Ok(0) => self.update(crd, Part::Raw, |crd| Ok(cleaned(crd))).await.is_ok(),
            Ok(_) => false,
            Err(error) => {
                let name = meta::name(crd);
                tracing::warn!(crd = name, %error, "cannot delete a definition's objects yet");
                false
            }
        }
    }

    /// How many of a definition's objects are left after deleting all that can be.
    async fn delete_all(&self, crd: &Value) -> Result<usize, ApiError> {
        let version = definition::storage_version(crd);
        let plural = meta::str_at(crd, &["status", "acceptedNames", "plural"]);
        let served = self.registry.catalog.get(definition::group(crd), version, plural);
        let served = match served {
            Some(served) => Some(served),
            None => self.registry.served(definition::group(crd), plural).ok(),
        };
        // Without names of its own a definition has no objects.
        let Some(served) = served.filter(|served| served.is_custom()) else { return Ok(0) };
        if !conditions::has_reason(crd, "Terminating", "InstanceDeletionInProgress") {
            self.update(crd, Part::Raw, |crd| Ok(deleting(crd))).await?;
        }
        self.delete_objects(&served).await
    }

    /// Deletes every object; returns how many are still there.
    async fn delete_objects(&self, served: &Arc<Served>) -> Result<usize, ApiError> {
        let ctx = Context::internal("deletecollection", "", "");
        let all = ListOptions::all("");
        let options = DeleteOptions::default();
        self.registry.delete_collection(served, &ctx, &options, &all).await?;
        Ok(self.registry.list(served, &all).await?.entries.len())
    }
}

fn names_of(served: &Served) -> Names {
    let resource = &served.resource;
    Names {
        plural: resource.plural.to_string(),
        singular: resource.singular.to_string(),
        kind: resource.kind.to_string(),
        list_kind: resource.list_kind.to_string(),
        short: resource.short_names.iter().map(|name| name.to_string()).collect(),
        categories: Vec::new(),
    }
}

/// Established definitions before others, older before younger.
fn precedence(crd: &Value) -> (bool, String, String) {
    let created = meta::creation_timestamp(crd).unwrap_or_default().to_string();
    (!conditions::is_true(crd, "Established"), created, meta::name(crd).to_string())
}
