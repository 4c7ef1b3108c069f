//! virt-launcher's own account of a migration: the only source of what happens in each iteration.
//!
//! Its `compute` container writes JSON lines; one of them every few seconds describes the migration, as `Key:value`
//! pairs whose set and units changed over the releases. So every pair is optional, every unit is read, and what is
//! unknown is left alone.
//!
//! Rates are the differences of amounts. The rates that virt-launcher prints cannot be trusted: some releases divide
//! by 8 where they should multiply, so their `Mbps` is 64 times too small, and no line says which release wrote it.
//! The amounts show which of the two a log means; that scale then holds for its dirty rates, which have no amount.

use std::collections::BTreeMap;

use serde_json::Value;

/// What one line says. Absent is unknown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LauncherLine {
    /// The migration that it is about.
    pub uid: String,
    /// When it was written, as the line has it.
    pub at: Option<String>,
    /// Since libvirt's job began, in seconds.
    pub elapsed_seconds: Option<f64>,
    /// All data so far.
    pub processed_bytes: Option<u64>,
    /// All data still to come.
    pub remaining_bytes: Option<u64>,
    /// All data that there is.
    pub total_bytes: Option<u64>,
    /// Memory so far.
    pub memory_processed_bytes: Option<u64>,
    /// Memory still to come.
    pub memory_remaining_bytes: Option<u64>,
    /// How fast memory moves: the amount since an earlier line of at least a second ago.
    pub bandwidth_bytes_per_second: Option<f64>,
    /// How fast pages become dirty; None where the scale of the log's rates is not known.
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
    /// What the standstill was, as virt-launcher claims.
    pub downtime_seconds: Option<f64>,
}

/// A log's lines about one migration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LauncherLog {
    /// The lines that could be read, in their order.
    pub lines: Vec<LauncherLine>,
    /// Lines that are about the migration and hold no amount that could be read.
    pub unreadable: usize,
}

impl LauncherLog {
    /// What is wrong with a log without a readable line; None where there is one.
    pub fn problem(&self) -> Option<String> {
        if !self.lines.is_empty() {
            return None;
        }
        Some(if self.unreadable > 0 {
            format!(
                "virt-launcher's log has {} lines about the migration, and none in a form that is known: rates, amounts and iterations are unknown",
                self.unreadable
            )
        } else {
            "virt-launcher's log has no line about the migration: rates, amounts and iterations are unknown; it writes one every few seconds, so a short migration may have none".to_owned()
        })
    }
}

/// A line, and its rates as it prints them.
struct Printed {
    line: LauncherLine,
    bandwidth: Option<PrintedRate>,
    dirty_rate: Option<PrintedRate>,
}

/// A rate with its unit.
#[derive(Clone, Copy)]
enum PrintedRate {
    /// The unit says what it is.
    BytesPerSecond(f64),
    /// `Mbps`, whose meaning depends on the release.
    Mbps(f64),
}

const MARK: &str = "Migration info for ";

/// Bytes a second of one `Mbps`: as it should be, and as releases between two of KubeVirt's changes compute it.
const MEGABIT: f64 = 125_000.0;
const DIVIDED_MEGABIT: f64 = 8_000_000.0;

/// Differences over less than this are too coarse: amounts are whole MiB.
const SHORTEST_SECONDS: f64 = 1.0;

/// All lines of a log about one migration.
pub fn read_log(log: &str, uid: &str) -> LauncherLog {
    let about_it = log.lines().filter_map(parse).filter(|it| it.line.uid == uid);
    let (readable, unreadable): (Vec<Printed>, Vec<Printed>) =
        about_it.partition(|it| it.line.has_amounts());
    let unreadable = unreadable.len();
    let measured: Vec<Option<f64>> =
        (0..readable.len()).map(|index| bandwidth(&readable, index)).collect();
    let scale = megabit(&readable, &measured);
    let lines = readable
        .into_iter()
        .zip(measured)
        .map(|(printed, measured)| {
            let rate = |it: Option<PrintedRate>| it.and_then(|it| it.bytes_per_second(scale));
            LauncherLine {
                bandwidth_bytes_per_second: measured.or(rate(printed.bandwidth)),
                dirty_rate_bytes_per_second: rate(printed.dirty_rate),
                ..printed.line
            }
        })
        .collect();
    LauncherLog { lines, unreadable }
}

