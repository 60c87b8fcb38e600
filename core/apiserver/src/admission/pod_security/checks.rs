//! The controls of the Pod Security Standards, each a plain function from a pod to what it finds.

use std::collections::BTreeSet;

use hansa_api::meta::{self, bool_at, int_at, list_at, str_at};
use serde_json::Value;

/// What a control has against a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) reason: String,
    /// What exactly, and where.
    pub(super) detail: String,
}

fn finding(reason: impl Into<String>, detail: impl Into<String>) -> Option<Finding> {
    Some(Finding { reason: reason.into(), detail: detail.into() })
}

/// A pod or a pod template.
pub(super) struct Pod<'a> {
    whole: &'a Value,
    pub(super) spec: &'a Value,
    containers: Vec<&'a Value>,
}

impl<'a> Pod<'a> {
    pub(super) fn new(whole: &'a Value) -> Self {
        let spec = &whole["spec"];
        let lists = ["initContainers", "containers", "ephemeralContainers"];
        let containers = lists.iter().flat_map(|list| list_at(spec, &[list])).collect();
        Self { whole, spec, containers }
    }

    /// The containers of which something is true.
    fn having(&self, bad: impl Fn(&'a Value) -> bool) -> Vec<&'a str> {
        let bad = self.containers.iter().filter(|container| bad(container));
        bad.map(|container| str_at(container, &["name"])).collect()
    }

    /// `pod and containers "a", "b"`: who sets something, the pod first.
    fn setters(&self, pod: bool, containers: &[&str]) -> Vec<String> {
        let pod = pod.then(|| "pod".to_string());
        let containers = (!containers.is_empty()).then(|| named("container", containers));
        pod.into_iter().chain(containers).collect()
    }
}

/// `"a", "b"`.
fn quoted<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> String {
    let items: Vec<_> = items.into_iter().map(|item| format!("\"{}\"", item.as_ref())).collect();
    items.join(", ")
}

fn plural(word: &str, count: usize) -> String {
    if count == 1 { word.to_string() } else { format!("{word}s") }
}

/// `containers "a", "b"`.
fn named(word: &str, items: &[&str]) -> String {
    format!("{} {}", plural(word, items.len()), quoted(items))
}

fn context<'a>(of: &'a Value, field: &str) -> Option<&'a Value> {
    meta::at(of, &["securityContext", field])
}

pub(super) fn privilege_escalation(pod: &Pod<'_>) -> Option<Finding> {
    let bad =
        pod.having(|one| context(one, "allowPrivilegeEscalation") != Some(&Value::Bool(false)));
    if bad.is_empty() {
        return None;
    }
    let who = named("container", &bad);
    finding(
        "allowPrivilegeEscalation != false",
        format!("{who} must set securityContext.allowPrivilegeEscalation=false"),
    )
}

pub(super) fn app_armor(pod: &Pod<'_>) -> Option<Finding> {
    const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
    let bad = |of: &Value| {
        let kind = str_at(context(of, "appArmorProfile")?, &["type"]).to_owned();
        (!matches!(kind.as_str(), "RuntimeDefault" | "Localhost")).then_some(kind)
    };
    let own = bad(pod.spec);
    let containers = pod.having(|one| bad(one).is_some());
    let values = own.iter().cloned().chain(pod.containers.iter().filter_map(|one| bad(one)));
    let mut values: Vec<String> = values.collect::<BTreeSet<_>>().into_iter().collect();
    let mut who = pod.setters(own.is_some(), &containers);
    let noted = meta::annotations(pod.whole).into_iter().flatten();
    let mut noted: Vec<_> = noted
        .filter(|(key, _)| key.starts_with(ANNOTATION))
        .map(|(key, value)| (key, value.as_str().unwrap_or_default()))
        .filter(|(_, value)| {
            !value.is_empty() && *value != "runtime/default" && !value.starts_with("localhost/")
        })
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    if !noted.is_empty() {
        noted.sort();
        who.push(plural("annotation", noted.len()));
        values.extend(noted);
    }
    if who.is_empty() {
        return None;
    }
    finding(
        plural("forbidden AppArmor profile", values.len()),
        format!("{} must not set AppArmor profile type to {}", who.join(" and "), quoted(&values)),
    )
}

const DEFAULT_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// What the containers add beyond `allowed`: who, and what.
fn added<'a>(pod: &Pod<'a>, allowed: &[&str]) -> (Vec<&'a str>, BTreeSet<&'a str>) {
    let beyond = |one: &'a Value| {
        let added = list_at(one, &["securityContext", "capabilities", "add"]).iter();
        added.filter_map(Value::as_str).filter(|name| !allowed.contains(name)).collect::<Vec<_>>()
    };
    let who = pod.having(|one| !beyond(one).is_empty());
    (who, pod.containers.iter().flat_map(|one| beyond(one)).collect())
}

