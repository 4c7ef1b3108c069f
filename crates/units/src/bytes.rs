//! Amounts of memory.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{ParseError, Problem, Quantity, human_bytes, number};

/// An exact number of bytes.
///
/// A bare `K`, `M`, `G` … is binary (`2G` is 2 GiB), as for `qemu -m` and `stress-ng --vm-bytes`; `MB` is decimal
/// and `MiB` binary, as they say. `KB` is refused because it is read both ways.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct Bytes(pub u64);

/// The units of a size, binary ones in full first: these are the ones that are printed, largest first.
const UNITS: [(&str, u64); 20] = [
    ("EiB", 1 << 60),
    ("PiB", 1 << 50),
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
    ("K", 1 << 10),
    ("k", 1 << 10),
    ("M", 1 << 20),
    ("G", 1 << 30),
    ("T", 1 << 40),
    ("P", 1 << 50),
    ("E", 1 << 60),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("PB", 1_000_000_000_000_000),
    ("EB", 1_000_000_000_000_000_000),
];
const PRINTED_UNITS: usize = 7;
/// The last units of the list.
const DECIMAL_UNITS: usize = 6;
/// Characters of a text that is still easy to read.
const LONG: usize = 7;
/// Below this, a number without a unit is no amount of memory.
const FEW: u64 = 1 << 16;

impl Bytes {
    /// `count` KiB; for constants.
    pub const fn from_kib(count: u64) -> Bytes {
        Bytes(count << 10)
    }

    /// `count` MiB; for constants.
    pub const fn from_mib(count: u64) -> Bytes {
        Bytes(count << 20)
    }

    /// `count` GiB; for constants.
    pub const fn from_gib(count: u64) -> Bytes {
        Bytes(count << 30)
    }

    /// Reads an amount of memory: as [`FromStr`], but `256` is refused, since `256MiB` is meant.
    ///
    /// # Errors
    /// No size, or a small number without a unit.
    pub fn of_memory(text: &str) -> Result<Bytes, ParseError> {
        let bytes: Bytes = text.parse()?;
        let is_bare = text.trim().bytes().all(|it| it.is_ascii_digit());
        if is_bare && bytes.0 > 0 && bytes.0 < FEW {
            return Err(Quantity::Size.error(text, Problem::FewBytes { number: bytes.0 }));
        }
        Ok(bytes)
    }

    /// Reads a quantity of Kubernetes, such as `8Gi`, and all sizes but those with a letter that Kubernetes reads
    /// differently.
    ///
    /// # Errors
    /// No size, a small number without a unit, and `8G`.
    pub fn of_kubernetes(text: &str) -> Result<Bytes, ParseError> {
        let trimmed = text.trim();
        if let Some(number) = trimmed.strip_suffix('i') {
            // `8Gi` is `8GiB`.
            let is_quantity = number.ends_with(['K', 'M', 'G', 'T', 'P', 'E']);
            if let (true, Ok(bytes)) = (is_quantity, format!("{trimmed}B").parse()) {
                return Ok(bytes);
            }
        }
        let letter = trimmed.chars().last().filter(|it| "kKMGTPE".contains(*it));
        if let (Some(letter), Ok(_)) = (letter, trimmed.parse::<Bytes>()) {
            let number = &trimmed[..trimmed.len() - 1];
            let (small, large) = if letter == 'k' { ('k', 'K') } else { (letter, letter) };
            let decimal = format!("{number}{small}B");
            let binary = format!("{number}{large}iB");
            return Err(Quantity::Size.error(text, Problem::TwoMeanings { decimal, binary }));
        }
        Bytes::of_memory(text)
    }

    /// Rounded to three digits for eyes, such as `1.50 GiB`.
    pub fn human(self) -> String {
        human_bytes(self.0 as f64)
    }
}

impl FromStr for Bytes {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Bytes, ParseError> {
        parse(text).map(Bytes).map_err(|problem| Quantity::Size.error(text, problem))
    }
}

/// The largest binary unit that leaves a whole number: `1536KiB`, `1000B`. Where that is a long number and a decimal
/// unit leaves a shorter one, the decimal unit: `256MB`, not `250000KiB`.
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |(unit, factor): &(&str, u64)| format!("{}{unit}", self.0 / factor);
        let is_whole = |it: &&(&str, u64)| self.0 != 0 && self.0.is_multiple_of(it.1);
        let binary = UNITS[..PRINTED_UNITS].iter().find(is_whole).map_or("0B".to_owned(), text);
        let decimal = UNITS.iter().rev().take(DECIMAL_UNITS).find(is_whole).map(text);
        match decimal {
            Some(decimal) if binary.len() > LONG && decimal.len() < binary.len() => f.pad(&decimal),
            _ => f.pad(&binary),
        }
    }
}

crate::as_text!(Bytes);

fn parse(text: &str) -> Result<u64, Problem> {
    let (number, unit) = number::split(text, &["B"])?;
    number::exact(number, factor(unit)?, "bytes")
}

fn factor(unit: &str) -> Result<u64, Problem> {
    if unit.is_empty() {
        return Ok(1);
    }
    let known = UNITS.iter().find(|(name, _)| *name == unit);
    known
        .map(|(_, factor)| *factor)
        .ok_or_else(|| Problem::UnknownUnit { unit: unit.to_owned(), nearest: nearest(unit) })
}

