//! Whether a report keeps to the bounds that its scenario gives.

use serde_json::Value;
use sterna_report::comparison::Metric;
use sterna_report::{Report, Threshold, ThresholdOutcome};
use sterna_scenario::{MeasureSource, Scenario, Threshold as Asked};

/// Looks at each bound of the scenario, and writes into the report what became of it.
///
/// A number that is not known counts as missed. So does one that is only known to be at least so much, where that
/// much would keep to an upper bound.
pub fn judge(scenario: &Scenario, report: &mut Report) {
    let Some(asked) = &scenario.slo.fail_if else { return };
    // Numbers cannot fail to become JSON; if they did, nothing would be known of them.
    let summary = serde_json::to_value(&report.summary).unwrap_or_default();
    report.thresholds = asked.0.iter().map(|it| judged(it, &summary, report)).collect();
}

fn judged(asked: &Asked, summary: &Value, report: &Report) -> Threshold {
    let value = value(asked, summary, report);
    let is_lower_bound = value.is_some_and(|it| is_lower_bound(asked, it, report));
    let outcome = match value {
        None => ThresholdOutcome::Unknown,
        // A larger value would keep to a lower bound, or miss an upper one, just the same.
        Some(value) if asked.is_missed_by(value) => match is_lower_bound && !asked.is_upper() {
            true => ThresholdOutcome::Unknown,
            false => ThresholdOutcome::Missed,
        },
        Some(_) if is_lower_bound && asked.is_upper() => ThresholdOutcome::Unknown,
        Some(_) => ThresholdOutcome::Kept,
    };
    Threshold {
        fail_if: asked.to_string(),
        metric: asked.measure.name.to_owned(),
        unit: asked.measure.unit.as_str().to_owned(),
        value,
        is_lower_bound,
        outcome,
    }
}

fn value(asked: &Asked, summary: &Value, report: &Report) -> Option<f64> {
    match asked.measure.source {
        MeasureSource::Field(pointer) => summary.pointer(pointer)?.as_f64(),
        MeasureSource::Nanoseconds(pointer) => Some(summary.pointer(pointer)?.as_f64()? / 1e9),
        MeasureSource::Comparison => Metric::named(asked.measure.name)?.value(report),
    }
}

