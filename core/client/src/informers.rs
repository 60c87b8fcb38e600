//! A component's informers: one reflector per kind, however many read it.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt::Debug;

use kube::api::DynamicObject;
use kube::core::{ApiResource, PartialObjectMeta};
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::Informer;

/// Starts informers on first use and shares them; all stop with the token.
pub struct Informers {
    client: Client,
    stop: CancellationToken,
    running: Mutex<HashMap<Which, Box<dyn Any + Send>>>,
}

/// What tells two informers apart: the kind, and the part of it that is watched.
#[derive(PartialEq, Eq, Hash)]
struct Which {
    kind: TypeId,
    resource: String,
    label_selector: Option<String>,
    field_selector: Option<String>,
}

impl Informers {
    /// Informers of one client's view; they run until `stop`.
    pub fn new(client: Client, stop: CancellationToken) -> Self {
        Self { client, stop, running: Mutex::default() }
    }

    /// The client that the informers list and watch with.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// All objects of a kind, in every namespace.
    pub fn of<K>(&self) -> Informer<K>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        self.of_with(watcher::Config::default())
    }

    /// The objects of a kind that the config's selectors choose.
    pub fn of_with<K>(&self, config: watcher::Config) -> Informer<K>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        let what = format!("{}.{}", K::plural(&()), K::group(&()));
        self.start(Api::all(self.client.clone()), what, config)
    }

    /// All objects of a kind known only at run time.
    pub fn dynamic(&self, resource: &ApiResource) -> Informer<DynamicObject> {
        self.dynamic_with(resource, watcher::Config::default())
    }

    /// The objects of a kind known only at run time that the config's selectors choose.
    pub fn dynamic_with(
        &self,
        resource: &ApiResource,
        config: watcher::Config,
    ) -> Informer<DynamicObject> {
        let what = format!("{}.{}/{}", resource.plural, resource.group, resource.version);
        let api = Api::all_with(self.client.clone(), resource);
        self.start(api, what, config)
    }

    /// The metadata of all objects of a kind known only at run time.
    pub fn metadata(&self, resource: &ApiResource) -> Informer<PartialObjectMeta<DynamicObject>> {
        let what = format!("{}.{}/{}", resource.plural, resource.group, resource.version);
        let api = Api::all_with(self.client.clone(), resource);
        self.start(api, what, watcher::Config::default())
    }

    fn start<K>(&self, api: Api<K>, what: String, config: watcher::Config) -> Informer<K>
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        self.share(what, &config.clone(), |what| {
            Informer::start(watcher::watcher(api, config), what, self.stop.clone())
        })
    }

    fn share<K>(
        &self,
        what: String,
        config: &watcher::Config,
        start: impl FnOnce(String) -> Informer<K>,
    ) -> Informer<K>
    where
        K: Send + Sync + 'static,
    {
        let which = Which {
            kind: TypeId::of::<K>(),
            resource: what.clone(),
            label_selector: config.label_selector.clone(),
            field_selector: config.field_selector.clone(),
        };
        let mut running = self.running.lock();
        let informer = running.entry(which).or_insert_with(|| Box::new(start(what)));
        informer.downcast_ref::<Informer<K>>().expect("the key holds the type").clone()
    }
}
