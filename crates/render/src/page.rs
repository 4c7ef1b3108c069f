//! A text that grows line by line, within the terminal's width.

use anstyle::{AnsiColor, Effects};
use sterna_units::{pad_right, printable};

use crate::{Style, table::Table};

const NARROWEST: usize = 40;
const INDENT: usize = 2;
const LABEL_WIDTH: usize = 18;

/// What a piece of text wants to say by its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// All is well.
    Good,
    /// To be trusted less.
    Doubtful,
    /// Wrong, or broken.
    Bad,
    /// What follows belongs together.
    Heading,
}

/// One row that carries a judgement.
#[derive(Clone, Copy, Debug)]
pub struct Judgement<'a> {
    /// What was judged.
    pub label: &'a str,
    /// The judgement in one word.
    pub word: &'a str,
    /// How the word is meant.
    pub tone: Tone,
    /// What there is to say about it.
    pub text: &'a str,
    /// Paragraphs below that.
    pub below: &'a [&'a str],
}

/// The text under construction. Only this type knows about colours, width and indentation.
pub struct Page {
    style: Style,
    out: String,
}

impl Page {
    /// An empty page.
    pub fn new(style: Style) -> Page {
        Page { style: Style { width: style.width.max(NARROWEST), ..style }, out: String::new() }
    }

    /// The text as it has grown.
    pub fn finish(self) -> String {
        self.out
    }

    /// A paragraph from the left edge, in one tone.
    pub fn paragraph(&mut self, text: &str, tone: Option<Tone>) {
        self.wrapped("", 0, text, tone);
    }

    /// An indented paragraph without a label.
    pub fn note(&mut self, text: &str) {
        self.wrapped("", INDENT, text, None);
    }

    /// Lines as they are, indented and not wrapped, so that they can be copied.
    pub fn verbatim(&mut self, text: &str) {
        for line in text.lines() {
            self.line(&format!("{:INDENT$}{line}", ""));
        }
    }

    /// A paragraph behind a bullet in a tone that warns.
    pub fn bullet(&mut self, text: &str) {
        self.wrapped("  ! ", 4, text, Some(Tone::Doubtful));
    }

    /// A paragraph below a bullet.
    pub fn below_bullet(&mut self, text: &str) {
        self.wrapped("    ", 4, text, None);
    }

    /// An empty line and the heading of a section.
    pub fn heading(&mut self, text: &str) {
        self.out.push('\n');
        self.paragraph(text, Some(Tone::Heading));
    }

    /// A label and what it stands for.
    pub fn row(&mut self, label: &str, value: &str) {
        // A label that fills its column still has a space behind it.
        let label = format!("{} ", printable(label));
        let label = format!("{:INDENT$}{label:<LABEL_WIDTH$}", "");
        self.wrapped(&label, INDENT + LABEL_WIDTH, value, None);
    }

    /// A row with a judgement; rows with the same widths of label and word stand in columns.
    pub fn judgement(&mut self, row: &Judgement<'_>, label_width: usize, word_width: usize) {
        let word = self.paint(&pad_right(row.word, word_width), Some(row.tone));
        let label = pad_right(&printable(row.label), label_width);
        let first = format!("{:INDENT$}{label}  {word}  ", "");
        let column = INDENT + label_width + 2 + word_width + 2;
        // Where the column would be too narrow to read, the texts stand below.
        let hang = if column + NARROWEST / 2 > self.style.width { 2 * INDENT } else { column };
        let mut texts = std::iter::once(row.text).chain(row.below.iter().copied());
        if hang < column {
            self.line(&first);
        } else {
            self.wrapped(&first, hang, texts.next().unwrap_or_default(), None);
        }
        for text in texts.filter(|it| !it.is_empty()) {
            self.wrapped("", hang, text, None);
        }
    }

    /// A table, its headings as they are.
    pub(crate) fn table(&mut self, table: &Table) {
        for line in table.lines(self.style.width - INDENT) {
            self.line(&format!("{:INDENT$}{line}", ""));
        }
    }

