//! What the readers of other programs' results have in common.

use serde_json::{Map, Value};

use crate::{Engine, Host, Report, Tool, Warning};

/// What stands where a text is needed and the program did not say.
pub(super) const UNKNOWN: &str = "unknown";

/// A report of another program in which nothing stands yet.
pub(super) fn report(tool: &str, version: Option<&str>, engine: &str) -> Report {
    let tool = Tool {
        name: tool.to_owned(),
        version: version.unwrap_or(UNKNOWN).to_owned(),
        features: Vec::new(),
    };
    let engine = Engine { name: engine.to_owned(), ..Engine::default() };
    Report::new(tool, Host::default(), engine, UNKNOWN.to_owned(), Map::new())
}

/// Seconds since 1970 as RFC 3339 text.
pub(super) fn moment(epoch_seconds: f64) -> Option<String> {
    let milliseconds = (epoch_seconds * 1e3).round();
    let is_sane = milliseconds.is_finite() && milliseconds.abs() < 1e15;
    is_sane
        .then(|| jiff::Timestamp::from_millisecond(milliseconds as i64).ok())
        .flatten()
        .map(|it| it.to_string())
}

/// A text, number or truth at a dotted path of the scenario.
pub(super) fn set(scenario: &mut Map<String, Value>, path: &str, value: impl Into<Value>) {
    match path.split_once('.') {
        None => {
            scenario.insert(path.to_owned(), value.into());
        }
        Some((table, rest)) => {
            let inner = scenario.entry(table).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                set(inner, rest, value);
            }
        }
    }
}

/// A warning without advice.
pub(super) fn warn(report: &mut Report, code: &str, text: impl Into<String>) {
    let warning = Warning { code: code.to_owned(), text: text.into(), advice: None };
    report.warnings.push(warning);
}

/// Names what has no place in a report, where there is something.
pub(super) fn warn_of_unmapped(report: &mut Report, fields: Vec<String>) {
    warn_of_fields(report, fields, "which were left out");
}

/// The same of what `engine.details.other` keeps.
pub(super) fn warn_of_kept(report: &mut Report, fields: Vec<String>) {
    warn_of_fields(report, fields, "which are kept in engine.details.other");
}

fn warn_of_fields(report: &mut Report, mut fields: Vec<String>, how: &str) {
    const MOST: usize = 40;
    fields.sort();
    fields.dedup();
    if fields.is_empty() {
        return;
    }
    let more = fields.len().saturating_sub(MOST);
    fields.truncate(MOST);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    let text =
        format!("The file has fields without a counterpart, {how}: {}{more}", fields.join(", "));
    warn(report, "not-mapped", text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_text_in_utc_and_nonsense_is_none() {
        assert_eq!(moment(1_464_690_000.25).as_deref(), Some("2016-05-31T10:20:00.25Z"));
        assert_eq!(moment(f64::NAN), None);
        assert_eq!(moment(1e300), None);
    }

    #[test]
    fn a_path_makes_its_tables() {
        let mut scenario = Map::new();
        set(&mut scenario, "a.b.c", 1);
        set(&mut scenario, "a.d", "x");
        assert_eq!(Value::Object(scenario).to_string(), r#"{"a":{"b":{"c":1},"d":"x"}}"#);
    }
}
