//! Objects as YAML text.
//!
//! Only what [`serde_json::Value`] holds, in the block form that people know from Kubernetes; everything that another
//! reader could take for something else than text is quoted.

use std::fmt::Write as _;

use serde_json::Value;

/// One document, with a line end.
pub fn document(value: &Value) -> String {
    let mut text = String::new();
    write(&mut text, value, 0);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// Several documents, each after its separator.
pub fn documents<'a>(values: impl IntoIterator<Item = &'a Value>) -> String {
    values.into_iter().map(|it| format!("---\n{}", document(it))).collect()
}

fn write(text: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(map) if map.is_empty() => text.push_str("{}"),
        Value::Array(list) if list.is_empty() => text.push_str("[]"),
        Value::Object(map) => {
            for (index, (key, value)) in map.iter().enumerate() {
                if index > 0 {
                    indent(text, depth);
                }
                text.push_str(&plain_or_quoted(key));
                text.push(':');
                below(text, value, depth);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                if index > 0 {
                    indent(text, depth);
                }
                text.push_str("- ");
                item(text, value, depth);
            }
        }
        Value::String(string) => scalar(text, string, depth),
        other => {
            let _ = write!(text, "{other}");
        }
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
}

/// A value after its key.
fn below(text: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            text.push('\n');
            indent(text, depth + 1);
            write(text, value, depth + 1);
        }
        // Lists stand as deep as their key, as kubectl prints them.
        Value::Array(list) if !list.is_empty() => {
            text.push('\n');
            indent(text, depth);
            write(text, value, depth);
        }
        _ => {
            text.push(' ');
            write(text, value, depth + 1);
        }
    }
}

/// A value after its dash.
fn item(text: &mut String, value: &Value, depth: usize) {
    write(text, value, depth + 1);
}

fn indent(text: &mut String, depth: usize) {
    for _ in 0..depth {
        text.push_str("  ");
    }
}

fn scalar(text: &mut String, string: &str, depth: usize) {
    let is_block = string.contains('\n')
        && !string.starts_with([' ', '\n'])
        && string.lines().all(|it| !it.ends_with(' '))
        && string.chars().all(|it| it == '\n' || !it.is_control());
    if !is_block {
        text.push_str(&plain_or_quoted(string));
        return;
    }
    text.push_str(match string.len() - string.trim_end_matches('\n').len() {
        0 => "|-\n",
        1 => "|\n",
        _ => "|+\n",
    });
    for line in string.lines() {
        if !line.is_empty() {
            indent(text, depth.max(1));
            text.push_str(line);
        }
        text.push('\n');
    }
}

/// Plain where no reader, of whichever version of the language, can take it for anything but text.
fn plain_or_quoted(string: &str) -> String {
    let allowed = |it: char| it.is_ascii_alphanumeric() || "-_./+=".contains(it);
    let begins = string.starts_with(|it: char| it.is_ascii_alphabetic() || it == '/');
    let words = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    let is_word = words.contains(&string.to_ascii_lowercase().as_str());
    let inner = |it: char| allowed(it) || it == ' ' || it == ':' || it == ',';
    let is_plain = begins
        && !is_word
        && string.chars().all(inner)
        && !string.contains(": ")
        && !string.contains(" #")
        && !string.ends_with([' ', ':']);
    if is_plain { string.to_owned() } else { Value::from(string).to_string() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn values() -> impl Strategy<Value = Value> {
        let texts = prop_oneof![
            "[ -~\n]{0,12}",
            "[a-z0-9.:# -]{0,8}",
            "(yes|No|null|~|0x1F|1e3|0644|12:30|-|\\?|@a|&a|\\*a|!a|%a|true|=|<<|\t)",
        ];
        let leaves = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            texts.clone().prop_map(Value::from),
        ];
        leaves.prop_recursive(3, 24, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(texts.clone(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn another_reader_reads_the_same(value in values()) {
            let text = document(&value);
            let read: Value = serde_saphyr::from_str(&text)
                .map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
            prop_assert_eq!(read, value, "{}", text);
        }
    }

    #[test]
    fn values_become_the_text_that_people_know() {
        let value = json!({
            "kind": "Thing",
            "metadata": {"labels": {}, "name": "a-1"},
            "list": [{"a": 1, "b": [true, "true"]}, ["x", ["y"]], "10"],
            "text": "one\n  two\n\nthree\n",
            "none": null,
            "mode": "0644",
        });
        let expected = "kind: Thing\nlist:\n- a: 1\n  b:\n  - true\n  - \"true\"\n- - x\n  - - \"y\"\n- \"10\"\nmetadata:\n  labels: {}\n  name: a-1\nmode: \"0644\"\nnone: null\ntext: |\n  one\n    two\n\n  three\n";
        assert_eq!(document(&value), expected);
    }
}
