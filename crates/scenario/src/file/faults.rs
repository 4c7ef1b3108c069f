//! Mishaps as tables of their own, which are one text everywhere else.

use toml::Spanned;
use toml::de::DeValue;

use super::{Walk, described};
use crate::error::ScenarioError;
use crate::settings;
use crate::types::fault;

/// A list of tables of this name is read as one text of the setting of this name.
pub(super) const FAULT: &str = "fault";

impl Walk<'_> {
    pub(super) fn faults(&mut self, value: &Spanned<DeValue<'_>>) -> Result<(), ScenarioError> {
        let origin = self.place.origin(value.span().start);
        let tables = value.get_ref().as_array().ok_or_else(|| self.not_faults(value))?;
        let texts = tables.iter().map(|it| self.fault(it)).collect::<Result<Vec<_>, _>>()?;
        let text = if texts.is_empty() { "none".to_owned() } else { texts.join(";") };
        let setting = settings::find(FAULT).ok_or_else(|| self.not_faults(value))?;
        self.builder.put(setting, &text, origin)
    }

    /// The text of one mishap, of which each field was read once for the sake of its place.
    fn fault(&self, table: &Spanned<DeValue<'_>>) -> Result<String, ScenarioError> {
        let fields = table.get_ref().as_table().ok_or_else(|| self.not_faults(table))?;
        let mut entries: Vec<_> = fields.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let mut words = Vec::new();
        for (key, value) in entries {
            let text = match value.get_ref() {
                DeValue::String(text) => text.to_string(),
                DeValue::Integer(number) => number.to_string(),
                _ => return Err(self.not_faults(value)),
            };
            let word = format!("{}={text}", key.get_ref());
            if let Err(source) = fault::field(&word) {
                let origin = self.place.origin(value.span().start);
                let source = Box::new(source.into());
                return Err(ScenarioError::Value { path: FAULT, origin, source });
            }
            words.push(word);
        }
        Ok(words.join(","))
    }

    fn not_faults(&self, value: &Spanned<DeValue<'_>>) -> ScenarioError {
        ScenarioError::WrongType {
            path: FAULT,
            origin: self.place.origin(value.span().start),
            expected: "tables [[fault]] with fields such as at = \"2s\"".to_owned(),
            found: described(value.get_ref()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Scenario;
    use crate::file::tests::refused;

    #[test]
    fn faults_are_tables_or_one_text() {
        let read = |text: &str| Scenario::from_toml(text, "run.toml").unwrap();
        let tables = read(
            "[[fault]]\nat = \"2s\"\naction = \"drop\"\n[[fault]]\nat-pass = 3\naction = \"drop\"\n[[fault]]\nat-bytes = \"1MiB\"\n",
        );
        let text = "at=2s,action=drop;at-pass=3,action=drop;at-bytes=1MiB,action=drop";
        assert_eq!(tables.faults.as_ref().unwrap().to_string(), text);
        assert_eq!(tables, read(&format!("fault = \"{text}\"")));
        assert_eq!(read(&tables.to_toml()), tables);
        assert_eq!(read("fault = []"), read("fault = \"none\""));
    }

    #[test]
    fn mistakes_in_faults_have_a_place() {
        let place = "Field `fault` has an unusable value at run.toml";
        refused(
            "[[fault]]\nat = \"2s\"\naction = \"explode\"",
            &format!(
                "{place}:3:10: Unknown fault action `explode`; known is drop, which breaks the migration's connections"
            ),
        );
        refused(
            "[[fault]]\nwhen = \"2s\"",
            &format!(
                "{place}:2:8: Unknown fault field `when=2s`; a fault has one of `at`, `at-pass` and `at-bytes`, and `action`, as in at=2s,action=drop"
            ),
        );
        refused(
            "[[fault]]\nat-pass = \"two\"",
            &format!("{place}:2:11: `two` is no number of passes"),
        );
        refused(
            "fault = \"at=1s,at-pass=1\"",
            &format!(
                "{place}:1:9: The fault `at=1s,at-pass=1` needs exactly one of `at`, `at-pass` and `at-bytes`"
            ),
        );
        refused(
            "[[fault]]\nat = true",
            "Field `fault` must be tables [[fault]] with fields such as at = \"2s\", but is a truth value at run.toml:2:6",
        );
    }
}
