//! Whether `sterna compare` tells real runs apart that differ by a known throttle, and equal ones not.
//!
//! Sides take turns, so that whatever else the machine does meets all of them alike.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use sterna_report::Verdict;

use crate::flight::{Flights, Landed, flags};

/// Enough for the test to tell a difference from chance, with the metrics that there are.
const REPEATS: u32 = 8;
const THROTTLE: &str = "400Mbit/s";
/// A fifth less.
const SLOWER_THROTTLE: &str = "320Mbit/s";

/// What was said over all trials.
#[derive(Default)]
struct Counts {
    told_apart: u32,
    false_alarms: Vec<String>,
}

/// `count` trials, each with two equal sides and one that is slower.
pub fn run(sterna: &Path, flights: &Flights, count: u32) -> Result<ExitCode> {
    let mut counts = Counts::default();
    for trial in 1..=count {
        let folder = tempfile::tempdir().context("Cannot create a temporary folder")?;
        let sides = [("first", THROTTLE), ("second", THROTTLE), ("slower", SLOWER_THROTTLE)];
        for number in 1..=REPEATS {
            for (side, throttle) in sides {
                let path = folder.path().join(side).join(format!("{number}.json"));
                fly(flights, throttle, number, &path)?;
            }
        }
        let equal = compared(sterna, folder.path(), "first", "second")?;
        let slower = compared(sterna, folder.path(), "first", "slower")?;
        let total = change_of(&slower, "total-time");
        counts.told_apart += u32::from(total == "regressed");
        let alarms = alarms(&equal);
        println!(
            "trial {trial}: {THROTTLE} against {SLOWER_THROTTLE}: total time {total} ({}); against itself: {}",
            medians(&slower),
            if alarms.is_empty() { "nothing changed".to_owned() } else { alarms.join(", ") }
        );
        counts.false_alarms.extend(alarms);
    }
    Ok(judge(&counts, count))
}

/// All slower sides must be told apart. An equal one may raise an alarm by chance, as often as the error allows.
fn judge(counts: &Counts, count: u32) -> ExitCode {
    let Counts { told_apart, false_alarms } = counts;
    let alarms = false_alarms.len();
    println!(
        "{told_apart} of {count} slower sides were told apart; {alarms} alarms over {count} equal sides"
    );
    let is_good = *told_apart == count && alarms as f64 <= (f64::from(count) * 0.02).max(1.0);
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn fly(flights: &Flights, throttle: &str, number: u32, path: &Path) -> Result<()> {
    let Landed { report, .. } = flights.fly(&flags([
        ("name", "throttled".to_owned()),
        ("seed", number.to_string()),
        ("memory", "32MiB".to_owned()),
        ("workload-memory", "100%".to_owned()),
        ("rate", "4MiB/s".to_owned()),
        ("max-bandwidth", throttle.to_owned()),
        ("warmup", "300ms".to_owned()),
        ("cooldown", "100ms".to_owned()),
    ]))?;
    ensure!(report.summary.verdict == Verdict::Completed, "A run over {throttle} did not complete");
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    Ok(report.write_atomically(path)?)
}

/// What `sterna compare` says, as a user's script would read it.
fn compared(sterna: &Path, folder: &Path, reference: &str, candidate: &str) -> Result<Value> {
    let mut command = Command::new(sterna);
    command.args(["compare", reference, candidate, "--format", "json"]).current_dir(folder);
    let output = command.output().with_context(|| format!("Cannot start {}", sterna.display()))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "sterna compare ended with {}: {said}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn metrics(comparison: &Value) -> impl Iterator<Item = &Value> {
    comparison["scenarios"][0]["metrics"].as_array().into_iter().flatten()
}

fn change_of(comparison: &Value, metric: &str) -> String {
    let found = metrics(comparison).find(|it| it["metric"] == metric);
    found.and_then(|it| it["change"].as_str()).unwrap_or("not measured").to_owned()
}

/// Metrics of equal sides that are said to differ.
fn alarms(comparison: &Value) -> Vec<String> {
    let changed = |it: &&Value| matches!(it["change"].as_str(), Some("regressed" | "improved"));
    let words = |it: &Value| format!("{} {}", it["metric"], it["change"]).replace('"', "");
    metrics(comparison).filter(changed).map(words).collect()
}

fn medians(comparison: &Value) -> String {
    let Some(total) = metrics(comparison).find(|it| it["metric"] == "total-time") else {
        return String::new();
    };
    let median = |side: &str| total[side]["median"].as_f64().unwrap_or(f64::NAN);
    let p = total["adjusted_p_value"].as_f64().unwrap_or(f64::NAN);
    format!("{:.3} s and {:.3} s, p {p:.4}", median("reference"), median("candidate"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_slower_side_that_is_missed_and_many_alarms_are_failures() {
        let counts = |told_apart, alarms: usize| Counts {
            told_apart,
            false_alarms: vec![String::new(); alarms],
        };
        let is_good =
            |it: &Counts| format!("{:?}", judge(it, 10)) == format!("{:?}", ExitCode::SUCCESS);
        assert!(is_good(&counts(10, 0)) && is_good(&counts(10, 1)));
        assert!(!is_good(&counts(9, 0)) && !is_good(&counts(10, 2)));
    }

    #[test]
    fn what_changed_is_read_from_a_comparison() {
        let metric = |name: &str, change: &str| json!({ "metric": name, "change": change });
        let metrics = [metric("total-time", "regressed"), metric("downtime", "no-change")];
        let comparison = json!({ "scenarios": [{ "metrics": metrics }] });
        assert_eq!(change_of(&comparison, "total-time"), "regressed");
        assert_eq!(change_of(&comparison, "blackout"), "not measured");
        assert_eq!(alarms(&comparison), ["total-time regressed"]);
    }
}