impl LauncherLine {
    fn has_amounts(&self) -> bool {
        self.amount().is_some() || self.remaining_bytes.is_some() || self.iteration.is_some()
    }

    /// What was moved of memory; of everything where memory is not listed alone.
    fn amount(&self) -> Option<u64> {
        self.memory_processed_bytes.or(self.processed_bytes)
    }
}

impl PrintedRate {
    fn bytes_per_second(self, megabit: Option<f64>) -> Option<f64> {
        match self {
            PrintedRate::BytesPerSecond(rate) => Some(rate),
            PrintedRate::Mbps(number) => Some(number * megabit?),
        }
    }
}

/// The amount since the latest line that is at least a second older; for early lines, since the beginning.
fn bandwidth(lines: &[Printed], index: usize) -> Option<f64> {
    let point = |it: &Printed| Some((it.line.elapsed_seconds?, it.line.amount()?));
    let (now, amount) = point(&lines[index])?;
    let earlier = lines[..index].iter().rev().filter_map(point);
    let (then, before) =
        earlier.into_iter().find(|it| now - it.0 >= SHORTEST_SECONDS).unwrap_or((0.0, 0));
    // An amount that shrinks is that of a job that began again.
    let moved = amount.checked_sub(before)?;
    (now - then >= SHORTEST_SECONDS).then(|| moved as f64 / (now - then))
}

/// What one `Mbps` of this log is in bytes a second, as its amounts show; None where they show nothing.
fn megabit(lines: &[Printed], measured: &[Option<f64>]) -> Option<f64> {
    let mut ratios: Vec<f64> = lines
        .iter()
        .zip(measured)
        .filter_map(|(printed, measured)| match printed.bandwidth? {
            PrintedRate::Mbps(number) if number > 0.0 => Some((*measured)? / number),
            _ => None,
        })
        .filter(|it| *it > 0.0)
        .collect();
    ratios.sort_by(f64::total_cmp);
    let typical = *ratios.get(ratios.len() / 2)?;
    // The two differ by a factor of 64; halfway between them lies a factor of 8.
    Some(if typical < MEGABIT * 8.0 { MEGABIT } else { DIVIDED_MEGABIT })
}

/// Reads one line of the log; None where it is about something else.
fn parse(line: &str) -> Option<Printed> {
    // A log collector may put its own words before the object.
    let object: Value = serde_json::from_str(line.get(line.find('{')?..)?.trim()).ok()?;
    let message = object.get("msg").or_else(|| object.get("message"))?.as_str()?;
    let (uid, rest) = message.strip_prefix(MARK)?.split_once(':')?;
    let pairs = pairs(rest);
    let get = |key: &str, unit_of: fn(&str) -> Option<f64>| {
        let (number, unit) = split(pairs.get(key)?)?;
        Some(number * unit_of(unit)?)
    };
    let bytes = |key: &str| get(key, byte_unit).map(|it| it as u64);
    let seconds = |key: &str| {
        let (number, unit) = split(pairs.get(key)?)?;
        Some(number / units_per_second(unit)?)
    };
    let count = |key: &str| pairs.get(key)?.parse().ok();
    let rate = |key: &str, is_bare_known: bool| {
        let (number, unit) = split(pairs.get(key)?)?;
        match unit {
            "Mbps" => Some(PrintedRate::Mbps(number)),
            "" if !is_bare_known => None,
            "" => Some(PrintedRate::BytesPerSecond(number)),
            _ => {
                let unit = unit.strip_suffix("/s").or_else(|| unit.strip_suffix("ps"))?;
                Some(PrintedRate::BytesPerSecond(number * byte_unit(unit)?))
            }
        }
    };
    let line = LauncherLine {
        uid: uid.trim().to_owned(),
        at: object.get("timestamp").and_then(Value::as_str).map(str::to_owned),
        elapsed_seconds: seconds("TimeElapsed"),
        processed_bytes: bytes("DataProcessed"),
        remaining_bytes: bytes("DataRemaining"),
        total_bytes: bytes("DataTotal"),
        memory_processed_bytes: bytes("MemoryProcessed"),
        memory_remaining_bytes: bytes("MemoryRemaining"),
        bandwidth_bytes_per_second: None,
        dirty_rate_bytes_per_second: None,
        iteration: count("Iteration"),
        postcopy_requests: count("PostcopyRequests"),
        constant_pages: count("ConstantPages"),
        normal_pages: count("NormalPages"),
        expected_downtime_seconds: seconds("ExpectedDowntime"),
        downtime_seconds: seconds("Downtime"),
    };
    // A bare dirty rate may be in pages or in bytes, and no amount shows which.
    let (bandwidth, dirty_rate) = (rate("MemoryBandwidth", true), rate("DirtyRate", false));
    Some(Printed { line, bandwidth, dirty_rate })
}

