//! The local cloud provider: a cloud that is this machine. Instances are nodes, their region and
//! zone are settings, load balancers get addresses from a pool.
//!
//! Settings, all optional: `{"cluster": "eu-west", "region": "eu-west", "zone": "eu-west-1",
//! "provider": "local", "instanceType": "local", "pool": "127.64.255.0/24",
//! "addresses": {"node-1": ["127.64.0.1"]}}`.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use hansa_plugin_sdk::Settings;
use hansa_plugin_sdk::cloud::{
    Address, AddressKind, Code, Failure, Instance, InstanceState, LbIngress, LbSpec, NodeRef,
    Provider, Route, failure,
};
use serde::Deserialize;

/// A node's own zone and region win over the settings.
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
const REGION_LABEL: &str = "topology.kubernetes.io/region";

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Config {
    /// In provider IDs, so that they differ between the clusters of one machine.
    cluster: String,
    region: String,
    zone: String,
    provider: String,
    instance_type: String,
    /// Addresses for load balancers, as a CIDR; none: there are no load balancers.
    pool: String,
    /// Internal addresses by node, for nodes whose kubelet does not report any.
    addresses: BTreeMap<String, Vec<String>>,
}

impl Default for Config {
    fn default() -> Self {
        let local = || "local".to_owned();
        Self {
            cluster: String::new(),
            region: local(),
            zone: local(),
            provider: local(),
            instance_type: local(),
            pool: String::new(),
            addresses: BTreeMap::new(),
        }
    }
}

/// The provider: its settings, and who has which address.
#[derive(Debug)]
pub struct Local {
    config: Config,
    pool: Option<Pool>,
    leases: BTreeMap<Ipv4Addr, String>,
    routes: BTreeMap<String, Route>,
}

impl Provider for Local {
    const NAME: &'static str = "local";

    fn configure(settings: &Settings) -> Result<Self, String> {
        let config: Config = settings.read()?;
        let pool = match config.pool.as_str() {
            "" => None,
            cidr => Some(Pool::parse(cidr)?),
        };
        Ok(Self { config, pool, leases: BTreeMap::new(), routes: BTreeMap::new() })
    }

    fn state(&mut self, node: &NodeRef) -> Result<InstanceState, Failure> {
        let ours = node.provider_id.is_empty() || node.provider_id == self.id(node);
        Ok(if ours { InstanceState::Running } else { InstanceState::NotFound })
    }

    fn metadata(&mut self, node: &NodeRef) -> Result<Instance, Failure> {
        Ok(Instance {
            provider_id: self.id(node),
            instance_type: self.config.instance_type.clone(),
            zone: self.zone(node).to_owned(),
            region: label(node, REGION_LABEL).unwrap_or(&self.config.region).to_owned(),
            addresses: self.addresses(node),
            extra_labels: Vec::new(),
        })
    }

    fn local_zone(&mut self) -> Result<(String, String), Failure> {
        Ok((self.config.region.clone(), self.config.zone.clone()))
    }

    fn load_balancer(&mut self, spec: &LbSpec) -> Result<Option<Vec<LbIngress>>, Failure> {
        Ok(self.leased(&spec.uid).map(|ip| vec![ingress(ip)]))
    }

    fn ensure_load_balancer(
        &mut self,
        spec: &LbSpec,
        _nodes: &[NodeRef],
    ) -> Result<Vec<LbIngress>, Failure> {
        let ip = match self.leased(&spec.uid) {
            Some(ip) => ip,
            None => self.lease(spec)?,
        };
        self.leases.insert(ip, spec.uid.clone());
        Ok(vec![ingress(ip)])
    }

    fn delete_load_balancer(&mut self, spec: &LbSpec) -> Result<(), Failure> {
        self.leases.retain(|_, owner| *owner != spec.uid);
        Ok(())
    }

    fn routes(&mut self, _cluster: &str) -> Result<Vec<Route>, Failure> {
        Ok(self.routes.values().cloned().collect())
    }

    fn create_route(&mut self, cluster: &str, hint: &str, route: Route) -> Result<(), Failure> {
        let name = format!("{cluster}-{hint}");
        self.routes.insert(route.destination_cidr.clone(), Route { name, ..route });
        Ok(())
    }

