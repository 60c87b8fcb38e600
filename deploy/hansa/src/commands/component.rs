//! One component in the foreground, as hyperkube had it; flags carry the upstream component's names
//! where the meaning is the same.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use hansa_client::kube::config::{KubeConfigOptions, Kubeconfig};
use hansa_client::kube::{Client, Config};
use hansa_component::{logging, signals};
use hansa_plugin_host::{Host, HostConfig};
use tokio_util::sync::CancellationToken;

use crate::cluster::guests;

/// The components that run alone.
#[derive(clap::Subcommand)]
pub enum Component {
    /// The API server over the embedded store or an etcd.
    Apiserver(ApiserverArgs),
    /// The scheduler.
    Scheduler(Connection),
    /// The controllers.
    ControllerManager(ControllerManagerArgs),
    /// The node and service controllers over a cloud provider.
    CloudControllerManager(CloudArgs),
    /// A node's agent over a CRI runtime.
    Kubelet(KubeletArgs),
    /// The userspace proxy of Services.
    Proxy(ProxyArgs),
    /// The cluster's DNS server.
    Dns(DnsArgs),
    /// The federation's controllers.
    FederationManager(FederationArgs),
}

/// How a component reaches its API server, and how it logs.
#[derive(clap::Args, Clone)]
pub struct Connection {
    /// The kubeconfig to connect with.
    #[arg(long, env = "KUBECONFIG")]
    kubeconfig: PathBuf,
    /// Which of its contexts, instead of the selected one.
    #[arg(long)]
    context: Option<String>,
    /// Act only while holding the component's Lease.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    leader_elect: bool,
}

/// Flags of `hansa apiserver`.
#[derive(clap::Args)]
pub struct ApiserverArgs {
    /// Address to serve on.
    #[arg(long, default_value = "0.0.0.0")]
    bind_address: IpAddr,
    /// Port to serve on.
    #[arg(long, default_value_t = 6443)]
    secure_port: u16,
    /// Address that clients reach it at [default: 127.0.0.1].
    #[arg(long, default_value = "127.0.0.1")]
    advertise_address: IpAddr,
    /// etcd's endpoints; without them the embedded store in --data-dir is used.
    #[arg(long, value_delimiter = ',')]
    etcd_servers: Vec<String>,
    /// What all keys begin with in etcd, such as /league; clusters that share one need their own.
    #[arg(long, default_value = "")]
    etcd_prefix: String,
    /// The embedded store's folder.
    #[arg(long, default_value = "/var/lib/hansa/store")]
    data_dir: PathBuf,
    /// The network of ClusterIPs.
    #[arg(long, default_value = "10.96.0.0/12")]
    service_cluster_ip_range: String,
    /// The serving certificate.
    #[arg(long)]
    tls_cert_file: PathBuf,
    /// Its key.
    #[arg(long)]
    tls_private_key_file: PathBuf,
    /// The CA of clients.
    #[arg(long)]
    client_ca_file: PathBuf,
    /// The key that signs ServiceAccount tokens.
    #[arg(long)]
    service_account_signing_key_file: PathBuf,
    /// Issuer of ServiceAccount tokens.
    #[arg(long, default_value = "https://kubernetes.default.svc.cluster.local")]
    service_account_issuer: String,
    /// Certificate towards kubelets.
    #[arg(long, requires_all = ["kubelet_client_key", "kubelet_certificate_authority"])]
    kubelet_client_certificate: Option<PathBuf>,
    /// Its key.
    #[arg(long)]
    kubelet_client_key: Option<PathBuf>,
    /// The CA of kubelets.
    #[arg(long)]
    kubelet_certificate_authority: Option<PathBuf>,
    /// Certificate towards aggregated servers.
    #[arg(long, requires_all = ["proxy_client_key_file", "requestheader_client_ca_file"])]
    proxy_client_cert_file: Option<PathBuf>,
    /// Its key.
    #[arg(long)]
    proxy_client_key_file: Option<PathBuf>,
    /// The CA of front proxies, which name in headers for whom they ask.
    #[arg(long)]
    requestheader_client_ca_file: Option<PathBuf>,
}

