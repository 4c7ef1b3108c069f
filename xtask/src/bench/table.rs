//! Figures in columns.

use super::samples::Samples;

const HEADINGS: [&str; 4] = ["median", "min", "max", "MAD"];

/// A table whose rows are named and hold a median and its spread.
pub struct Table {
    rows: Vec<(String, Vec<String>)>,
}

impl Table {
    /// A table under a title.
    pub fn new(title: impl Into<String>) -> Table {
        let headings = HEADINGS.map(str::to_owned).to_vec();
        Table { rows: vec![(title.into(), headings)] }
    }

    /// Adds what was measured.
    pub fn row(&mut self, name: impl Into<String>, samples: &Samples, decimals: usize) {
        self.rows.push((name.into(), samples.cells(decimals)));
    }

    /// All lines, aligned.
    pub fn print(&self) {
        println!();
        self.lines().iter().for_each(|it| println!("{it}"));
    }

    fn lines(&self) -> Vec<String> {
        let width = |text: &String| text.chars().count();
        let name_width = self.rows.iter().map(|it| width(&it.0)).max().unwrap_or(0);
        let line = |(name, cells): &(String, Vec<String>)| {
            let cells: String = cells.iter().map(|it| format!("{it:>9}")).collect();
            format!("{name}{:pad$}{cells}", "", pad = name_width - width(name))
        };
        self.rows.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stand_below_their_headings() {
        let mut table = Table::new("Figures");
        table.row("one", &[1.0, 2.0, 3.0].into_iter().collect(), 2);
        let expected = [
            "Figures   median      min      max      MAD",
            "one         2.00     1.00     3.00   50.0 %",
        ];
        assert_eq!(table.lines(), expected);
    }
}
