//! What runs on nodes: runtimes, kubelets, the proxy, and the DNS server.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use hansa_runtime::{HollowConfig, WasmConfig};

use super::in_process::Clients;
use super::{Cluster, identity};

const DOMAIN: &str = "cluster.local";
/// Where DNS listens without the right to bind port 53.
const UNPRIVILEGED_DNS_PORT: u16 = 10_053;
const HOLLOW_PODS: u32 = 10_000;

/// Starts the nodes, if the cluster has any.
///
/// # Errors
/// If a node's certificate cannot be made.
pub fn start(cluster: &Arc<Cluster>, clients: &Clients) -> Result<()> {
    let nodes = cluster.settings.node_names();
    if nodes.is_empty() {
        return Ok(());
    }
    for (number, node) in (0..).zip(&nodes) {
        let endpoint = match &cluster.settings.cri_endpoint {
            Some(endpoint) => endpoint.clone(),
            None => start_runtime(cluster, node),
        };
        start_kubelet(cluster, clients, node, cluster.network.node_ip(number), endpoint)?;
    }
    start_proxy(cluster, clients, &nodes);
    start_dns(cluster, clients);
    Ok(())
}

fn is_hollow(cluster: &Cluster) -> bool {
    cluster.settings.runtime == "hollow"
}

/// A node's embedded CRI server; answers its socket.
fn start_runtime(cluster: &Arc<Cluster>, node: &str) -> String {
    let root = cluster.instance.node_dir(node).join("runtime");
    let socket = socket_path(cluster, node);
    let endpoint = format!("unix://{}", socket.display());
    let hollow = is_hollow(cluster);
    cluster.supervisor.spawn(format!("runtime/{node}"), move |stop| {
        let (root, socket) = (root.clone(), socket.clone());
        async move {
            std::fs::create_dir_all(&root)?;
            if hollow {
                let config = HollowConfig { socket };
                hansa_runtime::serve_hollow(config, stop).await.context("failed to serve CRI")
            } else {
                let config = WasmConfig::new(socket, root);
                hansa_runtime::serve_wasm(config, stop).await.context("failed to serve CRI")
            }
        }
    });
    endpoint
}

/// A socket's path may have 107 bytes: one that would be longer lies in the temporary folder.
fn socket_path(cluster: &Cluster, node: &str) -> PathBuf {
    let path = cluster.instance.node_dir(node).join("cri.sock");
    if path.as_os_str().len() <= 100 {
        return path;
    }
    std::env::temp_dir().join(format!("hansa-{}-{node}.sock", cluster.settings.network))
}

fn start_kubelet(
    cluster: &Arc<Cluster>,
    clients: &Clients,
    node: &str,
    address: Ipv4Addr,
    cri_endpoint: String,
) -> Result<()> {
    let names = [node.to_owned(), address.to_string()];
    let serving = cluster
        .pki
        .kubelet_serving(node, &names)
        .with_context(|| format!("failed to make the certificate of node {node}"))?;
    let root = cluster.instance.node_dir(node).join("kubelet");
    let mut config = hansa_kubelet::Config::new(node, &cri_endpoint, root);
    config.address = IpAddr::V4(address);
    config.external_cloud = true;
    config.labels = BTreeMap::from([
        ("kubernetes.io/hostname".to_owned(), node.to_owned()),
        ("hansa.dev/runtime".to_owned(), cluster.settings.runtime.clone()),
    ]);
    config.cluster_dns = vec![IpAddr::V4(cluster.network.dns_ip())];
    config.cluster_domain = DOMAIN.to_owned();
    config.tls = hansa_kubelet::Tls {
        client_ca_pem: Some(cluster.pki.ca_pem().to_owned()),
        serving_pem: Some((serving.certificate_pem, serving.key_pem)),
    };
    if is_hollow(cluster) {
        config.max_pods = HOLLOW_PODS;
    }
    let client = clients.node(node);
    cluster.supervisor.spawn(format!("kubelet/{node}"), move |stop| {
        hansa_kubelet::run(config.clone(), client.clone(), stop)
    });
    Ok(())
}

/// One proxy serves the whole machine: all nodes of the cluster share its loopback.
fn start_proxy(cluster: &Arc<Cluster>, clients: &Clients, nodes: &[String]) {
    let config = hansa_proxy::Config {
        node_name: nodes.first().cloned().unwrap_or_default(),
        node_addresses: (0..cluster.settings.nodes)
            .map(|number| IpAddr::V4(cluster.network.node_ip(number)))
            .collect(),
    };
    let client = clients.component(identity::PROXY);
    cluster
        .supervisor
        .spawn("proxy", move |stop| hansa_proxy::run(config.clone(), client.clone(), stop));
}

fn start_dns(cluster: &Arc<Cluster>, clients: &Clients) {
    let ip = IpAddr::V4(cluster.network.dns_ip());
    let resolv_conf = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let config = hansa_dns::Config {
        listen: vec![SocketAddr::new(ip, 53), SocketAddr::new(ip, UNPRIVILEGED_DNS_PORT)],
        domain: DOMAIN.to_owned(),
        upstreams: hansa_dns::forward::resolvers(&resolv_conf, &[ip]),
    };
    let client = clients.component(identity::DNS);
    cluster
        .supervisor
        .spawn("dns", move |stop| hansa_dns::run(config.clone(), client.clone(), stop));
}
