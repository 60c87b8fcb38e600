//! Who has which ClusterIP and which node port: one key in the store per address and per port.
//!
//! A claim is written before its Service and says whose it is. One whose Service does not hold it
//! (a crash came between the two writes) is taken over once it is old enough to be no write in
//! flight.

use std::sync::Arc;

use bytes::Bytes;
use hansa_api::status::ApiError;
use hansa_storage::{Expect, KeyValue, Outcome, Storage};
use serde::{Deserialize, Serialize};

/// What can be claimed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Item {
    /// A ClusterIP.
    Address(String),
    /// A node port.
    Port(u16),
}

impl Item {
    fn key(&self) -> String {
        match self {
            Self::Address(ip) => format!("/registry/ranges/serviceips/{ip}"),
            Self::Port(port) => format!("/registry/ranges/servicenodeports/{port}"),
        }
    }
}

/// What is stored under a claim's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owner {
    /// The Service's namespace.
    pub(super) namespace: String,
    /// The Service's name.
    pub(super) name: String,
    /// When the claim was made, seconds since 1970.
    pub(super) at: i64,
}

/// Claims older than this have a Service that holds them, or none.
const SETTLED_SECONDS: i64 = 60;

/// An existing claim.
pub(super) struct Claim {
    /// Whose it is.
    pub(super) owner: Option<Owner>,
    revision: u64,
}

impl Claim {
    fn read(kv: &KeyValue) -> Self {
        let owner = serde_json::from_slice(&kv.value).ok();
        Self { owner, revision: kv.mod_revision }
    }

    /// Whether a write that made it would be over by now.
    pub(super) fn is_settled(&self, now: i64) -> bool {
        self.owner.as_ref().is_none_or(|owner| owner.at + SETTLED_SECONDS < now)
    }
}

/// Claims an item; `Err(claim)` inside says who has it.
pub(super) async fn claim(
    storage: &Arc<dyn Storage>,
    item: &Item,
    owner: &Owner,
    instead: Option<&Claim>,
) -> Result<Result<(), Claim>, ApiError> {
    let value = serde_json::to_vec(owner).expect("an owner encodes into memory");
    let expect = instead.map_or(Expect::Absent, |claim| Expect::Revision(claim.revision));
    let outcome = storage.put(item.key().as_bytes(), Bytes::from(value), expect, 0).await;
    Ok(match outcome.map_err(ApiError::internal)? {
        Outcome::Committed { .. } => Ok(()),
        Outcome::Conflict { current: Some(kv) } => Err(Claim::read(&kv)),
        Outcome::Conflict { current: None } => Err(Claim { owner: None, revision: 0 }),
    })
}

/// Who has an item now.
pub(super) async fn find(
    storage: &Arc<dyn Storage>,
    item: &Item,
) -> Result<Option<Claim>, ApiError> {
    let (found, _) = storage.get(item.key().as_bytes()).await.map_err(ApiError::internal)?;
    Ok(found.as_ref().map(Claim::read))
}

/// Gives an item back if it is this Service's; a claim that cannot be deleted is taken over later.
pub(super) async fn release(storage: &Arc<dyn Storage>, item: &Item, namespace: &str, name: &str) {
    let Ok(Some(claim)) = find(storage, item).await else { return };
    let own = claim.owner.as_ref().is_some_and(|o| o.namespace == namespace && o.name == name);
    if own
        && let Err(error) =
            storage.delete(item.key().as_bytes(), Expect::Revision(claim.revision)).await
    {
        tracing::warn!(?item, %error, "failed to give back what a Service had");
    }
}
