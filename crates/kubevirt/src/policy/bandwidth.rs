//! The bandwidth of a migration as KubeVirt takes it: whole MiB a second, at least one; 0 is no limit.
//!
//! KubeVirt rounds what a policy says. Sterna rounds by itself, in the same way, so that the object holds the limit that
//! is kept.

use sterna_units::human_bytes_per_second;

const MEBIBYTE: f64 = 1_048_576.0;

/// Whole MiB a second that KubeVirt keeps to; None is no limit.
pub fn mebibytes(bytes_per_second: f64) -> Option<u64> {
    if bytes_per_second <= 0.0 {
        return None;
    }
    Some((bytes_per_second / MEBIBYTE).round().max(1.0) as u64)
}

/// As a quantity for the object.
pub(super) fn quantity(bytes_per_second: f64) -> String {
    mebibytes(bytes_per_second).map_or_else(|| "0".to_owned(), |it| format!("{it}Mi"))
}

/// Says what a rate becomes, where it does not stay what it is.
pub fn note(bytes_per_second: f64) -> Option<String> {
    let mebibytes = mebibytes(bytes_per_second)?;
    let is_kept = (mebibytes as f64 * MEBIBYTE - bytes_per_second).abs() < 1.0;
    (!is_kept).then(|| {
        format!(
            "bandwidthPerMigration of {} ({bytes_per_second} B/s) becomes {mebibytes} MiB/s: KubeVirt keeps to whole MiB/s, at least 1",
            human_bytes_per_second(bytes_per_second)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bandwidth_is_whole_mebibytes_and_at_least_one() {
        let table = [
            (0.0, "0", false),
            (1.0, "1Mi", true),
            (500_000.0, "1Mi", true),
            (1_048_576.0, "1Mi", false),
            (1_572_863.0, "1Mi", true),
            (1_572_864.0, "2Mi", true),
            (64_000_000.0, "61Mi", true),
            (67_108_864.0, "64Mi", false),
            (1_250_000_000.0, "1192Mi", true),
        ];
        for (rate, expected, is_noted) in table {
            assert_eq!(quantity(rate), expected, "{rate}");
            assert_eq!(note(rate).is_some(), is_noted, "{rate}");
        }
        let text = note(500_000.0).unwrap();
        assert!(text.contains("500000 B/s") && text.contains("becomes 1 MiB/s"), "{text}");
    }
}
