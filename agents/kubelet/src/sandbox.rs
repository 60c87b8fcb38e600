//! A pod's sandbox as CRI wants it: names, DNS, namespaces. Pure.

use std::net::IpAddr;

use hansa_api::k8s_openapi::api::core::v1::{Pod, PodSpec};
use k8s_cri::v1 as cri;

use crate::config::Config;
use crate::names::{self, Folders, identity};

/// The sandbox's config.
#[must_use]
pub fn config(
    pod: &Pod,
    config: &Config,
    folders: &Folders,
    attempt: u32,
) -> cri::PodSandboxConfig {
    let (namespace, name, uid) = identity(pod);
    let spec = pod.spec.clone().unwrap_or_default();
    let metadata = cri::PodSandboxMetadata {
        name: name.to_string(),
        uid: uid.to_string(),
        namespace: namespace.to_string(),
        attempt,
    };
    let mut labels: std::collections::HashMap<_, _> =
        pod.metadata.labels.clone().unwrap_or_default().into_iter().collect();
    labels.insert(names::POD_NAME.to_string(), name.to_string());
    labels.insert(names::POD_NAMESPACE.to_string(), namespace.to_string());
    labels.insert(names::POD_UID.to_string(), uid.to_string());
    cri::PodSandboxConfig {
        metadata: Some(metadata),
        // On the host's network a pod has the host's name: the runtime refuses another.
        hostname: if host_network(&spec) { String::new() } else { hostname(pod) },
        log_directory: folders.logs(namespace, name, uid).display().to_string(),
        dns_config: dns(&spec, namespace, config),
        port_mappings: port_mappings(&spec),
        labels,
        annotations: pod.metadata.annotations.clone().unwrap_or_default().into_iter().collect(),
        linux: Some(linux(&spec)),
        windows: None,
    }
}

/// Whether the pod uses the node's network.
#[must_use]
pub fn host_network(spec: &PodSpec) -> bool {
    spec.host_network == Some(true)
}

/// The pod's hostname: its own, or its name; at most 63 characters.
#[must_use]
pub fn hostname(pod: &Pod) -> String {
    let own = pod.spec.as_ref().and_then(|spec| spec.hostname.clone());
    let name = own.filter(|name| !name.is_empty()).or_else(|| pod.metadata.name.clone());
    let short: String = name.unwrap_or_default().chars().take(63).collect();
    short.trim_end_matches(['-', '.']).to_string()
}

/// The namespaces a pod shares with the node or among its containers.
#[must_use]
pub fn namespaces(spec: &PodSpec) -> cri::NamespaceOption {
    let mode = |host: bool, shared: cri::NamespaceMode| {
        (if host { cri::NamespaceMode::Node } else { shared }) as i32
    };
    let pid = if spec.share_process_namespace == Some(true) {
        cri::NamespaceMode::Pod
    } else {
        cri::NamespaceMode::Container
    };
    cri::NamespaceOption {
        network: mode(host_network(spec), cri::NamespaceMode::Pod),
        pid: mode(spec.host_pid == Some(true), pid),
        ipc: mode(spec.host_ipc == Some(true), cri::NamespaceMode::Pod),
        ..Default::default()
    }
}

fn linux(spec: &PodSpec) -> cri::LinuxPodSandboxConfig {
    let context = spec.security_context.clone().unwrap_or_default();
    let privileged = spec.containers.iter().any(|container| {
        container.security_context.as_ref().is_some_and(|own| own.privileged == Some(true))
    });
    let sysctls = context.sysctls.unwrap_or_default();
    let security_context = cri::LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(spec)),
        run_as_user: context.run_as_user.map(|value| cri::Int64Value { value }),
        run_as_group: context.run_as_group.map(|value| cri::Int64Value { value }),
        supplemental_groups: context.supplemental_groups.unwrap_or_default(),
        privileged,
        seccomp: Some(cri::SecurityProfile {
            profile_type: cri::security_profile::ProfileType::RuntimeDefault as i32,
            localhost_ref: String::new(),
        }),
        ..Default::default()
    };
    cri::LinuxPodSandboxConfig {
        security_context: Some(security_context),
        sysctls: sysctls.into_iter().map(|sysctl| (sysctl.name, sysctl.value)).collect(),
        ..Default::default()
    }
}

