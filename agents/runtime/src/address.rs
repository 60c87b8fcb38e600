//! One address per pod out of the node's pod CIDR. Pure.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// An IPv4 network in prefix notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    base: u32,
    prefix: u8,
}

/// Why a CIDR or an address cannot be had. Completes "failed to …".
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AddressError {
    /// Not `a.b.c.d/n`, or n outside 8..=30.
    #[error("parse the pod CIDR {0:?}: want an IPv4 network such as 127.64.1.0/24")]
    BadCidr(String),
    /// Every address is taken.
    #[error("allocate a pod address: all {0} addresses of the pod CIDR are in use")]
    Exhausted(u32),
    /// The kubelet has not sent the pod CIDR yet.
    #[error("allocate a pod address: the node has no pod CIDR yet")]
    NoCidr,
}

impl std::str::FromStr for Cidr {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let bad = || AddressError::BadCidr(text.to_string());
        let (address, prefix) = text.split_once('/').ok_or_else(bad)?;
        let address: Ipv4Addr = address.parse().map_err(|_| bad())?;
        let prefix: u8 = prefix.parse().map_err(|_| bad())?;
        if !(8..=30).contains(&prefix) {
            return Err(bad());
        }
        let mask = u32::MAX << (32 - prefix);
        Ok(Self { base: u32::from(address) & mask, prefix })
    }
}

impl Cidr {
    /// The addresses pods may get: without the network's own, the gateway's (the first) and the
    /// broadcast address.
    fn usable(self) -> std::ops::Range<u32> {
        let size = 1u32 << (32 - self.prefix);
        self.base + 2..self.base + size - 1
    }
}

/// Hands out addresses in turn, so that a freed one rests before it is used again.
#[derive(Debug, Default)]
pub struct AddressPool {
    cidr: Option<Cidr>,
    taken: BTreeSet<u32>,
    next: u32,
}

impl AddressPool {
    /// Sets the network; addresses already handed out stay taken.
    pub fn set_cidr(&mut self, cidr: Cidr) {
        if self.cidr != Some(cidr) {
            self.cidr = Some(cidr);
            self.next = cidr.usable().start;
        }
    }

    /// Whether a network was set.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.cidr.is_some()
    }

    /// Marks an address as taken: one that a recorded sandbox holds.
    pub fn adopt(&mut self, address: Ipv4Addr) {
        self.taken.insert(address.into());
    }

    /// The next free address.
    ///
    /// # Errors
    /// No network yet, or all of its addresses are taken.
    pub fn allocate(&mut self) -> Result<Ipv4Addr, AddressError> {
        let usable = self.cidr.ok_or(AddressError::NoCidr)?.usable();
        let from_next = self.next..usable.end;
        let wrapped = usable.start..self.next.min(usable.end);
        let mut candidates = from_next.chain(wrapped);
        let free = candidates
            .find(|address| !self.taken.contains(address))
            .ok_or(AddressError::Exhausted(usable.end - usable.start))?;
        self.taken.insert(free);
        self.next = free + 1;
        Ok(free.into())
    }

    /// Gives an address back.
    pub fn release(&mut self, address: Ipv4Addr) {
        self.taken.remove(&address.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(cidr: &str) -> AddressPool {
        let mut pool = AddressPool::default();
        pool.set_cidr(cidr.parse().unwrap());
        pool
    }

    #[test]
    fn a_freed_address_rests_before_it_is_used_again() {
        let mut pool = pool("127.64.3.0/24");
        let first = pool.allocate().unwrap();
        assert_eq!(first, Ipv4Addr::new(127, 64, 3, 2));
        pool.release(first);
        assert_eq!(pool.allocate().unwrap(), Ipv4Addr::new(127, 64, 3, 3));
    }

    #[test]
    fn never_hands_out_an_address_twice_and_says_when_none_is_left() {
        let mut pool = pool("127.64.3.0/29");
        pool.adopt(Ipv4Addr::new(127, 64, 3, 4));
        let got: BTreeSet<_> = (0..4).map(|_| pool.allocate().unwrap()).collect();
        assert_eq!(got.len(), 4);
        assert!(!got.contains(&Ipv4Addr::new(127, 64, 3, 4)));
        assert_eq!(pool.allocate(), Err(AddressError::Exhausted(5)));
        pool.release(Ipv4Addr::new(127, 64, 3, 4));
        assert_eq!(pool.allocate(), Ok(Ipv4Addr::new(127, 64, 3, 4)));
    }

    #[test]
    fn refuses_what_is_no_network() {
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/31", "fd00::/64", "a/24"] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
        assert_eq!(AddressPool::default().allocate(), Err(AddressError::NoCidr));
    }
}
