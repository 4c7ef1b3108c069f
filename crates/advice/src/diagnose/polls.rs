//! What single answers of an engine show, where a report has no rows of passes: query-migrate, domjobinfo, a launcher's log.
//!
//! The engine's own dirty rate is the distinct pages of its last pass over the length of that pass. It is no evidence for
//! windows of another length, but beside the bandwidth it says whether the last pass gained on the guest.

use sterna_report::{Poll, Report};
use sterna_units::{human_bytes, human_bytes_per_second, human_seconds};

/// From this share on the guest writes as fast as the stream carries.
const KEEPS_UP: f64 = 0.95;

/// What is left has not become less when it lies within this share of what it was.
const SAME: f64 = 0.1;

/// Answers that a trend needs.
const FEWEST: usize = 3;

/// Sentences about a migration that did not end; empty where the answers say nothing.
pub fn why(report: &Report) -> Vec<String> {
    let rates = rates(&report.timeline);
    let mut why: Vec<String> =
        [trend(&report.timeline), pace(&report.timeline)].into_iter().flatten().collect();
    if let Some(downtime) = report.timeline.last().and_then(|it| it.expected_downtime_seconds)
        && rates.is_some()
    {
        why.push(format!(
            "The engine expected a downtime of {}: with a downtime limit above that it would have ended there and then",
            human_seconds(downtime)
        ));
    }
    why
}

/// The dirty rate by the engine and its bandwidth, from the last answer that has both.
pub fn rates(timeline: &[Poll]) -> Option<(f64, f64)> {
    let mut both = timeline
        .iter()
        .filter_map(|it| it.dirty_rate_bytes_per_second.zip(it.bandwidth_bytes_per_second));
    both.rfind(|(dirty, carried)| *dirty > 0.0 && *carried > 0.0)
}

fn pace(timeline: &[Poll]) -> Option<String> {
    let (dirty, carried) = rates(timeline)?;
    let numbers = format!(
        "when it was last seen the guest wrote {} in distinct pages by the engine's own count, and the stream carried {}",
        human_bytes_per_second(dirty),
        human_bytes_per_second(carried)
    );
    Some(if dirty >= KEEPS_UP * carried {
        format!(
            "It cannot end by itself: {numbers}; less load, more bandwidth, or a technique that slows the guest or follows it is needed"
        )
    } else {
        format!(
            "It gains on the guest: {numbers}; what is left shrinks from pass to pass, by {:.0} % each time",
            100.0 * (1.0 - dirty / carried)
        )
    })
}

fn trend(timeline: &[Poll]) -> Option<String> {
    let left: Vec<(f64, u64)> = timeline
        .iter()
        .filter_map(|it| Some((it.t_seconds, it.remaining_bytes?)))
        .filter(|it| it.1 > 0)
        .collect();
    if left.len() < FEWEST {
        return None;
    }
    let (early, late) = left.split_at(left.len() / 2);
    let least = |part: &[(f64, u64)]| part.iter().map(|it| it.1).min().unwrap_or(0);
    let (before, after) = (least(early), least(late));
    let seconds = left[left.len() - 1].0 - left[0].0;
    let over = format!("over {} answers within {}", left.len(), human_seconds(seconds));
    if after as f64 >= (1.0 - SAME) * before as f64 {
        Some(format!(
            "What was left did not become less: {} at least in the first half and {} in the second, {over}",
            human_bytes(before as f64),
            human_bytes(after as f64)
        ))
    } else {
        Some(format!(
            "What was left became less: from {} to {}, {over}",
            human_bytes(before as f64),
            human_bytes(after as f64)
        ))
    }
}
