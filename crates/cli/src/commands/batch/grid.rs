//! Tables of a batch: a row for each variant, a column for each combination of the matrix, in Markdown that reads well as it is.

use std::fmt::Write;

use sterna_render::markdown_text;
use sterna_report::statistics::{mad, median};
use sterna_report::{Integrity, Report, Verdict};
use sterna_scenario::SuiteTable;
use sterna_units::{human_bits_per_second, pad_right};

use super::manifest::{Entry, Manifest};

/// The tables of each engine, and what an engine does not support.
pub fn tables(manifest: &Manifest, tables: &[SuiteTable]) -> String {
    let mut text = String::new();
    let mut engines: Vec<&str> = manifest.runs.iter().map(|it| it.engine).collect();
    engines.dedup();
    for engine in engines {
        let runs: Vec<&Entry> = manifest.runs.iter().filter(|it| it.engine == engine).collect();
        if distinct(&runs, |it| &it.point).len() == 1 {
            let _ = writeln!(text, "Results ({engine})\n");
            text.push_str(&one_table(&runs, tables));
            text.push('\n');
        } else {
            for table in tables {
                let _ = writeln!(text, "{} ({engine})\n", title(*table));
                text.push_str(&grid(&runs, *table));
                text.push('\n');
            }
        }
        text.push_str(&unsupported(&runs, engine));
    }
    text
}

fn title(table: SuiteTable) -> &'static str {
    match table {
        SuiteTable::Outcome => "Outcome, and the time it took",
        SuiteTable::TotalTime => "Total time",
        SuiteTable::Bandwidth => "Bandwidth, slowest to fastest 100 ms",
        SuiteTable::Downtime => "Downtime",
        SuiteTable::Blackout => "Blackout, seen from inside",
        SuiteTable::LostWork => "Lost work, in guest-seconds",
        SuiteTable::FrozenVideo => "Frozen video",
        SuiteTable::Packets => "Messages of the probe, sent / received",
    }
}

/// Where there is one combination only, the tables become columns of one.
fn one_table(runs: &[&Entry], tables: &[SuiteTable]) -> String {
    let head = std::iter::once(String::new()).chain(tables.iter().map(|it| title(*it).to_owned()));
    let mut rows = vec![head.collect::<Vec<_>>()];
    for variant in distinct(runs, |it| &it.variant) {
        let here: Vec<&Entry> = runs.iter().copied().filter(|it| it.variant == variant).collect();
        let cells = tables.iter().map(|table| cell(*table, &here));
        rows.push(std::iter::once(markdown_text(variant)).chain(cells).collect());
    }
    aligned(&rows)
}

fn grid(runs: &[&Entry], table: SuiteTable) -> String {
    let points = distinct(runs, |it| &it.point);
    let head =
        std::iter::once(String::new()).chain(points.iter().map(|it| markdown_text(&short(it))));
    let mut rows = vec![head.collect::<Vec<_>>()];
    for variant in distinct(runs, |it| &it.variant) {
        let cells = points.iter().map(|point| {
            let is_here = |it: &&&Entry| it.variant == variant && it.point == *point;
            cell(table, &runs.iter().filter(is_here).copied().collect::<Vec<_>>())
        });
        rows.push(std::iter::once(markdown_text(variant)).chain(cells).collect());
    }
    aligned(&rows)
}

/// What the repeats of one run say: their median, with the deviation from it where there are several.
fn cell(table: SuiteTable, runs: &[&Entry]) -> String {
    let reports: Vec<&Report> = runs.iter().filter_map(|it| it.report.as_ref()).collect();
    if reports.is_empty() {
        return if runs.is_empty() { "" } else { "no report" }.to_owned();
    }
    let middle = |value: fn(&Report) -> Option<f64>| {
        let values: Vec<f64> = reports.iter().filter_map(|it| value(it)).collect();
        let several = mad(&values).filter(|_| values.len() > 1);
        let spread = several.map_or(String::new(), |it| format!(" ± {}", seconds(Some(it))));
        format!("{}{spread}", seconds(median(&values)))
    };
    match table {
        SuiteTable::Outcome => outcome(runs.len(), &reports),
        SuiteTable::TotalTime => middle(|it| it.summary.total_time_seconds),
        SuiteTable::Downtime => match is_only_claimed(&reports) {
            true => format!("claimed {}", middle(|it| it.summary.downtime_claimed_seconds)),
            false => {
                let is_over = reports.iter().any(|it| it.summary.downtime_over_limit().is_some());
                let mark = if is_over { " > limit" } else { "" };
                format!("{}{mark}", middle(|it| it.summary.downtime_seconds))
            }
        },
        SuiteTable::Blackout => middle(|it| it.summary.blackout_seconds),
        SuiteTable::LostWork => middle(|it| it.summary.lost_work_seconds),
        SuiteTable::FrozenVideo => middle(frozen_video),
        SuiteTable::Bandwidth => bandwidth(&reports),
        SuiteTable::Packets => packets(&reports),
    }
}

