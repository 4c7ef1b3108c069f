//! The table of passes agrees with every answer of QEMU's from which it was made.

use std::collections::BTreeMap;

use serde_json::Value;

use super::techniques::number;
use super::{Outcome, detail};

/// QEMU's counters at the last answer of each synchronisation, by its own count.
struct Answer {
    remaining_pages: i64,
    sent_pages: i64,
}

fn last_answers(outcome: &Outcome) -> BTreeMap<u64, Answer> {
    let table = detail(outcome, "/polls_source");
    let columns = table["columns"].as_array().unwrap();
    let column = |name: &str| columns.iter().position(|it| it == name).unwrap();
    let [syncs, remaining, normal, duplicate] =
        ["ram.dirty-sync-count", "ram.remaining", "ram.normal", "ram.duplicate"].map(column);
    let rows = table["rows"].as_array().unwrap().iter();
    let known = rows.filter_map(|row| {
        let value = |column: usize| row[column].as_i64();
        let answer = Answer {
            remaining_pages: value(remaining)? / 4096,
            sent_pages: value(normal)? + value(duplicate)?,
        };
        Some((row[syncs].as_u64()?, answer))
    });
    known.collect()
}

/// Dirty pages of each pass by QEMU's own count of synchronisations, and times that do not contradict its own.
#[track_caller]
pub(super) fn assert_agree(outcome: &Outcome) {
    let answers = last_answers(outcome);
    let passes = outcome.report()["passes"].as_array().unwrap();
    let mut most = 0;
    for pass in &passes[1..] {
        let Some(found) = pass["dirty_pages_at_sync"].as_i64() else { continue };
        let sync = pass["number"].as_u64().unwrap();
        let (before, after) = (&answers[&(sync - 1)], &answers[&sync]);
        let grown = after.remaining_pages - before.remaining_pages;
        assert_eq!(found, grown + after.sent_pages - before.sent_pages, "{pass}");
        most = found.max(most);
    }
    assert!(most > 100, "no pass found more than {most} pages: {passes:?}");
    let rate = number(outcome.summary("dirty_rate_bytes_per_second"));
    assert!(rate > 100.0 * 4096.0, "{rate} bytes per second");
    assert_times(outcome, &passes[0]);
}

#[track_caller]
fn assert_times(outcome: &Outcome, first_pass: &Value) {
    let setup = number(outcome.summary("setup_seconds"));
    assert!(setup > 0.0, "{setup} s of setup");
    assert!((setup - number(&first_pass["started_seconds"])).abs() < 1e-6, "{setup} s of setup");
    let theirs = number(detail(outcome, "/source_counters/total_milliseconds")) / 1e3;
    let ours = number(outcome.summary("total_time_seconds"));
    assert!(ours >= theirs, "{ours} s in all, by QEMU itself {theirs} s");
    assert!(number(detail(outcome, "/accepted_uncertainty_seconds")) > 0.0);
}
