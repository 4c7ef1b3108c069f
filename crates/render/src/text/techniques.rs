//! What the techniques did, as far as the engine tells it under names that are known here.

use serde_json::Value;
use sterna_report::Report;
use sterna_units::Bytes;

use crate::{
    number::{count, seconds},
    page::Page,
};

/// One row for each technique that was at work; nothing when none was.
pub fn section(report: &Report, page: &mut Page) {
    let rows = [
        ("xbzrle", xbzrle(report)),
        ("throttle", throttle(report)),
        ("hold", hold(report)),
        ("switchover", switchover(report)),
    ];
    if rows.iter().all(|(_, words)| words.is_none()) {
        return;
    }
    page.heading("Techniques");
    for (label, words) in rows {
        if let Some(words) = words {
            page.row(label, &words);
        }
    }
}

fn xbzrle(report: &Report) -> Option<String> {
    let counter = |name: &str| counter(report, &format!("xbzrle_{name}"));
    let (pages, bytes) = (counter("pages")?, counter("bytes")?);
    let mut words = format!(
        "{} looked up and found, reported in {}",
        count(pages as u64, "page", "pages"),
        Bytes(bytes as u64).human()
    );
    if let Some((misses, overflows)) = counter("cache_misses").zip(counter("overflows")) {
        words.push_str(&format!("; {misses} cache misses, {overflows} too different"));
    }
    Some(words)
}

fn throttle(report: &Report) -> Option<String> {
    let percent = counter(report, "throttle_percent")?;
    Some(format!("the guest was held back up to {percent:.0} % of its time"))
}

fn hold(report: &Report) -> Option<String> {
    let hold = report.engine.details.get("hold")?;
    Some(match hold.get("proven")?.as_bool()? {
        true => "proven: memory was sent, written and sent again".to_owned(),
        false => "NOT PROVEN that memory was sent, written and sent again".to_owned(),
    })
}

/// Only where the two rules would have stopped the guest at different times.
fn switchover(report: &Report) -> Option<String> {
    let decision = report.engine.details.get("switchover_decision")?;
    let rule = decision.get("rule")?.as_str()?;
    let other = if rule == "qemu" { "effective" } else { "qemu" };
    let verdict = |rule: &str| decision.get(format!("{rule}_would_stop"));
    let passes = |rule: &str| verdict(rule)?.get("after_passes")?.as_u64();
    if passes(rule) == passes(other) {
        return None;
    }
    let words = |rule: &str| {
        let expected = verdict(rule).and_then(|it| it.get("expected_downtime_seconds")?.as_f64());
        match passes(rule).zip(expected) {
            Some((passes, expected)) => format!(
                "after {} with {} of downtime",
                count(passes, "pass", "passes"),
                seconds(expected)
            ),
            None => "not at all".to_owned(),
        }
    };
    Some(format!("by rule {rule} {}; by rule {other} {}", words(rule), words(other)))
}

fn counter(report: &Report, name: &str) -> Option<f64> {
    report.engine.details.get("source_counters")?.get(name).and_then(Value::as_f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use sterna_report::{Engine, Host, Tool};

    #[track_caller]
    fn check(details: Value, expected: &[Option<&str>; 4]) {
        let Value::Object(details) = details else { panic!("an object is needed") };
        let engine = Engine { details: details.into_iter().collect(), ..Engine::default() };
        let scenario = serde_json::Map::new();
        let report = Report::new(Tool::default(), Host::default(), engine, String::new(), scenario);
        let found = [xbzrle(&report), throttle(&report), hold(&report), switchover(&report)];
        assert_eq!(found.each_ref().map(Option::as_deref), *expected);
    }

    #[test]
    fn what_was_at_work_is_told_in_words() {
        check(json!({}), &[None; 4]);
        check(
            json!({
                "source_counters": {
                    "xbzrle_pages": 1000,
                    "xbzrle_bytes": 20480,
                    "xbzrle_cache_misses": 7,
                    "xbzrle_overflows": 2,
                    "throttle_percent": 90.0,
                },
                "hold": { "proven": false },
            }),
            &[
                Some(
                    "1000 pages looked up and found, reported in 20.0 KiB; 7 cache misses, 2 too different",
                ),
                Some("the guest was held back up to 90 % of its time"),
                Some("NOT PROVEN that memory was sent, written and sent again"),
                None,
            ],
        );
    }

    #[test]
    fn the_other_rule_is_told_where_it_judges_otherwise() {
        let stop = |passes: u64| json!({"after_passes": passes, "expected_downtime_seconds": 0.05});
        let decision = |effective: Value, qemu: Value| {
            json!({"switchover_decision": {
                "rule": "effective",
                "effective_would_stop": effective,
                "qemu_would_stop": qemu,
            }})
        };
        check(decision(stop(3), stop(3)), &[None; 4]);
        check(
            decision(stop(3), Value::Null),
            &[
                None,
                None,
                None,
                Some(
                    "by rule effective after 3 passes with 50.0 ms of downtime; by rule qemu not at all",
                ),
            ],
        );
    }
}
