//! virt-launcher's own account of a migration: the only source of what happens in each iteration.
//!
//! Its `compute` container writes JSON lines; one of them every few seconds tells of the migration, as `Key:value`
//! pairs whose set grew over the releases. So every pair is optional, and what is unknown is left alone.

use std::collections::BTreeMap;

use serde_json::Value;

/// What one line tells. Absent is unknown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LauncherLine {
    /// The migration that it is about.
    pub uid: String,
    /// When it was written, as it stands there.
    pub at: Option<String>,
    /// Since libvirt's job began, in seconds.
    pub elapsed_seconds: Option<f64>,
    /// All data so far.
    pub processed_bytes: Option<u64>,
    /// All data still to come.
    pub remaining_bytes: Option<u64>,
    /// All data that there is.
    pub total_bytes: Option<u64>,
    /// Memory still to come.
    pub memory_remaining_bytes: Option<u64>,
    /// How fast memory moves.
    pub bandwidth_bytes_per_second: Option<f64>,
    /// How fast pages become dirty.
    pub dirty_rate_bytes_per_second: Option<f64>,
    /// Number of the iteration.
    pub iteration: Option<u64>,
    /// Pages that were asked for in post-copy.
    pub postcopy_requests: Option<u64>,
    /// Pages that held one value all over.
    pub constant_pages: Option<u64>,
    /// Pages with content.
    pub normal_pages: Option<u64>,
    /// What the standstill would be now.
    pub expected_downtime_seconds: Option<f64>,
    /// What the standstill was, as it claims.
    pub downtime_seconds: Option<f64>,
}

const MARK: &str = "Migration info for ";

/// Reads one line of the log; None where it is about something else.
pub fn parse(line: &str) -> Option<LauncherLine> {
    let object: Value = serde_json::from_str(line.trim()).ok()?;
    let message = object.get("msg").or_else(|| object.get("message"))?.as_str()?;
    let (uid, rest) = message.strip_prefix(MARK)?.split_once(':')?;
    let pairs: BTreeMap<&str, &str> = rest
        .split([' ', ',', ';'])
        .filter_map(|word| word.split_once(':'))
        .map(|(key, value)| (key.trim(), value.trim()))
        .collect();
    let number = |key: &str, unit: &str, factor: f64| {
        let value = pairs.get(key)?;
        let value = value.strip_suffix(unit).unwrap_or(value);
        value.parse::<f64>().ok().filter(|it| it.is_finite() && *it >= 0.0).map(|it| it * factor)
    };
    let bytes = |key: &str| number(key, "MiB", 1_048_576.0).map(|it| it as u64);
    let rate = |key: &str| number(key, "Mbps", 125_000.0);
    let seconds = |key: &str| number(key, "ms", 1.0).map(|it| it / 1e3);
    let count = |key: &str| pairs.get(key)?.parse().ok();
    Some(LauncherLine {
        uid: uid.trim().to_owned(),
        at: object.get("timestamp").and_then(Value::as_str).map(str::to_owned),
        elapsed_seconds: seconds("TimeElapsed"),
        processed_bytes: bytes("DataProcessed"),
        remaining_bytes: bytes("DataRemaining"),
        total_bytes: bytes("DataTotal"),
        memory_remaining_bytes: bytes("MemoryRemaining"),
        bandwidth_bytes_per_second: rate("MemoryBandwidth"),
        dirty_rate_bytes_per_second: rate("DirtyRate"),
        iteration: count("Iteration"),
        postcopy_requests: count("PostcopyRequests"),
        constant_pages: count("ConstantPages"),
        normal_pages: count("NormalPages"),
        expected_downtime_seconds: seconds("ExpectedDowntime"),
        downtime_seconds: seconds("Downtime"),
    })
}

/// All lines of a log about one migration.
pub fn of_migration(log: &str, uid: &str) -> Vec<LauncherLine> {
    log.lines().filter_map(parse).filter(|it| it.uid == uid).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"component":"virt-launcher","level":"info","msg":"Migration info for 0d6a: TimeElapsed:8008ms DataProcessed:1024MiB DataRemaining:512MiB DataTotal:8192MiB MemoryProcessed:1024MiB MemoryRemaining:512MiB MemoryTotal:8192MiB MemoryBandwidth:800Mbps DirtyRate:80Mbps Iteration:3 PostcopyRequests:0 ConstantPages:7 NormalPages:9 NormalData:1MiB ExpectedDowntime:420ms DiskMbps:0","pos":"live-migration-source.go:1","timestamp":"2026-01-02T03:04:05.678901Z"}"#;

    #[test]
    fn a_line_is_read_in_bytes_and_seconds() {
        let line = parse(LINE).unwrap();
        assert_eq!(line.uid, "0d6a");
        assert_eq!(line.elapsed_seconds, Some(8.008));
        assert_eq!(line.processed_bytes, Some(1 << 30));
        assert_eq!(line.remaining_bytes, Some(512 << 20));
        assert_eq!(line.bandwidth_bytes_per_second, Some(100e6));
        assert_eq!(line.dirty_rate_bytes_per_second, Some(10e6));
        assert_eq!((line.iteration, line.normal_pages), (Some(3), Some(9)));
        assert_eq!(line.expected_downtime_seconds, Some(0.42));
        assert_eq!(line.downtime_seconds, None);
        assert_eq!(line.at.as_deref(), Some("2026-01-02T03:04:05.678901Z"));
    }

    #[test]
    fn what_is_absent_or_strange_is_unknown_and_other_lines_are_none() {
        let older = parse(r#"{"msg":"Migration info for a: TimeElapsed:1ms Iteration:x New:1"}"#);
        let older = older.unwrap();
        assert_eq!((older.elapsed_seconds, older.iteration), (Some(0.001), None));
        for other in ["", "not json", "{}", r#"{"msg":"Hello"}"#, r#"{"msg":"Migration info for"}"#]
        {
            assert_eq!(parse(other), None, "{other}");
        }
        assert_eq!(of_migration(&format!("{LINE}\nx\n{LINE}"), "0d6a").len(), 2);
        assert_eq!(of_migration(LINE, "other").len(), 0);
    }
}
