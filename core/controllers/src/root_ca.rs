//! Every namespace has the ConfigMap `kube-root-ca.crt`, so that pods can trust the API server.

use std::collections::BTreeMap;

use hansa_api::k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use hansa_client::kube::api::PostParams;
use hansa_client::kube::{Api, Error};
use hansa_client::{ObjectKey, Requeue, Workqueue, run_workers};

use crate::Context;
use crate::owned::is_deleting;
use crate::wiring::{enqueue, enqueue_self};

const NAME: &str = "kube-root-ca.crt";
const KEY: &str = "ca.crt";

/// What a namespace lacks.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Nothing,
    Create,
    Restore,
}

pub(crate) async fn run(context: Context) {
    let namespaces = context.informers.of::<Namespace>();
    let selector = format!("metadata.name={NAME}");
    let config = hansa_client::kube::runtime::watcher::Config::default().fields(&selector);
    let published = context.informers.of_with::<ConfigMap>(config);
    namespaces.synced().await;
    published.synced().await;
    let queue = Workqueue::new();
    enqueue_self(&namespaces, &queue);
    enqueue(&published, &queue, |change| vec![ObjectKey::new("", change.key().namespace)]);
    run_workers(queue, 2, context.stop.clone(), |key: ObjectKey| {
        let namespace = namespaces.get("", &key.name);
        let current = published.get(&key.name, NAME);
        let plan = plan(namespace.as_deref(), current.as_deref(), &context.config.root_ca);
        let api = Api::namespaced(context.client.clone(), &key.name);
        let ca = context.config.root_ca.clone();
        async move { apply(plan, api, ca).await }
    })
    .await;
}

fn plan(namespace: Option<&Namespace>, current: Option<&ConfigMap>, ca: &str) -> Plan {
    if namespace.is_none_or(|namespace| is_deleting(&namespace.metadata)) {
        return Plan::Nothing;
    }
    match current {
        None => Plan::Create,
        Some(map) if map.data == Some(wanted(ca)) => Plan::Nothing,
        Some(_) => Plan::Restore,
    }
}

fn wanted(ca: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(KEY.to_owned(), ca.to_owned())])
}

async fn apply(plan: Plan, api: Api<ConfigMap>, ca: String) -> Result<Requeue, Error> {
    match plan {
        Plan::Nothing => {}
        Plan::Create => {
            let mut map = ConfigMap { data: Some(wanted(&ca)), ..ConfigMap::default() };
            map.metadata.name = Some(NAME.into());
            match api.create(&PostParams::default(), &map).await {
                Err(Error::Api(status)) if status.is_already_exists() => {}
                outcome => drop(outcome?),
            }
        }
        Plan::Restore => {
            let mut map = api.get(NAME).await?;
            map.data = Some(wanted(&ca));
            api.replace(NAME, &PostParams::default(), &map).await?;
        }
    }
    Ok(Requeue::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_ca_is_kept_as_it_should_be() {
        let namespace = Namespace::default();
        let right = ConfigMap { data: Some(wanted("PEM")), ..ConfigMap::default() };
        let wrong = ConfigMap { data: Some(wanted("forged")), ..ConfigMap::default() };
        assert_eq!(plan(Some(&namespace), None, "PEM"), Plan::Create);
        assert_eq!(plan(Some(&namespace), Some(&right), "PEM"), Plan::Nothing);
        assert_eq!(plan(Some(&namespace), Some(&wrong), "PEM"), Plan::Restore);
        assert_eq!(plan(None, None, "PEM"), Plan::Nothing);
    }
}
