//! Lists of tables, such as `[[workload.phase]]`, each of which is one text everywhere else.

use sterna_probe::{ProbeError, Probes};
use sterna_workload::Phases;
use toml::Spanned;
use toml::de::DeValue;

use super::{Walk, described};
use crate::error::ScenarioError;
use crate::settings;
use crate::types::Faults;
use crate::value::{Value, ValueError};

/// Every list's word for an empty one.
const NONE: &str = "none";

/// Tables of one name that are read as one text of a setting: their fields with commas between, the tables with semicolons.
pub(super) struct List {
    table: &'static str,
    setting: &'static str,
    example: &'static str,
    /// Whether a field alone could be read, for the sake of its place in the file.
    check: fn(&str) -> Result<(), ValueError>,
}

const LISTS: &[List] = &[
    List {
        table: "probe",
        setting: "probes",
        example: "kind = \"udp\"",
        check: |field| match field.parse::<Probes>() {
            // A field that holds a separator would be read as two.
            Ok(_) if field.contains([',', ';']) => Err(ProbeError::Field(field.to_owned()).into()),
            outcome => outcome.map(drop).map_err(ValueError::from),
        },
    },
    List {
        table: "workload.phase",
        setting: "workload.phases",
        example: "for = \"30s\"",
        check: |field| {
            let whole = match field.starts_with("for=") {
                true => field.to_owned(),
                false => format!("for=1s,{field}"),
            };
            <Phases as Value>::read(&whole).map(drop)
        },
    },
    List {
        table: "fault",
        setting: "faults",
        example: "action = \"drop\"",
        check: |field| Faults::check_field(field).map_err(ValueError::from),
    },
];

/// The list whose tables have this name.
pub(super) fn find(path: &str) -> Option<&'static List> {
    LISTS.iter().find(|list| list.table == path)
}

impl Walk<'_> {
    pub(super) fn list(
        &mut self,
        list: &'static List,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<(), ScenarioError> {
        let origin = self.place.origin(value.span().start);
        let tables = value.get_ref().as_array().ok_or_else(|| self.not_tables(list, value))?;
        let mut texts = Vec::new();
        for table in tables {
            texts.push(self.list_entry(list, table)?);
        }
        match settings::find(list.setting) {
            Some(setting) if texts.is_empty() => self.builder.put(setting, NONE, origin),
            Some(setting) => self.builder.put(setting, &texts.join(";"), origin),
            None => Err(self.not_tables(list, value)),
        }
    }

    /// The text of one table, of which each field was read once for the sake of its place.
    fn list_entry(
        &self,
        list: &'static List,
        table: &Spanned<DeValue<'_>>,
    ) -> Result<String, ScenarioError> {
        let fields = table.get_ref().as_table().ok_or_else(|| self.not_tables(list, table))?;
        let mut entries: Vec<_> = fields.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let mut words = Vec::new();
        for (key, value) in entries {
            let text = match value.get_ref() {
                DeValue::String(text) => text.to_string(),
                DeValue::Integer(number) => number.to_string(),
                _ => return Err(self.not_tables(list, value)),
            };
            let word = format!("{}={text}", key.get_ref());
            if let Err(source) = (list.check)(&word) {
                let (path, origin) = (list.table, self.place.origin(value.span().start));
                return Err(ScenarioError::Value { path, origin, source: Box::new(source) });
            }
            words.push(word);
        }
        Ok(words.join(","))
    }

    fn not_tables(&self, list: &'static List, value: &Spanned<DeValue<'_>>) -> ScenarioError {
        ScenarioError::WrongType {
            path: list.table,
            origin: self.place.origin(value.span().start),
            expected: format!("tables [[{}]] with texts such as {}", list.table, list.example),
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

    #[test]
    fn faults_are_tables_or_one_text() {
        let read = |text: &str| Scenario::from_toml(text, "run.toml").unwrap();
        let tables = read(
            "[[fault]]\nat-pass = 2\naction = \"stall\"\nfor = \"500ms\"\n\
             [[fault]]\nat-bytes = \"100MiB\"\nside = \"destination\"\naction = \"kill\"\n",
        );
        let text = "at-pass=2,side=source,action=stall,for=500ms;at-bytes=100MiB,side=destination,action=kill";
        assert_eq!(tables, read(&format!("faults = \"{text}\"")));
        assert_eq!(tables.faults.as_ref().unwrap().to_string(), text);
        assert_eq!(read(&tables.to_toml()), tables);
        refused(
            "[[fault]]\nat-pass = 2\naction = \"dorp\"",
            "Field `fault` has an unusable value at run.toml:3:10: \
             Unknown action of a fault `dorp`; did you mean `drop`?",
        );
    }

    #[test]
    fn probes_are_tables_or_one_text() {
        let read = |text: &str| Scenario::from_toml(text, "run.toml").unwrap();
        let tables = read("[[probe]]\nkind = \"tcp\"\n[[probe]]\ninterval = \"1ms\"\n[guest]\n");
        let text = "kind=tcp,interval=10ms;kind=udp,interval=1ms";
        assert_eq!(tables.probes.to_string(), text);
        assert_eq!(tables, read(&format!("probes = \"{text}\"")));
        assert_eq!(read(&tables.to_toml()), tables);
        assert_eq!(read("probe = []"), read("probes = \"none\""));
        assert_eq!(read("probes = \"default\""), Scenario::default());
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
             Unknown kind of probe `upd`; known are udp, tcp, icmp, playout",
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
            "[[probe]]\ninterval = true",
            "Field `probe` at run.toml:2:12 must be tables [[probe]] with texts such as \
             kind = \"udp\", found true or false",
        );
        refused(
            "probe = 1",
            "Field `probe` at run.toml:1:9 must be tables [[probe]] with texts such as \
             kind = \"udp\", found a whole number",
        );
    }
}
