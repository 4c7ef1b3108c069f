//! JSON that people can read: arrays of numbers stand in one line.

/// Indented JSON, in which each array of nothing but numbers becomes one line.
///
/// An indented array takes a line for each number, which makes reports with many of them three times as long.
pub fn numbers_in_one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['"', '[']) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let length = match from.starts_with('"') {
            true => text_length(from),
            false => match numbers_length(from) {
                Some(length) => {
                    push_line(&mut out, &from[1..length - 1]);
                    rest = &from[length..];
                    continue;
                }
                None => 1,
            },
        };
        out.push_str(&from[..length]);
        rest = &from[length..];
    }
    out.push_str(rest);
    out
}

/// The length of the text at the beginning, with both its quotes.
fn text_length(from: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in from.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    from.len()
}

/// The length of the array at the beginning with both its brackets, where it holds numbers only.
fn numbers_length(from: &str) -> Option<usize> {
    for (at, byte) in from.bytes().enumerate().skip(1) {
        match byte {
            b']' => return Some(at + 1),
            b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E' | b',' | b' ' | b'\n' => {}
            _ => return None,
        }
    }
    None
}

fn push_line(out: &mut String, numbers: &str) {
    out.push('[');
    for (index, number) in numbers.split(',').map(str::trim).enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        out.push_str(number);
    }
    out.push(']');
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn arrays_of_numbers_are_lines_and_nothing_else_changes() {
        let value = json!({
            "numbers": [1, -2.5, 3e20], "none": [], "nested": [[1, 2], [3]], "mixed": [1, null], "texts": ["a"],
            "text": "[\n 1,\n 2 ] \" [3,\n4]\\", "[ 1,\n2 ]": {"deep": [0]},
        });
        let text = numbers_in_one_line(&serde_json::to_string_pretty(&value).unwrap());
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        assert!(text.contains("\"numbers\": [1, -2.5, 3e+20]"), "{text}");
        assert!(text.contains("\"none\": []") && text.contains("\"deep\": [0]"), "{text}");
        assert!(text.contains("    [1, 2],\n    [3]\n"), "{text}");
        assert!(text.contains("    1,\n    null\n"), "{text}");
    }

    #[test]
    fn what_is_cut_short_stays_as_it_is() {
        for text in ["[1, 2", "\"[1,\n2", "{\"a\": [", "\"\\", ""] {
            assert_eq!(numbers_in_one_line(text), text);
        }
    }
}
