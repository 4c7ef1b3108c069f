//! Amounts per second, of memory or of a link.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{ParseError, Problem, Quantity, human_bits_per_second, human_bytes_per_second, number};

/// An exact rate, written in bytes or in bits.
///
/// Memory people say `32MiB/s`, network people say `1Gbit/s`, and both must come back as they were written, so a rate
/// remembers its unit: `500MB/s` is printed as `500MB/s`, not as the equal `4Gbit/s`. Two rates of the same amount are
/// equal, whatever their units. Bits per second hold all of them exactly, where bytes per second would lose `1bit/s`.
///
/// The unit is never guessed: a bare `500` or `500M` is refused. Letters mean what the standards say (`k` and `M`
/// are decimal, `Ki` and `Mi` binary, `B` is a byte, `bit` a bit), in this case only: `Mb/s` against `MB/s` is a
/// factor of eight.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate {
    bits_per_second: u64,
    written: Written,
}

/// How a rate was given, and so how it is printed.
#[derive(Debug, Clone, Copy, Default)]
enum Written {
    /// Not at all: the shortest text.
    #[default]
    Not,
    /// In bytes, by a constant.
    Bytes,
    /// In bits, by a constant.
    Bits,
    /// As a text with this unit.
    Unit { unit: &'static str, bits: u64 },
}

/// A family of units that a rate may be printed in.
struct Family {
    suffix: &'static str,
    bits: u64,
    /// Largest first; ends with the empty prefix.
    prefixes: &'static [(&'static str, u64)],
}

const DECIMAL: &[(&str, u64)] = &[
    ("P", 1_000_000_000_000_000),
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("k", 1_000),
    ("", 1),
];
const BINARY: &[(&str, u64)] =
    &[("Pi", 1 << 50), ("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10), ("", 1)];

/// In the order in which they are preferred when two texts are equally short.
const PRINTED_FAMILIES: [Family; 3] = [
    Family { suffix: "bit/s", bits: 1, prefixes: DECIMAL },
    Family { suffix: "B/s", bits: 8, prefixes: DECIMAL },
    Family { suffix: "B/s", bits: 8, prefixes: BINARY },
];

/// Read, and printed only where it was written: links are not rated in binary bits.
const READ_ONLY_FAMILY: Family = Family { suffix: "bit/s", bits: 1, prefixes: BINARY };

/// Every unit of a rate, for hints.
const UNITS: [&str; 22] = [
    "B/s", "kB/s", "MB/s", "GB/s", "TB/s", "PB/s", "KiB/s", "MiB/s", "GiB/s", "TiB/s", "PiB/s",
    "bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s", "Pbit/s", "Kibit/s", "Mibit/s", "Gibit/s",
    "Tibit/s", "Pibit/s",
];

impl Rate {
    /// Exact up to 2^61 bytes per second; above, the largest rate there is.
    pub const fn from_bytes_per_second(bytes_per_second: u64) -> Rate {
        Rate { bits_per_second: bytes_per_second.saturating_mul(8), written: Written::Bytes }
    }

    /// Exact.
    pub const fn from_bits_per_second(bits_per_second: u64) -> Rate {
        Rate { bits_per_second, written: Written::Bits }
    }

    /// Rounded down to whole bytes; below 8 bit/s that is zero.
    pub const fn bytes_per_second(self) -> u64 {
        self.bits_per_second / 8
    }

    /// Not rounded to whole bytes; for pacing and for ratios.
    pub fn bytes_per_second_f64(self) -> f64 {
        self.bits_per_second as f64 / 8.0
    }

    /// Exact.
    pub const fn bits_per_second(self) -> u64 {
        self.bits_per_second
    }

    /// Whether nothing at all may pass.
    pub const fn is_zero(self) -> bool {
        self.bits_per_second == 0
    }

    /// Rounded to three digits for eyes, as memory is counted: `32.0 MiB/s`.
    pub fn human(self) -> String {
        human_bytes_per_second(self.bytes_per_second_f64())
    }

    /// Rounded to three digits for eyes, as links are counted: `1.00 Gbit/s`.
    pub fn human_bits(self) -> String {
        human_bits_per_second(self.bytes_per_second_f64())
    }
}

impl FromStr for Rate {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Rate, ParseError> {
        parse(text).map_err(|problem| Quantity::Rate.error(text, problem))
    }
}

/// In the unit that it was written in. A rate that was never written has the shortest exact text in the bytes or bits
/// of its constant; of equally short ones decimal units are preferred.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Written::Unit { unit, bits } = self.written {
            return f.pad(&format!("{}{unit}", number::decimal(self.bits_per_second, bits)));
        }
        let is_wanted = |family: &&Family| match self.written {
            Written::Bytes => family.bits == 8,
            Written::Bits => family.bits == 1,
            Written::Not | Written::Unit { .. } => true,
        };
        let text = |family: &Family| family.text(self.bits_per_second);
        // `min_by_key` keeps the first of equals. Constants are whole in their own unit, so there is a text.
        let texts = PRINTED_FAMILIES.iter().filter(is_wanted).filter_map(text);
        f.pad(&texts.min_by_key(String::len).unwrap_or_default())
    }
}

