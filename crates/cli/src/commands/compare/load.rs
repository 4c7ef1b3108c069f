//! The reports of a file, a directory, a batch or a baseline.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use sterna_report::Report;
use sterna_report::comparison::Side;
use sterna_report::readers::{AnyReadError, Format, Found, read_any, read_any_bytes};

use crate::output::Output;
use crate::usage;

/// What stands for stdin.
const DASH: &str = "-";

/// Directories within directories are looked into so deep.
const DEPTH: usize = 4;

/// Rows of all reports together that are kept for charts: some hundred megabytes.
const DRAWN_ROWS: usize = 1_000_000;

/// Which series of the reports are kept. A comparison does not look at them, and a batch has many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Series {
    /// None.
    Dropped,
    /// Those that are drawn, until there are too many.
    Drawn {
        /// Rows that may still be kept.
        rows_left: usize,
    },
    /// All.
    Whole,
}

impl Series {
    /// Those that are drawn.
    pub fn drawn() -> Series {
        Series::Drawn { rows_left: DRAWN_ROWS }
    }

    fn of(&mut self, report: Report) -> Report {
        match self {
            Series::Whole => report,
            Series::Dropped => report.without_series(),
            Series::Drawn { rows_left } => {
                let rows = report.timeline.len() + report.guest.len();
                let Some(left) = rows_left.checked_sub(rows) else {
                    return report.without_series();
                };
                *rows_left = left;
                let (timeline, guest) = (report.timeline.clone(), report.guest.clone());
                Report { timeline, guest, ..report.without_series() }
            }
        }
    }
}

/// Reads all reports at a path. What is no result at all is passed over aloud; a broken report is
/// an error, for a comparison without it would not be the one that was asked for.
pub fn side(path: &Path, series: &mut Series, output: Output) -> Result<Side> {
    let is_stdin = path == Path::new(DASH);
    let is_directory = !is_stdin
        && std::fs::metadata(path)
            .map_err(|error| usage(anyhow!("Cannot read {}: {error}", path.display())))?
            .is_dir();
    let mut reports = Vec::new();
    if is_directory {
        let mut files = Vec::new();
        collect(path, DEPTH, &mut files)?;
        files.sort();
        for file in files {
            match read_any(&file) {
                Ok(found) => reports.push(series.of(found.report)),
                Err(error) if is_no_result(&file, &error) => output.warn(&error.to_string()),
                Err(error) => return Err(usage(error)),
            }
        }
    } else {
        let found = if is_stdin { read_stdin()? } else { read_any(path).map_err(usage)? };
        if found.format != Format::Sterna {
            let name = if is_stdin { "stdin".to_owned() } else { path.display().to_string() };
            output.progress(&format!("{name} is {}\n", found.format.as_str()));
        }
        reports.push(series.of(found.report));
    }
    if reports.is_empty() {
        return Err(usage(anyhow!("There is no report in {}", path.display())));
    }
    let label = if is_stdin { "stdin".to_owned() } else { path.display().to_string() };
    Ok(Side { label, reports })
}

fn read_stdin() -> Result<Found> {
    read_any_bytes(Path::new("stdin"), &crate::commands::report::stdin()?).map_err(usage)
}

/// Whether a file of a directory is something else than a result. A file that is called JSON, or was
/// recognised, and is broken, is a result that is missing.
fn is_no_result(path: &Path, error: &AnyReadError) -> bool {
    let is_json = path.extension().is_some_and(|it| it == "json");
    match error {
        AnyReadError::Unknown { .. } => true,
        AnyReadError::NotJson { .. } | AnyReadError::TooLarge { .. } => !is_json,
        AnyReadError::Undecodable { .. } => !is_json,
        _ => false,
    }
}

fn collect(directory: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<()> {
    let context = || format!("Cannot read {}", directory.display());
    for entry in std::fs::read_dir(directory).with_context(context)? {
        let entry = entry.with_context(context)?;
        let (path, name) = (entry.path(), entry.file_name());
        let is_hidden = name.as_encoded_bytes().starts_with(b".");
        let is_directory = entry.file_type().with_context(context)?.is_dir();
        if is_hidden || name == "manifest.json" {
            continue;
        }
        if is_directory && depth > 0 {
            collect(&path, depth - 1, files)?;
        } else if path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sterna_report::{Engine, Host, Poll, Tool};

    #[test]
    fn series_for_charts_are_kept_until_there_are_too_many() {
        let poll = Poll {
            t_seconds: 0.0,
            state: "active".to_owned(),
            pass: None,
            remaining_bytes: None,
            transferred_bytes: None,
            bandwidth_bytes_per_second: None,
            dirty_rate_bytes_per_second: None,
            threshold_bytes: None,
            expected_downtime_seconds: None,
            throttle_percent: None,
        };
        let (tool, host, engine) = (Tool::default(), Host::default(), Engine::default());
        let empty = Report::new(tool, host, engine, String::new(), serde_json::Map::new());
        let report = Report { timeline: vec![poll; 60], ..empty };
        let mut series = Series::Drawn { rows_left: 100 };
        let kept: Vec<usize> = (0..3).map(|_| series.of(report.clone()).timeline.len()).collect();
        assert_eq!(kept, [60, 0, 0]);
        assert_eq!(Series::Dropped.of(report.clone()).timeline.len(), 0);
        assert_eq!(Series::Whole.of(report).timeline.len(), 60);
    }
}
