//! Lines `name{label="text",…} value`, written and read.

use std::fmt;

const PREFIX: &str = "sterna_guest_disk_";

/// Writes a line.
pub fn line(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    labels: &[(&str, &dyn fmt::Display)],
    value: u64,
) -> fmt::Result {
    write!(f, "{PREFIX}{name}")?;
    for (index, (label, text)) in labels.iter().enumerate() {
        let before = if index == 0 { '{' } else { ',' };
        write!(f, "{before}{label}=\"{}\"", escaped(&text.to_string()))?;
    }
    let close = if labels.is_empty() { "" } else { "}" };
    writeln!(f, "{close} {value}")
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// A line that was read.
pub struct Line<'a> {
    /// Without what all of them begin with.
    pub name: &'a str,
    labels: Vec<(&'a str, String)>,
    pub value: u64,
}

impl Line<'_> {
    /// None for any other line.
    pub fn read(line: &str) -> Option<Line<'_>> {
        let line = line.strip_prefix(PREFIX)?;
        let end = line.find(['{', ' '])?;
        let (name, mut rest) = line.split_at(end);
        let mut labels = Vec::new();
        if let Some(inner) = rest.strip_prefix('{') {
            rest = inner;
            loop {
                let (label, after) = rest.split_once("=\"")?;
                let (text, after) = quoted(after)?;
                labels.push((label, text));
                match after.strip_prefix(',') {
                    Some(more) => rest = more,
                    None => break rest = after.strip_prefix('}')?,
                }
            }
        }
        Some(Line { name, labels, value: rest.strip_prefix(' ')?.parse().ok()? })
    }

    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|it| it.0 == name).map(|it| it.1.as_str())
    }

    pub fn number(&self, label: &str) -> Option<u64> {
        self.label(label)?.parse().ok()
    }
}

/// The value of the first line of this name.
pub fn number(lines: &[Line], name: &str) -> Option<u64> {
    lines.iter().find(|it| it.name == name).map(|it| it.value)
}

/// The text up to the closing quotation mark, and what follows that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut plain = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((plain, &text[at + 1..])),
            '\\' => match letters.next()?.1 {
                'n' => plain.push('\n'),
                other => plain.push(other),
            },
            other => plain.push(other),
        }
    }
    None
}
