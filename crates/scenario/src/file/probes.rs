//! Probes as tables of their own, which are one text everywhere else.

use sterna_probe::Probes;
use toml::Spanned;
use toml::de::DeValue;

use super::{Walk, described};
use crate::error::{Origin, ScenarioError};
use crate::settings;

/// A list of tables of this name is read as one text of the setting of this name.
pub(super) const PROBE: &str = "probe";

impl Walk<'_> {
    pub(super) fn probes(&mut self, value: &Spanned<DeValue<'_>>) -> Result<(), ScenarioError> {
        let origin = self.place.origin(value.span().start);
        let tables = value.get_ref().as_array().ok_or_else(|| self.not_probes(value))?;
        let mut texts = Vec::new();
        for table in tables {
            texts.push(self.probe(table)?);
        }
        let text = if texts.is_empty() { "none".to_owned() } else { texts.join(";") };
        let setting = settings::find(PROBE).ok_or_else(|| self.not_probes(value))?;
        self.builder.put(setting, &text, origin)
    }

    /// The text of one probe, of which each field was read once for the sake of its place.
    fn probe(&self, table: &Spanned<DeValue<'_>>) -> Result<String, ScenarioError> {
        let fields = table.get_ref().as_table().ok_or_else(|| self.not_probes(table))?;
        let mut entries: Vec<_> = fields.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let mut words = Vec::new();
        for (key, value) in entries {
            let text = value.get_ref().as_str().ok_or_else(|| self.not_probes(value))?;
            let word = format!("{}={text}", key.get_ref());
            check(&word, || self.place.origin(value.span().start))?;
            words.push(word);
        }
        Ok(words.join(","))
    }

    fn not_probes(&self, value: &Spanned<DeValue<'_>>) -> ScenarioError {
        ScenarioError::WrongType {
            path: PROBE,
            origin: self.place.origin(value.span().start),
            expected: "tables [[probe]] with texts such as kind = \"udp\"".to_owned(),
            found: described(value.get_ref()),
        }
    }
}

/// A field that holds a separator would be read as two.
fn check(word: &str, origin: impl FnOnce() -> Origin) -> Result<(), ScenarioError> {
    let source = match word.parse::<Probes>() {
        Ok(Probes::These(probes)) if probes.len() == 1 && !word.contains(',') => return Ok(()),
        Ok(_) => sterna_probe::ProbeError::Field(word.to_owned()),
        Err(error) => error,
    };
    Err(ScenarioError::Value { path: PROBE, origin: origin(), source: Box::new(source.into()) })
}

#[cfg(test)]
mod tests {
    use crate::Scenario;
    use crate::file::tests::refused;

    #[test]
    fn probes_are_tables_or_one_text() {
        let read = |text: &str| Scenario::from_toml(text, "run.toml").unwrap();
        let tables = read("[[probe]]\nkind = \"tcp\"\n[[probe]]\ninterval = \"1ms\"\n[guest]\n");
        let text = "kind=tcp,interval=10ms;kind=udp,interval=1ms";
        assert_eq!(tables.probes.to_string(), text);
        assert_eq!(tables, read(&format!("probe = \"{text}\"")));
        assert_eq!(read(&tables.to_toml()), tables);
        assert_eq!(read("probe = []"), read("probe = \"none\""));
        assert_eq!(read("probe = \"default\""), Scenario::default());
    }

    #[test]
    fn mistakes_in_probes_have_a_place() {
        refused(
            "[[probe]]\nkind = \"udp\"\ninterval = \"2s\"",
            "Field `probe` has an unusable value at run.toml:3:12: \
             A probe cannot send every 2s; its interval is 1ms to 1s",
        );
        refused(
            "[[probe]]\nkind = \"upd\"",
            "Field `probe` has an unusable value at run.toml:2:8: \
             Unknown kind of probe `upd`; known are udp, tcp, icmp",
        );
        refused(
            "[[probe]]\nevery = \"1s\"",
            "Field `probe` has an unusable value at run.toml:2:9: Unknown probe field `every=1s`; \
             a probe has `kind` and `interval`, as in kind=udp,interval=1ms",
        );
        refused(
            "[[probe]]\nkind = \"udp;kind=tcp\"",
            "Field `probe` has an unusable value at run.toml:2:8: Unknown probe field \
             `kind=udp;kind=tcp`; a probe has `kind` and `interval`, as in kind=udp,interval=1ms",
        );
        refused(
            "[[probe]]\ninterval = 1",
            "Field `probe` at run.toml:2:12 must be tables [[probe]] with texts such as \
             kind = \"udp\", found a whole number",
        );
        refused(
            "probe = 1",
            "Field `probe` has an unusable value at run.toml:1:9: Unknown probe field `1`; \
             a probe has `kind` and `interval`, as in kind=udp,interval=1ms",
        );
    }
}
