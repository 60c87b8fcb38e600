//! The range of addresses that ClusterIPs are taken from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hansa_api::names::parse_cidr;

/// A CIDR; the first address is the API server's, the lower part is left to those who choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    base: u128,
    bits: u8,
    v4: bool,
}

/// How many addresses of a large range are worth counting.
const MAX_BITS: u32 = 64;

impl AddressRange {
    /// Reads `10.96.0.0/12`; the address is taken down to the start of its network.
    pub fn parse(cidr: &str) -> Option<Self> {
        let (address, bits) = parse_cidr(cidr)?;
        let v4 = address.is_ipv4();
        let host_bits = Self { base: 0, bits, v4 }.host_bits();
        let base = number(address);
        let mask = if host_bits >= 128 { 0 } else { u128::MAX << host_bits };
        Some(Self { base: base & mask, bits, v4 })
    }

    fn host_bits(&self) -> u32 {
        u32::from(if self.v4 { 32 } else { 128 } - self.bits)
    }

    /// How many addresses there are, the first (and in IPv4 the last) apart.
    pub fn size(&self) -> u64 {
        let all = 1u128 << self.host_bits().min(MAX_BITS - 1);
        let reserved = if self.v4 { 2 } else { 1 };
        u64::try_from(all.saturating_sub(reserved)).unwrap_or(u64::MAX)
    }

    /// The address at an offset; offset 0 is the first usable one.
    pub fn at(&self, offset: u64) -> IpAddr {
        address(self.base + 1 + u128::from(offset), self.v4)
    }

    /// Whether an address may be used.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let offset = number(ip).checked_sub(self.base + 1);
        ip.is_ipv4() == self.v4 && offset.is_some_and(|offset| offset < u128::from(self.size()))
    }

    /// How many addresses at the start are given only to those who ask for one of them; the very
    /// first is the API server's.
    pub fn static_band(&self) -> u64 {
        let size = self.size();
        match size {
            0..=16 => 1,
            _ => (size / 16).clamp(16, 256),
        }
    }

    /// `IPv4` or `IPv6`.
    pub fn family(&self) -> &'static str {
        if self.v4 { "IPv4" } else { "IPv6" }
    }

    /// Whether all of it is loopback.
    pub fn is_loopback(&self) -> bool {
        self.at(0).is_loopback()
    }
}

impl std::fmt::Display for AddressRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", address(self.base, self.v4), self.bits)
    }
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

fn address(number: u128, v4: bool) -> IpAddr {
    match (v4, u32::try_from(number)) {
        (true, Ok(number)) => Ipv4Addr::from_bits(number).into(),
        _ => Ipv6Addr::from_bits(number).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_count_and_contain() {
        let range = AddressRange::parse("10.96.3.7/12").unwrap();
        assert_eq!(range.to_string(), "10.96.0.0/12");
        assert_eq!(range.at(0).to_string(), "10.96.0.1");
        assert_eq!(range.size(), (1 << 20) - 2);
        assert_eq!(range.static_band(), 256);
        assert!(range.contains("10.111.255.254".parse().unwrap()));
        for outside in ["10.96.0.0", "10.111.255.255", "10.112.0.1", "::1"] {
            assert!(!range.contains(outside.parse().unwrap()), "{outside}");
        }
        assert!(AddressRange::parse("127.64.128.0/17").unwrap().is_loopback());
        assert_eq!(AddressRange::parse("fd00::/112").unwrap().at(9).to_string(), "fd00::a");
        assert_eq!(AddressRange::parse("10.0.0.0"), None);
    }
}
