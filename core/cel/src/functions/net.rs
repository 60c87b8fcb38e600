//! Addresses and networks.

use std::fmt;
use std::net::IpAddr;

use super::{Entry, fail, no_overload};
use crate::eval::Evaluated;
use crate::value::Value;

/// A network: an address and how many of its bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    bits: u8,
}

pub(crate) const TABLE: &[Entry] = &[
    ("ip", |args, _| match args {
        [Value::String(text)] => match parse_ip(text) {
            Ok(ip) => Ok(Value::Ip(ip)),
            Err(why) => fail(format!(
                "IP Address {text:?} parse error during conversion from string: {why}"
            )),
        },
        [Value::Cidr(cidr)] => Ok(Value::Ip(cidr.address)),
        _ => no_overload(),
    }),
    ("isIP", |args, _| text_is(args, |text| parse_ip(text).is_ok())),
    ("ip.isCanonical", |args, _| match args {
        [Value::String(text)] => match parse_ip(text) {
            Ok(ip) => Ok(Value::Bool(ip.to_string() == **text)),
            Err(why) => fail(format!(
                "IP Address {text:?} parse error during conversion from string: {why}"
            )),
        },
        _ => no_overload(),
    }),
    ("family", |args, _| match args {
        [Value::Ip(ip)] => Ok(Value::Int(if ip.is_ipv4() { 4 } else { 6 })),
        _ => no_overload(),
    }),
    ("isUnspecified", |args, _| ip_is(args, IpAddr::is_unspecified)),
    ("isLoopback", |args, _| ip_is(args, IpAddr::is_loopback)),
    ("isLinkLocalMulticast", |args, _| ip_is(args, link_local_multicast)),
    ("isLinkLocalUnicast", |args, _| ip_is(args, link_local_unicast)),
    ("isGlobalUnicast", |args, _| ip_is(args, global_unicast)),
    ("cidr", |args, _| match args {
        [Value::String(text)] => match parse_cidr(text) {
            Some(cidr) => Ok(Value::Cidr(cidr)),
            None => fail(format!(
                "network address parse error during conversion from string: netip.ParsePrefix({text:?}): invalid"
            )),
        },
        _ => no_overload(),
    }),
    ("isCIDR", |args, _| text_is(args, |text| parse_cidr(text).is_some())),
    ("containsIP", |args, _| match args {
        [Value::Cidr(cidr), Value::Ip(ip)] => Ok(Value::Bool(cidr.contains(*ip))),
        [Value::Cidr(cidr), Value::String(text)] => match parse_ip(text) {
            Ok(ip) => Ok(Value::Bool(cidr.contains(ip))),
            Err(why) => fail(format!(
                "IP Address {text:?} parse error during conversion from string: {why}"
            )),
        },
        _ => no_overload(),
    }),
    ("containsCIDR", |args, _| match args {
        [Value::Cidr(cidr), Value::Cidr(other)] => Ok(Value::Bool(cidr.covers(other))),
        [Value::Cidr(cidr), Value::String(text)] => match parse_cidr(text) {
            Some(other) => Ok(Value::Bool(cidr.covers(&other))),
            None => fail(format!(
                "network address parse error during conversion from string: netip.ParsePrefix({text:?}): invalid"
            )),
        },
        _ => no_overload(),
    }),
    ("prefixLength", |args, _| match args {
        [Value::Cidr(cidr)] => Ok(Value::Int(cidr.bits.into())),
        _ => no_overload(),
    }),
    ("masked", |args, _| match args {
        [Value::Cidr(cidr)] => Ok(Value::Cidr(Cidr { address: cidr.network(), bits: cidr.bits })),
        _ => no_overload(),
    }),
];

fn text_is(args: &[Value], test: impl Fn(&str) -> bool) -> Evaluated {
    match args {
        [Value::String(text)] => Ok(Value::Bool(test(text))),
        _ => no_overload(),
    }
}

fn ip_is(args: &[Value], test: impl Fn(&IpAddr) -> bool) -> Evaluated {
    match args {
        [Value::Ip(ip)] => Ok(Value::Bool(test(ip))),
        _ => no_overload(),
    }
}

fn link_local_multicast(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.octets()[..3] == [224, 0, 0],
        IpAddr::V6(ip) => ip.segments()[0] & 0xff0f == 0xff02,
    }
}

fn link_local_unicast(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.segments()[0] & 0xffc0 == 0xfe80,
    }
}

fn global_unicast(ip: &IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !(broadcast
        || ip.is_unspecified()
        || ip.is_loopback()
        || ip.is_multicast()
        || link_local_unicast(ip))
}

/// No zones, and no IPv4 within IPv6.
fn parse_ip(text: &str) -> Result<IpAddr, String> {
    let ip: IpAddr =
        text.parse().map_err(|_| format!("ParseAddr({text:?}): unable to parse IP"))?;
    match ip {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            Err("IPv4-mapped IPv6 address is not allowed".into())
        }
        ip => Ok(ip),
    }
}

fn parse_cidr(text: &str) -> Option<Cidr> {
    let (address, bits) = text.split_once('/')?;
    let plain = bits.bytes().all(|digit| digit.is_ascii_digit());
    let zeroes = bits.len() > 1 && bits.starts_with('0');
    let bits: u8 = bits.parse().ok().filter(|_| plain && !zeroes)?;
    let address = parse_ip(address).ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    (bits <= most).then_some(Cidr { address, bits })
}

impl Cidr {
    /// The first address.
    pub fn network(&self) -> IpAddr {
        mask(self.address, self.bits)
    }

    fn contains(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.address.is_ipv4() && mask(ip, self.bits) == self.network()
    }

    fn covers(&self, other: &Cidr) -> bool {
        self.bits <= other.bits && self.contains(other.address)
    }
}

fn mask(ip: IpAddr, bits: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let kept = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            IpAddr::V4((ip.to_bits() & kept).into())
        }
        IpAddr::V6(ip) => {
            let kept = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            IpAddr::V6((ip.to_bits() & kept).into())
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}
