//! JSON as programs really print it: with text around it, several documents in a row, `nan`, and a
//! key twice in one object.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

/// The documents in a text.
#[derive(Debug, Default)]
pub(super) struct Documents {
    pub values: Vec<Value>,
    /// With the text of its line before each document.
    pub prefixes: Vec<String>,
    /// Text that is in no document.
    pub has_other_text: bool,
    /// Numbers that are none, which are null now.
    pub not_numbers: usize,
}

/// Finds every document; one that is not whole is text like any other.
pub(super) fn documents(text: &str) -> Documents {
    let (text, not_numbers) = without_nan(text);
    let mut found = Documents { not_numbers, ..Documents::default() };
    let mut rest = &text[..];
    let mut line = String::new();
    let mut read_in_vain = 0;
    while let Some(at) = rest.find(['{', '[']) {
        let before = &rest[..at];
        found.has_other_text |= before.chars().any(|it| !it.is_whitespace() && it != ',');
        match before.rfind('\n') {
            Some(end) => line = before[end + 1..].to_owned(),
            None => line.push_str(before),
        }
        rest = &rest[at..];
        match next(rest) {
            Next::Document(value, length) => {
                found.values.push(value);
                found.prefixes.push(std::mem::take(&mut line));
                rest = &rest[length..];
            }
            // What comes after an open bracket belongs into it.
            Next::CutShort => {
                found.has_other_text = true;
                return found;
            }
            Next::Text(length) => {
                found.has_other_text = true;
                read_in_vain += length;
                if read_in_vain > MOST_IN_VAIN {
                    return found;
                }
                line.push_str(&rest[..1]);
                rest = &rest[1..];
            }
        }
    }
    found.has_other_text |= !rest.trim().is_empty();
    found
}

enum Next {
    Document(Value, usize),
    CutShort,
    /// With the lines that were read before that showed, in bytes.
    Text(usize),
}

/// A file in which each bracket begins a long document that goes wrong at its end is given up after so
/// many bytes.
const MOST_IN_VAIN: usize = 256 * 1024 * 1024;

fn next(text: &str) -> Next {
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Kept>();
    match stream.next() {
        // `[1234]:` is how a log begins its lines.
        Some(Ok(Kept(value))) if !is_list_of_plain(&value) => {
            Next::Document(value, stream.byte_offset())
        }
        Some(Err(error)) if error.is_eof() && text.starts_with('{') => Next::CutShort,
        Some(Err(error)) => {
            let lines = text.split_inclusive('\n').take(error.line() - 1);
            Next::Text(lines.map(str::len).sum::<usize>() + error.column())
        }
        _ => Next::Text(1),
    }
}

fn is_list_of_plain(value: &Value) -> bool {
    value.as_array().is_some_and(|it| it.iter().all(|it| !it.is_object() && !it.is_array()))
}

/// Replaces what C prints for numbers that are none by null, outside of texts.
fn without_nan(text: &str) -> (String, usize) {
    const WORDS: [&str; 4] = ["infinity", "inf", "nan(ind)", "nan"];
    let lower = text.to_ascii_lowercase();
    if !WORDS.iter().any(|it| lower.contains(it)) {
        return (text.to_owned(), 0);
    }
    let (mut out, mut count, mut at) = (String::with_capacity(text.len()), 0, 0);
    let (mut is_inside, mut is_value) = (false, false);
    // Text around the documents is left as it is.
    let mut depth = 0_u32;
    while let Some(letter) = text[at..].chars().next() {
        let rest = &lower[at..];
        if is_inside && letter == '\\' {
            let escaped = text[at..].chars().nth(1).map_or(0, char::len_utf8);
            out.push_str(&text[at..at + 1 + escaped]);
            at += 1 + escaped;
            continue;
        }
        if letter == '"' {
            is_inside = !is_inside;
        }
        let word = rest.strip_prefix('-').unwrap_or(rest);
        let word =
            WORDS.iter().find(|it| word.starts_with(**it)).filter(|_| is_value && !is_inside);
        if let Some(word) = word {
            out.push_str("null");
            count += 1;
            at += word.len() + usize::from(rest.starts_with('-'));
            is_value = false;
            continue;
        }
        match letter {
            '{' | '[' if !is_inside => depth += 1,
            '}' | ']' if !is_inside => depth = depth.saturating_sub(1),
            _ => {}
        }
        // Only after these a value may begin.
        if !letter.is_whitespace() {
            is_value = depth > 0 && !is_inside && [':', ',', '['].contains(&letter);
        }
        out.push(letter);
        at += letter.len_utf8();
    }
    (out, count)
}

