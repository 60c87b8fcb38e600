//! ServiceCIDRs: where ClusterIPs come from.

use hansa_api::address;
use hansa_api::field::{FieldError, index};
use hansa_api::meta::list_at;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::cells;
use super::check::Check;
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};

const PATH: &str = "spec.cidrs";

pub(super) fn resource() -> Resource {
    Resource::new("networking.k8s.io", "v1", "ServiceCIDR", "servicecidrs").status()
}

/// The strategy of ServiceCIDRs.
pub(super) struct ServiceCidrs;

impl Strategy for ServiceCidrs {
    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| validate(check, obj))
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| validate_change(check, obj, old))
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::name(), Column::new("CIDRs", "One range per family."), Column::age()]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let all: Vec<_> = cidrs(obj).iter().filter_map(Value::as_str).collect();
        vec![cells::name(obj), all.join(",").into(), cells::age(obj, now)]
    }

    fn has_generation(&self, _: &Value) -> bool {
        false
    }

    fn status_may_change_metadata(&self) -> bool {
        false
    }
}

fn cidrs(obj: &Value) -> &[Value] {
    list_at(obj, &["spec", "cidrs"])
}

fn validate(check: &mut Check, obj: &Value) {
    let all = cidrs(obj);
    match all.len() {
        0 => return check.required(PATH, "at least one CIDR required"),
        1 | 2 => {}
        _ => {
            let spec = json!({"CIDRs": all});
            return check.invalid(PATH, spec, "may only hold up to 2 values");
        }
    }
    for (at, cidr) in all.iter().enumerate() {
        let cidr = cidr.as_str().unwrap_or_default();
        check.text(&index(PATH, at), cidr, address::cidr(cidr));
    }
    let family = |cidr: &Value| {
        address::sloppy_cidr(cidr.as_str().unwrap_or_default()).map(|(ip, _)| ip.is_ipv4())
    };
    if let [first, second] = all
        && family(first).is_some()
        && family(first) == family(second)
    {
        let why = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and \
                   2001:db8::/64";
        check.invalid(PATH, all.to_vec(), why);
    }
}

/// A second family may be added; nothing else may change.
fn validate_change(check: &mut Check, obj: &Value, old: &Value) {
    let (new, old) = (cidrs(obj), cidrs(old));
    let grows = old.len() == 1 && new.len() == 2;
    if new.len() != old.len() && !grows {
        return check.immutable(PATH, Some(&json!(new)), Some(&json!(old)));
    }
    for (at, (new, old)) in new.iter().zip(old).enumerate() {
        check.immutable(&index(PATH, at), Some(new), Some(old));
    }
    if grows {
        validate(check, obj);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::check::{refuses, texts};

    fn range(cidrs: &[&str]) -> Value {
        json!({"metadata": {"name": "r"}, "spec": {"cidrs": cidrs}})
    }

    #[test]
    fn mistakes_are_named() {
        refuses(
            &ServiceCidrs,
            [
                (range(&[]), "spec.cidrs: Required value: at least one CIDR required"),
                (
                    range(&["10.0.0.0/8", "11.0.0.0/8"]),
                    "spec.cidrs: Invalid value: [\"10.0.0.0/8\",\"11.0.0.0/8\"]: may specify no more \
              than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
                ),
                (
                    range(&["a", "b", "c"]),
                    "spec.cidrs: Invalid value: {\"CIDRs\":[\"a\",\"b\",\"c\"]}: may only hold up to 2 \
              values",
                ),
            ],
        );
    }

    #[test]
    fn a_range_grows_by_a_family_only() {
        let old = range(&["10.0.0.0/8"]);
        let cases = [
            (range(&["10.0.0.0/8", "fd00::/64"]), None),
            (range(&["11.0.0.0/8"]), Some("spec.cidrs[0]: Invalid value: \"11.0.0.0/8\"")),
            (range(&[]), Some("spec.cidrs: Invalid value: []")),
        ];
        for (new, error) in cases {
            let found = texts(&ServiceCidrs.validate_update(&new, &old));
            let expected: Vec<_> =
                error.iter().map(|text| format!("{text}: field is immutable")).collect();
            assert_eq!(found, expected);
        }
    }
}
