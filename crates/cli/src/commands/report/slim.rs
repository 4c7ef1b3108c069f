//! Reports without their series, of which many fit into memory.

use std::path::Path;

use anyhow::Result;
use sterna_report::Report;

use super::{
    Seen,
    input::{self, Input, Inputs},
    manifest::ListedRun,
};
use crate::output::Output;

/// A run with its headline numbers.
pub struct Slim {
    /// Its name.
    pub name: String,
    /// What was seen, without series; `None` where it left no report that can be read.
    pub report: Option<Report>,
    /// Why there is none.
    pub without_report: String,
    /// Whether there is one that cannot be read.
    pub is_damaged: bool,
}

/// All runs that were meant, one after the other.
///
/// # Errors
/// A report that was named cannot be read. One that a batch lists is told of, and has no report here.
pub fn read_all(inputs: &Inputs, output: Output) -> Result<Vec<Slim>> {
    match inputs {
        Inputs::Reports(reports) => reports.iter().map(read_one).collect(),
        Inputs::Batch(directory, listed) => {
            let runs = listed.runs.iter().map(|run| {
                let (report, without_report) = read_listed(directory, run, output);
                let report = report.map(Report::without_series);
                let is_damaged = report.is_none() && run.report.is_some();
                Ok(Slim { name: run.long_name(), report, without_report, is_damaged })
            });
            runs.collect()
        }
    }
}

/// What there was to be seen in all of them.
pub fn seen(runs: &[Slim]) -> Seen {
    let mut reports = runs.iter().filter_map(|it| it.report.as_ref());
    Seen {
        is_bad: reports.any(|it| it.exit_code() == 4),
        is_damaged: runs.iter().any(|it| it.is_damaged),
    }
}

/// The report of a listed run, or why there is none; one that is damaged does not keep the others from being shown.
pub fn read_listed(from: &Path, run: &ListedRun, output: Output) -> (Option<Report>, String) {
    let code = run.exit_code.map_or(String::new(), |it| format!(", exit code {it}"));
    let Some(path) = &run.report else { return (None, format!("No report was left{code}")) };
    match input::read(&from.join(path)) {
        Ok(report) => (Some(report), String::new()),
        Err(error) => {
            output.error(&format!("{error:#}"));
            (None, format!("{error:#}{code}"))
        }
    }
}

fn read_one(input: &Input) -> Result<Slim> {
    let report = input::read(&input.path)?.without_series();
    let (without_report, is_damaged) = Default::default();
    Ok(Slim { name: input.name.clone(), report: Some(report), without_report, is_damaged })
}