/// A value in which the first of two equal keys keeps its name, and the second is called `key#2`.
struct Kept(Value);

impl<'de> Deserialize<'de> for Kept {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Kept, D::Error> {
        deserializer.deserialize_any(KeepBoth).map(Kept)
    }
}

struct KeepBoth;

impl<'de> Visitor<'de> for KeepBoth {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a value of JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        // A whole number that a program prints with a point counts as one.
        let is_whole = value.fract() == 0.0 && (0.0..9e15).contains(&value);
        let whole = is_whole.then(|| Number::from(value as u64));
        Ok(whole.or_else(|| Number::from_f64(value)).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Kept(value)) = list.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some((key, Kept(value))) = map.next_entry::<String, Kept>()? {
            let name = if values.contains_key(&key) { format!("{key}#2") } else { key };
            values.entry(name).or_insert(value);
        }
        Ok(Value::Object(values))
    }
}

/// For a field whose value may be odd: unknown then.
pub(super) fn maybe<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let value = Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}

/// The same for what has a default.
pub(super) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + Default,
{
    maybe(deserializer).map(Option::unwrap_or_default)
}

/// The entries of a list that are as they should be.
pub(super) fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let entries = match Value::deserialize(deserializer)? {
        Value::Array(entries) => entries,
        _ => Vec::new(),
    };
    Ok(entries.into_iter().filter_map(|it| serde_json::from_value(it).ok()).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_are_found_in_text_and_one_after_the_other() {
        let text =
            "warning: nan is odd\n[1234]: 10:00:01 {\"a\": 1}\n{\"b\": \"}{\"}{\"c\": []} end";
        let found = documents(text);
        assert_eq!(found.values, [json!({"a": 1}), json!({"b": "}{"}), json!({"c": []})]);
        assert_eq!(found.prefixes, ["[1234]: 10:00:01 ", "", ""]);
        assert!(found.has_other_text && found.not_numbers == 0);
        assert!(!documents(" {\"a\": 1} \n").has_other_text);
        assert_eq!(documents("no document").values, [Value::Null; 0]);
        assert_eq!(documents("[{\"a\": 1}, {\"a\": 2}]").values, [json!([{"a": 1}, {"a": 2}])]);
    }

    #[test]
    fn a_document_that_breaks_off_gives_none_of_its_parts() {
        let found = documents("{\"a\": 1}\n{\"b\": {\"c\": 2}, \"d\": ");
        assert_eq!(found.values, [json!({"a": 1})]);
        assert!(found.has_other_text);
        let deep = format!("{{\"a\": {}", "[".repeat(100_000));
        assert_eq!(documents(&deep).values.len(), 0);
    }

    #[test]
    fn numbers_that_are_none_are_null_and_texts_stay() {
        let text = r#"{"a": -nan, "b": NaN, "c": "nan \" : nan", "d": [inf, -Infinity], "e": 2.0, "f": 2.5}"#;
        let found = documents(text);
        let expected = json!({
            "a": null, "b": null, "c": "nan \" : nan", "d": [null, null], "e": 2, "f": 2.5
        });
        assert_eq!((&found.values[0], found.not_numbers), (&expected, 4));
    }

    #[test]
    fn the_first_of_two_equal_keys_keeps_its_name() {
        let found = documents(r#"{"sum": 1, "x": 0, "sum": 2, "sum": 3}"#);
        assert_eq!(found.values, [json!({"sum": 1, "x": 0, "sum#2": 2})]);
    }
}
