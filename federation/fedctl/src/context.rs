//! Contexts of the kubeconfig as clients.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use hansa_api::k8s_openapi::api::core::v1::Namespace;
use hansa_client::kube::config::{KubeConfigOptions, Kubeconfig};
use hansa_client::kube::{self, Api, Client};

use crate::cli::Host;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A cluster that answers.
pub struct Cluster {
    /// The context it was found by.
    pub context: String,
    /// To talk to it.
    pub client: Client,
    /// How it is reached.
    pub config: kube::Config,
}

impl Host {
    /// The kubeconfig, or why there is none.
    pub fn read(&self) -> Result<Kubeconfig> {
        match &self.kubeconfig {
            Some(path) => Kubeconfig::read_from(path)
                .with_context(|| format!("failed to read kubeconfig {}", path.display())),
            None => Kubeconfig::read().context("failed to read the kubeconfig"),
        }
    }

    /// The hub.
    pub async fn hub(&self) -> Result<Cluster> {
        self.connect(self.host_cluster_context.as_deref()).await
    }

    /// The hub's client.
    pub async fn client(&self) -> Result<Client> {
        Ok(self.hub().await?.client)
    }

    /// The cluster of a context; none is the current one.
    pub async fn connect(&self, context: Option<&str>) -> Result<Cluster> {
        let kubeconfig = self.read()?;
        let name = match context.or(kubeconfig.current_context.as_deref()) {
            Some(name) => name.to_owned(),
            None => bail!("the kubeconfig has no current context; name one"),
        };
        let options = KubeConfigOptions { context: Some(name.clone()), ..Default::default() };
        let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .with_context(|| format!("failed to use context {name:?}"))?;
        config.connect_timeout = Some(PATIENCE);
        config.read_timeout = Some(PATIENCE);
        let client = Client::try_from(config.clone())
            .with_context(|| format!("failed to use context {name:?}"))?;
        Ok(Cluster { context: name, client, config })
    }
}

impl Cluster {
    /// The uid of kube-system, which tells clusters apart; also the proof that the cluster answers.
    pub async fn id(&self) -> Result<String> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let answer = tokio::time::timeout(PATIENCE, namespaces.get("kube-system")).await;
        let what = || format!("failed to reach the cluster of context {:?}", self.context);
        let namespace = match answer {
            Ok(namespace) => namespace.with_context(what)?,
            Err(_) => bail!("{}: no answer within {PATIENCE:?}", what()),
        };
        namespace.metadata.uid.context("kube-system has no uid")
    }
}
