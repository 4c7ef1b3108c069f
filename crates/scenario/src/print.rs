//! Writing a scenario file: everything that holds, and what else could be asked for.

use std::fmt::Write;

use sterna_units::pad_right;

use crate::settings::{self, Setting};
use crate::tables::{self, Table};
use crate::types::Scenario;
use crate::value::Kind;

/// The longest field, in characters, after which the comments of a table are aligned.
const MOST_ALIGNED: usize = 80;

const HEADER: &str = "\
# A Sterna scenario. Every field stands here with its value.
# What begins with `# ` and looks like a field or a table is not asked for: take the `# ` away to ask for it.
";

impl Scenario {
    /// The scenario as a file: all fields with their values, and what was not asked for as comments. Reading the
    /// file gives the same scenario.
    pub fn to_toml(&self) -> String {
        let mut text = HEADER.to_owned();
        for table in tables::tables() {
            write_table(&mut text, self, table);
        }
        text
    }
}

fn write_table(text: &mut String, scenario: &Scenario, table: &Table) {
    let is_in = table.is_in(scenario);
    let lines = settings::within(table.path()).map(|setting| line(setting, scenario));
    let lines: Vec<(String, String)> = lines.collect();
    text.push('\n');
    if !table.path().is_empty() {
        let mark = if is_in { "" } else { "# " };
        append(text, format_args!("# {}.\n{mark}[{}]\n", table.about(), table.path()));
    }
    // One long value does not move the comments of all other fields.
    let widths = lines.iter().map(|(field, _)| field.chars().count());
    let width = widths.filter(|it| *it <= MOST_ALIGNED).max().unwrap_or(0);
    for (field, about) in lines {
        append(text, format_args!("{}  # {about}\n", pad_right(&field, width)));
    }
}

/// The field with its value, and what it means.
fn line(setting: &Setting, scenario: &Scenario) -> (String, String) {
    let field = match setting.explicit(scenario).filter(|_| is_live(setting, scenario)) {
        Some(value) => format!("{} = {}", setting.key(), literal(setting.kind(), &value)),
        None => {
            format!("# {} = {}", setting.key(), literal(setting.kind(), &setting.example_text()))
        }
    };
    let about = match (setting.kind(), setting.choices()) {
        (Kind::Text, choices @ [_, ..]) => format!("{}: {}", setting.about(), choices.join(", ")),
        _ => setting.about().to_owned(),
    };
    (field, about)
}

/// Whether the field's table is there for it to stand in.
fn is_live(setting: &Setting, scenario: &Scenario) -> bool {
    tables::find(setting.table()).is_some_and(|table| table.is_in(scenario))
}