    /// Writes `first` and then the text, whose further lines are indented by `hang`.
    fn wrapped(&mut self, first: &str, hang: usize, text: &str, tone: Option<Tone>) {
        let lines = wrap(text, self.style.width.saturating_sub(hang));
        for (i, line) in lines.iter().enumerate() {
            let lead =
                if i == 0 && !first.is_empty() { first.to_owned() } else { " ".repeat(hang) };
            let line = self.paint(line, tone);
            self.line(&format!("{lead}{line}"));
        }
    }

    fn line(&mut self, line: &str) {
        self.out.push_str(line.trim_end());
        self.out.push('\n');
    }

    fn paint(&self, text: &str, tone: Option<Tone>) -> String {
        match tone.filter(|_| self.style.colour) {
            None => text.to_owned(),
            Some(tone) => {
                let style = ansi(tone);
                format!("{style}{text}{style:#}")
            }
        }
    }
}

fn ansi(tone: Tone) -> anstyle::Style {
    let bold = anstyle::Style::new().effects(Effects::BOLD);
    match tone {
        Tone::Good => bold.fg_color(Some(AnsiColor::Green.into())),
        Tone::Doubtful => bold.fg_color(Some(AnsiColor::Yellow.into())),
        Tone::Bad => bold.fg_color(Some(AnsiColor::Red.into())),
        Tone::Heading => bold,
    }
}

/// Breaks a text at white space into lines of at most `width`; a longer word stands alone.
///
/// Engines and peers write some of these texts, and none of them may steer the reader's terminal. Always gives at
/// least one line.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_whitespace() {
        let word = printable(word);
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            lines.push(String::new());
            used = 0;
        }
        let line = lines.last_mut().expect("there is always a line");
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        line.push_str(&word);
        used += length;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_breaks_at_white_space_and_long_words_stand_alone() {
        let table: [(&str, usize, &[&str]); 5] = [
            ("", 10, &[""]),
            ("one two", 7, &["one two"]),
            ("one two", 6, &["one", "two"]),
            ("a  very-long-word\nb", 5, &["a", "very-long-word", "b"]),
            ("µµµ µµµ", 7, &["µµµ µµµ"]),
        ];
        for (text, width, expected) in table {
            assert_eq!(wrap(text, width), expected);
        }
    }

    #[test]
    fn escape_sequences_in_texts_do_not_reach_the_terminal() {
        let mut page = Page::new(Style { colour: false, width: 80 });
        page.row("reason", "\u{1b}[2Jgone\u{7}");
        assert_eq!(page.finish(), "  reason            \\u001b[2Jgone\\u0007\n");
    }

    #[test]
    fn judgements_stand_in_columns_that_give_way_on_narrow_terminals() {
        let render = |width, colour| {
            let mut page = Page::new(Style { colour, width });
            let row = Judgement {
                label: "thing",
                word: "limited",
                tone: Tone::Doubtful,
                text: "half of it",
                below: &["so it is slow", "buy the rest"],
            };
            page.judgement(&row, 8, 8);
            page.judgement(&Judgement { word: "ok", text: "", below: &[], ..row }, 8, 8);
            page.finish()
        };
        insta::assert_snapshot!(render(80, false), @r"
        thing     limited   half of it
                            so it is slow
                            buy the rest
        thing     ok
        ");
        insta::assert_snapshot!(render(40, false), @r"
        thing     limited
          half of it
          so it is slow
          buy the rest
        thing     ok
        ");
        assert!(render(80, true).contains("\u{1b}[33mlimited \u{1b}[0m"));
    }

    #[test]
    fn colours_come_only_where_they_are_asked_for() {
        let render = |colour| {
            let mut page = Page::new(Style { colour, width: 80 });
            page.paragraph("Completed", Some(Tone::Good));
            page.finish()
        };
        assert_eq!(render(false), "Completed\n");
        assert_eq!(render(true), "\u{1b}[1m\u{1b}[32mCompleted\u{1b}[0m\n");
    }
}
