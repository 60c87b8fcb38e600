//! A container as CRI wants it. Pure.

use std::collections::{BTreeMap, HashMap};
use std::path::{Component, Path, PathBuf};

use hansa_api::k8s_openapi::api::core::v1::{
    Container, Pod, PodSpec, ResourceRequirements, SecurityContext, VolumeMount,
};
use hansa_api::k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_cri::v1 as cri;

use crate::env::expand;
use crate::fields;
use crate::names::{self, identity};
use crate::sandbox;

/// Paths in `/proc` and `/sys` that containers must not see, unless privileged.
const MASKED: [&str; 11] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];

/// Paths that containers may only read, unless privileged.
const READONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Why a container cannot be described. The texts are those that pod statuses show.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum ContainerError {
    /// A mount names a volume the pod does not have.
    #[error("cannot find volume {0:?} to mount into container")]
    NoVolume(String),
    /// A sub-path leaves its volume.
    #[error("subPath {0:?} must be a relative path inside its volume")]
    BadSubPath(String),
    /// The pod must not run as root, and nothing says who else.
    #[error("container has runAsNonRoot and image will run as root")]
    WouldRunAsRoot,
    /// A quantity does not parse.
    #[error("failed to {0}")]
    Quantity(#[from] fields::FieldError),
}

/// Everything a container's config depends on.
pub struct Input<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// The container.
    pub spec: &'a Container,
    /// How often it was started before.
    pub attempt: u32,
    /// The image as the runtime knows it.
    pub image: &'a cri::ImageSpec,
    /// Its environment.
    pub env: &'a [(String, String)],
    /// Volumes on the host by name.
    pub volumes: &'a HashMap<String, PathBuf>,
    /// The pod's `/etc/hosts` on the host; none on the host's network.
    pub hosts: Option<&'a Path>,
    /// Where on the host its last words go.
    pub termination_log: &'a Path,
    /// The node's memory in bytes, for the OOM score.
    pub node_memory: i64,
}

/// The container's config.
///
/// # Errors
/// A mount or a quantity makes no sense.
pub fn config(input: &Input<'_>) -> Result<cri::ContainerConfig, ContainerError> {
    let spec = input.spec;
    let lookup = |name: &str| {
        let found = input.env.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.clone())
    };
    let expanded = |list: &Option<Vec<String>>| -> Vec<String> {
        list.iter().flatten().map(|text| expand(text, lookup)).collect()
    };
    Ok(cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata { name: spec.name.clone(), attempt: input.attempt }),
        image: Some(input.image.clone()),
        command: expanded(&spec.command),
        args: expanded(&spec.args),
        working_dir: spec.working_dir.clone().unwrap_or_default(),
        envs: input.env.iter().map(|(key, value)| key_value(key, value)).collect(),
        mounts: mounts(input)?,
        labels: labels(input),
        annotations: annotations(input),
        log_path: names::log_path(&spec.name, input.attempt),
        stdin: spec.stdin == Some(true),
        stdin_once: spec.stdin_once == Some(true),
        tty: spec.tty == Some(true),
        linux: Some(cri::LinuxContainerConfig {
            resources: Some(resources(input)?),
            security_context: Some(security(input)?),
        }),
        ..Default::default()
    })
}

fn key_value(key: &str, value: &str) -> cri::KeyValue {
    cri::KeyValue { key: key.to_string(), value: value.to_string() }
}