/// Flags of `hansa controller-manager`.
#[derive(clap::Args)]
pub struct ControllerManagerArgs {
    #[command(flatten)]
    connection: Connection,
    /// The CA that pods trust, published in every namespace.
    #[arg(long)]
    root_ca_file: PathBuf,
    /// The range that nodes get their pod CIDRs from.
    #[arg(long)]
    cluster_cidr: Option<String>,
    /// Prefix length of a node's pod CIDR.
    #[arg(long, default_value_t = 24)]
    node_cidr_mask_size: u8,
    /// A node without a heartbeat for this many seconds is Unknown.
    #[arg(long, default_value_t = 40)]
    node_monitor_grace_period_secs: u64,
}

/// Flags of `hansa cloud-controller-manager`.
#[derive(clap::Args)]
pub struct CloudArgs {
    #[command(flatten)]
    connection: Connection,
    /// The cluster's name at the cloud.
    #[arg(long, default_value = "kubernetes")]
    cluster_name: String,
    /// The provider: a guest's name.
    #[arg(long, default_value = "local")]
    cloud_provider: String,
    /// The provider's settings, a YAML or JSON file.
    #[arg(long)]
    cloud_config: Option<PathBuf>,
}

/// Flags of `hansa kubelet`.
#[derive(clap::Args)]
pub struct KubeletArgs {
    #[command(flatten)]
    connection: Connection,
    /// The node's name [default: the host's name].
    #[arg(long)]
    hostname_override: Option<String>,
    /// The runtime's socket.
    #[arg(long, default_value = "unix:///run/containerd/containerd.sock")]
    container_runtime_endpoint: String,
    /// Where pods, volumes and logs live.
    #[arg(long, default_value = "/var/lib/kubelet")]
    root_dir: PathBuf,
    /// The node's address.
    #[arg(long)]
    node_ip: IpAddr,
    /// The HTTPS server's port.
    #[arg(long, default_value_t = 10_250)]
    port: u16,
    /// DNS servers of pods.
    #[arg(long, value_delimiter = ',')]
    cluster_dns: Vec<IpAddr>,
    /// DNS domain of pods.
    #[arg(long, default_value = "cluster.local")]
    cluster_domain: String,
    /// How many pods the node takes.
    #[arg(long, default_value_t = 110)]
    max_pods: u32,
    /// The CA of the API server's client certificate.
    #[arg(long)]
    client_ca_file: Option<PathBuf>,
}

/// Flags of `hansa proxy`.
#[derive(clap::Args)]
pub struct ProxyArgs {
    #[command(flatten)]
    connection: Connection,
    /// The node's name.
    #[arg(long)]
    hostname_override: String,
    /// Addresses that NodePorts are served on.
    #[arg(long, value_delimiter = ',')]
    nodeport_addresses: Vec<IpAddr>,
}

/// Flags of `hansa dns`.
#[derive(clap::Args)]
pub struct DnsArgs {
    #[command(flatten)]
    connection: Connection,
    /// Where to listen, UDP and TCP.
    #[arg(long, default_value = "0.0.0.0:53")]
    listen: SocketAddr,
    /// The cluster's domain.
    #[arg(long, default_value = "cluster.local")]
    cluster_domain: String,
    /// Resolvers for everything else [default: those of /etc/resolv.conf].
    #[arg(long, value_delimiter = ',')]
    upstream: Vec<SocketAddr>,
}

/// Flags of `hansa federation-manager`.
#[derive(clap::Args)]
pub struct FederationArgs {
    #[command(flatten)]
    connection: Connection,
    /// Seconds between two probes of a member.
    #[arg(long, default_value_t = 10)]
    cluster_status_update_frequency_secs: u64,
}

