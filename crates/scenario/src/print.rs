//! Writing a scenario file: everything that holds, and what else could be asked for.

use std::fmt::Write;

use crate::settings::{self, Setting};
use crate::tables::{self, Table};
use crate::types::Scenario;
use crate::value::Kind;

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
    let lines: Vec<(String, &str)> = lines.collect();
    text.push('\n');
    if !table.path().is_empty() {
        let mark = if is_in { "" } else { "# " };
        append(text, format_args!("# {}.\n{mark}[{}]\n", table.about(), table.path()));
    }
    let width = lines.iter().map(|(field, _)| field.chars().count()).max().unwrap_or(0);
    for (field, about) in lines {
        append(text, format_args!("{field:width$}  # {about}\n"));
    }
}

/// The field with its value, and what it means.
fn line(setting: &'static Setting, scenario: &Scenario) -> (String, &'static str) {
    let field = match setting.explicit(scenario).filter(|_| is_live(setting, scenario)) {
        Some(value) => format!("{} = {}", setting.key(), literal(setting.kind(), &value)),
        None => {
            format!("# {} = {}", setting.key(), literal(setting.kind(), &setting.example_text()))
        }
    };
    (field, setting.about())
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
