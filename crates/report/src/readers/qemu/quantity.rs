//! Numbers with units as QEMU, libvirt and KubeVirt print them.

/// `880000 kbytes`, `858.307 MiB`, `4 KiB`, `123 bytes`, `0 B`, `2972MiB`: in bytes.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" | "byte" | "bytes" => 1.0,
        // QEMU's kbytes are of 1024 bytes.
        "k" | "kib" | "kbytes" | "kbyte" => 1024.0,
        "m" | "mib" | "mbytes" => 1024.0 * 1024.0,
        "g" | "gib" => 1024.0 * 1024.0 * 1024.0,
        "t" | "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        "p" | "pib" => 1024.0 * 1024.0 * 1024.0 * 1024.0 * 1024.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        _ => return None,
    };
    let bytes = number * factor;
    (0.0..9e18).contains(&bytes).then_some(bytes as u64)
}

/// `120 ms`, `8008ms`, `5 s`: in seconds. Less than nothing is unknown.
pub(super) fn seconds(text: &str) -> Option<f64> {
    let (number, unit) = split(text)?;
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "ms" => 1e-3,
        "us" | "µs" => 1e-6,
        "ns" => 1e-9,
        "s" => 1.0,
        _ => return None,
    };
    (number >= 0.0).then_some(number * factor)
}

/// `900.00 mbps` in bytes per second.
pub(super) fn bits_rate(text: &str) -> Option<f64> {
    let (number, unit) = split(text)?;
    let is_known = unit.is_empty() || unit.to_ascii_lowercase().starts_with("mbps");
    (is_known && number >= 0.0).then_some(number * 1e6 / 8.0)
}

/// `171.661 MiB/s`, `134217728 bytes/second`: in bytes per second.
pub(super) fn bytes_rate(text: &str) -> Option<f64> {
    let amount = text.trim().strip_suffix("/s").or_else(|| text.trim().strip_suffix("/second"))?;
    bytes(amount).map(|it| it as f64)
}

/// The number at the beginning, whatever follows: `10 pages`, `40 %`.
pub(super) fn number(text: &str) -> Option<f64> {
    split(text).map(|it| it.0).filter(|it| *it >= 0.0)
}

/// The same for what is counted.
pub(super) fn count(text: &str) -> Option<u64> {
    number(text).filter(|it| it.fract() == 0.0 && *it < 9e18).map(|it| it as u64)
}

fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let is_of_number = |c: char| c.is_ascii_digit() || ['.', '-', '+'].contains(&c);
    let end = text.find(|c: char| !is_of_number(c)).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().ok()?;
    number.is_finite().then_some((number, unit.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_become_bytes_and_seconds_and_what_is_odd_is_unknown() {
        assert_eq!(bytes("880000 kbytes"), Some(901_120_000));
        assert_eq!(bytes("858.307 MiB"), Some(900_000_120));
        assert_eq!(bytes("2972MiB"), Some(3_116_367_872));
        assert_eq!(bytes("0.000 B"), Some(0));
        assert_eq!((bytes("-1 kbytes"), bytes("5 parsecs"), bytes("nan")), (None, None, None));
        assert_eq!(
            (seconds("120 ms"), seconds("2 s"), seconds("-1 ms")),
            (Some(0.12), Some(2.0), None)
        );
        assert_eq!(bits_rate("900.00 mbps"), Some(112_500_000.0));
        assert_eq!(bytes_rate("1.5 MiB/s"), Some(1_572_864.0));
        assert_eq!(bytes_rate("134217728 bytes/second"), Some(134_217_728.0));
        assert_eq!((count("10 pages"), count("2.5"), number("40 %")), (Some(10), None, Some(40.0)));
    }
}
