//! The fields of a line: numbers, lists of them, and free text at the end.

use std::str::FromStr;

/// Takes the fields of one line in turn.
#[derive(Debug)]
pub struct Fields<'a> {
    rest: &'a str,
}

/// Stands for an absent number and for an empty list.
const NOTHING: &str = "-";

/// A list as one field.
pub(super) fn list(numbers: &[u64]) -> String {
    if numbers.is_empty() {
        return NOTHING.to_owned();
    }
    let texts: Vec<String> = numbers.iter().map(u64::to_string).collect();
    texts.join(",")
}

/// A number that may be absent as one field.
pub(super) fn option(number: Option<u64>) -> String {
    number.map_or_else(|| NOTHING.to_owned(), |it| it.to_string())
}

impl<'a> Fields<'a> {
    pub(super) fn new(rest: &'a str) -> Fields<'a> {
        Fields { rest }
    }

    pub(super) fn word(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        let (word, rest) = self.rest.split_once(' ').unwrap_or((self.rest, ""));
        self.rest = rest;
        Some(word)
    }

    pub(super) fn number<N: FromStr>(&mut self) -> Option<N> {
        self.word()?.parse().ok()
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        self.number::<u8>().map(|it| it != 0)
    }

    pub(super) fn option(&mut self) -> Option<Option<u64>> {
        match self.word()? {
            NOTHING => Some(None),
            word => word.parse().ok().map(Some),
        }
    }

    pub(super) fn list(&mut self) -> Option<Vec<u64>> {
        match self.word()? {
            NOTHING => Some(Vec::new()),
            word => word.split(',').map(|it| it.parse().ok()).collect(),
        }
    }

    /// All that is left, with the escapes of `str::escape_default` undone.
    pub(super) fn rest_unescaped(&mut self) -> String {
        unescape(std::mem::take(&mut self.rest))
    }
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(next) = chars.next() {
        if next != '\\' {
            plain.push(next);
            continue;
        }
        match chars.next() {
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('t') => plain.push('\t'),
            Some('u') => {
                let code: String =
                    chars.by_ref().take_while(|it| *it != '}').filter(|it| *it != '{').collect();
                let code = u32::from_str_radix(&code, 16).ok().and_then(char::from_u32);
                plain.push(code.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Some(other) => plain.push(other),
            None => {}
        }
    }
    plain
}