fn labels(input: &Input<'_>) -> HashMap<String, String> {
    let (namespace, name, uid) = identity(input.pod);
    let pairs = [
        (names::POD_NAME, name),
        (names::POD_NAMESPACE, namespace),
        (names::POD_UID, uid),
        (names::CONTAINER_NAME, &input.spec.name),
    ];
    pairs.into_iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

fn annotations(input: &Input<'_>) -> HashMap<String, String> {
    let spec = input.spec;
    let mut all = HashMap::from([
        (names::RESTART_COUNT.to_string(), input.attempt.to_string()),
        (names::TERMINATION_MESSAGE_PATH.to_string(), message_path(spec).to_string()),
    ]);
    let policy = spec.termination_message_policy.clone().unwrap_or_else(|| "File".to_string());
    all.insert(names::TERMINATION_MESSAGE_POLICY.to_string(), policy);
    if let Some(ports) = spec.ports.as_ref().filter(|ports| !ports.is_empty()) {
        let json = serde_json::to_string(ports).expect("ports are JSON");
        all.insert(names::PORTS.to_string(), json);
    }
    let pod_spec = input.pod.spec.as_ref();
    if let Some(grace) = pod_spec.and_then(|spec| spec.termination_grace_period_seconds) {
        all.insert(names::GRACE_PERIOD.to_string(), grace.to_string());
    }
    all
}

/// Where in the container its last words are.
#[must_use]
pub fn message_path(spec: &Container) -> &str {
    spec.termination_message_path.as_deref().unwrap_or("/dev/termination-log")
}

fn mounts(input: &Input<'_>) -> Result<Vec<cri::Mount>, ContainerError> {
    let mut mounts = Vec::new();
    for mount in input.spec.volume_mounts.iter().flatten() {
        mounts.push(volume_mount(input, mount)?);
    }
    let taken = |path: &str| mounts.iter().any(|mount: &cri::Mount| mount.container_path == path);
    let mut own = Vec::new();
    if let Some(hosts) = input.hosts.filter(|_| !taken("/etc/hosts")) {
        own.push(file_mount("/etc/hosts", hosts));
    }
    if !taken(message_path(input.spec)) {
        own.push(file_mount(message_path(input.spec), input.termination_log));
    }
    mounts.extend(own);
    Ok(mounts)
}

fn file_mount(container_path: &str, host: &Path) -> cri::Mount {
    cri::Mount {
        container_path: container_path.to_string(),
        host_path: host.display().to_string(),
        ..Default::default()
    }
}

fn volume_mount(input: &Input<'_>, mount: &VolumeMount) -> Result<cri::Mount, ContainerError> {
    let no_volume = || ContainerError::NoVolume(mount.name.clone());
    let volume = input.volumes.get(&mount.name).ok_or_else(no_volume)?;
    let propagation = match mount.mount_propagation.as_deref() {
        Some("Bidirectional") => cri::MountPropagation::PropagationBidirectional,
        Some("HostToContainer") => cri::MountPropagation::PropagationHostToContainer,
        _ => cri::MountPropagation::PropagationPrivate,
    };
    Ok(cri::Mount {
        container_path: mount.mount_path.clone(),
        host_path: sub_path(input, mount, volume)?.display().to_string(),
        readonly: mount.read_only == Some(true),
        propagation: propagation as i32,
        ..Default::default()
    })
}

fn sub_path(
    input: &Input<'_>,
    mount: &VolumeMount,
    volume: &Path,
) -> Result<PathBuf, ContainerError> {
    let lookup = |name: &str| {
        let found = input.env.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.clone())
    };
    let expanded = mount.sub_path_expr.as_ref().map(|text| expand(text, lookup));
    let Some(sub) = expanded.or_else(|| mount.sub_path.clone()).filter(|sub| !sub.is_empty())
    else {
        return Ok(volume.to_path_buf());
    };
    let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    if !Path::new(&sub).components().all(inside) {
        return Err(ContainerError::BadSubPath(sub));
    }
    Ok(volume.join(sub))
}

fn amount(
    map: Option<&BTreeMap<String, Quantity>>,
    name: &str,
) -> Result<Option<hansa_api::quantity::Quantity>, ContainerError> {
    let found = map.and_then(|map| map.get(name));
    Ok(found.map(|found| fields::quantity(&found.0)).transpose()?)
}

