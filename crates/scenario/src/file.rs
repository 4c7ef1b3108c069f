//! Reading a scenario file.
//!
//! The parsed document is walked along the table of settings instead of being deserialised into structs: only this
//! way does every mistake have a line, a column and a nearest name, and every value one parser, the same that flags
//! and variables go through.

mod lists;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::builder::Builder;
use crate::error::{Origin, ScenarioError, within};
use crate::nearest;
use crate::settings::{self, Setting};
use crate::tables::{self, key, parent};
use crate::value::{Kind, ValueError};

/// Applies the file's content to `builder`.
pub(crate) fn apply(builder: &mut Builder, name: &str, text: &str) -> Result<(), ScenarioError> {
    let place = Place { name, text };
    let document = DeTable::parse(text).map_err(|error| ScenarioError::Syntax {
        origin: place.origin(error.span().map_or(0, |span| span.start)),
        message: error.message().trim().replace('\n', ", "),
    })?;
    Walk { builder, place }.table("", document.get_ref())
}

struct Walk<'a> {
    builder: &'a mut Builder,
    place: Place<'a>,
}

/// Turns offsets into lines and columns.
struct Place<'a> {
    name: &'a str,
    text: &'a str,
}

impl Walk<'_> {
    fn table(&mut self, path: &'static str, table: &DeTable<'_>) -> Result<(), ScenarioError> {
        // The parser sorts by name; mistakes are reported in the order of the file.
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            self.entry(path, key, value)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        table: &'static str,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<(), ScenarioError> {
        let name: &str = key.get_ref();
        // A quoted key may hold anything, dots too, which must not make it a path.
        let path = if name.contains('.') { String::new() } else { join(table, name) };
        if let Some(setting) = settings::find(&path) {
            let origin = self.place.origin(value.span().start);
            let text = scalar(setting, value.get_ref(), &origin)?;
            return self.builder.put(setting, &text, origin);
        }
        if let Some(list) = lists::find(&path) {
            return self.list(list, value);
        }
        match tables::find(&path).filter(|table| !table.path().is_empty()) {
            Some(inner) => self.inner_table(inner, key, value),
            None => Err(unknown_field(name, table, self.place.origin(key.span().start))),
        }
    }

    fn inner_table(
        &mut self,
        inner: &'static tables::Table,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<(), ScenarioError> {
        let DeValue::Table(content) = value.get_ref() else {
            return Err(ScenarioError::WrongType {
                path: inner.path(),
                origin: self.place.origin(value.span().start),
                expected: format!("a table, written [{}]", inner.path()),
                found: described(value.get_ref()),
            });
        };
        self.builder.open(inner, self.place.origin(key.span().start))?;
        self.table(inner.path(), content)
    }
}

