//! Quantities such as `100m`, `1.5Gi` or `2e3`: exact arithmetic, upstream's canonical text.
//!
//! Held in billionths (the API's finest grain), so that sums and comparisons are exact.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

const NANO: i128 = 1_000_000_000;

/// How the text is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `k`, `M`, `G` and `m`, `u`, `n`.
    #[default]
    DecimalSi,
    /// `Ki`, `Mi`, `Gi`.
    BinarySi,
    /// `e3`, `e6`.
    DecimalExponent,
}

/// An exact amount.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// A text that is no quantity; the messages are upstream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not of the right shape.
    #[error(
        "quantities must match the regular expression \
         '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    )]
    Format,
    /// The number itself is wrong.
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    /// The unit is unknown.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// The largest amount, as upstream caps it: 2^63-1.
const CAP: i128 = (i64::MAX as i128) * NANO;

impl Quantity {
    /// So many whole units.
    pub fn from_units(units: i64) -> Self {
        Self { nanos: i128::from(units) * NANO, format: Format::DecimalSi }
    }

    /// So many thousandths.
    pub fn from_milli(milli: i64) -> Self {
        Self { nanos: i128::from(milli) * (NANO / 1000), format: Format::DecimalSi }
    }

    /// So many bytes, written with binary units.
    pub fn from_bytes(bytes: i64) -> Self {
        Self { nanos: i128::from(bytes) * NANO, format: Format::BinarySi }
    }

    /// Whole units, rounded up.
    pub fn value(&self) -> i64 {
        clamp(div_away(self.nanos, NANO))
    }

    /// Thousandths, rounded up.
    pub fn milli_value(&self) -> i64 {
        clamp(div_away(self.nanos, NANO / 1000))
    }

    /// The amount as a float, as near as one comes.
    pub fn as_f64(&self) -> f64 {
        self.nanos as f64 / NANO as f64
    }

    /// Whether it is zero.
    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    /// Whether it is below zero.
    pub fn is_negative(&self) -> bool {
        self.nanos < 0
    }

    /// Whether it is a whole number.
    pub fn is_whole(&self) -> bool {
        self.nanos % NANO == 0
    }
}

impl std::ops::Add for Quantity {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        Self { nanos: (self.nanos + other.nanos).clamp(-CAP, CAP), format }
    }
}

impl std::ops::Sub for Quantity {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        Self { nanos: (self.nanos - other.nanos).clamp(-CAP, CAP), format }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

fn clamp(value: i128) -> i64 {
    let bounded = value.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
    i64::try_from(bounded).expect("clamped to the range of i64")
}

/// Division rounded away from zero.
fn div_away(value: i128, by: i128) -> i128 {
    let quotient = value / by;
    if value % by == 0 { quotient } else { quotient + value.signum() }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let (negative, rest) = match text.as_bytes().first() {
            None => return Err(QuantityError::Format),
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            Some(_) => (false, text),
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let unit = Unit::parse(suffix)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if number.is_empty() || (whole.is_empty() && fraction.is_empty()) {
            return Err(QuantityError::Format);
        }
        if fraction.contains('.') {
            return Err(QuantityError::Numeric);
        }
        let magnitude = scaled(whole, fraction, unit);
        let nanos = if negative { -magnitude } else { magnitude };
        let tiny = unit.format == Format::BinarySi && nanos > 0 && nanos < NANO;
        let format = if tiny { Format::DecimalSi } else { unit.format };
        Ok(Self { nanos, format })
    }
}

#[derive(Clone, Copy)]
struct Unit {
    format: Format,
    /// The multiplier is `base` to the power of `exponent`; base is 10 or 2.
    base: u32,
    exponent: i32,
}

const DECIMAL: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];
const BINARY: [(&str, i32); 6] =
    [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

impl Unit {
    fn parse(suffix: &str) -> Result<Self, QuantityError> {
        if let Some((_, exponent)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
            return Ok(Self { format: Format::DecimalSi, base: 10, exponent: *exponent });
        }
        if let Some((_, exponent)) = BINARY.iter().find(|(name, _)| *name == suffix) {
            return Ok(Self { format: Format::BinarySi, base: 2, exponent: *exponent });
        }
        let well_formed = |b: u8| b.is_ascii_digit() || b"eEinumkKMGTP+-".contains(&b);
        if !suffix.bytes().all(well_formed) {
            return Err(QuantityError::Format);
        }
        let digits = suffix.strip_prefix(['e', 'E']).ok_or(QuantityError::Suffix)?;
        let exponent = digits.parse().map_err(|_| QuantityError::Suffix)?;
        Ok(Self { format: Format::DecimalExponent, base: 10, exponent })
    }
}

/// The number in billionths, rounded up to one, capped.
fn scaled(whole: &str, fraction: &str, unit: Unit) -> i128 {
    let digits: String = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return 0;
    }
    let point = i32::try_from(fraction.len()).unwrap_or(i32::MAX);
    let decimal = if unit.base == 10 { unit.exponent } else { 0 };
    let power = decimal.saturating_add(9).saturating_sub(point);
    let length = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    if length.saturating_add(power) > 30 {
        return CAP;
    }
    let mantissa: String = digits.chars().take(30).collect();
    let cut = length - i32::try_from(mantissa.len()).expect("at most 30");
    let lossy = digits.bytes().skip(30).any(|b| b != b'0');
    let mantissa: i128 = mantissa.parse().expect("at most 30 digits");
    let mantissa = if unit.base == 2 {
        match mantissa.checked_mul(1i128 << unit.exponent) {
            Some(product) => product,
            None => return CAP,
        }
    } else {
        mantissa
    };
    shift_decimal(mantissa, power + cut, lossy).min(CAP)
}