/// Equal amounts are equal, whatever their units.
impl PartialEq for Rate {
    fn eq(&self, other: &Rate) -> bool {
        self.bits_per_second == other.bits_per_second
    }
}

impl Eq for Rate {}

impl PartialOrd for Rate {
    fn partial_cmp(&self, other: &Rate) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Rate {
    fn cmp(&self, other: &Rate) -> Ordering {
        self.bits_per_second.cmp(&other.bits_per_second)
    }
}

impl Hash for Rate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bits_per_second.hash(state);
    }
}

crate::as_text!(Rate);

impl Family {
    /// The text with the largest unit that leaves a whole number.
    fn text(&self, bits_per_second: u64) -> Option<String> {
        let bits_of = |factor: u64| factor * self.bits;
        let (prefix, factor) = self.prefixes.iter().find(|(prefix, factor)| {
            bits_per_second.is_multiple_of(bits_of(*factor))
                && (bits_per_second != 0 || prefix.is_empty())
        })?;
        Some(format!("{}{prefix}{}", bits_per_second / bits_of(*factor), self.suffix))
    }

    fn bits_per_unit(&self, unit: &str) -> Option<u64> {
        let prefix = unit.strip_suffix(self.suffix)?;
        let known = self.prefixes.iter().find(|(name, _)| *name == prefix);
        known.map(|(_, factor)| factor * self.bits)
    }
}

fn parse(text: &str) -> Result<Rate, Problem> {
    let (number, unit) = number::split(text, &["B/s", "bit/s"])?;
    let mut families = PRINTED_FAMILIES.iter().chain([&READ_ONLY_FAMILY]);
    let bits = families.find_map(|family| family.bits_per_unit(unit));
    let (Some(bits), Some(unit)) = (bits, known(unit)) else {
        return Err(unit_problem(number, unit));
    };
    let bits_per_second = number::exact(number, bits, "bits per second")?;
    Ok(Rate { bits_per_second, written: Written::Unit { unit, bits } })
}

fn unit_problem(number: &str, unit: &str) -> Problem {
    let prefix = if unit == "K" { "k" } else { unit };
    if let Some(per_second) = known(&format!("{unit}/s")) {
        return Problem::BytesOrBits { suggestion: format!("`{number}{per_second}`") };
    }
    if let (Some(bytes), Some(bits)) =
        (known(&format!("{prefix}B/s")), known(&format!("{prefix}bit/s")))
    {
        return Problem::BytesOrBits {
            suggestion: format!("`{number}{bytes}` or `{number}{bits}`"),
        };
    }
    Problem::UnknownUnit { unit: unit.to_owned(), nearest: nearest(unit) }
}

fn known(unit: &str) -> Option<&'static str> {
    UNITS.into_iter().find(|name| *name == unit)
}

/// Tolerates wrong case and the customs of other tools (`Gbps`, `Mb/s`, `MBps`, `Mbits/sec`) and of links (`10GbE`).
fn nearest(unit: &str) -> Option<&'static str> {
    if let Some(link) = speed_of_ethernet(unit) {
        return Some(link);
    }
    let is_rate = unit.contains('/') || unit.ends_with("ps");
    let per_second = if is_rate { unit.to_owned() } else { format!("{unit}/s") };
    let plain = ["/seconds", "/second", "/sec"]
        .iter()
        .find_map(|it| per_second.strip_suffix(it))
        .map_or_else(|| per_second.clone(), |it| format!("{it}/s"));
    // `gbps` is a word for bits, whatever the case of its prefix.
    let plain = plain.replace("bps", "bit/s").replace("ps", "/s");
    let plain = plain.replace("bits", "bit").replace("ytes", "").replace("yte", "");
    let plain = match plain.strip_suffix("b/s") {
        // A lower-case b after a capital prefix is the custom for bits; all lower case says nothing, and most
        // people who write `mb/s` mean bytes.
        Some(prefix) if prefix.starts_with(char::is_uppercase) => format!("{prefix}bit/s"),
        _ => plain,
    };
    UNITS.into_iter().find(|name| name.eq_ignore_ascii_case(&plain))
}