pub(super) fn capabilities_baseline(pod: &Pod<'_>) -> Option<Finding> {
    let (who, what) = added(pod, &DEFAULT_CAPABILITIES);
    if who.is_empty() {
        return None;
    }
    let (who, what) = (named("container", &who), quoted(&what));
    finding(
        "non-default capabilities",
        format!("{who} must not include {what} in securityContext.capabilities.add"),
    )
}

pub(super) fn capabilities_restricted(pod: &Pod<'_>) -> Option<Finding> {
    let mut details = Vec::new();
    let keeping = pod.having(|one| {
        let dropped = list_at(one, &["securityContext", "capabilities", "drop"]);
        !dropped.iter().any(|name| name == "ALL")
    });
    if !keeping.is_empty() {
        let who = named("container", &keeping);
        details.push(format!("{who} must set securityContext.capabilities.drop=[\"ALL\"]"));
    }
    let (who, what) = added(pod, &["NET_BIND_SERVICE"]);
    if !who.is_empty() {
        let (who, what) = (named("container", &who), quoted(&what));
        details.push(format!("{who} must not include {what} in securityContext.capabilities.add"));
    }
    if details.is_empty() { None } else { finding("unrestricted capabilities", details.join("; ")) }
}

pub(super) fn host_namespaces(pod: &Pod<'_>) -> Option<Finding> {
    let names = ["hostNetwork", "hostPID", "hostIPC"];
    let used: Vec<_> = names
        .iter()
        .filter(|name| bool_at(pod.spec, &[name]))
        .map(|name| format!("{name}=true"))
        .collect();
    if used.is_empty() { None } else { finding("host namespaces", used.join(", ")) }
}

pub(super) fn host_path_volumes(pod: &Pod<'_>) -> Option<Finding> {
    let volumes = list_at(pod.spec, &["volumes"]).iter();
    let bad: Vec<_> = volumes
        .filter(|volume| meta::at(volume, &["hostPath"]).is_some())
        .map(|volume| str_at(volume, &["name"]))
        .collect();
    if bad.is_empty() { None } else { finding("hostPath volumes", named("volume", &bad)) }
}

pub(super) fn host_ports(pod: &Pod<'_>) -> Option<Finding> {
    let ports = |one: &Value| {
        let ports = list_at(one, &["ports"]).iter();
        let ports = ports.filter_map(|port| int_at(port, &["hostPort"]));
        ports.filter(|port| *port != 0).map(|port| port.to_string()).collect::<Vec<_>>()
    };
    let bad = pod.having(|one| !ports(one).is_empty());
    if bad.is_empty() {
        return None;
    }
    let all: BTreeSet<_> = pod.containers.iter().flat_map(|one| ports(one)).collect();
    let (who, uses) = (named("container", &bad), if bad.len() == 1 { "uses" } else { "use" });
    let word = plural("hostPort", all.len());
    let all = all.into_iter().collect::<Vec<_>>().join(", ");
    finding("hostPort", format!("{who} {uses} {word} {all}"))
}

pub(super) fn host_probes(pod: &Pod<'_>) -> Option<Finding> {
    const HANDLERS: [&[&str]; 5] = [
        &["livenessProbe"],
        &["readinessProbe"],
        &["startupProbe"],
        &["lifecycle", "postStart"],
        &["lifecycle", "preStop"],
    ];
    let hosts = |one: &'_ Value| {
        let handlers = HANDLERS.iter().filter_map(|path| meta::at(one, path));
        let hosts = handlers.flat_map(|handler| {
            ["httpGet", "tcpSocket"].map(|kind| str_at(handler, &[kind, "host"]).to_owned())
        });
        hosts.filter(|host| !host.is_empty()).collect::<Vec<_>>()
    };
    let bad: BTreeSet<_> = pod.having(|one| !hosts(one).is_empty()).into_iter().collect();
    if bad.is_empty() {
        return None;
    }
    let all: BTreeSet<_> = pod.containers.iter().flat_map(|one| hosts(one)).collect();
    let bad: Vec<_> = bad.into_iter().collect();
    let (who, uses) = (named("container", &bad), if bad.len() == 1 { "uses" } else { "use" });
    let word = plural("probe or lifecycle host", all.len());
    finding("probe or lifecycle host", format!("{who} {uses} {word} {}", quoted(&all)))
}

