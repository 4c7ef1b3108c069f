//! `sterna run --repeat`: the same run several times, and what they say together.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use sterna_pilot::Interrupt;
use sterna_report::comparison::Repeats;
use sterna_report::{Report, Verdict};
use sterna_scenario::Scenario;

use super::batch::worst_exit_code;
use super::kept;
use crate::args::{Format, RunOptions};
use crate::output::Output;
use crate::usage;

/// From which the resamples of intervals are drawn: the same runs give the same summary.
const SEED: u64 = 1;

/// Makes the runs, and hands their reports over. A run that fails does not end them; one that is not
/// supported does, for the others would not be either.
pub fn run(
    scenario: &Scenario,
    options: &RunOptions,
    interrupt: &Interrupt,
    output: Output,
) -> Result<(Vec<Report>, u8)> {
    let directory = options.report.as_deref();
    directory.map(make_directory).transpose()?;
    let mut reports: Vec<Report> = Vec::new();
    let mut worst_write = 0;
    for number in 1..=options.repeat {
        let report = super::run::fly(scenario, options, interrupt, output)?;
        if let Some(directory) = directory {
            let width = options.repeat.to_string().len();
            let path = directory.join(format!("{number:0width$}.json"));
            worst_write = kept::report(&path, &report.to_json_pretty(), worst_write, output);
        }
        let line = sterna_render::one_line(&report);
        output.progress(&format!("[{number}/{}] {line}\n", options.repeat));
        let verdict = report.summary.verdict;
        reports.push(report);
        if interrupt.requested() || verdict == Verdict::Unsupported {
            break;
        }
    }
    let repeats = Repeats::of(&reports, SEED);
    let style = sterna_render::Style { colour: output.colour(), width: output.width() };
    output.result(&match options.format {
        Format::Text => sterna_render::repeats_text(&repeats, style),
        Format::Json => format!("{}\n", serde_json::to_string_pretty(&repeats)?),
    })?;
    let code = match interrupt.requested() {
        true => 130,
        false => worst_exit_code(reports.iter().map(Report::exit_code)),
    };
    let code = if code == 0 { worst_write } else { code };
    Ok((reports, code))
}

/// Before the runs: afterwards it would be too late to say that they cannot be kept.
fn make_directory(directory: &Path) -> Result<()> {
    if std::fs::metadata(directory).is_ok_and(|it| !it.is_dir()) {
        return Err(usage(anyhow!(
            "--output {}: with --repeat there are many reports, and this is no directory",
            directory.display()
        )));
    }
    std::fs::create_dir_all(directory)
        .with_context(|| format!("Cannot make the directory {}", directory.display()))?;
    let files = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let is_report = |it: &std::fs::DirEntry| it.path().extension().is_some_and(|it| it == "json");
    if let Some(older) = files.into_iter().find(is_report) {
        return Err(usage(anyhow!(
            "--output {}: there are older reports, such as {}, and later comparisons would count them as well; use another directory, or empty this one",
            directory.display(),
            older.file_name().to_string_lossy()
        )));
    }
    super::check_writable(&directory.join("1.json"))
}
