//! All records of the cluster, and what a question is answered with.

use std::collections::{BTreeMap, HashMap};

use hansa_client::ObjectKey;
use parking_lot::RwLock;

use crate::records::{Data, Record};

/// The kinds of questions that there are answers for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// A.
    V4,
    /// AAAA.
    V6,
    /// SRV.
    Service,
    /// PTR.
    Pointer,
    /// CNAME.
    Alias,
    /// ANY.
    All,
    /// Some other type: there is nothing of it.
    Other,
}

/// How a question is answered.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// With these records; none says that the name exists without records of this type.
    Records(Vec<Record>),
    /// There is no such name.
    NoName,
    /// It is not the cluster's to answer.
    NotOurs,
}

/// The records of all Services; readers never wait for long.
pub struct Zone {
    domain: String,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    by_service: HashMap<ObjectKey, Vec<Record>>,
    /// Who has records of a name: the same name may come from several (shared reverse names).
    by_name: BTreeMap<String, Vec<(ObjectKey, Data)>>,
}

/// The version of the DNS specification, asked for under `dns-version.<domain>` as TXT; its name exists.
const VERSION_LABEL: &str = "dns-version";

impl Zone {
    /// The empty zone of a domain such as `cluster.local`.
    pub fn new(domain: &str) -> Self {
        Self { domain: domain.trim_matches('.').to_lowercase(), state: RwLock::default() }
    }

    /// The domain.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Replaces the records of one Service.
    pub fn set(&self, service: ObjectKey, records: Vec<Record>) {
        let mut state = self.state.write();
        for (name, _) in state.by_service.remove(&service).unwrap_or_default() {
            if let Some(all) = state.by_name.get_mut(&name) {
                all.retain(|(owner, _)| *owner != service);
                if all.is_empty() {
                    state.by_name.remove(&name);
                }
            }
        }
        if records.is_empty() {
            return;
        }
        for (name, data) in &records {
            let all = state.by_name.entry(name.clone()).or_default();
            all.push((service.clone(), data.clone()));
        }
        state.by_service.insert(service, records);
    }

    /// Answers a question about `name` (lower case, without the last dot).
    pub fn answer(&self, name: &str, question: Question) -> Answer {
        let state = self.state.read();
        if let Some(found) = state.by_name.get(name) {
            return Answer::Records(state.matching(name, found, question));
        }
        let ours = name == self.domain || name.ends_with(&format!(".{}", self.domain));
        if !ours {
            return Answer::NotOurs;
        }
        match state.has_below(name) || self.is_fixed(name) {
            true => Answer::Records(Vec::new()),
            false => Answer::NoName,
        }
    }

    fn is_fixed(&self, name: &str) -> bool {
        let label = name.strip_suffix(&self.domain).map(|rest| rest.trim_end_matches('.'));
        matches!(label, Some("" | "svc" | "pod" | VERSION_LABEL))
    }
}

impl State {
    fn matching(&self, name: &str, found: &[(ObjectKey, Data)], question: Question) -> Vec<Record> {
        let mut records: Vec<Record> = Vec::new();
        for (_, data) in found {
            if fits(data, question) {
                records.push((name.to_owned(), data.clone()));
            }
            // An alias within the cluster is followed, so that one question is enough.
            if let (Data::Alias(target), Question::V4 | Question::V6) = (data, question)
                && let Some(found) = self.by_name.get(target)
            {
                let addresses = found.iter().filter(|(_, data)| fits(data, question));
                records.extend(addresses.map(|(_, data)| (target.clone(), data.clone())));
            }
        }
        records
    }

    /// Whether a name exists because there are names below it (RFC 8020).
    fn has_below(&self, name: &str) -> bool {
        let suffix = format!(".{name}");
        self.by_name.keys().any(|known| known.ends_with(&suffix))
    }
}

fn fits(data: &Data, question: Question) -> bool {
    match (data, question) {
        (_, Question::All) | (Data::Alias(_), _) => true,
        (Data::Address(ip), Question::V4) => ip.is_ipv4(),
        (Data::Address(ip), Question::V6) => ip.is_ipv6(),
        (Data::Service { .. }, Question::Service) => true,
        (Data::Pointer(_), Question::Pointer) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "web.shop.svc.cluster.local";

    fn zone() -> Zone {
        let zone = Zone::new("cluster.local.");
        let ip = Data::Address("10.96.0.9".parse().unwrap());
        zone.set(ObjectKey::new("shop", "web"), vec![(NAME.into(), ip)]);
        zone
    }

    #[test]
    fn a_name_without_the_type_exists_and_an_unknown_name_does_not() {
        let zone = zone();
        assert!(
            matches!(zone.answer(NAME, Question::V4), Answer::Records(found) if found.len() == 1)
        );
        assert_eq!(zone.answer(NAME, Question::V6), Answer::Records(Vec::new()));
        assert_eq!(
            zone.answer("shop.svc.cluster.local", Question::V4),
            Answer::Records(Vec::new())
        );
        assert_eq!(zone.answer("no.shop.svc.cluster.local", Question::V4), Answer::NoName);
        assert_eq!(zone.answer("example.com", Question::V4), Answer::NotOurs);
        assert_eq!(zone.answer("notcluster.local", Question::V4), Answer::NotOurs);
    }

    #[test]
    fn a_service_that_is_gone_leaves_nothing() {
        let zone = zone();
        zone.set(ObjectKey::new("shop", "web"), Vec::new());
        assert_eq!(zone.answer(NAME, Question::V4), Answer::NoName);
    }

    #[test]
    fn an_alias_within_the_cluster_is_followed() {
        let zone = zone();
        let alias = vec![("front.shop.svc.cluster.local".to_owned(), Data::Alias(NAME.into()))];
        zone.set(ObjectKey::new("shop", "front"), alias);
        let Answer::Records(found) = zone.answer("front.shop.svc.cluster.local", Question::V4)
        else {
            panic!("the name exists")
        };
        assert_eq!(found.len(), 2);
    }
}
