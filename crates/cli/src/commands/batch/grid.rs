//! Tables of a batch: a row for each variant, a column for each point of the matrix, in Markdown that reads well as it is.

use std::fmt::Write;

use sterna_report::{Integrity, Report, Verdict};

use super::manifest::{Entry, Manifest};

/// A table's title, and what stands in a cell for a report.
type Kind = (&'static str, fn(&Report) -> String);

const KINDS: &[Kind] = &[
    ("Outcome, and the time it took", outcome),
    ("Downtime", |report| seconds(report.summary.downtime_seconds)),
    ("Lost work, in guest-seconds", |report| seconds(report.summary.lost_work_seconds)),
];

/// The tables of each engine.
pub fn tables(manifest: &Manifest) -> String {
    let mut text = String::new();
    let mut engines: Vec<&str> = manifest.runs.iter().map(|it| it.engine).collect();
    engines.dedup();
    for engine in engines {
        let runs: Vec<&Entry> = manifest.runs.iter().filter(|it| it.engine == engine).collect();
        for (title, cell) in KINDS {
            let _ = writeln!(text, "{title} ({engine})\n");
            text.push_str(&table(&runs, *cell));
            text.push('\n');
        }
    }
    text
}

fn table(runs: &[&Entry], cell: fn(&Report) -> String) -> String {
    let points = distinct(runs, |it| &it.point);
    let variants = distinct(runs, |it| &it.variant);
    let head = std::iter::once(String::new()).chain(points.iter().map(|it| short(it)));
    let mut rows = vec![head.collect::<Vec<_>>()];
    for variant in variants {
        let cells = points.iter().map(|point| {
            let here = runs.iter().filter(|it| it.variant == variant && it.point == *point);
            let texts = here.map(|it| it.report.as_ref().map_or("no report".to_owned(), cell));
            texts.collect::<Vec<_>>().join(" / ")
        });
        rows.push(std::iter::once(variant.to_owned()).chain(cells).collect());
    }
    aligned(&rows)
}

/// The values without the names of their fields, which are the same in each column.
fn short(point: &str) -> String {
    let values = point.split(' ').map(|it| it.split_once('=').map_or(it, |(_, value)| value));
    values.collect::<Vec<_>>().join(" ")
}

fn distinct<'a>(runs: &[&'a Entry], field: fn(&Entry) -> &String) -> Vec<&'a str> {
    let mut found: Vec<&str> = Vec::new();
    for run in runs {
        let text = field(run).as_str();
        if !found.contains(&text) {
            found.push(text);
        }
    }
    found
}

fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(3)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        let _ = writeln!(text, "| {} |", cells.collect::<Vec<_>>().join(" | "));
        if index == 0 {
            let rules = widths.iter().map(|width| "-".repeat(*width));
            let _ = writeln!(text, "| {} |", rules.collect::<Vec<_>>().join(" | "));
        }
    }
    text
}

fn outcome(report: &Report) -> String {
    let summary = &report.summary;
    let time = seconds(summary.total_time_seconds);
    if summary.integrity == Integrity::Corrupt {
        return format!("CORRUPT {time}");
    }
    match summary.verdict {
        Verdict::Completed => time,
        other => format!("{} {time}", other.as_str()),
    }
}

fn seconds(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if value < 0.1 => format!("{:.1} ms", value * 1000.0),
        Some(value) if value < 1.0 => format!("{:.0} ms", value * 1000.0),
        Some(value) => format!("{value:.1} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_keep_two_or_three_digits() {
        let found = [None, Some(0.0123), Some(0.3), Some(12.34)].map(seconds);
        assert_eq!(found, ["–", "12.3 ms", "300 ms", "12.3 s"]);
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [["", "1Gbit/s"], ["precopy", "–"]].map(|row| row.map(str::to_owned).to_vec());
        let expected = "|         | 1Gbit/s |\n| ------- | ------- |\n| precopy | –       |\n";
        assert_eq!(aligned(&rows), expected);
    }
}