    fn delete_route(&mut self, _cluster: &str, route: Route) -> Result<(), Failure> {
        self.routes.remove(&route.destination_cidr);
        Ok(())
    }
}

impl Local {
    /// `local://[<cluster>/]<zone>/<node>`.
    fn id(&self, node: &NodeRef) -> String {
        let Config { provider, cluster, .. } = &self.config;
        let slash = if cluster.is_empty() { "" } else { "/" };
        format!("{provider}://{cluster}{slash}{}/{}", self.zone(node), node.name)
    }

    /// What the kubelet reported; the settings and the host name where it did not say.
    fn addresses(&self, node: &NodeRef) -> Vec<Address> {
        let mut addresses = node.addresses.clone();
        let lacks = |have: &[Address], kind| !have.iter().any(|address| address.kind == kind);
        if lacks(&addresses, AddressKind::InternalIp) {
            let known = self.config.addresses.get(&node.name).into_iter().flatten();
            addresses.extend(known.map(|ip| address(AddressKind::InternalIp, ip)));
        }
        if lacks(&addresses, AddressKind::Hostname) {
            addresses.push(address(AddressKind::Hostname, &node.name));
        }
        addresses
    }

    fn zone<'a>(&'a self, node: &'a NodeRef) -> &'a str {
        label(node, ZONE_LABEL).unwrap_or(&self.config.zone)
    }

    fn leased(&self, uid: &str) -> Option<Ipv4Addr> {
        self.leases.iter().find(|(_, owner)| *owner == uid).map(|(ip, _)| *ip)
    }

    /// The address that the Service has already if it is free, else one that its UID leads to: the
    /// same after a restart, whatever the order of asking, as long as no two Services meet.
    fn lease(&self, spec: &LbSpec) -> Result<Ipv4Addr, Failure> {
        let none = || failure(Code::Unsupported, "no pool of load-balancer addresses is set");
        let pool = self.pool.as_ref().ok_or_else(none)?;
        let had = spec.current.iter().filter_map(|ingress| ingress.ip.parse().ok());
        let mut wanted = had.filter(|ip| pool.contains(*ip)).chain(pool.from(hash(&spec.uid)));
        let free = wanted.find(|ip| !self.leases.contains_key(ip));
        free.ok_or_else(|| {
            let text = format!("all {} load-balancer addresses are taken", pool.usable());
            failure(Code::Unschedulable, text)
        })
    }
}

fn label<'a>(node: &'a NodeRef, key: &str) -> Option<&'a str> {
    let kv = node.labels.iter().find(|kv| kv.key == key)?;
    Some(kv.value.as_str())
}

fn address(kind: AddressKind, value: &str) -> Address {
    Address { kind, value: value.into() }
}

fn ingress(ip: Ipv4Addr) -> LbIngress {
    LbIngress { ip: ip.to_string(), hostname: String::new(), ip_mode: "VIP".into() }
}

/// FNV-1a: spreads UIDs over the pool.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(16_777_619))
}

/// A range of addresses; the first and the last are not given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pool {
    first: u32,
    size: u32,
}

impl Pool {
    fn parse(cidr: &str) -> Result<Self, String> {
        let wrong = || format!("pool: {cidr:?} is no IPv4 range with 8 to 30 fixed bits");
        let (address, bits) = cidr.split_once('/').ok_or_else(wrong)?;
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let bits: u32 = bits.parse().map_err(|_| wrong())?;
        if !(8..=30).contains(&bits) {
            return Err(wrong());
        }
        let size = 1 << (32 - bits);
        Ok(Self { first: u32::from(address) & !(size - 1), size })
    }

    fn usable(self) -> u32 {
        self.size - 2
    }

    fn contains(self, ip: Ipv4Addr) -> bool {
        let at = u32::from(ip).wrapping_sub(self.first);
        (1..self.size - 1).contains(&at)
    }

