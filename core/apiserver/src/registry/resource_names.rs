//! Names of resources that pods ask for and quotas count.

use hansa_api::names;
use hansa_api::quantity::Quantity;
use serde_json::Value;

use super::check::Check;

const COMPUTE: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
const COUNTED: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];
const HUGE_PAGES: &str = "hugepages-";
const REQUESTS: &str = "requests.";

/// Whether nothing but a quota can name it: `requests.cpu`, `limits.memory`, `requests.storage`.
fn is_quota_only(name: &str) -> bool {
    match name.split_once('.') {
        Some(("requests", "storage")) => true,
        Some(("requests" | "limits", rest)) => COMPUTE.contains(&rest),
        _ => false,
    }
}

fn is_huge_page_quota(name: &str) -> bool {
    let name = name.strip_prefix(REQUESTS).unwrap_or(name);
    name.starts_with(HUGE_PAGES)
}

/// Whether a quota knows the name without a domain.
pub(super) fn is_quota(name: &str) -> bool {
    COMPUTE.contains(&name)
        || COUNTED.contains(&name)
        || is_quota_only(name)
        || is_huge_page_quota(name)
}

/// Whether it belongs to Kubernetes itself.
fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether a device plugin may offer it.
fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with(REQUESTS)
        && names::qualified_name(&format!("{REQUESTS}{name}")).is_empty()
}

/// Whether limits may be above requests.
pub(super) fn may_overcommit(name: &str) -> bool {
    is_native(name) && !name.starts_with(HUGE_PAGES)
}

/// Any resource's name.
pub(super) fn any(check: &mut Check, path: &str, name: &str) {
    let complaints = names::qualified_name(name);
    if complaints.is_empty() && !name.contains('/') && name != "storage" && !is_quota(name) {
        let why = "must be a standard resource type or fully qualified";
        return check.invalid(path, name, why);
    }
    check.text(path, name, complaints);
}

/// The name of something that a quota counts.
pub(super) fn quota(check: &mut Check, path: &str, name: &str) {
    any(check, path, name);
    if !name.contains('/') && !is_quota(name) {
        check.invalid(path, name, "must be a standard resource for quota");
    }
}

/// The name of something that a container asks for.
pub(super) fn container(check: &mut Check, path: &str, name: &str) {
    any(check, path, name);
    if !name.contains('/') {
        if !COMPUTE.contains(&name) && !name.starts_with(HUGE_PAGES) {
            check.invalid(path, name, "must be a standard resource for containers");
        }
    } else if !is_native(name) && !is_extended(name) {
        check.invalid(path, name, "doesn't follow extended resource name standard");
    }
}

/// An amount of a resource: not negative, and whole if it is counted.
pub(super) fn amount(check: &mut Check, path: &str, name: &str, amount: &Value) {
    check.non_negative_quantity(path, Some(amount));
    if COUNTED.contains(&name) || is_extended(name) {
        let whole = |amount: &Quantity| amount.milli_value() % 1000 == 0;
        check.quantity(path, Some(amount), "must be an integer", whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::check::texts;

    #[test]
    fn names_fit_their_place() {
        let fits = |rule: fn(&mut Check, &str, &str), name: &str| {
            Check::run(|check| rule(check, "a", name)).is_empty()
        };
        for name in ["cpu", "requests.memory", "hugepages-2Mi", "count/jobs.batch", "a.io/gpu"] {
            assert!(fits(quota, name), "{name}");
        }
        for name in ["storage", "gpu", "limits.storage", "a b"] {
            assert!(!fits(quota, name), "{name}");
        }
        for name in ["cpu", "hugepages-1Gi", "a.io/gpu"] {
            assert!(fits(container, name), "{name}");
        }
        for name in ["pods", "requests.cpu", "requests.a.io/gpu"] {
            assert!(!fits(container, name), "{name}");
        }
        assert!(fits(any, "storage"));
    }

    #[test]
    fn counted_amounts_are_whole() {
        let half = Check::run(|check| amount(check, "a", "pods", &"500m".into()));
        assert_eq!(texts(&half), ["a: Invalid value: \"500m\": must be an integer"]);
        assert!(Check::run(|check| amount(check, "a", "cpu", &"500m".into())).is_empty());
    }
}