/// The value as TOML writes it. A word in the place of a number is a text.
fn literal(kind: Kind, value: &str) -> String {
    match kind {
        Kind::Integer if value.parse::<u64>().is_ok() => value.to_owned(),
        Kind::Boolean => value.to_owned(),
        Kind::Integer | Kind::Text => quoted(value),
    }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => append(&mut quoted, format_args!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn append(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("writing to a string cannot fail");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Builder, Origin};

    #[test]
    fn the_defaults_round_trip() {
        let text = Scenario::default().to_toml();
        assert_eq!(Scenario::from_toml(&text, "printed").unwrap(), Scenario::default());
    }

    #[test]
    fn a_name_of_70000_characters_round_trips() {
        let scenario = Scenario { name: Some("x".repeat(70_000)), ..Scenario::default() };
        let text = scenario.to_toml();
        assert_eq!(Scenario::from_toml(&text, "printed").unwrap(), scenario);
        let longest = text.lines().filter(|it| !it.contains("xxx")).map(str::len).max().unwrap();
        assert!(longest < 1000, "the other fields are not padded to its length: {longest}");
    }

    #[test]
    fn every_field_and_table_is_shown() {
        let text = Scenario::default().to_toml();
        for table in tables::tables().iter().filter(|table| !table.path().is_empty()) {
            assert!(text.contains(&format!("[{}]\n", table.path())), "{}", table.path());
        }
        for setting in settings::settings() {
            let marked = format!("{} = ", setting.key());
            assert!(text.lines().any(|line| line.trim_start_matches("# ").starts_with(&marked)));
        }
        assert!(text.contains("\nmax-bandwidth = \"1Gbit/s\""));
        assert!(text.contains("\n# [migration.multifd]\n# channels = 4"));
    }

    #[test]
    fn uncommenting_a_table_asks_for_it_as_shown() {
        let text = Scenario::default().to_toml();
        for table in tables::tables().iter().filter(|table| table.is_optional()) {
            let header = format!("# [{}]\n", table.path());
            let block = text.split(&header).nth(1).unwrap().split("\n\n").next().unwrap();
            // Of two ways to say when, the first; of fields without a default, whatever is shown.
            let fields = block.lines().map(|line| line.trim_start_matches("# "));
            let fields: Vec<&str> = fields.filter(|line| !line.starts_with("after = ")).collect();
            let alone = format!("[{}]\n{}\n", table.path(), fields.join("\n"));
            let scenario = Builder::new().file("alone", &alone).unwrap().build_unchecked().unwrap();
            assert!(table.is_in(&scenario), "{alone}");
        }
    }

    #[test]
    fn a_value_that_overrules_a_default_by_being_absent_is_said() {
        let mut scenario = Scenario::default();
        scenario.limits.max_time = None;
        scenario.migration.max_bandwidth = None;
        let text = scenario.to_toml();
        assert!(text.lines().any(|line| line.starts_with("max-time = \"none\"")));
        assert_eq!(Scenario::from_toml(&text, "printed").unwrap(), scenario);
    }

    #[test]
    fn any_name_survives() {
        for name in
            ["", "\"quoted\" \\ 'x'", "two\nlines\r\t", "\u{0}\u{7f}\u{9f}", "日本語 🐦", "none"]
        {
            let scenario = Scenario { name: Some(name.to_owned()), ..Scenario::default() };
            assert_eq!(Scenario::from_toml(&scenario.to_toml(), "printed").unwrap(), scenario);
        }
    }

    /// Values of each kind that occurs; each field takes those that its parser accepts.
    const VALUES: &[&str] = &[
        "0",
        "1",
        "9",
        "99",
        "255",
        "18446744073709551615",
        "4KiB",
        "1GiB",
        "0%",
        "33.33%",
        "100%",
        "3bit/s",
        "10Gbit/s",
        "250MiB/s",
        "0s",
        "1ms",
        "1h 30m",
        "true",
        "false",
        "none",
        "unlimited",
        "any",
        "default",
        "0-3,8",
        "thp",
        "2MiB",
        "unix",
        "multifd",
        "off",
        "zstd",
        "zlib",
        "x509",
        "pause",
        "postcopy",
        "sequential",
    ];

    fn any_scenario() -> impl Strategy<Value = Scenario> {
        let choice =
            (proptest::sample::select(settings::settings()), proptest::sample::select(VALUES));
        proptest::collection::vec(choice, 0..60).prop_map(|choices| {
            let mut scenario = Scenario::default();
            for (setting, value) in choices {
                let mut changed = scenario.clone();
                if setting.set(&mut changed, value).is_ok() {
                    scenario = changed;
                }
            }
            scenario
        })
    }

    proptest! {
        #[test]
        fn every_scenario_round_trips(scenario in any_scenario()) {
            let text = scenario.to_toml();
            let read = Builder::new().file("printed", &text).unwrap().build_unchecked().unwrap();
            prop_assert_eq!(read, scenario);
        }

        #[test]
        fn every_valid_scenario_is_read_again_by_the_front_door(scenario in any_scenario()) {
            let read = Scenario::from_toml(&scenario.to_toml(), "printed");
            prop_assert_eq!(read.is_ok(), scenario.validate().is_ok());
        }

        #[test]
        fn a_scenario_is_made_of_its_settings(scenario in any_scenario()) {
            let mut builder = Builder::new();
            for table in tables::tables().iter().filter(|table| table.is_optional()) {
                let text = if table.is_in(&scenario) { "on" } else { "off" };
                builder = builder.set(table.path(), text, Origin::Flag("--table".into())).unwrap();
            }
            for setting in settings::settings() {
                if let Some(text) = setting.explicit(&scenario).filter(|_| is_live(setting, &scenario)) {
                    builder = builder.set(setting.path(), &text, Origin::Flag("--set".into())).unwrap();
                }
            }
            prop_assert_eq!(builder.build_unchecked().unwrap(), scenario);
        }
    }
}