/// The `Key:value` pairs; a value may have blanks around it and before its unit.
fn pairs(text: &str) -> BTreeMap<&str, String> {
    let mut pairs: BTreeMap<&str, String> = BTreeMap::new();
    let mut last = None;
    for word in text.split([' ', ',', ';']).filter(|it| !it.is_empty()) {
        match word.split_once(':') {
            Some((key, value)) => {
                pairs.insert(key, value.to_owned());
                last = Some(key);
            }
            None => {
                if let Some(value) = last.and_then(|key| pairs.get_mut(key)) {
                    value.push_str(word);
                }
            }
        }
    }
    pairs
}

/// A number and its unit.
fn split(value: &str) -> Option<(f64, &str)> {
    let end = value.find(|it: char| !it.is_ascii_digit() && it != '.').unwrap_or(value.len());
    let (number, unit) = value.split_at(end);
    let number: f64 = number.parse().ok()?;
    number.is_finite().then_some((number, unit))
}

/// Bytes of a unit; a bare number is in bytes.
fn byte_unit(unit: &str) -> Option<f64> {
    let units = [
        ("", 1.0),
        ("B", 1.0),
        ("KiB", 1024.0),
        ("MiB", 1_048_576.0),
        ("GiB", 1_073_741_824.0),
        ("KB", 1e3),
        ("kB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
    ];
    units.iter().find(|it| it.0 == unit).map(|it| it.1)
}

/// How many of a unit are a second; a bare number is in milliseconds, as libvirt counts.
fn units_per_second(unit: &str) -> Option<f64> {
    let units = [("", 1e3), ("ms", 1e3), ("s", 1.0), ("us", 1e6), ("ns", 1e9)];
    units.iter().find(|it| it.0 == unit).map(|it| it.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(pairs: &str) -> String {
        format!(
            r#"{{"component":"virt-launcher","level":"info","msg":"Migration info for 0d6a: {pairs}","pos":"live-migration-source.go:1","timestamp":"2026-01-02T03:04:05.678901Z"}}"#
        )
    }

    fn only(text: &str) -> LauncherLine {
        let log = read_log(text, "0d6a");
        assert_eq!((log.lines.len(), log.unreadable), (1, 0), "{text}");
        log.lines[0].clone()
    }

    const NEW: &str = "TimeElapsed:8008ms DataProcessed:1024MiB DataRemaining:512MiB DataTotal:8192MiB MemoryProcessed:1024MiB MemoryRemaining:512MiB MemoryTotal:8192MiB MemoryBandwidth:1073Mbps DirtyRate:80Mbps Iteration:3 PostcopyRequests:0 ConstantPages:7 NormalPages:9 NormalData:1MiB ExpectedDowntime:420ms DiskMbps:0";

    #[test]
    fn a_line_is_read_in_bytes_and_seconds() {
        let line = only(&line(NEW));
        assert_eq!(line.elapsed_seconds, Some(8.008));
        assert_eq!(line.processed_bytes, Some(1 << 30));
        assert_eq!(line.remaining_bytes, Some(512 << 20));
        assert_eq!(line.bandwidth_bytes_per_second, Some((1u64 << 30) as f64 / 8.008));
        assert_eq!(line.dirty_rate_bytes_per_second, Some(10e6));
        assert_eq!((line.iteration, line.normal_pages), (Some(3), Some(9)));
        assert_eq!(line.expected_downtime_seconds, Some(0.42));
        assert_eq!(line.downtime_seconds, None);
        assert_eq!(line.at.as_deref(), Some("2026-01-02T03:04:05.678901Z"));
    }

    #[test]
    fn rates_of_every_release_are_bytes_a_second() {
        // 304 MiB in 1 s are 318.8 MB/s: 2550 megabits, which the releases that divide print as 39.
        let amounts = "TimeElapsed:1000ms MemoryProcessed:304MiB Iteration:1";
        let rates = |printed: &str| {
            let line = only(&line(&format!("{amounts} {printed}")));
            (
                line.bandwidth_bytes_per_second.map(f64::round),
                line.dirty_rate_bytes_per_second.map(f64::round),
            )
        };
        let moved = Some(318_767_104.0);
        let table = [
            ("MemoryBandwidth:2550Mbps DirtyRate:80Mbps", Some(10e6)),
            ("MemoryBandwidth:39Mbps DirtyRate:42Mbps", Some(336e6)),
            // A link that is far slower or faster at that moment than on the average.
            ("MemoryBandwidth:900Mbps DirtyRate:80Mbps", Some(10e6)),
            ("MemoryBandwidth:120Mbps DirtyRate:42Mbps", Some(336e6)),
            ("MemoryBandwidth:318767104B/s DirtyRate:5MiB/s", Some(5_242_880.0)),
            ("MemoryBandwidth:318767104 DirtyRate:42", None),
            ("DirtyRate:42Mbps", None),
            ("MemoryBandwidth:0Mbps DirtyRate:42Mbps", None),
        ];
        for (printed, dirty_rate) in table {
            assert_eq!(rates(printed), (moved, dirty_rate), "{printed}");
        }
    }

    #[test]
    fn a_rate_is_the_difference_to_a_line_at_least_a_second_older() {
        let at = |elapsed: u64, mib: u64| {
            line(&format!("TimeElapsed:{elapsed}ms MemoryProcessed:{mib}MiB Iteration:1"))
        };
        let log = [at(500, 1), at(2000, 100), at(2100, 101), at(6000, 500), at(10_000, 20)];
        let log = read_log(&log.join("\n"), "0d6a");
        let rates: Vec<Option<f64>> =
            log.lines.iter().map(|it| it.bandwidth_bytes_per_second).collect();
        let mib = 1_048_576.0;
        let expected =
            [None, Some(99.0 / 1.5 * mib), Some(100.0 / 1.6 * mib), Some(399.0 / 3.9 * mib), None];
        for (rate, expected) in rates.iter().zip(expected) {
            match (rate, expected) {
                (Some(rate), Some(expected)) => assert!((rate - expected).abs() < 1.0, "{rates:?}"),
                _ => assert_eq!(*rate, expected, "{rates:?}"),
            }
        }
    }

    #[test]
    fn older_units_and_blanks_are_read() {
        let table = [
            "TimeElapsed:2000ms DataProcessed:1073741824 DataRemaining:536870912 Iteration:2",
            "TimeElapsed:2000 DataProcessed:1073741824B DataRemaining:524288KiB Iteration:2",
            "TimeElapsed: 2000 ms, DataProcessed: 1 GiB, DataRemaining: 0.5 GiB, Iteration: 2",
        ];
        for text in table {
            let line = only(&line(text));
            assert_eq!(line.elapsed_seconds, Some(2.0), "{text}");
            assert_eq!(line.processed_bytes, Some(1 << 30), "{text}");
            assert_eq!(line.remaining_bytes, Some(1 << 29), "{text}");
            assert_eq!(line.iteration, Some(2), "{text}");
            assert_eq!(line.bandwidth_bytes_per_second, Some((1u64 << 29) as f64), "{text}");
        }
    }

    #[test]
    fn lines_without_amounts_are_counted_and_other_lines_are_not() {
        let strange = line("TimeElapsed:1ms Iteration:x New:1");
        let unread = read_log(&strange, "0d6a");
        assert_eq!(unread, LauncherLog { lines: Vec::new(), unreadable: 1 });
        assert!(unread.problem().unwrap().contains("has 1 lines about the migration, and none"));
        for other in ["", "not json", "{}", r#"{"msg":"Hello"}"#, r#"{"msg":"Migration info for"}"#]
        {
            assert_eq!(read_log(other, "0d6a"), LauncherLog::default(), "{other}");
        }
        let text = line(NEW);
        assert_eq!(read_log(&format!("{text}\nx\n2026-01-02 pod {text}"), "0d6a").lines.len(), 2);
        assert_eq!(read_log(&text, "0d6a").problem(), None);
        let other = read_log(&text, "other");
        assert_eq!(other, LauncherLog::default());
        assert!(other.problem().unwrap().contains("has no line about the migration"));
    }
}