impl Place<'_> {
    fn origin(&self, offset: usize) -> Origin {
        // An offset within a character can only come from a broken file; the place is then the one before.
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &self.text[..offset];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Origin::File {
            name: self.name.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

/// The text that the setting's parser reads.
fn scalar(
    setting: &'static Setting,
    value: &DeValue<'_>,
    origin: &Origin,
) -> Result<String, ScenarioError> {
    let wrong_type = || ScenarioError::WrongType {
        path: setting.path(),
        origin: origin.clone(),
        expected: expected(setting),
        found: described(value),
    };
    match (setting.kind(), value) {
        (Kind::Text, DeValue::Array(entries)) if setting.is_list() => {
            let texts = entries.iter().map(|it| it.get_ref().as_str().ok_or_else(wrong_type));
            // An empty list asks for nothing.
            let texts: Vec<&str> = texts.collect::<Result<_, _>>()?;
            Ok(if texts.is_empty() {
                setting.none_word().unwrap_or_default().to_owned()
            } else {
                texts.join(";")
            })
        }
        (Kind::Text, DeValue::String(text)) => Ok(text.to_string()),
        // A bare number is a size in bytes; where it is not, the parser says what is missing.
        (Kind::Text | Kind::Integer, DeValue::Integer(_)) => integer(setting, value, origin),
        (Kind::Boolean, DeValue::Boolean(truth)) => Ok(truth.to_string()),
        (Kind::Integer, DeValue::String(text)) if setting.is_none_word(text) => {
            Ok(text.to_string())
        }
        _ => Err(wrong_type()),
    }
}

/// In decimal, whatever base it is written in.
fn integer(
    setting: &Setting,
    value: &DeValue<'_>,
    origin: &Origin,
) -> Result<String, ScenarioError> {
    let Some(integer) = value.as_integer() else { return Ok(String::new()) };
    let number = i128::from_str_radix(integer.as_str(), integer.radix());
    number.map(|number| number.to_string()).map_err(|_| ScenarioError::Value {
        path: setting.path(),
        origin: origin.clone(),
        source: Box::new(ValueError::Integer { text: integer.to_string(), largest: u64::MAX }),
    })
}

fn expected(setting: &Setting) -> String {
    let example = setting.example_text();
    match setting.kind() {
        Kind::Text if setting.is_list() => {
            format!("a text such as \"{example}\", or a list of texts")
        }
        Kind::Text => format!("a text such as \"{example}\""),
        Kind::Integer => format!("a whole number such as {example}"),
        Kind::Boolean => "true or false".to_owned(),
    }
}

fn described(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn unknown_field(name: &str, table: &'static str, origin: Origin) -> ScenarioError {
    let known = names_within(table);
    let nearest = nearest::nearest(name, known.iter().copied());
    let elsewhere = settings::settings().iter().find(|setting| setting.key() == name);
    let hint = match (nearest, elsewhere) {
        (Some(nearest), None) => format!("did you mean `{nearest}`?"),
        (Some(nearest), Some(other)) => {
            format!("did you mean `{nearest}`? There is `{name}` {}", within(other.table()))
        }
        (None, Some(other)) => format!("it belongs {}", within(other.table())),
        (None, None) => format!("known here are {}", known.join(", ")),
    };
    ScenarioError::UnknownField { name: name.to_owned(), table: table.to_owned(), origin, hint }
}

/// What may stand directly in a table: its fields, then the tables within it.
fn names_within(table: &'static str) -> Vec<&'static str> {
    let inner = tables::tables()
        .iter()
        .map(tables::Table::path)
        .filter(|path| !path.is_empty() && parent(path) == table);
    settings::within(table).map(Setting::key).chain(inner.map(key)).collect()
}

fn join(table: &str, name: &str) -> String {
    if table.is_empty() { name.to_owned() } else { format!("{table}.{name}") }
}

#[cfg(test)]
pub(super) mod tests {
    use std::error::Error;

    use proptest::prelude::*;

    use crate::{Kind, Scenario, settings, tables};

    #[track_caller]
    pub(super) fn refused(text: &str, expected: &str) {
        let error = Scenario::from_toml(text, "run.toml").expect_err(text);
        let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
        assert_eq!(format!("{error}{source}"), expected, "{text}");
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        assert_eq!(Scenario::from_toml("", "run.toml").unwrap(), Scenario::default());
    }

    #[test]
    fn every_spelling_that_toml_has_is_read() {
        let expected = Scenario::from_toml("[migration.pause]\nafter-passes = 5", "a").unwrap();
        for text in [
            "migration.pause.after-passes = 5",
            "[migration]\npause = { after-passes = 5 }",
            "[migration]\npause.after-passes = 0x5",
            "migration = { pause = { after-passes = 5 } }",
            "[\"migration\".'pause']\n\"after-passes\" = 5 # five",
        ] {
            assert_eq!(Scenario::from_toml(text, "a").unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn unknown_fields_are_refused_with_place_and_nearest_name() {
        refused(
            "[guest]\nvcpus = 4\n\n[migration]\n# note\n\nmax-bandwith = \"1Gbit/s\"\n",
            "Unknown field `max-bandwith` in [migration] at run.toml:7:1; did you mean `max-bandwidth`?",
        );
        refused(
            "[migration]\nposcopy = { after-passes = 1 }",
            "Unknown field `poscopy` in [migration] at run.toml:2:1; did you mean `postcopy`?",
        );
        refused(
            "[limit]\nmax-time = \"1s\"",
            "Unknown field `limit` outside any table at run.toml:1:2; did you mean `limits`?",
        );
        refused(
            "[guest]\nsample-interval = \"1s\"",
            "Unknown field `sample-interval` in [guest] at run.toml:2:1; it belongs in [timing]",
        );
        refused(
            "[guest]\nname = \"a\"",
            "Unknown field `name` in [guest] at run.toml:2:1; it belongs outside any table",
        );
        refused(
            "[link]\nmax-bandwidth = \"1Gbit/s\"",
            "Unknown field `max-bandwidth` in [link] at run.toml:2:1; did you mean `bandwidth`? \
             There is `max-bandwidth` in [migration]",
        );
        refused(
            "[timing]\ncolour = 1",
            "Unknown field `colour` in [timing] at run.toml:2:1; known here are warmup, cooldown, sample-interval",
        );
        refused(
            "  'guest.vcpus' = 2",
            "Unknown field `guest.vcpus` outside any table at run.toml:1:3; did you mean `guest`?",
        );
        for unheard_of in ["[[things]]\nkind = \"udp\"", "\"\" = 1"] {
            let error = Scenario::from_toml(unheard_of, "run.toml").unwrap_err();
            assert!(error.to_string().starts_with("Unknown field"), "{error}");
        }
    }

    #[test]
    fn the_first_mistake_in_the_file_is_the_one_reported() {
        refused(
            "[timing]\nzzz = 1\n[guest]\naaa = 1\n",
            "Unknown field `zzz` in [timing] at run.toml:2:1; known here are warmup, cooldown, sample-interval",
        );
    }

    #[test]
    fn values_are_refused_with_place_and_reason() {
        refused(
            "[migration]\nmax-bandwidth = \"500M\"",
            "Field `migration.max-bandwidth` has an unusable value at run.toml:2:17: \
             Rate `500M` must end in B/s or bit/s, as in `500MB/s` or `500Mbit/s`; \
             write for example `500MB/s`, `32MiB/s` or `1Gbit/s`",
        );
        refused(
            "[limits]\nthen = \"stop\"",
            "Field `limits.then` has an unusable value at run.toml:2:8: \
             Unknown action at a limit `stop`; known are cancel, pause, postcopy",
        );
        refused(
            "[limits]\nthen = \"pasue\"",
            "Field `limits.then` has an unusable value at run.toml:2:8: \
             Unknown action at a limit `pasue`; did you mean `pause`?",
        );
        refused(
            "# ä\nworkload = { pattern = \"randm\" }",
            "Field `workload.pattern` has an unusable value at run.toml:2:24: \
             Unknown pattern `randm`; did you mean `random`?",
        );
        refused(
            "workload.rate = \"5\"",
            "Field `workload.rate` has an unusable value at run.toml:1:17: \
             Rate `5` must end in B/s or bit/s, as in `5B/s` or `5bit/s`; \
             write for example `500MB/s`, `32MiB/s` or `1Gbit/s`",
        );
        refused(
            "guest.vcpus = -2",
            "Field `guest.vcpus` has an unusable value at run.toml:1:15: \
             `-2` is not a whole number from 0 to 4294967295",
        );
        refused(
            "guest.source.cpus = \"3-1\"",
            "Field `guest.source.cpus` has an unusable value at run.toml:1:21: \
             Range `3-1` runs downwards; write the smaller number first",
        );
        refused(
            "timing.warmup = 2",
            "Field `timing.warmup` has an unusable value at run.toml:1:17: \
             Duration `2` has no unit; write for example `300ms`, `10s` or `1h 30m`",
        );
    }

    #[test]
    fn thresholds_are_a_list_or_one_text_and_other_keys_of_slo_are_refused() {
        let read = |text: &str| Scenario::from_toml(text, "run.toml").unwrap();
        let list = read("[slo]\nfail-if = [\"downtime>300ms\", \"blackout > 1s\"]");
        assert_eq!(list, read("slo.fail-if = \"downtime>300ms;blackout>1s\""));
        assert_eq!(list.slo.fail_if.as_ref().unwrap().to_string(), "downtime>300ms;blackout>1s");
        assert_eq!(read(&list.to_toml()), list);
        assert_eq!(read("[slo]\nfail-if = []"), Scenario::default());
        refused(
            "[slo]\nmax-downtime = \"300ms\"",
            "Unknown field `max-downtime` in [slo] at run.toml:2:1; known here are fail-if",
        );
        refused(
            "[slo]\nfail-if = [\"downtime>300ms\", 5]",
            "Field `slo.fail-if` at run.toml:2:11 must be a text such as \"downtime>300ms;blackout>1s\", \
             or a list of texts, found a list",
        );
        refused(
            "[slo]\nfail-if = \"downtme>1s\"",
            "Field `slo.fail-if` has an unusable value at run.toml:2:11: \
             Unknown metric `downtme`; did you mean `downtime`?",
        );
        refused(
            "[guest]\nmemory = [\"1GiB\"]",
            "Field `guest.memory` at run.toml:2:10 must be a text such as \"256MiB\", found a list",
        );
    }

    #[test]
    fn columns_count_characters() {
        refused(
            "guest = { memory = \"256MiB\", ballast = \"0B\" }\nname = \"äöü\" x",
            "Scenario at run.toml:2:14 is not valid TOML: unexpected key or value, expected newline, `#`",
        );
        refused(
            "link = { latency = \"1ms\", \"grün\" = 1, bandwidth = 5 }",
            "Unknown field `grün` in [link] at run.toml:1:27; known here are latency, bandwidth",
        );
    }

    #[test]
    fn wrong_types_are_refused_with_an_example() {
        refused(
            "guest.vcpus = \"2\"",
            "Field `guest.vcpus` at run.toml:1:15 must be a whole number such as 2, found a text",
        );
        refused(
            "guest.prealloc = 1",
            "Field `guest.prealloc` at run.toml:1:18 must be true or false, found a whole number",
        );
        refused(
            "guest.memory = 1.5",
            "Field `guest.memory` at run.toml:1:16 must be a text such as \"256MiB\", found a number with a fraction",
        );
        refused(
            "guest.source.cpus = [0, 1]",
            "Field `guest.source.cpus` at run.toml:1:21 must be a text such as \"0-3\", found a list",
        );
        refused(
            "migration.xbzrle = true",
            "Field `migration.xbzrle` at run.toml:1:20 must be a table, written [migration.xbzrle], \
             found true or false",
        );
        refused(
            "[name]",
            "Field `name` at run.toml:1:1 must be a text such as \"a bare run\", found a table",
        );
    }

    #[test]
    fn numbers_that_toml_cannot_hold_are_still_ours() {
        let seed = |text: &str| {
            Scenario::from_toml(&format!("workload.seed = {text}"), "a").map(|s| s.workload.seed)
        };
        assert_eq!(seed("18446744073709551615").unwrap(), u64::MAX);
        assert_eq!(seed("0xff").unwrap(), 255);
        assert_eq!(seed("1_000").unwrap(), 1000);
        assert!(seed("18446744073709551616").is_err());
        assert!(seed(&"9".repeat(100)).is_err());
        let memory = Scenario::from_toml("guest.memory = 268435456", "a").unwrap().guest.memory;
        assert_eq!(memory.to_string(), "256MiB");
    }

    #[test]
    fn words_for_no_value_are_read() {
        let text = "limits = { max-time = \"none\", max-passes = \"none\" }\nmigration.max-bandwidth = \"unlimited\"";
        let scenario = Scenario::from_toml(text, "a").unwrap();
        assert_eq!((scenario.limits.max_time, scenario.limits.max_passes), (None, None));
        assert_eq!(scenario.migration.max_bandwidth, None);
    }

    #[test]
    fn hostile_files_are_errors() {
        for text in [
            format!("a = {}", "[".repeat(100_000)),
            format!("{} = 1", "a.".repeat(10_000)),
            "guest = 1\n[guest]".to_owned(),
            "\u{feff}\u{0}".to_owned(),
            format!("name = \"{}", "x".repeat(1 << 20)),
        ] {
            assert!(Scenario::from_toml(&text, "run.toml").is_err());
        }
    }

    /// Lines that are nearly right, so that chance gets further than to the first syntax error.
    fn line() -> impl Strategy<Value = String> {
        let tables: Vec<&str> = tables().iter().map(|table| table.path()).collect();
        let fields: Vec<&str> = settings().iter().map(|setting| setting.path()).collect();
        let keys: Vec<&str> = settings().iter().map(|setting| setting.key()).collect();
        let value = prop_oneof![
            proptest::sample::select(settings()).prop_map(|setting| match setting.kind() {
                Kind::Text => format!("\"{}\"", setting.example_text()),
                Kind::Integer | Kind::Boolean => setting.example_text(),
            }),
            any::<i64>().prop_map(|number| number.to_string()),
            "\"[0-9a-zA-Z%/. ]{0,12}\"",
            "\\PC{0,12}",
        ];
        prop_oneof![
            proptest::sample::select(tables).prop_map(|table| format!("[{table}]")),
            (proptest::sample::select([fields, keys].concat()), value)
                .prop_map(|(key, value)| format!("{key} = {value}")),
            "\\PC{0,20}",
        ]
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(\\PC|\n){0,200}") {
            let _ = Scenario::from_toml(&text, "run.toml");
        }

        #[test]
        fn no_nearly_right_text_panics(lines in proptest::collection::vec(line(), 0..12)) {
            let _ = Scenario::from_toml(&lines.join("\n"), "run.toml");
        }
    }
}