    /// All addresses, beginning where `seed` leads.
    fn from(self, seed: u32) -> impl Iterator<Item = Ipv4Addr> {
        let start = seed % self.usable();
        let order = (0..self.usable()).map(move |step| (start + step) % self.usable());
        order.map(move |at| Ipv4Addr::from(self.first + 1 + at))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn local(config: Value) -> Local {
        Local::configure(&config.into()).unwrap()
    }

    fn spec(uid: &str, current: &str) -> LbSpec {
        let current: Vec<LbIngress> = current.parse().map(ingress).into_iter().collect();
        let text = || String::new();
        LbSpec {
            cluster: text(),
            uid: uid.into(),
            namespace: text(),
            name: text(),
            ports: Vec::new(),
            source_ranges: Vec::new(),
            session_affinity: false,
            external_traffic_local: false,
            health_port: 0,
            annotations: Vec::new(),
            current,
        }
    }

    #[test]
    fn two_clusters_do_not_share_ids_and_settings_fill_in_addresses() {
        let addresses = json!({"n1": ["127.64.0.1"]});
        let mut cloud = local(json!({"cluster": "eu", "zone": "z", "addresses": addresses}));
        let known = cloud.metadata(&node("n1")).unwrap();
        assert_eq!(known.provider_id, "local://eu/z/n1");
        let values: Vec<&str> = known.addresses.iter().map(|a| a.value.as_str()).collect();
        assert_eq!(values, ["127.64.0.1", "n1"]);
        let reported = address(AddressKind::InternalIp, "10.0.0.9");
        let says = NodeRef { addresses: vec![reported.clone()], ..node("n1") };
        assert_eq!(cloud.metadata(&says).unwrap().addresses[0], reported);
        assert_eq!(cloud.metadata(&says).unwrap().addresses.len(), 2);
    }

    fn node(name: &str) -> NodeRef {
        let (provider_id, labels, addresses) = (String::new(), Vec::new(), Vec::new());
        NodeRef { name: name.into(), provider_id, labels, addresses }
    }

    #[test]
    fn a_service_keeps_its_address_over_a_restart_and_nobody_shares_one() {
        let config = || json!({"pool": "127.64.255.0/29"});
        let mut cloud = local(config());
        let ip = |cloud: &mut Local, uid: &str, current: &str| {
            cloud.ensure_load_balancer(&spec(uid, current), &[]).unwrap()[0].ip.clone()
        };
        let mut all: Vec<String> = (0..6).map(|n| ip(&mut cloud, &format!("u{n}"), "")).collect();
        assert_eq!(ip(&mut cloud, "u3", ""), all[3]);
        let mut again = local(config());
        assert_eq!(ip(&mut again, "u5", &all[5]), all[5]);
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 6);
        let full = cloud.ensure_load_balancer(&spec("u6", ""), &[]).unwrap_err();
        assert_eq!(full.code, Code::Unschedulable);
        cloud.delete_load_balancer(&spec("u0", "")).unwrap();
        assert!(cloud.ensure_load_balancer(&spec("u6", ""), &[]).is_ok());
    }

    #[test]
    fn a_foreign_address_is_not_kept() {
        let mut cloud = local(json!({"pool": "127.64.255.0/24"}));
        let given = cloud.ensure_load_balancer(&spec("u", "10.0.0.7"), &[]).unwrap();
        assert!(given[0].ip.starts_with("127.64.255."), "{}", given[0].ip);
    }

    #[test]
    fn without_a_pool_there_are_no_load_balancers() {
        let refused = local(Value::Null).ensure_load_balancer(&spec("u", ""), &[]).unwrap_err();
        assert_eq!(refused.code, Code::Unsupported);
        for pool in ["127.0.0.1", "127.0.0.0/31", "::1/64", "x/24"] {
            assert!(Local::configure(&json!({"pool": pool}).into()).is_err(), "{pool}");
        }
    }

    #[test]
    fn a_node_gets_its_id_zone_and_region() {
        let mut cloud = local(json!({"region": "eu-west", "zone": "eu-west-1"}));
        let known = cloud.metadata(&node("n1")).unwrap();
        let names = (known.provider_id.as_str(), known.zone.as_str(), known.region.as_str());
        assert_eq!(names, ("local://eu-west-1/n1", "eu-west-1", "eu-west"));
        assert_eq!(known.addresses[0].value, "n1");
        let ours = NodeRef { provider_id: known.provider_id, ..node("n1") };
        assert_eq!(cloud.state(&ours).unwrap(), InstanceState::Running);
        let other = NodeRef { provider_id: "aws:///i-1".into(), ..node("n1") };
        assert_eq!(cloud.state(&other).unwrap(), InstanceState::NotFound);
    }
}