/// CPU in shares of 1024 per core and quota per 100 ms, memory in bytes, as cgroups count.
fn resources(input: &Input<'_>) -> Result<cri::LinuxContainerResources, ContainerError> {
    let own = input.spec.resources.clone().unwrap_or_default();
    let cpu_limit = amount(own.limits.as_ref(), "cpu")?.map(|found| found.milli_value());
    let cpu_request = amount(own.requests.as_ref(), "cpu")?.map(|found| found.milli_value());
    let memory_limit = amount(own.limits.as_ref(), "memory")?.map_or(0, |found| found.value());
    let memory_request = amount(own.requests.as_ref(), "memory")?.map(|found| found.value());
    let milli = cpu_request.or(cpu_limit).unwrap_or(0);
    let qos = qos_class(input.pod.spec.as_ref());
    let request = memory_request.unwrap_or(memory_limit);
    Ok(cri::LinuxContainerResources {
        cpu_period: 100_000,
        cpu_quota: cpu_limit.map_or(0, |milli| (milli * 100).max(1000)),
        cpu_shares: (milli * 1024 / 1000).max(2),
        memory_limit_in_bytes: memory_limit,
        oom_score_adj: oom_score(qos, request, input.node_memory),
        ..Default::default()
    })
}

/// How likely the kernel is to end it when memory runs out: guaranteed pods last.
fn oom_score(qos: &str, request: i64, node_memory: i64) -> i64 {
    match qos {
        "Guaranteed" => -997,
        "BestEffort" => 1000,
        _ => (1000 - 1000 * request / node_memory.max(1)).clamp(3, 999),
    }
}

/// The pod's quality of service class.
#[must_use]
pub fn qos_class(spec: Option<&PodSpec>) -> &'static str {
    let Some(spec) = spec else { return "BestEffort" };
    let all: Vec<ResourceRequirements> = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .map(|container| container.resources.clone().unwrap_or_default())
        .collect();
    let none = |map: &Option<BTreeMap<String, Quantity>>| {
        !map.iter().flatten().any(|(name, amount)| counts(name) && amount.0 != "0")
    };
    if all.iter().all(|own| none(&own.limits) && none(&own.requests)) {
        return "BestEffort";
    }
    let guaranteed = |own: &ResourceRequirements| {
        ["cpu", "memory"].iter().all(|name| {
            let limit = own.limits.as_ref().and_then(|map| map.get(*name));
            let request = own.requests.as_ref().and_then(|map| map.get(*name)).or(limit);
            limit.is_some() && request == limit
        })
    };
    if all.iter().all(guaranteed) { "Guaranteed" } else { "Burstable" }
}

fn counts(name: &str) -> bool {
    name == "cpu" || name == "memory"
}

fn security(input: &Input<'_>) -> Result<cri::LinuxContainerSecurityContext, ContainerError> {
    let pod_spec = input.pod.spec.clone().unwrap_or_default();
    let pod = pod_spec.security_context.clone().unwrap_or_default();
    let own = input.spec.security_context.clone().unwrap_or_default();
    let user = own.run_as_user.or(pod.run_as_user);
    if own.run_as_non_root.or(pod.run_as_non_root) == Some(true) && user == Some(0) {
        return Err(ContainerError::WouldRunAsRoot);
    }
    let mut groups = pod.supplemental_groups.unwrap_or_default();
    groups.extend(pod.fs_group);
    let privileged = own.privileged == Some(true);
    let paths = |list: &[&str]| -> Vec<String> {
        let unmasked = privileged || own.proc_mount.as_deref() == Some("Unmasked");
        if unmasked { Vec::new() } else { list.iter().map(|path| path.to_string()).collect() }
    };
    let value = |value| cri::Int64Value { value };
    let profile = own.seccomp_profile.clone().or(pod.seccomp_profile);
    Ok(cri::LinuxContainerSecurityContext {
        capabilities: Some(capabilities(&own)),
        privileged,
        namespace_options: Some(sandbox::namespaces(&pod_spec)),
        run_as_user: user.map(value),
        run_as_group: own.run_as_group.or(pod.run_as_group).map(value),
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        supplemental_groups: groups,
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: paths(&MASKED),
        readonly_paths: paths(&READONLY),
        seccomp: Some(seccomp(profile.as_ref())),
        ..Default::default()
    })
}