pub(super) fn privileged(pod: &Pod<'_>) -> Option<Finding> {
    let bad = pod.having(|one| bool_at(one, &["securityContext", "privileged"]));
    if bad.is_empty() {
        return None;
    }
    let who = named("container", &bad);
    finding("privileged", format!("{who} must not set securityContext.privileged=true"))
}

pub(super) fn proc_mount(pod: &Pod<'_>) -> Option<Finding> {
    let odd = |one: &Value| {
        let kind = context(one, "procMount")?.as_str()?.to_owned();
        (kind != "Default").then_some(kind)
    };
    let bad = pod.having(|one| odd(one).is_some());
    if bad.is_empty() {
        return None;
    }
    let kinds: BTreeSet<_> = pod.containers.iter().filter_map(|one| odd(one)).collect();
    let (who, kinds) = (named("container", &bad), quoted(&kinds));
    finding("procMount", format!("{who} must not set securityContext.procMount to {kinds}"))
}

pub(super) fn restricted_volumes(pod: &Pod<'_>) -> Option<Finding> {
    const FINE: [&str; 9] = [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    let has = |volume: &Value, kind: &str| meta::at(volume, &[kind]).is_some();
    let volumes = list_at(pod.spec, &["volumes"]).iter();
    let bad: Vec<_> = volumes.filter(|volume| !FINE.iter().any(|kind| has(volume, kind))).collect();
    if bad.is_empty() {
        return None;
    }
    let kind = |volume: &&Value| {
        let fields = volume.as_object().into_iter().flatten();
        let mut kinds = fields.filter(|(field, value)| *field != "name" && !value.is_null());
        kinds.next().map_or_else(|| "unknown".to_string(), |(field, _)| field.clone())
    };
    let kinds: BTreeSet<_> = bad.iter().map(kind).collect();
    let names: Vec<_> = bad.iter().map(|volume| str_at(volume, &["name"])).collect();
    let (who, uses) = (named("volume", &names), if names.len() == 1 { "uses" } else { "use" });
    let word = plural("restricted volume type", kinds.len());
    finding("restricted volume types", format!("{who} {uses} {word} {}", quoted(&kinds)))
}

pub(super) fn non_root(pod: &Pod<'_>) -> Option<Finding> {
    const REASON: &str = "runAsNonRoot != true";
    let asks = |of: &Value| context(of, "runAsNonRoot").and_then(Value::as_bool);
    let own = asks(pod.spec);
    let bad = pod.having(|one| asks(one) == Some(false));
    let who = pod.setters(own == Some(false), &bad);
    if !who.is_empty() {
        let who = who.join(" and ");
        return finding(REASON, format!("{who} must not set securityContext.runAsNonRoot=false"));
    }
    let silent = pod.having(|one| asks(one).is_none() && own != Some(true));
    if silent.is_empty() {
        return None;
    }
    let who = named("container", &silent);
    finding(REASON, format!("pod or {who} must set securityContext.runAsNonRoot=true"))
}

pub(super) fn root_user(pod: &Pod<'_>) -> Option<Finding> {
    let root = |of: &Value| int_at(of, &["securityContext", "runAsUser"]) == Some(0);
    let who = pod.setters(root(pod.spec), &pod.having(root));
    if who.is_empty() {
        return None;
    }
    finding("runAsUser=0", format!("{} must not set runAsUser=0", who.join(" and ")))
}

pub(super) fn se_linux(pod: &Pod<'_>, engine: bool) -> Option<Finding> {
    let options = |of: &'_ Value, field: &str| {
        context(of, "seLinuxOptions").map(|options| str_at(options, &[field]).to_owned())
    };
    let odd_type = |of: &Value| {
        options(of, "type").filter(|kind| match kind.as_str() {
            "" | "container_t" | "container_init_t" | "container_kvm_t" => false,
            "container_engine_t" => !engine,
            _ => true,
        })
    };
    let set = |of: &Value, field: &str| options(of, field).is_some_and(|text| !text.is_empty());
    let bad = |of: &Value| odd_type(of).is_some() || set(of, "user") || set(of, "role");
    let who = pod.setters(bad(pod.spec), &pod.having(bad));
    if who.is_empty() {
        return None;
    }
    let everyone = || std::iter::once(pod.spec).chain(pod.containers.iter().copied());
    let types: BTreeSet<_> = everyone().filter_map(odd_type).collect();
    let mut what = Vec::new();
    if !types.is_empty() {
        what.push(format!("{} {}", plural("type", types.len()), quoted(&types)));
    }
    for field in ["user", "role"] {
        if everyone().any(|of| set(of, field)) {
            what.push(format!("{field} may not be set"));
        }
    }
    let (who, what) = (who.join(" and "), what.join("; "));
    finding("seLinuxOptions", format!("{who} set forbidden securityContext.seLinuxOptions: {what}"))
}

