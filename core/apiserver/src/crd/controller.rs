//! Keeps the catalog in step with the CustomResourceDefinitions, and finishes their deletion.
//!
//! Level-triggered: every change of any definition makes it look at all of them. What is served is
//! rebuilt only where a definition's generation moved, so status writes disturb no watcher.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hansa_api::meta;
use hansa_api::status::ApiError;
use serde_json::{Map, Value, json};
use tokio::sync::broadcast::error::RecvError;

use super::definition::{self, Names};
use super::names::{NameConflict, Taken};
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

struct Controller {
    registry: Arc<Registry>,
    /// What is served now, by definition: its uid and generation.
    known: BTreeMap<String, (String, i64)>,
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
            let names = Names::read(&crd["spec"]["names"]);
            let group = definition::group(&crd);
            let verdict = taken.check(group, &names, &name);
            taken.give(group, &names, &name);
            if verdict.is_ok() {
                self.serve(&name, &crd);
            }
            self.report(&crd, &verdict).await?;
            if meta::deletion_timestamp(&crd).is_some() {
                pending |= !self.clean_up(&crd).await?;
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

    fn serve(&mut self, name: &str, crd: &Value) {
        let state = (meta::uid(crd).to_string(), meta::generation(crd));
        if self.known.get(name) == Some(&state) {
            return;
        }
        self.registry.catalog.set_custom(name, definition::served(crd));
        self.registry.close_unserved();
        self.known.insert(name.to_string(), state);
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
    async fn report(
        &self,
        crd: &Value,
        verdict: &Result<(), NameConflict>,
    ) -> Result<(), ApiError> {
        if with_status(crd, verdict)["status"] == crd["status"] {
            return Ok(());
        }
        let make = |crd: &Value| Ok(with_status(crd, verdict));
        self.update(crd, Part::Status, make).await
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

    /// Deletes a dying definition's objects, then lets it go; false while objects are left.
    async fn clean_up(&self, crd: &Value) -> Result<bool, ApiError> {
        if !meta::finalizers(crd).any(|name| name == CLEANUP) {
            return Ok(true);
        }
        let version = definition::storage_version(crd);
        let plural = meta::str_at(crd, &["spec", "names", "plural"]);
        let served = self.registry.catalog.get(definition::group(crd), version, plural);
        if let Some(served) = served
            && self.delete_objects(&served).await? > 0
        {
            return Ok(false);
        }
        self.update(crd, Part::Raw, |crd| Ok(cleaned(crd))).await?;
        Ok(true)
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
    let established = has_condition(crd, "Established", "InitialNamesAccepted");
    (!established, created, meta::name(crd).to_string())
}

/// The definition with the status that follows from the verdict on its names.
fn with_status(crd: &Value, verdict: &Result<(), NameConflict>) -> Value {
    let mut crd = crd.clone();
    let names = crd["spec"]["names"].clone();
    let storage = definition::storage_version(&crd).to_string();
    match verdict {
        Ok(()) => {
            set_condition(&mut crd, "NamesAccepted", true, "NoConflicts", "no conflicts found");
            let message = "the initial names have been accepted";
            set_condition(&mut crd, "Established", true, "InitialNamesAccepted", message);
            meta::fields_mut(&mut crd, &["status"]).insert("acceptedNames".into(), names);
        }
        Err(conflict) => {
            let (reason, message) = (conflict.reason, conflict.message.as_str());
            set_condition(&mut crd, "NamesAccepted", false, reason, message);
            if !has_condition(&crd, "Established", "InitialNamesAccepted") {
                let message = "not all names are accepted";
                set_condition(&mut crd, "Established", false, "NotAccepted", message);
            }
        }
    }
    let stored = meta::fields_mut(&mut crd, &["status"])
        .entry("storedVersions")
        .or_insert_with(|| json!([]));
    if let Some(list) = stored.as_array_mut()
        && !list.iter().any(|version| *version == storage.as_str())
    {
        list.push(storage.into());
    }
    crd
}

/// The definition whose objects are gone: free to go itself.
fn cleaned(crd: &Value) -> Value {
    let mut crd = crd.clone();
    set_condition(
        &mut crd,
        "Terminating",
        false,
        "InstanceDeletionCompleted",
        "removed all instances",
    );
    let left: Vec<Value> =
        meta::finalizers(&crd).filter(|name| *name != CLEANUP).map(Value::from).collect();
    meta::metadata_mut(&mut crd).insert("finalizers".into(), left.into());
    crd
}

/// Sets a condition; its transition time moves only with its status.
pub(super) fn set_condition(
    crd: &mut Value,
    kind: &str,
    status: bool,
    reason: &str,
    message: &str,
) {
    let status = if status { "True" } else { "False" };
    let fields: &mut Map<String, Value> = meta::fields_mut(crd, &["status"]);
    let conditions = fields.entry("conditions").or_insert_with(|| json!([]));
    let Some(list) = conditions.as_array_mut() else { return };
    let before = list.iter().position(|condition| condition["type"] == kind);
    let unmoved = before.map(|at| &list[at]).filter(|condition| condition["status"] == status);
    let since = unmoved.map(|condition| condition["lastTransitionTime"].clone());
    let condition = json!({
        "type": kind,
        "status": status,
        "lastTransitionTime": since.unwrap_or_else(|| hansa_api::time::now().into()),
        "reason": reason,
        "message": message,
    });
    match before {
        Some(at) => list[at] = condition,
        None => list.push(condition),
    }
}

/// Whether a condition stands for this reason.
pub(super) fn has_condition(crd: &Value, kind: &str, reason: &str) -> bool {
    let conditions = meta::list_at(crd, &["status", "conditions"]);
    conditions.iter().any(|one| one["type"] == kind && one["reason"] == reason)
}
