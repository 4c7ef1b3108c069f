//! The findings for programs.

use anyhow::Result;
use sterna_pilot::{Availability, Finding};
use sterna_report::Host;
use sterna_report::doctor::{
    self, DOCTOR_SCHEMA_NAME, DOCTOR_SCHEMA_VERSION, FindingStatus, Findings,
};

use super::default_run;
use crate::machine;

/// One JSON object: the machine, the sum (`default_run`), and each finding with its facts.
pub fn document(findings: &[Finding], host: &Host) -> Result<String> {
    let document = Findings {
        schema: DOCTOR_SCHEMA_NAME.to_owned(),
        schema_version: DOCTOR_SCHEMA_VERSION.to_owned(),
        tool: machine::tool(),
        host: host.clone(),
        default_run: default_run(findings).map(|it| status(&it.availability)),
        findings: findings.iter().map(finding).collect(),
    };
    // By way of a value, so that fields stand in the order of their names in every document.
    Ok(format!("{:#}\n", serde_json::to_value(document)?))
}

fn finding(finding: &Finding) -> doctor::Finding {
    let Finding { group, name, availability, is_required, value, facts } = finding;
    let shortfall = availability.shortfall();
    doctor::Finding {
        name: name.clone(),
        group: (*group).to_owned(),
        status: status(availability),
        is_required: *is_required,
        value: value.clone(),
        facts: facts.iter().map(|(name, fact)| ((*name).to_owned(), fact.clone())).collect(),
        consequence: shortfall.map(|it| it.consequence.clone()),
        remedy: shortfall.map(|it| it.remedy.clone()),
    }
}

fn status(availability: &Availability) -> FindingStatus {
    match availability {
        Availability::Ok => FindingStatus::Ok,
        Availability::Limited(_) => FindingStatus::Limited,
        Availability::Missing(_) => FindingStatus::Missing,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

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
