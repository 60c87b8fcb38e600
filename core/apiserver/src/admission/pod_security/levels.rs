//! Which controls a level has at a version, and what they say of a pod together.

use hansa_api::meta::str_at;
use serde_json::Value;

use super::checks::{self, Finding, Pod};
use super::policy::{Level, LevelVersion};

/// One control as of a version.
#[derive(Clone, Copy)]
struct Control {
    id: &'static str,
    /// From this minor version on, until the same control has a later entry.
    since: u32,
    check: fn(&Pod<'_>) -> Option<Finding>,
    /// The baseline control that it replaces.
    instead_of: &'static str,
}

const fn control(id: &'static str, since: u32, check: fn(&Pod<'_>) -> Option<Finding>) -> Control {
    Control { id, since, check, instead_of: "" }
}

const fn replacing(instead_of: &'static str, control: Control) -> Control {
    Control { instead_of, ..control }
}

/// In the order of their names, which is the order of what they say.
const BASELINE: [Control; 18] = [
    control("appArmorProfile", 0, checks::app_armor),
    control("capabilities_baseline", 0, checks::capabilities_baseline),
    control("hostNamespaces", 0, checks::host_namespaces),
    control("hostPathVolumes", 0, checks::host_path_volumes),
    control("hostPorts", 0, checks::host_ports),
    control("hostProbesAndHostLifecycle", 34, checks::host_probes),
    control("privileged", 0, checks::privileged),
    control("procMount", 0, checks::proc_mount),
    control(
        "procMount",
        35,
        |pod| if pod.has_own_users() { None } else { checks::proc_mount(pod) },
    ),
    control("seLinuxOptions", 0, |pod| checks::se_linux(pod, false)),
    control("seLinuxOptions", 31, |pod| checks::se_linux(pod, true)),
    control("seccompProfile_baseline", 0, checks::seccomp_annotations),
    control("seccompProfile_baseline", 19, checks::seccomp_baseline),
    control("sysctls", 0, |pod| checks::sysctls(pod, 0)),
    control("sysctls", 27, |pod| checks::sysctls(pod, 27)),
    control("sysctls", 29, |pod| checks::sysctls(pod, 29)),
    control("sysctls", 32, |pod| checks::sysctls(pod, 32)),
    control("windowsHostProcess", 0, checks::host_process),
];

const RESTRICTED: [Control; 12] = [
    control("allowPrivilegeEscalation", 8, checks::privilege_escalation),
    control("allowPrivilegeEscalation", 25, |pod| {
        if pod.is_windows() { None } else { checks::privilege_escalation(pod) }
    }),
    replacing(
        "capabilities_baseline",
        control("capabilities_restricted", 22, checks::capabilities_restricted),
    ),
    replacing(
        "capabilities_baseline",
        control("capabilities_restricted", 25, |pod| {
            if pod.is_windows() { None } else { checks::capabilities_restricted(pod) }
        }),
    ),
    replacing("procMount", control("procMount_restricted", 35, checks::proc_mount)),
    replacing("hostPathVolumes", control("restrictedVolumes", 0, checks::restricted_volumes)),
    control("runAsNonRoot", 0, checks::non_root),
    control(
        "runAsNonRoot",
        35,
        |pod| if pod.has_own_users() { None } else { checks::non_root(pod) },
    ),
    control("runAsUser", 23, checks::root_user),
    control("runAsUser", 35, |pod| if pod.has_own_users() { None } else { checks::root_user(pod) }),
    replacing(
        "seccompProfile_baseline",
        control("seccompProfile_restricted", 19, checks::seccomp_restricted),
    ),
    replacing(
        "seccompProfile_baseline",
        control("seccompProfile_restricted", 25, |pod| {
            if pod.is_windows() { None } else { checks::seccomp_restricted(pod) }
        }),
    ),
];

/// The controls of a table as of a version: of each the latest that is not too new.
fn as_of(table: &'static [Control], version: u32) -> impl Iterator<Item = &'static Control> {
    table.iter().enumerate().filter_map(move |(at, control)| {
        let superseded =
            table[at + 1..].iter().any(|later| later.id == control.id && later.since <= version);
        (control.since <= version && !superseded).then_some(control)
    })
}

/// What the controls of a level say of a pod (or a pod template).
#[derive(Debug, Default)]
pub(super) struct Verdict(Vec<Finding>);

impl Verdict {
    pub(super) fn is_allowed(&self) -> bool {
        self.0.is_empty()
    }

    /// The reasons without what exactly is wrong.
    pub(super) fn reasons(&self) -> String {
        self.0.iter().map(|finding| finding.reason.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// The reasons, each with what exactly is wrong.
    pub(super) fn details(&self) -> String {
        let line = |Finding { reason, detail }: &Finding| match detail.is_empty() {
            true => reason.clone(),
            false => format!("{reason} ({detail})"),
        };
        self.0.iter().map(line).collect::<Vec<_>>().join(", ")
    }
}

/// Holds a pod (or a pod template) against a level.
pub(super) fn evaluate(level: LevelVersion, pod: &Value) -> Verdict {
    if level.level == Level::Privileged {
        return Verdict::default();
    }
    let pod = Pod::new(pod);
    let version = level.version.unwrap_or(u32::MAX);
    let stricter: Vec<_> = match level.level {
        Level::Restricted => as_of(&RESTRICTED, version).collect(),
        _ => Vec::new(),
    };
    let replaced = |control: &&Control| stricter.iter().any(|own| own.instead_of == control.id);
    let baseline = as_of(&BASELINE, version).filter(|control| !replaced(control));
    let all = baseline.chain(stricter.iter().copied());
    Verdict(all.filter_map(|control| (control.check)(&pod)).collect())
}

impl<'a> Pod<'a> {
    fn is_windows(&self) -> bool {
        str_at(self.spec, &["os", "name"]) == "windows"
    }

    /// Whether root in the pod is nobody on the node.
    fn has_own_users(&self) -> bool {
        self.spec["hostUsers"] == false
    }
}
