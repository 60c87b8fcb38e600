//! Which resource serves a kind, in the hub or in a member: discovery, remembered.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hansa_client::kube::Client;
use hansa_client::kube::core::ApiResource;
use hansa_client::kube::discovery::{ApiCapabilities, Discovery, Scope};
use hansa_federation_api::kinds::{ApiEnablement, ApiEnablementResource};
use parking_lot::RwLock;

use crate::error::{Error, Result};

/// A resource that can be read, written and watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The resource.
    pub resource: ApiResource,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
}

/// What a cluster serves. A kind that is unknown is asked for again, but not all the time.
pub struct Kinds {
    client: Client,
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    served: HashMap<(String, String), Served>,
    enablements: Vec<ApiEnablement>,
    asked: Option<Instant>,
}

/// Between two discoveries that an unknown kind brings about.
const PAUSE: Duration = Duration::from_secs(2);

impl Kinds {
    /// What the client's cluster serves; nothing is asked yet.
    pub fn new(client: Client) -> Self {
        Self { client, known: RwLock::default() }
    }

    /// The resource that serves a kind.
    pub async fn resolve(&self, api_version: &str, kind: &str) -> Result<Served> {
        if let Some(served) = self.known(api_version, kind) {
            return Ok(served);
        }
        let stale = self.known.read().asked.is_none_or(|at| at.elapsed() >= PAUSE);
        if stale {
            self.refresh().await.map_err(Error::Member)?;
        }
        let unknown = || Error::UnknownKind(api_version.into(), kind.into());
        self.known(api_version, kind).ok_or_else(unknown)
    }

    fn known(&self, api_version: &str, kind: &str) -> Option<Served> {
        let key = (api_version.to_owned(), kind.to_owned());
        self.known.read().served.get(&key).cloned()
    }

    /// Asks the cluster what it serves.
    pub async fn refresh(&self) -> Result<Vec<ApiEnablement>, hansa_client::kube::Error> {
        let discovery = match Discovery::new(self.client.clone()).run_aggregated().await {
            Ok(discovery) => discovery,
            Err(_) => Discovery::new(self.client.clone()).run().await?,
        };
        let mut known = Known { asked: Some(Instant::now()), ..Known::default() };
        for group in discovery.groups_alphabetical() {
            for version in group.versions() {
                known.take(group.versioned_resources(version));
            }
        }
        known.enablements.sort_by(|a, b| a.group_version.cmp(&b.group_version));
        let enablements = known.enablements.clone();
        *self.known.write() = known;
        Ok(enablements)
    }
}

impl Known {
    fn take(&mut self, mut resources: Vec<(ApiResource, ApiCapabilities)>) {
        resources.retain(|(r, c)| !r.plural.contains('/') && c.supports_operation("list"));
        resources.sort_by(|a, b| a.0.plural.cmp(&b.0.plural));
        let Some(first) = resources.first() else { return };
        let mut enablement =
            ApiEnablement { group_version: first.0.api_version.clone(), resources: Vec::new() };
        for (resource, capabilities) in resources {
            enablement.resources.push(ApiEnablementResource {
                name: resource.plural.clone(),
                kind: resource.kind.clone(),
            });
            let namespaced = capabilities.scope == Scope::Namespaced;
            let key = (resource.api_version.clone(), resource.kind.clone());
            self.served.entry(key).or_insert(Served { resource, namespaced });
        }
        self.enablements.push(enablement);
    }
}
