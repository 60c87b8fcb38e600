//! A natural logarithm that is the same to the last bit wherever it runs: natively, libraries
//! differ.

/// The natural logarithm of a whole number; 0 for 0.
///
/// Halves the number until it lies in 1..2, then sums the series of the inverse hyperbolic tangent.
pub fn ln(n: u32) -> f64 {
    if n == 0 {
        return 0.0;
    }
    let halvings = n.ilog2();
    let mantissa = f64::from(n) / f64::from(1u32 << halvings);
    let z = (mantissa - 1.0) / (mantissa + 1.0);
    let (mut power, mut sum) = (z, 0.0);
    for step in 0..20 {
        sum += power / f64::from(2 * step + 1);
        power *= z * z;
    }
    f64::from(halvings) * std::f64::consts::LN_2 + 2.0 * sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_standard_library() {
        for n in 1..20_000u32 {
            assert!((ln(n) - f64::from(n).ln()).abs() < 1e-12, "{n}");
        }
    }
}