/// Tolerates wrong case, a forgotten `B` (Kubernetes writes `8Gi`) and `MBytes`.
fn nearest(unit: &str) -> Option<&'static str> {
    let unit = unit.strip_suffix("ytes").or_else(|| unit.strip_suffix("yte")).unwrap_or(unit);
    let spelled = |wanted: &str| {
        UNITS.iter().map(|(name, _)| *name).find(|name| name.eq_ignore_ascii_case(wanted))
    };
    spelled(unit).or_else(|| spelled(&format!("{unit}B")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_read_exactly() {
        #[track_caller]
        fn check(text: &str, expected: u64) {
            assert_eq!(text.parse(), Ok(Bytes(expected)), "{text}");
        }
        check("0", 0);
        check("4096", 4096);
        check("1B", 1);
        check("1k", 1024);
        check("1K", 1024);
        check("256M", 256 << 20);
        check("256MiB", 256 << 20);
        check("256MB", 256_000_000);
        check("2G", 2 << 30);
        check("1kB", 1000);
        check("1.5GiB", 3 << 29);
        check("0.5MB", 500_000);
        check(" 2 GiB ", 2 << 30);
        check("15EiB", 15 << 60);
        check("18446744073709551615", u64::MAX);
    }

    #[test]
    fn other_texts_are_refused_with_the_reason() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            assert_eq!(text.parse::<Bytes>().unwrap_err().to_string(), expected);
        }
        let examples = "write for example `256MiB`, `2G` or `1048576`";
        check("", &format!("Size `` is empty; {examples}"));
        check("  ", &format!("Size `  ` is empty; {examples}"));
        check("-1", &format!("Size `-1` is negative; {examples}"));
        check("MiB", &format!("Size `MiB` needs a decimal number in front; {examples}"));
        check("1.MiB", &format!("Size `1.MiB` needs a decimal number in front; {examples}"));
        check("5Q", &format!("Size `5Q` has the unknown unit `Q`; {examples}"));
        check(
            "5KB",
            &format!("Size `5KB` has the unknown unit `KB` (did you mean `kB`?); {examples}"),
        );
        check(
            "8Gi",
            &format!("Size `8Gi` has the unknown unit `Gi` (did you mean `GiB`?); {examples}"),
        );
        check("1g", &format!("Size `1g` has the unknown unit `g` (did you mean `G`?); {examples}"));
        check("1e9", &format!("Size `1e9` is in scientific notation; write `1GB`; {examples}"));
        check("1,5GiB", &format!("Size `1,5GiB` has a comma; write `1.5GiB`; {examples}"));
        check(
            "64MBytes",
            &format!(
                "Size `64MBytes` has the unknown unit `MBytes` (did you mean `MB`?); {examples}"
            ),
        );
        check("0.3B", &format!("Size `0.3B` is not a whole number of bytes; {examples}"));
        check("16EiB", &format!("Size `16EiB` is too large; {examples}"));
        check(
            "99999999999999999999",
            &format!("Size `99999999999999999999` is too large; {examples}"),
        );
    }

    #[test]
    fn the_canonical_text_uses_the_largest_whole_binary_unit() {
        #[track_caller]
        fn check(bytes: u64, expected: &str) {
            assert_eq!(Bytes(bytes).to_string(), expected);
        }
        check(0, "0B");
        check(1000, "1000B");
        check(4096, "4KiB");
        check(1536 << 10, "1536KiB");
        check(3 << 29, "1536MiB");
        check(256 << 20, "256MiB");
        check(1 << 63, "8EiB");
        check(256_000_000, "256MB");
        check(1_000_000_000, "1GB");
        check(1_500_000, "1500kB");
        assert_eq!(format!("{:>8}", Bytes(4096)), "    4KiB");
    }

    #[test]
    fn memory_of_a_few_bytes_asks_for_the_unit() {
        let error = |text: &str| Bytes::of_memory(text).unwrap_err().to_string();
        assert!(error("256").starts_with("Size `256` is 256 bytes; did you mean `256MiB`?"));
        assert!(error(" 64 ").contains("`64MiB`"));
        for text in ["0", "256B", "65536", "256MiB", "4096B"] {
            assert_eq!(Bytes::of_memory(text), text.parse(), "{text}");
        }
        assert!(Bytes::of_memory("256Q").is_err());
    }

    #[test]
    fn quantities_of_kubernetes_are_read_and_letters_with_two_meanings_are_refused() {
        let table = [
            ("8Gi", 8 << 30),
            ("64Mi", 64 << 20),
            ("1.5Gi", 3 << 29),
            ("8GiB", 8 << 30),
            ("8GB", 8_000_000_000),
            ("1073741824", 1 << 30),
            ("0", 0),
        ];
        for (text, expected) in table {
            assert_eq!(Bytes::of_kubernetes(text), Ok(Bytes(expected)), "{text}");
        }
        let error = |text: &str| Bytes::of_kubernetes(text).unwrap_err().to_string();
        assert!(error("8G").contains("is `8GB` to Kubernetes and `8GiB` elsewhere"));
        assert!(error("8k").contains("is `8kB` to Kubernetes and `8KiB` elsewhere"));
        assert!(error("256").contains("did you mean `256MiB`?"));
        for text in ["8gi", "Gi", "8i", "8Gib", "", "8e9", "i"] {
            assert!(Bytes::of_kubernetes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn serde_carries_the_text() {
        assert_eq!(serde_json::to_string(&Bytes::from_mib(256)).unwrap(), "\"256MiB\"");
        assert_eq!(serde_json::from_str::<Bytes>("\"1.5GiB\"").unwrap(), Bytes::from_mib(1536));
        assert!(serde_json::from_str::<Bytes>("\"12Q\"").is_err());
    }

    proptest! {
        #[test]
        fn every_size_round_trips(mantissa: u64, shift in 0_u32..64) {
            let bytes = Bytes(mantissa << shift);
            prop_assert_eq!(bytes.to_string().parse(), Ok(bytes));
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = text.parse::<Bytes>();
        }
    }
}
