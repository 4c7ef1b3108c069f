//! What happened in a run, for all charts over its time.

use sterna_report::{PassKind, Report, Verdict};

use crate::{
    html::figure::{Mark, MarkKind},
    number::seconds,
};

/// More passes than these are marked without their numbers.
const NUMBERED_PASSES: usize = 30;
/// More passes than these would cover the chart.
const MARKED_PASSES: usize = 300;

/// Warm-up, passes, the time at which the guest stood, post-copy and the end.
pub fn marks(report: &Report) -> Vec<Mark> {
    let mut marks = Vec::new();
    let first = report.guest.first().map(|it| it.t_seconds - it.interval_seconds);
    if let Some(from) = first.filter(|it| *it < 0.0) {
        marks.push(mark(MarkKind::WarmUp, from, Some(0.0), "warm-up".to_owned()));
    }
    let passes = || report.passes.iter().filter(|it| it.kind == PassKind::Pass);
    let count = passes().count();
    if count <= MARKED_PASSES {
        for pass in passes() {
            let text =
                if count <= NUMBERED_PASSES { pass.number.to_string() } else { String::new() };
            marks.push(mark(MarkKind::Pass, pass.started_seconds, None, text));
        }
    }
    if let Some((from, to)) = switchover(report) {
        let text = format!("guest stopped for {}", seconds(to - from));
        marks.push(mark(MarkKind::Switchover, from, Some(to), text));
    }
    if let Some((from, to)) = post_copy(report) {
        marks.push(mark(MarkKind::PostCopy, from, Some(to), "post-copy".to_owned()));
    }
    if let Some(at) = report.summary.total_time_seconds {
        marks.push(mark(MarkKind::End, at, None, ending(report.summary.verdict).to_owned()));
    }
    marks
}

/// When the guest stood between the two sides.
pub fn switchover(report: &Report) -> Option<(f64, f64)> {
    let stopped = moment(report, "stopped")?;
    let resumed = moment(report, "resumed").or_else(|| moment(report, "restored"))?;
    (resumed >= stopped).then_some((stopped, resumed))
}

/// The time in which the guest ran on the destination and memory was missing there.
fn post_copy(report: &Report) -> Option<(f64, f64)> {
    let is_post_copy = |state: &str| state.starts_with("postcopy");
    let polled = report.timeline.iter().find(|it| is_post_copy(&it.state));
    let from = moment(report, "resumed").filter(|_| polled.is_some());
    let from = from.or_else(|| polled.map(|it| it.t_seconds))?;
    let last = report.timeline.iter().rfind(|it| is_post_copy(&it.state)).map(|it| it.t_seconds);
    let to = report.summary.total_time_seconds.or(last)?;
    (to > from).then_some((from, to))
}

fn moment(report: &Report, kind: &str) -> Option<f64> {
    report.events.iter().rfind(|it| it.kind == kind).map(|it| it.t_seconds)
}

fn mark(kind: MarkKind, from: f64, to: Option<f64>, text: String) -> Mark {
    Mark { kind, from, to, text }
}

fn ending(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Completed | Verdict::CompletedForced => "completed",
        other => other.as_str(),
    }
}
