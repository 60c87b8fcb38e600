//! IP addresses and CIDRs as the API takes them, with upstream's words for what is wrong.
//!
//! New fields take the canonical form only ([`ip`], [`cidr`]). Older fields take any form that
//! cannot be misread ([`legacy_ip`], [`legacy_cidr`]) and warn about odd ones.

use std::net::{IpAddr, Ipv6Addr};

const NOT_IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const NOT_CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// An address in canonical form.
pub fn ip(text: &str) -> Vec<String> {
    let complaints = legacy_ip(text);
    match sloppy_ip(text) {
        Some(ip) if complaints.is_empty() => canonical(text, &ip.to_string()),
        _ => complaints,
    }
}

/// A CIDR in canonical form.
pub fn cidr(text: &str) -> Vec<String> {
    let complaints = legacy_cidr(text);
    match sloppy_cidr(text) {
        Some((ip, bits)) if complaints.is_empty() => canonical(text, &network(ip, bits)),
        _ => complaints,
    }
}

/// An interface's address and the size of its network, in canonical form.
pub fn interface(text: &str) -> Vec<String> {
    match sloppy_cidr(text) {
        None => {
            vec![
                "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)".into(),
            ]
        }
        Some((ip, bits)) => canonical(text, &format!("{ip}/{bits}")),
    }
}

/// An address that reads the same everywhere.
pub fn legacy_ip(text: &str) -> Vec<String> {
    let Some(ip) = sloppy_ip(text) else { return vec![NOT_IP.into()] };
    let mut complaints = Vec::new();
    if text.parse::<IpAddr>().is_err() {
        complaints.push("must not have leading 0s".into());
    } else if is_mapped(ip) {
        complaints.push("must not be an IPv4-mapped IPv6 address".into());
    }
    complaints
}

/// A CIDR that reads the same everywhere.
pub fn legacy_cidr(text: &str) -> Vec<String> {
    let Some((ip, bits)) = sloppy_cidr(text) else { return vec![NOT_CIDR.into()] };
    let why = if parse_cidr(text).is_none() {
        "must not have leading 0s in IP or prefix length"
    } else if is_mapped(ip) {
        "must not have an IPv4-mapped IPv6 address"
    } else if masked(ip, bits) != ip {
        "must not have bits set beyond the prefix length"
    } else {
        return Vec::new();
    };
    vec![why.into()]
}

/// What to tell a client about an address that is valid but odd.
pub fn ip_warning(path: &str, text: &str) -> Option<String> {
    let ip = sloppy_ip(text)?;
    if text.parse::<IpAddr>().is_err() || is_mapped(ip) {
        let better = ip.to_canonical();
        Some(format!("{path}: non-standard IP address {text:?} is invalid: use \"{better}\""))
    } else if ip.is_ipv6() && ip.to_string() != text {
        Some(format!(
            "{path}: IPv6 address {text:?} should be in RFC 5952 canonical format (\"{ip}\")"
        ))
    } else {
        None
    }
}

/// What to tell a client about a CIDR that is valid but odd.
pub fn cidr_warnings(path: &str, text: &str) -> Vec<String> {
    let Some((ip, bits)) = sloppy_cidr(text) else { return Vec::new() };
    let (canonical, mut warnings) = (network(ip, bits), Vec::new());
    if masked(ip, bits) != ip {
        let single = format!("{ip}/{}", if ip.is_ipv4() { 32 } else { 128 });
        warnings.push(format!(
            "{path}: CIDR value {text:?} is ambiguous in this context (should be {canonical:?} or \
             {single:?}?)"
        ));
    }
    if parse_cidr(text).is_none() || is_mapped(ip) {
        warnings.push(format!(
            "{path}: non-standard CIDR value {text:?} is invalid: use {canonical:?}"
        ));
    }
    if warnings.is_empty() && ip.is_ipv6() && canonical != text {
        warnings.push(format!(
            "{path}: IPv6 CIDR value {text:?} should be in RFC 5952 canonical format \
             ({canonical:?})"
        ));
    }
    warnings
}

/// Reads `address/bits`, without leading zeros.
pub fn parse_cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = text.split_once('/')?;
    let ip: IpAddr = address.parse().ok()?;
    let odd = bits.starts_with('+') || (bits.starts_with('0') && bits.len() > 1);
    let bits: u8 = bits.parse().ok().filter(|_| !odd)?;
    (bits <= width(ip)).then_some((ip, bits))
}

