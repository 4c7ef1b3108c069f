//! Tables of a page, whose columns can be sorted.

use maud::{Markup, html};

use crate::number::DASH;

/// A table with headings.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// What it shows, for those who hear it; not shown.
    pub caption: String,
    /// The headings, none of them empty.
    pub columns: Vec<String>,
    /// The rows; the first cell names its row.
    pub rows: Vec<Vec<Cell>>,
    /// Whether a reader may sort it.
    pub sortable: bool,
}

/// What a cell wants to say by its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// All is well.
    Good,
    /// To be looked at.
    Doubtful,
    /// Bad.
    Bad,
}

/// A cell of a table.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// What stands in it.
    pub text: String,
    /// By what it is sorted, and aligned as a number.
    pub value: Option<f64>,
    /// Its colour.
    pub tone: Option<Tone>,
    /// Where it leads.
    pub way: Option<String>,
}

impl Cell {
    /// Words.
    pub fn words(text: impl Into<String>) -> Cell {
        Cell { text: text.into(), ..Cell::default() }
    }

    /// A number in its format, or a dash.
    pub fn number(value: Option<f64>, format: impl FnOnce(f64) -> String) -> Cell {
        match value {
            Some(value) => Cell { text: format(value), value: Some(value), ..Cell::default() },
            None => Cell { text: DASH.to_owned(), value: Some(f64::NAN), ..Cell::default() },
        }
    }

    /// The same with this colour.
    #[must_use]
    pub fn toned(self, tone: Tone) -> Cell {
        Cell { tone: Some(tone), ..self }
    }

    /// The same, as a way to another page.
    #[must_use]
    pub fn leading_to(self, path: impl Into<String>) -> Cell {
        Cell { way: Some(path.into()), ..self }
    }

    fn class(&self) -> String {
        let number = if self.value.is_some() { "n" } else { "" };
        let tone = match self.tone {
            Some(Tone::Good) => " good",
            Some(Tone::Doubtful) => " doubtful",
            Some(Tone::Bad) => " bad",
            None => "",
        };
        format!("{number}{tone}")
    }

    fn content(&self) -> Markup {
        html! {
            @if let Some(way) = &self.way { a href=(way) { (self.text) } } @else { (self.text) }
        }
    }
}

impl Table {
    /// Without rows.
    pub fn new(caption: impl Into<String>, columns: &[&str]) -> Table {
        Table {
            caption: caption.into(),
            columns: columns.iter().map(|it| (*it).to_owned()).collect(),
            rows: Vec::new(),
            sortable: false,
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Can be scrolled by itself, also with the keyboard, so that the page stays as wide as its window.
    pub(super) fn markup(&self) -> Markup {
        html! {
            div.scroll role="region" tabindex="0" aria-label={ "Table: " (self.caption) } {
                table data-sortable[self.sortable] {
                    caption.unseen { (self.caption) }
                    thead { tr {
                        @for (index, column) in self.columns.iter().enumerate() {
                            th scope="col" class=(self.heading_class(index)) { (column) }
                        }
                    } }
                    tbody {
                        @for row in &self.rows {
                            tr {
                                @for (index, cell) in row.iter().enumerate() {
                                    @if index == 0 {
                                        th scope="row" class=(cell.class()) data-value=[value(cell)] { (cell.content()) }
                                    } @else {
                                        td class=(cell.class()) data-value=[value(cell)] { (cell.content()) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    /// A heading is aligned as what stands below it.
    fn heading_class(&self, column: usize) -> &'static str {
        let is_number = |row: &Vec<Cell>| row.get(column).is_some_and(|it| it.value.is_some());
        if self.rows.iter().any(is_number) { "n" } else { "" }
    }
}

/// By what a reader's browser sorts.
fn value(cell: &Cell) -> Option<String> {
    cell.value.map(|it| {
        if it.is_nan() { String::new() } else { super::figure::number(it, 9).to_string() }
    })
}
