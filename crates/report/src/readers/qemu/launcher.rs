//! Lines of a virt-launcher about a migration, as JSON or pasted in another form.
//!
//! Its rates are said to be in Mbps and were in other units over the releases, so they are kept as they
//! stand, and bandwidth comes from what was sent between two lines.

use std::collections::BTreeMap;

use super::quantity::{bytes, count, seconds};
use super::{Answer, QueryMigrate};

const MARK: &str = "Migration info for ";
/// Pairs that are read, or that another pair says as well.
const KNOWN: [&str; 12] = [
    "TimeElapsed",
    "DataProcessed",
    "DataRemaining",
    "DataTotal",
    "MemoryProcessed",
    "MemoryRemaining",
    "MemoryTotal",
    "Iteration",
    "PostcopyRequests",
    "ConstantPages",
    "NormalPages",
    "NormalData",
];

/// The answers in a text, of its last migration; `None` where there is none.
pub(super) fn answers(text: &str) -> Option<Vec<Answer>> {
    let found: Vec<(&str, Answer)> = text.lines().filter_map(line).collect();
    let last = found.last()?.0.to_owned();
    let mut answers: Vec<Answer> =
        found.into_iter().filter(|it| it.0 == last).map(|it| it.1).collect();
    add_bandwidth(&mut answers);
    Some(answers)
}

fn line(line: &str) -> Option<(&str, Answer)> {
    let (before, rest) = line.split_once(MARK)?;
    let (uid, rest) = rest.split_once(':')?;
    let end = rest.find('"').unwrap_or(rest.len());
    let pairs: BTreeMap<&str, &str> = words(&rest[..end]);
    let seconds_of = |key: &str| seconds(pairs.get(key)?);
    let bytes_of = |key: &str| bytes(pairs.get(key)?);
    let count_of = |key: &str| count(pairs.get(key)?);
    let mut query = QueryMigrate {
        total_time_seconds: seconds_of("TimeElapsed"),
        transferred_bytes: bytes_of("MemoryProcessed").or_else(|| bytes_of("DataProcessed")),
        remaining_bytes: bytes_of("MemoryRemaining").or_else(|| bytes_of("DataRemaining")),
        total_bytes: bytes_of("MemoryTotal").or_else(|| bytes_of("DataTotal")),
        dirty_sync_count: count_of("Iteration"),
        postcopy_requests: count_of("PostcopyRequests"),
        duplicate_pages: count_of("ConstantPages"),
        normal_pages: count_of("NormalPages"),
        normal_bytes: bytes_of("NormalData"),
        expected_downtime_seconds: seconds_of("ExpectedDowntime"),
        downtime_seconds: seconds_of("Downtime"),
        ..QueryMigrate::default()
    };
    for (key, value) in pairs {
        if !KNOWN.contains(&key) && !["ExpectedDowntime", "Downtime"].contains(&key) {
            query.other.insert(key.to_owned(), value.into());
        }
    }
    let says_something = query.has_amounts() || query.total_time_seconds.is_some();
    let at_epoch_seconds = stamp(before).or_else(|| stamp(&rest[end..]));
    says_something.then_some((uid.trim(), Answer { at_epoch_seconds, query }))
}

/// `TimeElapsed:10000ms DataProcessed:2972MiB`, with or without a space before the value.
fn words(text: &str) -> BTreeMap<&str, &str> {
    let mut pairs = BTreeMap::new();
    let mut key = None;
    for word in text.split([' ', ',', ';', '\t']).filter(|it| !it.is_empty()) {
        match (word.split_once(':'), key.take()) {
            (Some((name, "")), _) => key = Some(name),
            (Some((name, value)), _) => {
                pairs.insert(name, value);
            }
            (None, Some(name)) => {
                pairs.insert(name, word);
            }
            (None, None) => {}
        }
    }
    pairs
}

/// `"timestamp":"2026-01-02T03:04:05.678901Z"`
fn stamp(text: &str) -> Option<f64> {
    let (_, rest) = text.split_once("\"timestamp\"")?;
    let value = rest.split('"').nth(1)?;
    let stamp: jiff::Timestamp = value.parse().ok()?;
    Some(stamp.as_microsecond() as f64 / 1e6)
}

fn add_bandwidth(answers: &mut [Answer]) {
    let mut before = (0.0, 0);
    for answer in answers {
        let query = &mut answer.query;
        let Some(now) = query.total_time_seconds.zip(query.transferred_bytes) else { continue };
        let (seconds, bytes) = (now.0 - before.0, now.1.checked_sub(before.1));
        query.bandwidth_bytes_per_second =
            bytes.filter(|_| seconds > 0.0).map(|it| it as f64 / seconds);
        before = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bandwidth_is_what_was_sent_between_two_lines() {
        let text = "I0102 Migration info for a: TimeElapsed:1000ms DataProcessed:100MiB MemoryBandwidth:2Mbps\n\
            {\"msg\":\"Migration info for a: TimeElapsed: 3000ms DataProcessed: 500MiB\",\"timestamp\":\"2026-01-02T03:04:05Z\"}\n\
            Migration info for a: odd\n";
        let answers = answers(text).unwrap();
        let rates: Vec<Option<f64>> =
            answers.iter().map(|it| it.query.bandwidth_bytes_per_second).collect();
        assert_eq!(rates, [Some(104_857_600.0), Some(209_715_200.0)]);
        assert_eq!(answers[0].query.other["MemoryBandwidth"], "2Mbps");
        assert_eq!(answers[1].at_epoch_seconds, Some(1_767_323_045.0));
    }

    #[test]
    fn the_last_migration_of_a_log_is_read() {
        let line = |uid: &str, ms: u32| format!("Migration info for {uid}: TimeElapsed:{ms}ms\n");
        let answers =
            answers(&format!("{}{}{}", line("a", 1), line("b", 2), line("b", 3))).unwrap();
        assert_eq!(answers.len(), 2);
        assert_eq!(super::answers("nothing\n"), None);
    }
}