/// Whether every address of the inner CIDR is in the outer one, which is larger.
pub fn strictly_contains(outer: (IpAddr, u8), inner: (IpAddr, u8)) -> bool {
    let same = outer.0.is_ipv4() == inner.0.is_ipv4();
    same && outer.1 < inner.1 && masked(inner.0, outer.1) == masked(outer.0, outer.1)
}

/// Reads an address whose decimal parts may have leading zeros.
pub fn sloppy_ip(text: &str) -> Option<IpAddr> {
    let (head, dotted) = match text.rfind(':') {
        Some(at) if text.contains('.') => text.split_at(at + 1),
        Some(_) => return text.parse().ok(),
        None => ("", text),
    };
    let parts: Vec<_> = dotted.split('.').map(without_zeros).collect();
    format!("{head}{}", parts.join(".")).parse().ok()
}

fn without_zeros(part: &str) -> &str {
    match part.trim_start_matches('0') {
        "" if !part.is_empty() => "0",
        rest => rest,
    }
}

/// Reads a CIDR whose decimal parts may have leading zeros.
pub fn sloppy_cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = text.split_once('/')?;
    let ip = sloppy_ip(address)?;
    let digits = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
    let bits: u8 = without_zeros(bits).parse().ok().filter(|_| digits)?;
    (bits <= width(ip)).then_some((ip, bits))
}

fn canonical(text: &str, wanted: &str) -> Vec<String> {
    match text == wanted {
        true => Vec::new(),
        false => vec![format!("must be in canonical form ({wanted:?})")],
    }
}

fn is_mapped(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some())
}

fn width(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

/// The network's first address and the bits, as text.
fn network(ip: IpAddr, bits: u8) -> String {
    format!("{}/{bits}", masked(ip, bits))
}

fn masked(ip: IpAddr, bits: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            IpAddr::V4((ip.to_bits() & mask).into())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_refused_in_forms_that_can_be_misread() {
        let cases = [
            ("10.0.0.1", &[][..]),
            ("2001:db8::1", &[]),
            ("2001:DB8::1", &["must be in canonical form (\"2001:db8::1\")"]),
            ("010.0.0.1", &["must not have leading 0s"]),
            ("::ffff:10.0.0.1", &["must not be an IPv4-mapped IPv6 address"]),
            ("10.0.0", &[NOT_IP]),
            ("", &[NOT_IP]),
            ("10.0.0.256", &[NOT_IP]),
        ];
        for (text, complaints) in cases {
            assert_eq!(ip(text), complaints, "{text}");
        }
        assert!(legacy_ip("2001:DB8::1").is_empty());
    }

    #[test]
    fn so_are_networks() {
        let cases = [
            ("10.0.0.0/8", &[][..]),
            ("::/0", &[]),
            ("2001:db8:0::/64", &["must be in canonical form (\"2001:db8::/64\")"]),
            ("10.0.0.1/8", &["must not have bits set beyond the prefix length"]),
            ("10.0.0.0/08", &["must not have leading 0s in IP or prefix length"]),
            ("::ffff:10.0.0.0/104", &["must not have an IPv4-mapped IPv6 address"]),
            ("10.0.0.0/33", &[NOT_CIDR]),
            ("10.0.0.0/+8", &[NOT_CIDR]),
            ("10.0.0.0", &[NOT_CIDR]),
        ];
        for (text, complaints) in cases {
            assert_eq!(cidr(text), complaints, "{text}");
        }
    }

    #[test]
    fn odd_forms_are_warned_of() {
        assert_eq!(
            cidr_warnings("p", "10.0.0.1/8"),
            ["p: CIDR value \"10.0.0.1/8\" is ambiguous in this context (should be \
              \"10.0.0.0/8\" or \"10.0.0.1/32\"?)"]
        );
        assert_eq!(
            ip_warning("p", "2001:DB8::1").as_deref(),
            Some(
                "p: IPv6 address \"2001:DB8::1\" should be in RFC 5952 canonical format \
                 (\"2001:db8::1\")"
            )
        );
        assert_eq!(ip_warning("p", "10.0.0.1"), None);
    }

    #[test]
    fn a_network_contains_smaller_ones_only() {
        let net = |text| parse_cidr(text).unwrap();
        assert!(strictly_contains(net("10.0.0.0/8"), net("10.1.0.0/16")));
        assert!(!strictly_contains(net("10.0.0.0/8"), net("10.0.0.0/8")));
        assert!(!strictly_contains(net("10.0.0.0/8"), net("11.0.0.0/16")));
        assert!(!strictly_contains(net("::/0"), net("10.0.0.0/8")));
    }
}
