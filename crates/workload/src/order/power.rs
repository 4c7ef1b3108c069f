//! Powers that are the same on every machine.

/// `x` to the power of `exponent`, for positive `x`.
///
/// The one of the standard library calls the C library, whose last bits differ from one to the next: an agent with one
/// library and a host with another would disagree about a page once in a long run.
/// This uses only operations that IEEE 754 defines to the last bit.
pub(super) fn power(x: f64, exponent: f64) -> f64 {
    exp(exponent * ln(x))
}

/// The natural logarithm of a positive, normal number.
fn ln(x: f64) -> f64 {
    const FRACTION_BITS: u32 = 52;
    const BIAS: i32 = 1023;
    let bits = x.to_bits();
    let exponent = (bits >> FRACTION_BITS) as i32 - BIAS;
    let fraction = f64::from_bits(bits & ((1 << FRACTION_BITS) - 1) | 1.0f64.to_bits());
    // Around 1, where the series below ends soon.
    let (fraction, exponent) = if fraction > std::f64::consts::SQRT_2 {
        (fraction / 2.0, exponent + 1)
    } else {
        (fraction, exponent)
    };
    let s = (fraction - 1.0) / (fraction + 1.0);
    let square = s * s;
    let series = (0..14).rev().fold(0.0, |sum, n| sum * square + 1.0 / f64::from(2 * n + 1));
    f64::from(exponent) * std::f64::consts::LN_2 + 2.0 * s * series
}

/// e to the power of `x`, for results that are normal numbers.
fn exp(x: f64) -> f64 {
    let halvings = (x / std::f64::consts::LN_2 + 0.5).floor();
    let rest = x - halvings * std::f64::consts::LN_2;
    let series = (1..=18).rev().fold(1.0, |sum, n| 1.0 + sum * rest / f64::from(n));
    let scale = f64::from_bits(((halvings as i64 + 1023).clamp(1, 2046) as u64) << 52);
    series * scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_are_those_of_the_library() {
        for x in [1.0, 1.4, 1.5, 2.0, 3.0, 1000.0, 524_288.5, 4e9] {
            for exponent in [-10.0, -1.5, -1.0, -0.99, -0.0001, 0.5] {
                let (ours, theirs) = (power(x, exponent), x.powf(exponent));
                assert!((ours / theirs - 1.0).abs() < 1e-12, "{x}^{exponent}: {ours}, {theirs}");
            }
        }
    }
}
