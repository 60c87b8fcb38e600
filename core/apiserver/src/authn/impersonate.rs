//! `kubectl --as`: acting as another user, for those who may.

use std::collections::BTreeMap;

use http::HeaderMap;

use super::{Identity, service_account};
use crate::request_info::percent_decode;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";

/// One permission (verb `impersonate`) that the real user needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needed {
    /// API group, empty or `authentication.k8s.io`.
    pub group: &'static str,
    /// `users`, `groups`, `serviceaccounts`, `uids` or `userextras`.
    pub resource: &'static str,
    /// The extra's key for `userextras`.
    pub subresource: String,
    /// The ServiceAccount's namespace.
    pub namespace: String,
    /// Who or what is impersonated.
    pub name: String,
}

/// A wish to act as somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Impersonation {
    /// Whom to act as.
    pub identity: Identity,
    /// What the real user must be allowed for that.
    pub needed: Vec<Needed>,
}

/// Reads the impersonation headers; an error if they are set without a user.
pub fn requested(headers: &HeaderMap) -> Result<Option<Impersonation>, String> {
    let user = header(headers, USER);
    let groups: Vec<String> = all(headers, GROUP);
    let uid = header(headers, UID);
    let extra = extras(headers);
    if user.is_empty() {
        return if groups.is_empty() && uid.is_empty() && extra.is_empty() {
            Ok(None)
        } else {
            Err("requested impersonation without impersonating a user".to_string())
        };
    }
    let needed = needed(&user, &groups, &uid, &extra);
    let identity = identity(user, groups, uid, extra);
    Ok(Some(Impersonation { identity, needed }))
}

fn identity(
    name: String,
    mut groups: Vec<String>,
    uid: String,
    extra: BTreeMap<String, Vec<String>>,
) -> Identity {
    if let (true, Some((namespace, _))) =
        (groups.is_empty(), service_account::split_username(&name))
    {
        groups = service_account::groups(namespace).to_vec();
    }
    if name == super::ANONYMOUS && !groups.iter().any(|group| group == super::UNAUTHENTICATED) {
        groups.push(super::UNAUTHENTICATED.to_string());
    }
    let mut identity = Identity { name, uid, groups, extra };
    identity.add_authenticated_group();
    identity
}

fn needed(
    user: &str,
    groups: &[String],
    uid: &str,
    extra: &BTreeMap<String, Vec<String>>,
) -> Vec<Needed> {
    let of = |group, resource, subresource: &str, name: &str| Needed {
        group,
        resource,
        subresource: subresource.to_string(),
        namespace: String::new(),
        name: name.to_string(),
    };
    let mut needed = vec![match service_account::split_username(user) {
        Some((namespace, name)) => {
            Needed { namespace: namespace.to_string(), ..of("", "serviceaccounts", "", name) }
        }
        None => of("", "users", "", user),
    }];
    needed.extend(groups.iter().map(|group| of("", "groups", "", group)));
    if !uid.is_empty() {
        needed.push(of("authentication.k8s.io", "uids", "", uid));
    }
    for (key, values) in extra {
        let one = |value: &String| of("authentication.k8s.io", "userextras", key, value);
        needed.extend(values.iter().map(one));
    }
    needed
}

/// Removes the headers, so that nothing behind the filter reads them again.
pub fn strip(headers: &mut HeaderMap) {
    let names: Vec<_> =
        headers.keys().filter(|name| name.as_str().starts_with("impersonate-")).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

fn header(headers: &HeaderMap, name: &str) -> String {
    all(headers, name).into_iter().next().unwrap_or_default()
}

fn all(headers: &HeaderMap, name: &str) -> Vec<String> {
    let values = headers.get_all(name).into_iter();
    values.filter_map(|value| value.to_str().ok()).map(String::from).collect()
}

fn extras(headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let keys = headers.keys().filter_map(|name| name.as_str().strip_prefix(EXTRA));
    keys.map(|key| (percent_decode(key), all(headers, &format!("{EXTRA}{key}")))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    #[test]
    fn every_impersonated_part_needs_its_own_permission() {
        let asked = headers(&[
            ("impersonate-user", "ann"),
            ("impersonate-group", "dev"),
            ("impersonate-group", "ops"),
            ("impersonate-extra-scopes", "view"),
        ]);
        let impersonation = requested(&asked).unwrap().unwrap();
        let needed: Vec<_> =
            impersonation.needed.iter().map(|one| (one.resource, one.name.as_str())).collect();
        assert_eq!(
            needed,
            [("users", "ann"), ("groups", "dev"), ("groups", "ops"), ("userextras", "view")]
        );
        assert!(impersonation.identity.in_group("system:authenticated"));
    }

    #[test]
    fn a_service_account_brings_its_groups() {
        let asked = headers(&[("impersonate-user", "system:serviceaccount:shop:till")]);
        let impersonation = requested(&asked).unwrap().unwrap();
        assert_eq!(impersonation.needed[0].resource, "serviceaccounts");
        assert_eq!(impersonation.needed[0].namespace, "shop");
        assert!(impersonation.identity.in_group("system:serviceaccounts:shop"));
    }

    #[test]
    fn a_group_alone_is_refused_and_no_header_is_no_wish() {
        assert!(requested(&headers(&[("impersonate-group", "system:masters")])).is_err());
        assert_eq!(requested(&HeaderMap::new()), Ok(None));
    }
}
