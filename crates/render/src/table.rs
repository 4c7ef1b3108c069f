//! Columns of text, aligned.

use std::borrow::Cow;

use sterna_units::{pad_left, pad_right, printable};

use crate::number::DASH;

/// Space between two columns.
const GUTTER: usize = 2;

/// One column of a table: a heading, and a rank by which it gives way.
#[derive(Clone, Copy)]
pub struct Column {
    heading: &'static str,
    to_the_left: bool,
    rank: u8,
}

impl Column {
    /// A column of numbers, aligned at their ends. Where space is short, the columns of the highest
    /// rank are left out first; rank 0 stays in any case.
    pub fn number(heading: &'static str, rank: u8) -> Column {
        Column { heading, to_the_left: false, rank }
    }

    /// A column of words, aligned at their beginnings, that always stays.
    pub fn word(heading: &'static str) -> Column {
        Column { heading, to_the_left: true, rank: 0 }
    }
}

/// Rows of cells under headings.
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(columns: Vec<Column>) -> Table {
        Table { columns, rows: Vec::new() }
    }

    /// Adds a row; missing cells are unknown.
    pub fn row(&mut self, mut cells: Vec<String>) {
        cells.resize(self.columns.len(), DASH.to_owned());
        for cell in &mut cells {
            if let Cow::Owned(safe) = printable(cell) {
                *cell = safe;
            }
        }
        self.rows.push(cells);
    }

    /// The lines of the table, headings first, at most `width` wide if leaving out columns can
    /// achieve that.
    pub fn lines(&self, width: usize) -> Vec<String> {
        let widths: Vec<usize> = (0..self.columns.len()).map(|i| self.width_of(i)).collect();
        let shown = self.columns_within(width, &widths);
        let headings: Vec<&str> = self.columns.iter().map(|column| column.heading).collect();
        let rows = self.rows.iter().map(|row| row.iter().map(String::as_str).collect());
        std::iter::once(headings)
            .chain(rows)
            .map(|cells| self.line(&cells, &shown, &widths))
            .collect()
    }

    fn width_of(&self, column: usize) -> usize {
        let cells = self.rows.iter().map(|row| row[column].chars().count());
        cells.chain([self.columns[column].heading.chars().count()]).max().unwrap_or(0)
    }

    fn columns_within(&self, width: usize, widths: &[usize]) -> Vec<usize> {
        let mut shown: Vec<usize> = (0..self.columns.len()).collect();
        while shown.iter().map(|&i| widths[i] + GUTTER).sum::<usize>() > width + GUTTER {
            let Some(least) = shown.iter().copied().max_by_key(|&i| self.columns[i].rank) else {
                break;
            };
            if self.columns[least].rank == 0 {
                break;
            }
            shown.retain(|&i| i != least);
        }
        shown
    }

    fn line(&self, cells: &[&str], shown: &[usize], widths: &[usize]) -> String {
        let padded = shown.iter().map(|&i| {
            let (cell, width) = (cells[i], widths[i]);
            if self.columns[i].to_the_left { pad_right(cell, width) } else { pad_left(cell, width) }
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let columns = vec![
            Column::word("name"),
            Column::number("µs", 0),
            Column::number("extra", 2),
            Column::number("more", 1),
        ];
        let mut table = Table::new(columns);
        table.row(vec!["a".into(), "1".into(), "2".into(), "3".into()]);
        table.row(vec!["longer".into(), "1000".into()]);
        table
    }

    #[test]
    fn words_align_at_their_beginning_and_numbers_at_their_end() {
        insta::assert_snapshot!(table().lines(80).join("\n"), @r"
        name      µs  extra  more
        a          1      2     3
        longer  1000      –     –
        ");
    }

    #[test]
    fn columns_give_way_by_rank_and_the_rest_stays() {
        let widest =
            |width| table().lines(width).iter().map(|line| line.chars().count()).max().unwrap();
        assert_eq!(widest(25), 25);
        assert_eq!(widest(24), 18, "extra goes first");
        assert_eq!(widest(17), 12, "then more");
        assert_eq!(widest(1), 12, "rank 0 stays");
    }
}