fn shift_decimal(mantissa: i128, power: i32, lossy: bool) -> i128 {
    if power >= 0 {
        let factor = 10i128.checked_pow(power.unsigned_abs());
        return factor.and_then(|factor| mantissa.checked_mul(factor)).unwrap_or(CAP);
    }
    match 10i128.checked_pow(power.unsigned_abs()) {
        Some(divisor) => {
            let rounded = div_away(mantissa, divisor);
            if lossy && mantissa % divisor == 0 { rounded + 1 } else { rounded }
        }
        None => 1,
    }
}

impl fmt::Display for Quantity {
    /// Canonical: no fraction, the largest unit that keeps it whole.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_zero() {
            return f.write_str("0");
        }
        let small = self.nanos.abs() < 1024 * NANO;
        match self.format {
            Format::BinarySi if !small => self.write_binary(f),
            Format::DecimalExponent => self.write_decimal(f, true),
            _ => self.write_decimal(f, false),
        }
    }
}

impl Quantity {
    fn write_binary(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut units = div_away(self.nanos, NANO);
        let mut suffix = "";
        for (name, _) in BINARY {
            if units % 1024 != 0 {
                break;
            }
            units /= 1024;
            suffix = name;
        }
        write!(f, "{units}{suffix}")
    }

    fn write_decimal(&self, f: &mut fmt::Formatter<'_>, exponent: bool) -> fmt::Result {
        let mut mantissa = self.nanos;
        let mut power = -9;
        while mantissa % 1000 == 0 && power < 18 {
            mantissa /= 1000;
            power += 3;
        }
        if exponent {
            return match power {
                0 => write!(f, "{mantissa}"),
                _ => write!(f, "{mantissa}e{power}"),
            };
        }
        let suffix = DECIMAL.iter().find(|(_, at)| *at == power).map_or("", |(name, _)| name);
        write!(f, "{mantissa}{suffix}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantity(text: &str) -> Quantity {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn texts_become_canonical() {
        let cases = [
            ("0", "0"),
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1.5Gi", "1536Mi"),
            ("1024Mi", "1Gi"),
            ("1024", "1024"),
            ("1500", "1500"),
            ("1000k", "1M"),
            ("2e3", "2e3"),
            ("2E6", "2e6"),
            ("1E", "1E"),
            ("100Ki", "100Ki"),
            ("0.5Ki", "512"),
            ("0.1n", "1n"),
            ("-1.5", "-1500m"),
            ("+5", "5"),
            (".5", "500m"),
            ("5.", "5"),
            ("12.34M", "12340k"),
            ("1Ti", "1Ti"),
            ("9999999999999999999999", "9223372036854775807"),
            ("1023Ki", "1023Ki"),
            ("0.000000001", "1n"),
            ("3.1415926535897", "3141592654n"),
        ];
        for (text, canonical) in cases {
            assert_eq!(quantity(text).to_string(), canonical, "{text}");
        }
    }

    #[test]
    fn bad_texts_are_refused_in_upstreams_words() {
        for text in ["", "abc", "-", "1 Gi", "x1"] {
            assert_eq!(text.parse::<Quantity>(), Err(QuantityError::Format), "{text}");
        }
        assert_eq!("1ki".parse::<Quantity>(), Err(QuantityError::Suffix));
        assert_eq!("1.1.1".parse::<Quantity>(), Err(QuantityError::Numeric));
        assert_eq!("1e".parse::<Quantity>(), Err(QuantityError::Suffix));
    }

    #[test]
    fn arithmetic_is_exact() {
        assert!(quantity("1Gi") > quantity("1G"));
        assert_eq!(quantity("1"), quantity("1000m"));
        assert_eq!((quantity("0.1") + quantity("0.2")).to_string(), "300m");
        assert_eq!((quantity("1Gi") - quantity("512Mi")).to_string(), "512Mi");
        assert_eq!(quantity("1500m").value(), 2);
        assert_eq!(quantity("0.1").milli_value(), 100);
        assert_eq!(quantity("1u").milli_value(), 1);
        assert_eq!(Quantity::from_bytes(1 << 30).to_string(), "1Gi");
        assert!((quantity("1") - quantity("2")).is_negative());
    }
}
