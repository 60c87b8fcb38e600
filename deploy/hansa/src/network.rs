//! The addresses of an embedded cluster: a /16 of 127.64.0.0/10 of its own, pods in the lower half,
//! Services in the upper.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixListener;

use anyhow::Context;

/// How many clusters fit on a machine.
const RANGES: u8 = 64;

/// One cluster's /16, by its number (0–63) within 127.64.0.0/10.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(u8);

/// Holds a range for as long as the process lives: no other cluster of this machine takes it.
pub struct Reservation {
    /// The range.
    pub network: Network,
    _held: UnixListener,
}

impl Network {
    /// The network of a stored number.
    pub fn from_index(index: u8) -> Option<Self> {
        (index < RANGES).then_some(Self(index))
    }

    /// The number to store.
    pub fn index(self) -> u8 {
        self.0
    }

    /// Where pods get their addresses from.
    pub fn pod_cidr(self) -> String {
        format!("127.{}.0.0/17", 64 + self.0)
    }

    /// Where Services get their addresses from.
    pub fn service_cidr(self) -> String {
        format!("127.{}.128.0/17", 64 + self.0)
    }

    /// The address of the Service `kubernetes`.
    pub fn api_service_ip(self) -> Ipv4Addr {
        Ipv4Addr::new(127, 64 + self.0, 128, 1)
    }

    /// The address of the cluster's DNS.
    pub fn dns_ip(self) -> Ipv4Addr {
        Ipv4Addr::new(127, 64 + self.0, 128, 10)
    }

    /// The address that node number `node` (from 0) shows; its kubelet listens there.
    pub fn node_ip(self, node: u16) -> Ipv4Addr {
        let [high, low] = (node + 1).to_be_bytes();
        Ipv4Addr::new(127, 64 + self.0, 0x70 | (high & 0x0f), low)
    }

    /// Where the nodes' own addresses lie, within the pods' half.
    pub fn node_cidr(self) -> String {
        format!("127.{}.112.0/20", 64 + self.0)
    }

    /// The prefix length of each node's pod range: 24, or longer if the cluster has more nodes than
    /// there are such ranges beside the nodes' addresses.
    pub fn node_prefix(nodes: u16) -> u8 {
        let fits = |prefix: &u8| (1u32 << (prefix - 17)) / 8 * 7 >= u32::from(nodes);
        (24..30).find(fits).unwrap_or(30)
    }

    /// A node's load-balancer addresses come from here.
    pub fn load_balancer_pool(self) -> String {
        format!("127.{}.255.0/24", 64 + self.0)
    }
}

/// Reserves `wanted`, or, for a new cluster, a range that no running cluster holds and that is not in
/// `known` (those of stopped clusters). The search begins where `seed` leads, so that a cluster seldom
/// gets what another user's stopped cluster will want back.
///
/// # Errors
/// If the wanted range is held by another cluster, or none is free.
pub fn reserve(
    wanted: Option<Network>,
    known: &[Network],
    seed: &[u8],
) -> anyhow::Result<Reservation> {
    if let Some(network) = wanted {
        let held = hold(network).with_context(|| {
            format!(
                "failed to reserve {}: another cluster of this machine runs there",
                network.pod_cidr()
            )
        })?;
        return Ok(Reservation { network, _held: held });
    }
    let first = seed.iter().fold(0u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(*byte));
    let ranges = (0..RANGES).map(|step| Network(first.wrapping_add(step) % RANGES));
    for network in ranges.filter(|network| !known.contains(network)) {
        if let Ok(held) = hold(network) {
            return Ok(Reservation { network, _held: held });
        }
    }
    anyhow::bail!("failed to find a free /16 in 127.64.0.0/10: {RANGES} clusters run here")
}

/// An abstract socket is held by one process of the machine's network namespace, and dies with it.
fn hold(network: Network) -> std::io::Result<UnixListener> {
    let name = format!("hansa-network-{}", network.0);
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    UnixListener::bind_addr(&address)
}

/// `wanted` if it is free on loopback, else a port that is.
///
/// # Errors
/// If no port can be bound at all.
pub fn free_port(wanted: u16) -> std::io::Result<u16> {
    let try_bind = |port| TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port)));
    let listener = try_bind(wanted).or_else(|_| try_bind(0))?;
    Ok(listener.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_and_addresses_lie_where_the_contract_says() {
        let network = Network(1);
        assert_eq!(network.pod_cidr(), "127.65.0.0/17");
        assert_eq!(network.service_cidr(), "127.65.128.0/17");
        assert_eq!(network.api_service_ip().to_string(), "127.65.128.1");
        assert_eq!(network.node_ip(0).to_string(), "127.65.112.1");
        assert_eq!([1, 112, 113, 1000].map(Network::node_prefix), [24, 24, 25, 28]);
    }

    #[test]
    fn a_range_is_held_once() {
        let first = reserve(None, &[], b"a").unwrap();
        assert!(reserve(Some(first.network), &[], b"a").is_err());
        let second = reserve(None, &[], b"a").unwrap();
        assert_ne!(first.network, second.network);
    }

    #[test]
    fn stopped_clusters_keep_their_ranges() {
        let all: Vec<_> = (0..RANGES - 1).map(Network).collect();
        let last = reserve(None, &all, b"a");
        assert!(last.is_err() || last.unwrap().network == Network(RANGES - 1));
    }
}
