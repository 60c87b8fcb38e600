//! The store and the API server.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use hansa_apiserver::admission::Active;
use hansa_apiserver::server::tls::{Material, ServingTls};
use hansa_apiserver::server::{ApiServer, Config, FrontProxy, KubeletClient};
use hansa_storage::{Storage, embedded, etcd};
use tokio::net::TcpListener;

use super::Cluster;

/// Opens the store and starts the API server on 127.0.0.1; `admission` are the components that
/// decide what objects may look like.
///
/// # Errors
/// If the store cannot be read or the port is taken.
pub async fn start(cluster: &Arc<Cluster>, admission: Active) -> Result<Arc<ApiServer>> {
    let dir = cluster.instance.dir.join("store");
    // Clusters that share an etcd must not share their objects.
    let prefix = format!("/{}", cluster.settings.name);
    let storage = open_store(&cluster.settings.etcd_servers, &prefix, &dir).await;
    let storage = storage.context("failed to open the store")?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, cluster.settings.api_port));
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("failed to bind {address}"))?;
    let tls = serving_tls(cluster).context("failed to prepare the serving certificate")?;
    let server = ApiServer::new(Config { admission, ..config(cluster)? }, storage, cluster.stop())
        .await
        .context("failed to start the API server")?;
    let serving = server.clone();
    let listener = Arc::new(tokio::sync::Mutex::new(Some(listener)));
    cluster.supervisor.spawn("apiserver", move |stop| {
        let (server, tls, listener) = (serving.clone(), tls.clone(), listener.clone());
        async move {
            let bound = listener.lock().await.take();
            let listener = match bound {
                Some(listener) => listener,
                None => TcpListener::bind(address).await?,
            };
            server.serve(listener, tls, stop).await.context("failed to serve")
        }
    });
    write_admin_kubeconfig(cluster)?;
    Ok(server)
}

/// The store: etcd if it has endpoints, with keys that begin with `prefix`; else the embedded engine
/// in `dir`.
///
/// # Errors
/// If the folder cannot be read or etcd does not answer.
pub async fn open_store(
    etcd_servers: &[String],
    prefix: &str,
    dir: &Path,
) -> Result<Arc<dyn Storage>> {
    if etcd_servers.is_empty() {
        let dir = dir.to_path_buf();
        let engine = tokio::task::spawn_blocking(move || {
            embedded::Engine::open(&dir, embedded::Options::default())
        });
        return Ok(Arc::new(engine.await??));
    }
    let options =
        etcd::Options { prefix: prefix.to_owned(), ..etcd::Options::new(etcd_servers.to_vec()) };
    Ok(Arc::new(etcd::Etcd::connect(options).await?))
}

fn serving_tls(cluster: &Cluster) -> Result<Arc<ServingTls>> {
    let names = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "127.0.0.1",
    ];
    let mut names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    names.push(cluster.network.api_service_ip().to_string());
    let pair = cluster.pki.apiserver(&names)?;
    let material = Material {
        certificate_pem: pair.certificate_pem.into_bytes(),
        key_pem: pair.key_pem.into_bytes(),
        client_ca_pem: Some(cluster.pki.ca_pem().as_bytes().to_vec()),
        front_proxy_ca_pem: Some(cluster.pki.front_proxy_ca_pem().as_bytes().to_vec()),
    };
    Ok(ServingTls::new(&material)?)
}

fn config(cluster: &Cluster) -> Result<Config> {
    let kubelet = cluster.pki.kubelet_client().context("failed to make the kubelet client")?;
    let front_proxy =
        cluster.pki.front_proxy_client().context("failed to make the front proxy's client")?;
    let key = cluster.pki.service_account_key_pem().context("failed to read the signing key")?;
    Ok(Config {
        service_account_key_pem: key.into_bytes(),
        kubelet: Some(KubeletClient {
            certificate_pem: kubelet.certificate_pem.into_bytes(),
            key_pem: kubelet.key_pem.into_bytes(),
            ca_pem: cluster.pki.ca_pem().as_bytes().to_vec(),
        }),
        front_proxy: Some(FrontProxy {
            ca_pem: cluster.pki.front_proxy_ca_pem().as_bytes().to_vec(),
            client_ca_pem: cluster.pki.ca_pem().as_bytes().to_vec(),
            certificate_pem: front_proxy.certificate_pem.into_bytes(),
            key_pem: front_proxy.key_pem.into_bytes(),
        }),
        service_cidr: cluster.network.service_cidr(),
        pod_cidrs: vec![cluster.network.pod_cidr()],
        advertise_address: IpAddr::from(Ipv4Addr::LOCALHOST),
        advertise_port: cluster.settings.api_port,
        hub: cluster.settings.hub,
        ..Config::default()
    })
}

fn write_admin_kubeconfig(cluster: &Cluster) -> Result<()> {
    let entry = super::admin_entry(&cluster.instance, &cluster.settings)?;
    entry.write(&cluster.instance.kubeconfig()).context("failed to write the kubeconfig")
}
