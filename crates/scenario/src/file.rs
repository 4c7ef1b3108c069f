//! Reading a scenario file.
//!
//! The parsed document is walked along the table of settings instead of being deserialised into structs: only this
//! way does every mistake have a line, a column and a nearest name, and every value one parser, the same that flags
//! and variables go through.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::builder::Builder;
use crate::error::{Origin, ScenarioError};
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
        (Kind::Text, DeValue::String(text)) => Ok(text.to_string()),
        // A bare number is a size in bytes; where it is not, the parser says what is missing.
        (Kind::Text | Kind::Integer, DeValue::Integer(_)) => integer(setting, value, origin),
        (Kind::Boolean, DeValue::Boolean(truth)) => Ok(truth.to_string()),
        (Kind::Integer, DeValue::String(text)) if setting.none_word() == Some(text) => {
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
            format!("did you mean `{nearest}`? There is `{name}` in [{}]", other.table())
        }
        (None, Some(other)) => format!("it belongs in [{}]", other.table()),
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
