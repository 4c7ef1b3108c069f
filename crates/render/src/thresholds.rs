//! What became of the bounds that a run was asked to keep to, in words.

use sterna_report::{Report, Threshold, ThresholdOutcome};
use sterna_units::{human_bytes, human_bytes_per_second};

use crate::number::{UNKNOWN, seconds, three_digits};

/// Whether every bound was kept, and which was not; `None` where none was given.
pub fn line(report: &Report) -> Option<String> {
    if report.thresholds.is_empty() {
        return None;
    }
    let broken: Vec<String> = broken(report).map(sentence).collect();
    Some(match broken.as_slice() {
        [] => {
            let kept: Vec<String> = report.thresholds.iter().map(sentence).collect();
            format!("Thresholds kept: {}", kept.join("; "))
        }
        [one] => format!("Threshold missed: {one}"),
        several => format!("Thresholds missed: {}", several.join("; ")),
    })
}

/// What to add to a line about the run; empty where every bound was kept.
pub fn suffix(report: &Report) -> String {
    let broken: Vec<&str> = broken(report).map(|it| it.fail_if.as_str()).collect();
    match broken.as_slice() {
        [] => String::new(),
        several => format!("; THRESHOLD MISSED: {}", several.join(", ")),
    }
}

/// The bounds that were not seen to be kept.
fn broken(report: &Report) -> impl Iterator<Item = &Threshold> {
    report.thresholds.iter().filter(|it| !it.is_kept())
}

fn sentence(threshold: &Threshold) -> String {
    let at_least = if threshold.is_lower_bound { "at least " } else { "" };
    let found = match threshold.value {
        Some(value) => format!("{at_least}{}", in_unit(value, &threshold.unit)),
        None => UNKNOWN.to_owned(),
    };
    let doubt = match threshold.outcome {
        ThresholdOutcome::Unknown if threshold.value.is_some() => ", which does not say",
        _ => "",
    };
    format!("{} is {found}{doubt} ({})", threshold.metric, threshold.fail_if)
}

fn in_unit(value: f64, unit: &str) -> String {
    match unit {
        "seconds" => seconds(value),
        "bytes" => human_bytes(value),
        "bytes_per_second" => human_bytes_per_second(value),
        "count" => format!("{value:.0}"),
        _ => three_digits(value),
    }
}
