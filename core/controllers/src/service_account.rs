//! Every namespace has a ServiceAccount called `default`.

use hansa_api::k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use hansa_client::kube::{Api, Error, api::PostParams};
use hansa_client::{ObjectKey, Requeue, Workqueue, run_workers};

use crate::Context;
use crate::owned::is_deleting;
use crate::wiring::{enqueue, enqueue_self};

const DEFAULT: &str = "default";

pub(crate) async fn run(context: Context) {
    let namespaces = context.informers.of::<Namespace>();
    let accounts = context.informers.of::<ServiceAccount>();
    namespaces.synced().await;
    accounts.synced().await;
    let queue = Workqueue::new();
    enqueue_self(&namespaces, &queue);
    enqueue(&accounts, &queue, |change| vec![ObjectKey::new("", change.key().namespace)]);
    run_workers(queue, 2, context.stop.clone(), |key: ObjectKey| {
        let (namespaces, accounts) = (&namespaces, &accounts);
        let client = context.client.clone();
        async move {
            let namespace = namespaces.get("", &key.name);
            let account = accounts.get(&key.name, DEFAULT);
            if !plan(namespace.as_deref(), account.as_deref()) {
                return Ok(Requeue::Done);
            }
            create_default(Api::namespaced(client, &key.name)).await
        }
    })
    .await;
}

/// Whether the namespace lacks its default account. One that is going gets none.
fn plan(namespace: Option<&Namespace>, account: Option<&ServiceAccount>) -> bool {
    namespace.is_some_and(|namespace| !is_deleting(&namespace.metadata)) && account.is_none()
}

async fn create_default(api: Api<ServiceAccount>) -> Result<Requeue, Error> {
    let mut account = ServiceAccount::default();
    account.metadata.name = Some(DEFAULT.into());
    match api.create(&PostParams::default(), &account).await {
        Err(Error::Api(status)) if status.is_already_exists() => Ok(Requeue::Done),
        outcome => outcome.map(|_| Requeue::Done),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_living_namespace_without_the_account_gets_one() {
        let living = Namespace::default();
        let mut going = Namespace::default();
        going.metadata.deletion_timestamp =
            Some(hansa_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
                hansa_api::k8s_openapi::jiff::Timestamp::UNIX_EPOCH,
            ));
        assert!(plan(Some(&living), None));
        assert!(!plan(Some(&living), Some(&ServiceAccount::default())));
        assert!(!plan(Some(&going), None));
        assert!(!plan(None, None));
    }
}