/// Runs the component until a signal stops it.
pub fn run(component: Component) -> Result<ExitCode> {
    logging::init("info,kube=warn,hyper=warn,h2=warn", logging::Format::Text);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().context("failed to start the async runtime")?;
    runtime.block_on(async {
        let stop = signals::stop_token()?;
        match component {
            Component::Apiserver(args) => apiserver(args, stop).await,
            Component::Scheduler(args) => scheduler(args, stop).await,
            Component::ControllerManager(args) => controllers(args, stop).await,
            Component::CloudControllerManager(args) => cloud(args, stop).await,
            Component::Kubelet(args) => kubelet(args, stop).await,
            Component::Proxy(args) => proxy(args, stop).await,
            Component::Dns(args) => dns(args, stop).await,
            Component::FederationManager(args) => federation(args, stop).await,
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

impl Connection {
    async fn client(&self) -> Result<Client> {
        let what = || format!("failed to read {}", self.kubeconfig.display());
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig).with_context(what)?;
        let options =
            KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let config =
            Config::from_custom_kubeconfig(kubeconfig, &options).await.with_context(what)?;
        Client::try_from(config).context("failed to build the client")
    }

    /// Who this process is in leader election, if it takes part.
    fn identity(&self) -> Option<String> {
        self.leader_elect.then(|| format!("{}_{}", host_name(), std::process::id()))
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_lowercase()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("failed to read {}", path.display()))
}

fn read_text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))
}

async fn apiserver(args: ApiserverArgs, stop: CancellationToken) -> Result<()> {
    use hansa_apiserver::server::tls::{Material, ServingTls};
    use hansa_apiserver::server::{ApiServer, Config};
    let storage =
        crate::cluster::open_store(&args.etcd_servers, &args.etcd_prefix, &args.data_dir).await?;
    let address = SocketAddr::new(args.bind_address, args.secure_port);
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("failed to bind {address}"))?;
    let material = Material {
        certificate_pem: read(&args.tls_cert_file)?,
        key_pem: read(&args.tls_private_key_file)?,
        client_ca_pem: Some(read(&args.client_ca_file)?),
        front_proxy_ca_pem: args.requestheader_client_ca_file.as_deref().map(read).transpose()?,
    };
    let config = Config {
        issuer: args.service_account_issuer.clone(),
        service_account_key_pem: read(&args.service_account_signing_key_file)?,
        kubelet: kubelet_client(&args)?,
        front_proxy: front_proxy(&args)?,
        service_cidr: args.service_cluster_ip_range,
        advertise_address: args.advertise_address,
        advertise_port: args.secure_port,
        ..Config::default()
    };
    let server = ApiServer::new(config, storage, stop.clone()).await?;
    server.serve(listener, ServingTls::new(&material)?, stop).await?;
    Ok(())
}

fn front_proxy(args: &ApiserverArgs) -> Result<Option<hansa_apiserver::server::FrontProxy>> {
    let (Some(certificate), Some(key), Some(ca)) = (
        &args.proxy_client_cert_file,
        &args.proxy_client_key_file,
        &args.requestheader_client_ca_file,
    ) else {
        return Ok(None);
    };
    Ok(Some(hansa_apiserver::server::FrontProxy {
        ca_pem: read(ca)?,
        client_ca_pem: read(&args.client_ca_file)?,
        certificate_pem: read(certificate)?,
        key_pem: read(key)?,
    }))
}

fn kubelet_client(args: &ApiserverArgs) -> Result<Option<hansa_apiserver::server::KubeletClient>> {
    let (Some(certificate), Some(key), Some(ca)) = (
        &args.kubelet_client_certificate,
        &args.kubelet_client_key,
        &args.kubelet_certificate_authority,
    ) else {
        return Ok(None);
    };
    Ok(Some(hansa_apiserver::server::KubeletClient {
        certificate_pem: read(certificate)?,
        key_pem: read(key)?,
        ca_pem: read(ca)?,
    }))
}

