//! The downtime in words, the same in every view: what was measured, or that it is unknown, with what
//! the engine claims and what it was to keep to.

use sterna_report::{Report, Summary};
use sterna_units::Span;

use crate::{
    number::{DASH, UNKNOWN, seconds},
    text::{append_in_brackets, setting},
};

/// With all that is known of it.
pub(crate) fn long(report: &Report) -> String {
    let summary = &report.summary;
    let claimed = summary.downtime_claimed_seconds.map(|it| format!("claimed {}", seconds(it)));
    match summary.downtime_seconds {
        None => unknown(report),
        Some(downtime) => {
            let mut words = seconds(downtime);
            if let Some(uncertainty) = summary.downtime_uncertainty_seconds {
                words.push_str(&format!(" ± {}", seconds(uncertainty)));
            }
            words.push_str(&over_limit(summary));
            let limit =
                setting(report, "migration", "downtime-limit").map(|it| format!("limit {it}"));
            append_in_brackets(words, claimed.into_iter().chain(limit))
        }
    }
}

/// Where none was measured: with the claim, if there is one. The limit says nothing without it.
pub(crate) fn unknown(report: &Report) -> String {
    if is_paused(report) {
        return "none (the guest was paused)".to_owned();
    }
    let claim = claim(report);
    append_in_brackets(UNKNOWN.to_owned(), (!claim.is_empty()).then_some(claim).into_iter())
}

/// `claimed 120 ms, limit 500 ms`; nothing without a claim.
pub(crate) fn claim(report: &Report) -> String {
    let Some(claimed) = report.summary.downtime_claimed_seconds else { return String::new() };
    let claimed = format!("claimed {}", seconds(claimed));
    std::iter::once(claimed).chain(limit(report)).collect::<Vec<_>>().join(", ")
}

/// In a table: a dash where nothing is known.
pub(crate) fn short(report: &Report) -> String {
    let summary = &report.summary;
    match (summary.downtime_seconds, summary.downtime_claimed_seconds) {
        (Some(downtime), _) => {
            let mark = if summary.downtime_over_limit().is_some() { " > limit" } else { "" };
            format!("{}{mark}", seconds(downtime))
        }
        (None, _) if is_paused(report) => "none".to_owned(),
        (None, Some(_)) => unknown(report),
        (None, None) => DASH.to_owned(),
    }
}

/// The mark on a downtime that is longer than its limit.
pub(crate) fn over_limit(summary: &Summary) -> String {
    match summary.downtime_limit_seconds.filter(|_| summary.downtime_over_limit().is_some()) {
        Some(limit) => format!(" ABOVE its limit of {}", seconds(limit)),
        None => String::new(),
    }
}

/// A guest that stands still on purpose has no downtime.
fn is_paused(report: &Report) -> bool {
    let paused = report.scenario.get("guest").and_then(|it| it.get("paused"));
    paused.and_then(|it| it.as_bool()) == Some(true)
}

fn limit(report: &Report) -> Option<String> {
    let text = setting(report, "migration", "downtime-limit")?;
    let words = text.parse::<Span>().map_or(text, |it| seconds(it.seconds()));
    Some(format!("limit {words}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sterna_report::{Engine, Host, Tool};

    use super::*;

    #[test]
    fn a_claim_is_shown_where_nothing_was_measured() {
        let scenario = json!({"migration": {"downtime-limit": "500ms"}});
        let scenario = scenario.as_object().unwrap().clone();
        let (tool, host, engine) = (Tool::default(), Host::default(), Engine::default());
        let mut report = Report::new(tool, host, engine, String::new(), scenario);
        assert_eq!((long(&report), short(&report)), (UNKNOWN.to_owned(), DASH.to_owned()));
        report.summary.downtime_claimed_seconds = Some(0.12);
        let expected = "unknown (claimed 120 ms, limit 500 ms)";
        assert_eq!([long(&report), short(&report)], [expected; 2]);
        assert!(crate::one_line(&report).ends_with(expected), "{}", crate::one_line(&report));
        report.summary.downtime_seconds = Some(0.1);
        assert_eq!(long(&report), "100 ms (claimed 120 ms, limit 500ms)");
        assert_eq!(short(&report), "100 ms");
    }
}
