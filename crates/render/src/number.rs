//! Numbers with their units, three digits each, and the words for what is not known.

/// A time with the unit that suits it, such as `54.0 ms`.
pub use sterna_units::human_seconds as seconds;

/// What stands for an unknown value in a sentence.
pub const UNKNOWN: &str = "unknown";

/// What stands for an unknown value in a table.
pub const DASH: &str = "–";

/// The value in its format, or `unknown`.
pub fn or_unknown<T>(value: Option<T>, format: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), format)
}

/// The value in its format, or a dash.
pub fn or_dash<T>(value: Option<T>, format: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| DASH.to_owned(), format)
}

/// A time that was counted in nanoseconds.
pub fn nanoseconds(ns: u64) -> String {
    if ns < 1000 { format!("{ns} ns") } else { seconds(ns as f64 / 1e9) }
}

/// A share, such as `0.9 %`.
pub fn percent(percent: f64) -> String {
    format!("{percent:.1} %")
}

/// A number as short as three digits allow, and never rounded to less than its whole part.
pub fn three_digits(value: f64) -> String {
    let decimals = match value.abs() {
        size if size < 9.995 => 2,
        size if size < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

/// `1 page`, `2 pages`.
pub fn count(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_and_the_unit_that_suits() {
        let table = [
            (0.0, "0 s"),
            (1e-10, "0.10 ns"),
            (2.5e-8, "25.0 ns"),
            (4.2e-5, "42.0 µs"),
            (0.054, "54.0 ms"),
            (0.9994, "999 ms"),
            (0.9996, "1.00 s"),
            (12.345, "12.3 s"),
            (1234.5, "1234 s"),
            (-0.25, "-250 ms"),
        ];
        for (value, expected) in table {
            assert_eq!(seconds(value), expected);
        }
    }

    #[test]
    fn whole_nanoseconds_have_no_decimals() {
        let table = [(0, "0 ns"), (999, "999 ns"), (1350, "1.35 µs"), (61_000, "61.0 µs")];
        for (value, expected) in table {
            assert_eq!(nanoseconds(value), expected);
        }
    }

    #[test]
    fn what_is_unknown_is_a_word_and_no_zero() {
        assert_eq!(or_unknown(None, seconds), "unknown");
        assert_eq!(or_dash(None, seconds), "–");
        assert_eq!(or_unknown(Some(0.0), seconds), "0 s");
    }

    #[test]
    fn one_is_singular() {
        assert_eq!(count(1, "pass", "passes"), "1 pass");
        assert_eq!(count(0, "pass", "passes"), "0 passes");
    }
}
