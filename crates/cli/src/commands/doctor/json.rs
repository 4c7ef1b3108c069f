//! The findings for programs.

use anyhow::Result;
use serde_json::{Value, json};
use sterna_pilot::Finding;
use sterna_report::Host;

use super::default_run;

/// What stands in the field `schema`.
const SCHEMA_NAME: &str = "sterna-doctor";

/// The version of the shape; within a major version fields, names and facts are only added.
const SCHEMA_VERSION: &str = "1.0";

/// One JSON object: the machine, the sum (`default_run`), and each finding with its facts.
pub fn document(findings: &[Finding], host: &Host) -> Result<String> {
    let document = json!({
        "schema": SCHEMA_NAME,
        "schema_version": SCHEMA_VERSION,
        "tool": { "name": "sterna", "version": env!("CARGO_PKG_VERSION") },
        "host": serde_json::to_value(host)?,
        "default_run": default_run(findings).map(|it| it.availability.as_str()),
        "findings": findings.iter().map(finding).collect::<Vec<_>>(),
    });
    Ok(format!("{document:#}\n"))
}

fn finding(finding: &Finding) -> Value {
    let Finding { group, name, availability, is_required, value, facts } = finding;
    let shortfall = availability.shortfall();
    json!({
        "name": name,
        "group": group,
        "status": availability.as_str(),
        "is_required": is_required,
        "value": value,
        "facts": facts,
        "consequence": shortfall.map(|it| &it.consequence),
        "remedy": shortfall.map(|it| &it.remedy),
    })
}

#[cfg(test)]
mod tests {
    use sterna_pilot::Availability;

    use super::*;

    #[test]
    fn every_field_is_always_there_and_unknown_is_null() {
        let findings = [
            Finding::new("run", "default_run", "works", Availability::Ok).required(),
            Finding::new("tools", "spoon", "", Availability::missing("no soup", "buy one"))
                .fact("length_mm", None::<u64>),
        ];
        let text = document(&findings, &Host::default()).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["default_run"], "ok");
        assert_eq!(document["host"]["memory_bytes"], Value::Null);
        let expected = json!({
            "name": "spoon", "group": "tools", "status": "missing", "is_required": false,
            "value": null, "facts": { "length_mm": null },
            "consequence": "no soup", "remedy": "buy one",
        });
        assert_eq!(document["findings"][1], expected);
        assert_eq!(document["findings"][0]["remedy"], Value::Null);
        assert!(text.ends_with("}\n"));
    }
}
