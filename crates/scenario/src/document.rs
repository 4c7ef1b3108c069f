//! From the scenario of a report back to a typed one, and from a typed one to the flags that ask for it.

use serde_json::{Map, Value};

use crate::builder::Builder;
use crate::error::{Origin, ScenarioError};
use crate::settings::{self, Setting};
use crate::tables::{self, Table};
use crate::types::Scenario;

impl Scenario {
    /// The scenario as a report carries it. Fields that this version does not know are left out, and what the document
    /// does not say keeps its default, so that reports of other versions and other programs can be read.
    ///
    /// # Errors
    /// A known field has a value that it cannot have.
    pub fn from_document(document: &Map<String, Value>) -> Result<Scenario, ScenarioError> {
        let mut builder = Builder::new();
        for table in tables::tables().iter().filter(|it| it.is_optional()) {
            if at(document, table.path()).is_some_and(Value::is_object) {
                builder = builder.set(table.path(), "on", origin())?;
            }
        }
        for setting in settings::settings() {
            if let Some(text) = given(document, setting) {
                builder = builder.set(setting.path(), &text, origin())?;
            }
        }
        builder.build_unchecked()
    }

    /// The flags of `sterna run` that ask for this scenario: each field and technique that differs from a bare run.
    pub fn flags(&self) -> Vec<String> {
        let default = Scenario::default();
        let is_live =
            |it: &Setting| tables::find(it.table()).is_some_and(|table| table.is_in(self));
        let differs = |it: &&Setting| {
            let usual = tables::default_with(it.table());
            is_live(it) && it.explicit(self) != it.explicit(&usual)
        };
        let all = settings::settings().iter().filter(differs);
        let fields: Vec<(&str, String)> = all
            .filter_map(|it| {
                Some((it.table(), format!("--{} {}", it.flag(), quoted(&it.explicit(self)?))))
            })
            .collect();
        // A field brings its table along, so only a table of which nothing differs needs a flag of its own.
        let is_bare = |table: &&Table| {
            let has_field = fields.iter().any(|(at, _)| *at == table.path());
            table.is_optional() && table.is_in(self) && !table.is_in(&default) && !has_field
        };
        let bare = tables::tables().iter().filter(is_bare);
        let bare = bare.map(|it| format!("--{}", it.flag()));
        fields.iter().map(|(_, flag)| flag.clone()).chain(bare).collect()
    }
}

fn origin() -> Origin {
    Origin::Variable("the report's scenario".to_owned())
}

fn at<'a>(document: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let mut keys = path.split('.');
    let first = document.get(keys.next()?)?;
    keys.try_fold(first, |value, key| value.get(key))
}

/// What the document says of a field, as text; null is the word for no value, where the default is to have one.
fn given(document: &Map<String, Value>, setting: &Setting) -> Option<String> {
    match at(document, setting.path())? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(is) => Some(is.to_string()),
        Value::Null => {
            setting.none_word().filter(|_| setting.default_text().is_some()).map(str::to_owned)
        }
        Value::Array(_) | Value::Object(_) => None,
    }
}

/// As a shell takes it for one word.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,%+@".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(text: &str) -> (Scenario, Scenario) {
        let scenario = Scenario::from_toml(text, "run.toml").unwrap();
        let Value::Object(document) = serde_json::to_value(&scenario).unwrap() else { panic!() };
        let again = Scenario::from_document(&document).unwrap();
        (scenario, again)
    }

    #[test]
    fn a_report_gives_its_scenario_back() {
        let check = |text: &str| {
            let (scenario, again) = round_trip(text);
            assert_eq!(again, scenario, "{text}");
        };
        check("");
        check("[migration]\nmax-bandwidth = \"unlimited\"\n[limits]\nmax-time = \"none\"");
        check("[migration.postcopy]\nafter-passes = 2\npreempt = false");
        check("[migration.downtime]\nfrom = \"10ms\"\nto = \"20ms\"");
        check("[migration.auto-converge]\n[migration.multifd]\ncompression = \"zstd\"\nlevel = 3");
        check("[guest]\nvcpus = 4\n[workload]\nworkers = 1\npattern = \"sequential\"");
    }

    #[test]
    fn unknown_fields_of_a_report_are_left_out() {
        let document =
            serde_json::json!({ "guest": { "memory": "1GiB", "colour": "red" }, "x": 1 });
        let Value::Object(document) = document else { panic!() };
        let scenario = Scenario::from_document(&document).unwrap();
        assert_eq!(scenario.guest.memory, sterna_units::Bytes::from_mib(1024));
    }

    #[test]
    fn flags_name_what_differs_from_a_bare_run() {
        let check = |text: &str, expected: &[&str]| {
            assert_eq!(Scenario::from_toml(text, "run.toml").unwrap().flags(), expected, "{text}");
        };
        check("", &[]);
        check("[migration]\nmax-bandwidth = \"unlimited\"", &["--max-bandwidth unlimited"]);
        check("[migration.auto-converge]", &["--auto-converge"]);
        check("[migration.auto-converge]\ninitial = 30", &["--auto-converge-initial 30"]);
        check("[migration.postcopy]\nafter-passes = 1", &["--postcopy-after-passes 1"]);
        check("name = \"it's\"", &["--name 'it'\\''s'"]);
    }
}
