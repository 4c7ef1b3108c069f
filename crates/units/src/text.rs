//! Text that others wrote, made safe to show, and text in columns.

use std::borrow::Cow;
use std::fmt::Write;

/// The text on one line, without a character that steers a terminal: each control or direction character is written
/// out as `\u001b`, which is also how JSON and TOML write it.
///
/// Peers, programs, files and clusters choose such texts: a host that refuses a run, a name in a suite, the last words
/// of a QEMU. An escape sequence in them could hide lines, forge others, or send keys to the shell.
pub fn printable(text: &str) -> Cow<'_, str> {
    written_out(text, steers)
}

/// As [`printable`], but the text keeps its line breaks and tabs.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    written_out(text, |it| steers(it) && it != '\n' && it != '\t')
}

/// As [`printable_lines`], but the text also keeps the colours that Sterna itself writes: sequences that only choose
/// a colour or a weight, and none that hides text or moves the cursor.
pub fn printable_page(text: &str) -> Cow<'_, str> {
    const ESCAPE: char = '\u{1b}';
    if !text.contains(ESCAPE) {
        return printable_lines(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut parts = text.split(ESCAPE);
    out.push_str(&printable_lines(parts.next().unwrap_or_default()));
    for part in parts {
        if is_colour(part) {
            out.push(ESCAPE);
        } else {
            write_out(&mut out, ESCAPE);
        }
        out.push_str(&printable_lines(part));
    }
    Cow::Owned(out)
}

/// The text with spaces behind it up to this many characters; unlike `{:<width$}` for a width of any size.
pub fn pad_right(text: &str, width: usize) -> String {
    format!("{text}{}", spaces_to(text, width))
}

/// The text with spaces before it up to this many characters; unlike `{:>width$}` for a width of any size.
pub fn pad_left(text: &str, width: usize) -> String {
    format!("{}{text}", spaces_to(text, width))
}

/// A width in a format string panics above 65,535, and names come from files of others.
fn spaces_to(text: &str, width: usize) -> String {
    " ".repeat(width.saturating_sub(text.chars().count()))
}

fn written_out(text: &str, is_written_out: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&is_written_out) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_written_out(c) {
            write_out(&mut out, c);
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

fn write_out(out: &mut String, c: char) {
    // All characters that steer are below U+10000, so four digits are enough for each.
    write!(out, "\\u{:04x}", u32::from(c)).expect("writing to a string cannot fail");
}

/// Control characters, and those that end lines or turn the direction of what follows.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether what follows an escape character begins with the rest of a sequence for a colour or a weight.
fn is_colour(rest: &str) -> bool {
    let Some((numbers, _)) = rest.strip_prefix('[').and_then(|it| it.split_once('m')) else {
        return false;
    };
    let is_harmless = |number: &str| match number.parse::<u8>() {
        Ok(number) => matches!(number, 0..=4 | 30..=37 | 39 | 90..=97),
        Err(_) => false,
    };
    numbers.is_empty() || numbers.split(';').all(is_harmless)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_steer_a_terminal_are_written_out() {
        let table = [
            ("5 % of µs", "5 % of µs"),
            ("\u{1b}[2Jgone\u{7}", "\\u001b[2Jgone\\u0007"),
            ("a\r\nb\tc", "a\\u000d\\u000ab\\u0009c"),
            ("\u{9b}31m", "\\u009b31m"),
            ("\u{202e}txt\u{2066}", "\\u202etxt\\u2066"),
            ("a\u{2028}b", "a\\u2028b"),
        ];
        for (given, expected) in table {
            assert_eq!(printable(given), expected);
        }
    }

    #[test]
    fn lines_keep_breaks_and_tabs_and_nothing_else() {
        assert_eq!(printable_lines("a\n\tb\u{1b}]0;c\u{7}"), "a\n\tb\\u001b]0;c\\u0007");
    }

    #[test]
    fn a_page_keeps_colours_but_no_other_sequence() {
        let table = [
            ("\u{1b}[1m\u{1b}[32mgood\u{1b}[0m\n", "\u{1b}[1m\u{1b}[32mgood\u{1b}[0m\n"),
            ("\u{1b}[8mhidden", "\\u001b[8mhidden"),
            ("\u{1b}[2J", "\\u001b[2J"),
            ("\u{1b}", "\\u001b"),
            ("\u{1b}[38;5;1m", "\\u001b[38;5;1m"),
            ("\u{1b}[31", "\\u001b[31"),
        ];
        for (given, expected) in table {
            assert_eq!(printable_page(given), expected);
        }
    }

    #[test]
    fn padding_takes_widths_that_a_format_string_refuses() {
        assert_eq!(pad_right("µ", 3), "µ  ");
        assert_eq!(pad_left("µ", 3), "  µ");
        assert_eq!(pad_left("long", 3), "long");
        assert_eq!(pad_right("", 70_000).len(), 70_000);
    }
}