/// `10GbE`, `25GE`, `10GBASE-T`.
fn speed_of_ethernet(unit: &str) -> Option<&'static str> {
    let unit = unit.to_ascii_lowercase();
    let (prefix, rest) = unit.split_at_checked(1)?;
    let is_ethernet = ["be", "e", "ige"].contains(&rest) || rest.starts_with("base");
    match prefix {
        "g" if is_ethernet => Some("Gbit/s"),
        "m" if is_ethernet => Some("Mbit/s"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rates_are_read_exactly() {
        #[track_caller]
        fn check(text: &str, expected_bits: u64) {
            assert_eq!(text.parse(), Ok(Rate::from_bits_per_second(expected_bits)), "{text}");
        }
        check("0B/s", 0);
        check("1bit/s", 1);
        check("500MB/s", 4_000_000_000);
        check("32MiB/s", 32 << 23);
        check("1Gbit/s", 1_000_000_000);
        check("10Gbit/s", 10_000_000_000);
        check("2.5Gbit/s", 2_500_000_000);
        check("125000000B/s", 1_000_000_000);
        check("1kB/s", 8_000);
        check("1KiB/s", 8_192);
        check("1Kibit/s", 1_024);
        check("0.5B/s", 4);
        check(" 32 MiB/s", 32 << 23);
    }

    #[test]
    fn other_texts_are_refused_with_the_reason() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            let examples = "; write for example `500MB/s`, `32MiB/s` or `1Gbit/s`";
            assert_eq!(
                text.parse::<Rate>().unwrap_err().to_string(),
                format!("Rate `{text}` {expected}{examples}")
            );
        }
        check("", "is empty");
        check("-1B/s", "is negative");
        check("fast", "needs a decimal number in front");
        check("500", "must end in B/s or bit/s, as in `500B/s` or `500bit/s`");
        check("500M", "must end in B/s or bit/s, as in `500MB/s` or `500Mbit/s`");
        check("5K", "must end in B/s or bit/s, as in `5kB/s` or `5kbit/s`");
        check("32Mi", "must end in B/s or bit/s, as in `32MiB/s` or `32Mibit/s`");
        check("500MB", "must end in B/s or bit/s, as in `500MB/s`");
        check("1Gbps", "has the unknown unit `Gbps` (did you mean `Gbit/s`?)");
        check("1Gb/s", "has the unknown unit `Gb/s` (did you mean `Gbit/s`?)");
        check("1gbit/s", "has the unknown unit `gbit/s` (did you mean `Gbit/s`?)");
        check("1Mbits/s", "has the unknown unit `Mbits/s` (did you mean `Mbit/s`?)");
        check("1mb/s", "has the unknown unit `mb/s` (did you mean `MB/s`?)");
        check("1MBps", "has the unknown unit `MBps` (did you mean `MB/s`?)");
        check("1KB/s", "has the unknown unit `KB/s` (did you mean `kB/s`?)");
        check("1Kbit/s", "has the unknown unit `Kbit/s` (did you mean `kbit/s`?)");
        check("1gbps", "has the unknown unit `gbps` (did you mean `Gbit/s`?)");
        check("10GbE", "has the unknown unit `GbE` (did you mean `Gbit/s`?)");
        check("25GE", "has the unknown unit `GE` (did you mean `Gbit/s`?)");
        check("10GBASE-T", "has the unknown unit `GBASE-T` (did you mean `Gbit/s`?)");
        check("1GiB/sec", "has the unknown unit `GiB/sec` (did you mean `GiB/s`?)");
        check("9.4Gbits/sec", "has the unknown unit `Gbits/sec` (did you mean `Gbit/s`?)");
        check("1MBytes/second", "has the unknown unit `MBytes/second` (did you mean `MB/s`?)");
        check("1Gb", "has the unknown unit `Gb` (did you mean `Gbit/s`?)");
        check("1e9", "is in scientific notation; write `1GB/s` or `1Gbit/s`");
        check("2.5e8B/s", "is in scientific notation; write `250MB/s`");
        check("1e9GB/s", "is in scientific notation; write the number out");
        check("1,25GB/s", "has a comma; write `1.25GB/s`");
        check(
            "1,000MB/s",
            "has a comma; write `1000MB/s`, or `1.000MB/s` if it is a decimal comma",
        );
        check("1furlong", "has the unknown unit `furlong`");
        check("0.5bit/s", "is not a whole number of bits per second");
        check("99999999PB/s", "is too large");
    }

    #[test]
    fn a_rate_is_printed_in_the_unit_that_it_was_written_in() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), expected);
        }
        check("1Gbit/s", "1Gbit/s");
        check("10Gbit/s", "10Gbit/s");
        check("125MB/s", "125MB/s");
        check("32MiB/s", "32MiB/s");
        check("10MB/s", "10MB/s");
        check("500MB/s", "500MB/s");
        check("200Mbit/s", "200Mbit/s");
        check("1000MB/s", "1000MB/s");
        check("2.5Gbit/s", "2.5Gbit/s");
        check("1.50GiB/s", "1.5GiB/s");
        check("4Kibit/s", "4Kibit/s");
        check("3bit/s", "3bit/s");
        check("0bit/s", "0bit/s");
        check(" 1023 B/s ", "1023B/s");
    }

    #[test]
    fn a_constant_is_printed_in_bytes_or_bits_as_it_was_made() {
        assert_eq!(Rate::from_bytes_per_second(500_000_000).to_string(), "500MB/s");
        assert_eq!(Rate::from_bytes_per_second(32 << 20).to_string(), "32MiB/s");
        assert_eq!(Rate::from_bits_per_second(200_000_000).to_string(), "200Mbit/s");
        assert_eq!(Rate::from_bits_per_second(8).to_string(), "8bit/s");
        assert_eq!(Rate::default().to_string(), "0B/s");
    }

    #[test]
    fn rates_of_the_same_amount_are_equal_in_any_unit() {
        let (bytes, bits): (Rate, Rate) = ("125MB/s".parse().unwrap(), "1Gbit/s".parse().unwrap());
        assert_eq!(bytes, bits);
        assert_eq!(bytes.cmp(&bits), std::cmp::Ordering::Equal);
        assert_eq!(std::collections::HashSet::from([bytes, bits]).len(), 1);
    }

    #[test]
    fn bytes_and_bits_agree() {
        let rate = Rate::from_bits_per_second(9);
        assert_eq!((rate.bytes_per_second(), rate.bits_per_second()), (1, 9));
        assert_eq!(rate.bytes_per_second_f64(), 1.125);
        assert_eq!(Rate::from_bytes_per_second(u64::MAX).bits_per_second(), u64::MAX);
        assert_eq!(Rate::from_bytes_per_second(32 << 20).human(), "32.0 MiB/s");
        assert_eq!(Rate::from_bits_per_second(1_000_000_000).human_bits(), "1.00 Gbit/s");
        assert!(Rate::default().is_zero() && !rate.is_zero());
    }

    #[test]
    fn every_unit_that_a_hint_may_name_is_read() {
        for unit in UNITS {
            assert!(format!("1{unit}").parse::<Rate>().is_ok(), "{unit}");
        }
    }

    #[test]
    fn serde_carries_the_text() {
        let rate: Rate = serde_json::from_str("\"32MiB/s\"").unwrap();
        assert_eq!(serde_json::to_string(&rate).unwrap(), "\"32MiB/s\"");
        assert!(serde_json::from_str::<Rate>("\"32M\"").is_err());
    }

    proptest! {
        #[test]
        fn every_rate_round_trips(mantissa: u64, shift in 0_u32..64, decimals in 0_u32..18) {
            for bits in [mantissa, mantissa << shift, (mantissa >> shift).wrapping_mul(10_u64.pow(decimals))] {
                let rate = Rate::from_bits_per_second(bits);
                prop_assert_eq!(rate.to_string().parse(), Ok(rate));
            }
        }

        #[test]
        fn every_written_rate_round_trips(whole in 0_u64..100_000, part in 0_u32..1000, unit in 0..UNITS.len()) {
            let text = format!("{whole}.{part:03}{}", UNITS[unit]);
            if let Ok(rate) = text.parse::<Rate>() {
                prop_assert_eq!(rate.to_string().parse(), Ok(rate));
                prop_assert!(rate.to_string().ends_with(UNITS[unit]), "{}", rate);
            }
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = text.parse::<Rate>();
        }
    }
}
