//! Rounded texts for eyes: three digits, the unit chosen so that the number is short.

const SIZES: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
const BIT_RATES: [&str; 7] = ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s", "Pbit/s", "Ebit/s"];

/// An amount of memory, such as `1.50 GiB`; takes a float because means and rates × time are no whole bytes.
pub fn human_bytes(bytes: f64) -> String {
    scaled(bytes, 1024.0, &SIZES)
}

/// A rate of memory, such as `32.0 MiB/s`.
pub fn human_bytes_per_second(bytes_per_second: f64) -> String {
    format!("{}/s", scaled(bytes_per_second, 1024.0, &SIZES))
}

/// A rate of a link, such as `1.00 Gbit/s`; takes bytes per second, as reports carry them.
pub fn human_bits_per_second(bytes_per_second: f64) -> String {
    scaled(bytes_per_second * 8.0, 1000.0, &BIT_RATES)
}

/// A time, such as `36.7 ms`; takes seconds.
pub fn human_seconds(seconds: f64) -> String {
    const UNITS: [(f64, &str); 4] = [(1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")];
    if seconds == 0.0 {
        return "0 s".to_owned();
    }
    // Half a step below 1000 rounds up to it, and `1000 ms` would hide that a second was reached.
    let fits = |(unit, _): &&(f64, &str)| seconds.abs() >= 0.9995 * unit;
    let (unit, name) = UNITS.iter().find(fits).unwrap_or(&UNITS[3]);
    format!("{} {name}", three_digits(seconds / unit, false))
}

fn scaled(value: f64, base: f64, units: &[&str]) -> String {
    let mut value = value;
    let mut unit = 0;
    // Half a step below the base rounds up to it, and `1024 MiB` would hide that a GiB was reached.
    while value.abs() >= base - 0.5 && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    format!("{} {}", three_digits(value, unit == 0), units[unit])
}

fn three_digits(value: f64, smallest_unit: bool) -> String {
    let size = value.abs();
    let decimals = match size {
        _ if smallest_unit && value.fract() == 0.0 => 0,
        _ if size < 9.995 => 2,
        _ if size < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        #[track_caller]
        fn check(bytes: f64, expected: &str) {
            assert_eq!(human_bytes(bytes), expected);
        }
        check(0.0, "0 B");
        check(0.4, "0.40 B");
        check(999.0, "999 B");
        check(1023.0, "1023 B");
        check(1024.0, "1.00 KiB");
        check(1.5 * 1024.0, "1.50 KiB");
        check(9.999 * 1024.0, "10.0 KiB");
        check(99.96 * 1024.0, "100 KiB");
        check(1023.4 * 1024.0, "1023 KiB");
        check(1023.6 * 1024.0, "1.00 MiB");
        check(-2.0 * 1024.0, "-2.00 KiB");
        check(u64::MAX as f64, "16.0 EiB");
    }

    #[test]
    fn rates_follow_the_custom_of_what_they_measure() {
        assert_eq!(human_bytes_per_second(32.0 * 1_048_576.0), "32.0 MiB/s");
        assert_eq!(human_bits_per_second(125e6), "1.00 Gbit/s");
        assert_eq!(human_bits_per_second(124.99e6), "1.00 Gbit/s");
        assert_eq!(human_bits_per_second(0.0), "0 bit/s");
    }

    #[test]
    fn numbers_that_are_none_do_not_hang_or_panic() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(human_bytes(value).ends_with('B'));
        }
    }
}