async fn scheduler(args: Connection, stop: CancellationToken) -> Result<()> {
    let host = host_of_decisions()?;
    guests::install_scheduler(&host)?;
    let election = args
        .identity()
        .map(|identity| hansa_scheduler::Election { namespace: "kube-system".into(), identity });
    let config = hansa_scheduler::Config { election, ..Default::default() };
    hansa_scheduler::run(config, args.client().await?, host.scheduler(), stop).await
}

fn host_of_decisions() -> Result<Host> {
    Host::new(&HostConfig::default()).context("failed to start the host of decisions")
}

async fn controllers(args: ControllerManagerArgs, stop: CancellationToken) -> Result<()> {
    let config = hansa_controllers::Config {
        hub: false,
        root_ca: read_text(&args.root_ca_file)?,
        cluster_cidr: args.cluster_cidr,
        node_cidr_prefix: args.node_cidr_mask_size,
        node_cidr_reserved: None,
        node_monitor_grace: Duration::from_secs(args.node_monitor_grace_period_secs),
        identity: args.connection.identity(),
    };
    hansa_controllers::run(config, args.connection.client().await?, None, stop).await
}

async fn cloud(args: CloudArgs, stop: CancellationToken) -> Result<()> {
    let settings = match &args.cloud_config {
        Some(path) => serde_saphyr::from_str(&read_text(path)?)
            .with_context(|| format!("failed to parse {}", path.display()))?,
        None => serde_json::json!({}),
    };
    let host = host_of_decisions()?;
    guests::install_cloud(&host, &args.cloud_provider, settings)?;
    let config = hansa_cloud::Config { cluster_name: args.cluster_name, ..Default::default() };
    hansa_cloud::run(config, args.connection.client().await?, host.cloud(), stop).await
}

async fn kubelet(args: KubeletArgs, stop: CancellationToken) -> Result<()> {
    let node = args.hostname_override.unwrap_or_else(host_name);
    let mut config =
        hansa_kubelet::Config::new(&node, &args.container_runtime_endpoint, args.root_dir);
    config.address = args.node_ip;
    config.port = args.port;
    config.cluster_dns = args.cluster_dns;
    config.cluster_domain = args.cluster_domain;
    config.max_pods = args.max_pods;
    config.tls.client_ca_pem = args.client_ca_file.as_deref().map(read_text).transpose()?;
    hansa_kubelet::run(config, args.connection.client().await?, stop).await
}

async fn proxy(args: ProxyArgs, stop: CancellationToken) -> Result<()> {
    let config = hansa_proxy::Config {
        node_name: args.hostname_override,
        node_addresses: args.nodeport_addresses,
    };
    hansa_proxy::run(config, args.connection.client().await?, stop).await
}

async fn dns(args: DnsArgs, stop: CancellationToken) -> Result<()> {
    let mut upstreams = args.upstream;
    if upstreams.is_empty() {
        let text = read_text(Path::new("/etc/resolv.conf")).unwrap_or_default();
        upstreams = hansa_dns::forward::resolvers(&text, &[args.listen.ip()]);
    }
    let config =
        hansa_dns::Config { listen: vec![args.listen], domain: args.cluster_domain, upstreams };
    hansa_dns::run(config, args.connection.client().await?, stop).await
}

async fn federation(args: FederationArgs, stop: CancellationToken) -> Result<()> {
    let host = host_of_decisions()?;
    guests::install_federation(&host)?;
    let client = args.connection.client().await?;
    let config = hansa_federation_manager::Config {
        probe_period: Duration::from_secs(args.cluster_status_update_frequency_secs),
        leader_elect: args.connection.leader_elect,
        identity: args.connection.identity().unwrap_or_default(),
        ..Default::default()
    };
    let host = Arc::new(host);
    hansa_federation_manager::run(config, client, host.federation(), stop).await
}
