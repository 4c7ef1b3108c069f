//! Phases of the workload as tables of their own, which are one text everywhere else.

use sterna_workload::Phases;
use toml::Spanned;
use toml::de::DeValue;

use super::{Walk, described};
use crate::error::ScenarioError;
use crate::settings;
use crate::value::Value;

/// Tables of this name are read as one text of this setting.
pub(super) const PHASE: &str = "workload.phase";
const PHASES: &str = "workload.phases";

impl Walk<'_> {
    pub(super) fn phases(&mut self, value: &Spanned<DeValue<'_>>) -> Result<(), ScenarioError> {
        let origin = self.place.origin(value.span().start);
        let tables = value.get_ref().as_array().ok_or_else(|| self.not_phases(value))?;
        let mut texts = Vec::new();
        for table in tables {
            texts.push(self.phase(table)?);
        }
        match settings::find(PHASES) {
            Some(setting) => self.builder.put(setting, &texts.join(";"), origin),
            None => Err(self.not_phases(value)),
        }
    }

    /// The text of one phase, of which each field was read once for the sake of its place.
    fn phase(&self, table: &Spanned<DeValue<'_>>) -> Result<String, ScenarioError> {
        let fields = table.get_ref().as_table().ok_or_else(|| self.not_phases(table))?;
        let mut entries: Vec<_> = fields.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let mut words = Vec::new();
        for (key, value) in entries {
            let text = match value.get_ref() {
                DeValue::String(text) => text.to_string(),
                DeValue::Integer(number) => number.to_string(),
                _ => return Err(self.not_phases(value)),
            };
            let word = format!("{}={text}", key.get_ref());
            let probe =
                if key.get_ref() == "for" { word.clone() } else { format!("for=1s,{word}") };
            if let Err(source) = <Phases as Value>::read(&probe) {
                let origin = self.place.origin(value.span().start);
                return Err(ScenarioError::Value { path: PHASE, origin, source: Box::new(source) });
            }
            words.push(word);
        }
        Ok(words.join(","))
    }

    fn not_phases(&self, value: &Spanned<DeValue<'_>>) -> ScenarioError {
        ScenarioError::WrongType {
            path: PHASE,
            origin: self.place.origin(value.span().start),
            expected: "tables [[workload.phase]] with texts such as for = \"30s\"".to_owned(),
            found: described(value.get_ref()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use crate::Scenario;
    use crate::file::tests::refused;

    #[test]
    fn phases_are_tables_or_one_text() {
        let read = |text: &str| Scenario::from_toml(text, "run.toml").unwrap();
        let tables = read(
            "[workload]\nrepeat = true\n[[workload.phase]]\nfor = \"1m 30s\"\nrate = \"0B/s..1GB/s\"\n\
             [[workload.phase]]\nfor = \"2s\"\npattern = \"hot-set(10%,90%)\"\nmemory = 8192\n",
        );
        let text =
            "at=0s,for=1m30s,rate=0B/s..1GB/s;at=1m30s,for=2s,pattern=hot-set(10%,90%),memory=8KiB";
        assert_eq!(tables, read(&format!("workload.phases = \"{text}\"\nworkload.repeat = true")));
        let spec = tables.workload_spec();
        assert!(spec.to_string().ends_with(&format!(" phases={text} repeat=on")), "{spec}");
        assert_eq!(spec.to_string().parse::<sterna_workload::Spec>().unwrap(), spec);
        assert_eq!(read(&tables.to_toml()), tables);
    }

    #[test]
    fn mistakes_in_phases_have_a_place() {
        refused(
            "[[workload.phase]]\nfor = \"1s\"\npattern = \"randm\"",
            "Field `workload.phase` has an unusable value at run.toml:3:11: \
             Unknown pattern `randm`; did you mean `random`?",
        );
        refused(
            "[[workload.phase]]\nrat = \"1s\"",
            "Field `workload.phase` has an unusable value at run.toml:2:7: \
             Unknown phase field `rat`; did you mean `rate`?",
        );
        let check = |text: &str, expected: &str| {
            let error = Scenario::from_toml(text, "run.toml").expect_err(text);
            let source = error.source().map(ToString::to_string).unwrap_or_default();
            assert!(format!("{error}: {source}").contains(expected), "{error}: {source}");
        };
        check("[[workload.phase]]\nfor = true", "tables [[workload.phase]]");
        check("workload.phase = 1", "tables [[workload.phase]]");
        let overlap =
            "[[workload.phase]]\nfor = \"5s\"\n[[workload.phase]]\nat = \"3s\"\nfor = \"5s\"";
        check(overlap, "Phase 2 begins at 3s, but phase 1 lasts until 5s");
        check("workload.repeat = true", "no `workload.phases` to repeat");
        check("workload.phases = \"for=1s,memory=1TiB\"", "cannot have a working set of 1TiB");
    }
}