fn capabilities(own: &SecurityContext) -> cri::Capability {
    let capabilities = own.capabilities.clone().unwrap_or_default();
    cri::Capability {
        add_capabilities: capabilities.add.unwrap_or_default(),
        drop_capabilities: capabilities.drop.unwrap_or_default(),
        add_ambient_capabilities: Vec::new(),
    }
}

fn seccomp(
    profile: Option<&hansa_api::k8s_openapi::api::core::v1::SeccompProfile>,
) -> cri::SecurityProfile {
    use cri::security_profile::ProfileType;
    let kind = match profile.map(|profile| profile.type_.as_str()) {
        Some("RuntimeDefault") => ProfileType::RuntimeDefault,
        Some("Localhost") => ProfileType::Localhost,
        _ => ProfileType::Unconfined,
    };
    let localhost = profile.and_then(|profile| profile.localhost_profile.clone());
    cri::SecurityProfile { profile_type: kind as i32, localhost_ref: localhost.unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn config_of(spec: Value) -> Result<cri::ContainerConfig, ContainerError> {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "a", "namespace": "n", "uid": "u"}, "spec": spec}))
        .unwrap();
        let volumes = HashMap::from([("v".to_string(), PathBuf::from("/host/v"))]);
        config(&Input {
            pod: &pod,
            spec: &pod.spec.as_ref().unwrap().containers[0],
            attempt: 3,
            image: &cri::ImageSpec::default(),
            env: &[("DIR".to_string(), "logs".to_string())],
            volumes: &volumes,
            hosts: Some(Path::new("/host/hosts")),
            termination_log: Path::new("/host/term"),
            node_memory: 8 << 30,
        })
    }

    #[test]
    fn names_ports_commands_and_mounts() {
        let got = config_of(json!({"containers": [{"name": "web", "command": ["sh", "$(DIR)"],
            "ports": [{"containerPort": 8080}],
            "volumeMounts": [{"name": "v", "mountPath": "/data", "readOnly": true,
                "subPathExpr": "$(DIR)/x"}]}]}))
        .unwrap();
        assert_eq!(got.command, ["sh", "logs"]);
        assert_eq!(got.log_path, "web/3.log");
        assert!(got.annotations[names::PORTS].contains("8080"));
        assert_eq!(got.mounts[0].host_path, "/host/v/logs/x");
        assert!(got.mounts[0].readonly);
        let rest: Vec<_> = got.mounts[1..].iter().map(|m| m.container_path.as_str()).collect();
        assert_eq!(rest, ["/etc/hosts", "/dev/termination-log"]);
    }

    #[test]
    fn resources_become_cgroup_figures() {
        let got = config_of(json!({"containers": [{"name": "web", "resources":
            {"requests": {"cpu": "250m"}, "limits": {"cpu": "1", "memory": "64Mi"}}}]}))
        .unwrap();
        let got = got.linux.unwrap().resources.unwrap();
        assert_eq!((got.cpu_shares, got.cpu_quota), (256, 100_000));
        assert_eq!(got.memory_limit_in_bytes, 64 << 20);
    }

    #[test]
    fn a_mount_that_leads_astray_is_refused() {
        let mount = |mount: Value| {
            config_of(json!({"containers": [{"name": "c", "volumeMounts": [mount]}]})).unwrap_err()
        };
        let up = mount(json!({"name": "v", "mountPath": "/x", "subPath": "../etc"}));
        assert_eq!(up, ContainerError::BadSubPath("../etc".to_string()));
        let unknown = mount(json!({"name": "w", "mountPath": "/x"}));
        assert_eq!(unknown, ContainerError::NoVolume("w".to_string()));
    }

    #[test]
    fn quality_of_service() {
        let class = |resources: Value| {
            let spec = json!({"containers": [{"name": "c", "resources": resources}]});
            qos_class(Some(&serde_json::from_value(spec).unwrap()))
        };
        assert_eq!(class(json!({})), "BestEffort");
        assert_eq!(class(json!({"requests": {"cpu": "1"}})), "Burstable");
        assert_eq!(class(json!({"limits": {"cpu": "1", "memory": "1Gi"}})), "Guaranteed");
    }
}