/// Lost work may be a lower bound, and what has a resolution is not seen below it.
fn is_lower_bound(asked: &Asked, value: f64, report: &Report) -> bool {
    let summary = &report.summary;
    match asked.measure.name {
        "lost-work" => summary.lost_work_lower_bound == Some(true),
        "dirty-rate" => summary.dirty_rate_lower_bound == Some(true),
        "blackout" => {
            let resolution = summary.blackout_resolution_seconds.unwrap_or(0.0);
            value == 0.0 && asked.bound.value() < resolution
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use sterna_report::{
        Engine, Host, Integrity, Latency, Resumption, Summary, Tool, Verdict, WriteLatency, schema,
    };
    use sterna_scenario::Measure;

    use super::*;

    fn judged(summary: Summary, fail_if: &str) -> Report {
        let text = format!("[slo]\nfail-if = \"{fail_if}\"\n");
        let scenario = Scenario::from_toml(&text, "run.toml").unwrap();
        let (tool, host, engine) = (Tool::default(), Host::default(), Engine::default());
        let mut report = Report::new(tool, host, engine, String::new(), serde_json::Map::new());
        report.summary = summary;
        judge(&scenario, &mut report);
        report
    }

    fn completed() -> Summary {
        let latency = Latency { samples: 9, p50_ns: 1, p99_ns: 2, p999_ns: 3, max_ns: 4_000_000 };
        Summary {
            verdict: Verdict::Completed,
            integrity: Integrity::Verified,
            downtime_seconds: Some(0.25),
            blackout_seconds: Some(0.0),
            blackout_resolution_seconds: Some(0.002),
            lost_work_seconds: Some(0.5),
            lost_work_lower_bound: Some(true),
            write_latency: WriteLatency { during: Some(latency), ..WriteLatency::default() },
            resumption: Resumption { first_sample_seconds: Some(0.1), at_95_percent_seconds: None },
            passes: 3,
            ..Summary::default()
        }
    }

    #[test]
    fn each_bound_has_its_outcome_and_the_exit_code_follows() {
        use ThresholdOutcome::{Kept, Missed, Unknown};
        #[track_caller]
        fn check(fail_if: &str, outcome: ThresholdOutcome, code: u8) {
            let report = judged(completed(), fail_if);
            assert_eq!(report.thresholds[0].outcome, outcome, "{fail_if}");
            assert_eq!(report.exit_code(), code, "{fail_if}");
        }
        check("downtime>300ms", Kept, 0);
        check("downtime>200ms", Missed, 4);
        check("downtime<200ms", Kept, 0);
        check("passes<4", Missed, 4);
        check("write-latency-max>3ms", Missed, 4);
        check("write-latency-max>5ms", Kept, 0);
        check("first-sample>50ms", Missed, 4);
        // What is not known is no evidence.
        check("back>1s", Unknown, 4);
        check("total-time>1h", Unknown, 4);
        check("outage>1h", Unknown, 4);
        // At least half a second.
        check("lost-work>400ms", Missed, 4);
        check("lost-work>1s", Unknown, 4);
        check("lost-work<1s", Unknown, 4);
        check("lost-work<400ms", Kept, 0);
        // Gaps below 2 ms are not recorded.
        check("blackout>2ms", Kept, 0);
        check("blackout>1ms", Unknown, 4);
    }

    #[test]
    fn one_missed_bound_among_several_is_enough() {
        let report = judged(completed(), "downtime>300ms;passes>2;blackout>1s");
        let outcomes: Vec<bool> = report.thresholds.iter().map(Threshold::is_kept).collect();
        assert_eq!(outcomes, [true, false, true]);
        assert_eq!(report.exit_code(), 4);
    }

    #[test]
    fn a_run_that_did_not_complete_keeps_its_own_exit_code() {
        for (verdict, code) in
            [(Verdict::Cancelled, 3), (Verdict::Unsupported, 5), (Verdict::Interrupted, 130)]
        {
            let report = judged(Summary { verdict, ..completed() }, "downtime>200ms");
            assert_eq!(report.exit_code(), code, "{verdict}");
        }
        let corrupt = Summary { integrity: Integrity::Corrupt, ..completed() };
        assert_eq!(judged(corrupt, "downtime>300ms").exit_code(), 4);
    }

    #[test]
    fn without_bounds_nothing_is_judged() {
        assert_eq!(judged(completed(), "none").thresholds, []);
    }

    /// A field that is added to the summary needs a name, or a reason here.
    #[test]
    fn every_number_of_the_summary_has_a_name() {
        const OTHERWISE_NAMED: [&str; 11] = [
            // The same number in another unit.
            "/baseline_pages_per_second",
            "/touch_rate_pages_per_second",
            // What a measurement could show at all, and what was asked for.
            "/blackout_resolution_seconds",
            "/downtime_limit_seconds",
            // A moment.
            "/blackout_start_seconds",
            // How many times a percentile was made of.
            "/write_latency/baseline/samples",
            "/write_latency/during/samples",
            "/write_latency/baseline_since_due/samples",
            "/write_latency/during_since_due/samples",
            // Lists, of which `migration-cpu` is made.
            "/cpu/source",
            "/cpu/destination",
        ];
        let schema = schema();
        let mut found = BTreeSet::new();
        numbers(&schema, &schema["$defs"]["Summary"], "", &mut found);
        let named = Measure::ALL.iter().filter_map(|it| match it.source {
            MeasureSource::Field(it) | MeasureSource::Nanoseconds(it) => Some(it.to_owned()),
            MeasureSource::Comparison => None,
        });
        let named: BTreeSet<String> = named
            .chain(OTHERWISE_NAMED.map(str::to_owned))
            .filter(|it| !it.starts_with("/cpu"))
            .collect();
        assert_eq!(found, named);
        for measure in Measure::ALL.iter().filter(|it| it.source == MeasureSource::Comparison) {
            assert!(Metric::named(measure.name).is_some(), "{}", measure.name);
        }
    }

    /// The paths of all numbers below `node`; what was checked, not measured, is left out.
    fn numbers(schema: &Value, node: &Value, path: &str, found: &mut BTreeSet<String>) {
        if path.starts_with("/integrity_detail") || path.starts_with("/disk_integrity") {
            return;
        }
        let types = node["type"].as_array().cloned().unwrap_or_else(|| vec![node["type"].clone()]);
        if types.iter().any(|it| it == "number" || it == "integer") {
            found.insert(path.to_owned());
        }
        let alternatives = node["anyOf"].as_array().into_iter().flatten();
        for node in alternatives.chain(std::iter::once(node)) {
            if let Some(name) = node["$ref"].as_str().and_then(|it| it.strip_prefix("#/$defs/")) {
                numbers(schema, &schema["$defs"][name], path, found);
            }
        }
        for (name, node) in node["properties"].as_object().into_iter().flatten() {
            numbers(schema, node, &format!("{path}/{name}"), found);
        }
    }
}