fn port_mappings(spec: &PodSpec) -> Vec<cri::PortMapping> {
    let ports = spec.containers.iter().flat_map(|container| container.ports.iter().flatten());
    let protocol = |name: Option<&str>| match name {
        Some("UDP") => cri::Protocol::Udp,
        Some("SCTP") => cri::Protocol::Sctp,
        _ => cri::Protocol::Tcp,
    };
    let mapping = |port: &hansa_api::k8s_openapi::api::core::v1::ContainerPort| cri::PortMapping {
        protocol: protocol(port.protocol.as_deref()) as i32,
        container_port: port.container_port,
        host_port: port.host_port.unwrap_or(0),
        host_ip: port.host_ip.clone().unwrap_or_default(),
    };
    ports.map(mapping).collect()
}

/// What the pod's resolv.conf says; `None` leaves the node's.
fn dns(spec: &PodSpec, namespace: &str, config: &Config) -> Option<cri::DnsConfig> {
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let cluster = match policy {
        "ClusterFirst" => !host_network(spec),
        "ClusterFirstWithHostNet" => true,
        _ => false,
    };
    let mut dns = cri::DnsConfig::default();
    if cluster && !config.cluster_dns.is_empty() {
        let domain = &config.cluster_domain;
        dns.servers = config.cluster_dns.iter().map(IpAddr::to_string).collect();
        dns.searches =
            vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
        dns.options = vec!["ndots:5".to_string()];
    } else if policy != "None" && spec.dns_config.is_none() {
        return None;
    }
    let own = spec.dns_config.clone().unwrap_or_default();
    dns.servers.extend(own.nameservers.unwrap_or_default());
    dns.searches.extend(own.searches.unwrap_or_default());
    for option in own.options.unwrap_or_default() {
        let name = option.name.unwrap_or_default();
        dns.options.retain(|known| known.split(':').next() != Some(name.as_str()));
        dns.options.push(match option.value {
            Some(value) => format!("{name}:{value}"),
            None => name,
        });
    }
    Some(dns)
}

/// The text of the pod's `/etc/hosts`.
#[must_use]
pub fn hosts_file(pod: &Pod, addresses: &[String], domain: &str) -> String {
    let spec = pod.spec.clone().unwrap_or_default();
    let (namespace, _, _) = identity(pod);
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n",
    );
    let host = hostname(pod);
    let names = match spec.subdomain.as_deref().filter(|subdomain| !subdomain.is_empty()) {
        Some(subdomain) => format!("{host}.{subdomain}.{namespace}.svc.{domain}\t{host}"),
        None => host,
    };
    for address in addresses {
        text.push_str(&format!("{address}\t{names}\n"));
    }
    for alias in spec.host_aliases.iter().flatten() {
        let names = alias.hostnames.clone().unwrap_or_default().join("\t");
        text.push_str(&format!("{}\t{names}\n", alias.ip));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(spec: Value) -> Pod {
        let metadata = json!({"name": "web-0", "namespace": "shop", "uid": "u"});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    fn dns_of(spec: Value) -> Option<cri::DnsConfig> {
        let mut config = Config::new("n", "/x", "/r".into());
        config.cluster_dns = vec!["10.0.0.10".parse().unwrap()];
        dns(pod(spec).spec.as_ref().unwrap(), "shop", &config)
    }

    #[test]
    fn dns_follows_the_policy() {
        let first = dns_of(json!({"containers": []})).unwrap();
        assert_eq!(first.servers, ["10.0.0.10"]);
        assert_eq!(first.searches[0], "shop.svc.cluster.local");
        assert_eq!(dns_of(json!({"containers": [], "hostNetwork": true})), None);
        assert_eq!(dns_of(json!({"containers": [], "dnsPolicy": "Default"})), None);
        let own = json!({"containers": [], "dnsConfig": {
            "nameservers": ["1.1.1.1"], "options": [{"name": "ndots", "value": "2"}]}});
        let own = dns_of(own).unwrap();
        assert_eq!((own.servers.len(), own.options), (2, vec!["ndots:2".to_string()]));
    }

    #[test]
    fn hosts_have_the_pods_names() {
        let pod = pod(json!({"containers": [], "subdomain": "web",
            "hostAliases": [{"ip": "9.9.9.9", "hostnames": ["a", "b"]}]}));
        let text = hosts_file(&pod, &["10.1.0.2".to_string()], "cluster.local");
        assert!(text.contains("10.1.0.2\tweb-0.web.shop.svc.cluster.local\tweb-0\n"), "{text}");
        assert!(text.contains("9.9.9.9\ta\tb\n"), "{text}");
    }
}