fn is_only_claimed(reports: &[&Report]) -> bool {
    let mut summaries = reports.iter().map(|it| &it.summary);
    summaries.clone().all(|it| it.downtime_seconds.is_none())
        && summaries.any(|it| it.downtime_claimed_seconds.is_some())
}

fn outcome(runs: usize, reports: &[&Report]) -> String {
    let times: Vec<f64> = reports.iter().filter_map(|it| it.summary.total_time_seconds).collect();
    let time = seconds(median(&times));
    if reports.iter().any(|it| it.summary.integrity == Integrity::Corrupt) {
        return format!("CORRUPT {time}");
    }
    if reports.iter().any(|it| it.misses_a_threshold()) {
        return format!("MISSED {time}");
    }
    let mut words: Vec<(&str, usize)> = Vec::new();
    for report in reports {
        let word = report.summary.verdict.as_str();
        match words.iter_mut().find(|it| it.0 == word) {
            Some(it) => it.1 += 1,
            None => words.push((word, 1)),
        }
    }
    match words[..] {
        [("completed", n)] if n == runs => time,
        [("unsupported", n)] if n == runs => "unsupported".to_owned(),
        [(word, n)] if n == runs => format!("{word} {time}"),
        _ => {
            let words = words.iter().map(|(word, n)| format!("{n} {word}"));
            format!("{}, {time}", words.collect::<Vec<_>>().join(", "))
        }
    }
}

/// The longest freeze of a video that a probe plays.
fn frozen_video(report: &Report) -> Option<f64> {
    let playout = report.probes.iter().find(|it| it.kind == "playout")?;
    playout.longest_outage_seconds()
}

fn bandwidth(reports: &[&Report]) -> String {
    let all = |value: fn(&Report) -> Option<f64>| reports.iter().filter_map(move |it| value(it));
    let least = all(|it| it.summary.bandwidth_min_bytes_per_second).reduce(f64::min);
    let most = all(|it| it.summary.bandwidth_max_bytes_per_second).reduce(f64::max);
    match least.zip(most) {
        None => "–".to_owned(),
        Some((least, most)) => {
            format!("{} to {}", human_bits_per_second(least), human_bits_per_second(most))
        }
    }
}

/// Of the first probe of each run that counts.
fn packets(reports: &[&Report]) -> String {
    let counts =
        reports.iter().filter_map(|it| it.probes.iter().find_map(|it| it.sent.zip(it.received)));
    let (sent, received) = counts.fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
    if sent == 0 { "–".to_owned() } else { format!("{sent} / {received}") }
}

/// The runs that were not made, by their reasons.
fn unsupported(runs: &[&Entry], engine: &str) -> String {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for run in runs {
        let Some(report) = &run.report else { continue };
        if report.summary.verdict != Verdict::Unsupported {
            continue;
        }
        let reason = report.summary.verdict_reason.as_deref().unwrap_or("no reason was given");
        match reasons.iter_mut().find(|it| it.0 == reason) {
            Some((_, names)) => {
                if !names.contains(&run.name.as_str()) {
                    names.push(&run.name);
                }
            }
            None => reasons.push((reason, vec![&run.name])),
        }
    }
    if reasons.is_empty() {
        return String::new();
    }
    let line = |(reason, names): &(&str, Vec<&str>)| {
        format!("- {}: {}\n", markdown_text(&names.join(", ")), markdown_text(reason))
    };
    let lines = reasons.iter().map(line);
    format!("Not supported here ({engine})\n\n{}\n", lines.collect::<String>())
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
        let cells = row.iter().zip(&widths).map(|(cell, width)| pad_right(cell, *width));
        let _ = writeln!(text, "| {} |", cells.collect::<Vec<_>>().join(" | "));
        if index == 0 {
            let rules = widths.iter().map(|width| "-".repeat(*width));
            let _ = writeln!(text, "| {} |", rules.collect::<Vec<_>>().join(" | "));
        }
    }
    text
}

fn seconds(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(0.0) => "0".to_owned(),
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
        let found = [None, Some(0.0), Some(0.0123), Some(0.3), Some(12.34)].map(seconds);
        assert_eq!(found, ["–", "0", "12.3 ms", "300 ms", "12.3 s"]);
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [["", "1Gbit/s"], ["precopy", "–"]].map(|row| row.map(str::to_owned).to_vec());
        let expected = "|         | 1Gbit/s |\n| ------- | ------- |\n| precopy | –       |\n";
        assert_eq!(aligned(&rows), expected);
    }
}