/// Before there was a field, annotations named the profile.
pub(super) fn seccomp_annotations(pod: &Pod<'_>) -> Option<Finding> {
    const POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
    const CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
    let names = pod.containers.iter().map(|one| str_at(one, &["name"]));
    let keys = std::iter::once(POD.to_string()).chain(names.map(|n| format!("{CONTAINER}{n}")));
    let bad = keys.filter_map(|key| {
        let value = meta::annotation(pod.whole, &key)?;
        let fine = matches!(value, "runtime/default" | "docker/default")
            || value.starts_with("localhost/");
        (!fine).then(|| format!("{key}={value:?}"))
    });
    let bad: BTreeSet<_> = bad.collect();
    if bad.is_empty() {
        return None;
    }
    let word = plural("annotation", bad.len());
    let bad = bad.into_iter().collect::<Vec<_>>().join(", ");
    finding("seccompProfile", format!("forbidden {word} {bad}"))
}

/// The seccomp profile's type; the outer `None` is no profile.
fn seccomp(of: &Value) -> Option<Result<(), String>> {
    let kind = str_at(context(of, "seccompProfile")?, &["type"]);
    Some(match kind {
        "RuntimeDefault" | "Localhost" => Ok(()),
        other => Err(other.to_owned()),
    })
}

pub(super) fn seccomp_baseline(pod: &Pod<'_>) -> Option<Finding> {
    let odd = |of: &Value| seccomp(of).and_then(Result::err);
    let own = odd(pod.spec);
    let who = pod.setters(own.is_some(), &pod.having(|one| odd(one).is_some()));
    if who.is_empty() {
        return None;
    }
    let kinds: BTreeSet<_> =
        own.into_iter().chain(pod.containers.iter().filter_map(|one| odd(one))).collect();
    let (who, kinds) = (who.join(" and "), quoted(&kinds));
    finding(
        "seccompProfile",
        format!("{who} must not set securityContext.seccompProfile.type to {kinds}"),
    )
}

pub(super) fn seccomp_restricted(pod: &Pod<'_>) -> Option<Finding> {
    if let Some(found) = seccomp_baseline(pod) {
        return Some(found);
    }
    let covered = seccomp(pod.spec).is_some();
    let silent = pod.having(|one| !covered && seccomp(one).is_none());
    if silent.is_empty() {
        return None;
    }
    let who = named("container", &silent);
    finding(
        "seccompProfile",
        format!(
            "pod or {who} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \
             \"Localhost\""
        ),
    )
}

/// The minor version since which a sysctl is harmless.
const SYSCTLS: [(u32, &str); 12] = [
    (0, "kernel.shm_rmid_forced"),
    (0, "net.ipv4.ip_local_port_range"),
    (0, "net.ipv4.tcp_syncookies"),
    (0, "net.ipv4.ping_group_range"),
    (0, "net.ipv4.ip_unprivileged_port_start"),
    (27, "net.ipv4.ip_local_reserved_ports"),
    (29, "net.ipv4.tcp_keepalive_time"),
    (29, "net.ipv4.tcp_fin_timeout"),
    (29, "net.ipv4.tcp_keepalive_intvl"),
    (29, "net.ipv4.tcp_keepalive_probes"),
    (32, "net.ipv4.tcp_rmem"),
    (32, "net.ipv4.tcp_wmem"),
];

pub(super) fn sysctls(pod: &Pod<'_>, version: u32) -> Option<Finding> {
    let harmless =
        |name: &str| SYSCTLS.iter().any(|(since, own)| *since <= version && *own == name);
    let set = list_at(pod.spec, &["securityContext", "sysctls"]).iter();
    let bad: Vec<_> =
        set.map(|one| str_at(one, &["name"])).filter(|name| !harmless(name)).collect();
    if bad.is_empty() { None } else { finding("forbidden sysctls", bad.join(", ")) }
}

pub(super) fn host_process(pod: &Pod<'_>) -> Option<Finding> {
    let on = |of: &Value| bool_at(of, &["securityContext", "windowsOptions", "hostProcess"]);
    let who = pod.setters(on(pod.spec), &pod.having(on));
    if who.is_empty() {
        return None;
    }
    let who = who.join(" and ");
    finding(
        "hostProcess",
        format!("{who} must not set securityContext.windowsOptions.hostProcess=true"),
    )
}
