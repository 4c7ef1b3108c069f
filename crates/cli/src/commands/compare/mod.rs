//! `sterna compare`: reads the sides, lets the library compare them, and keeps baselines.

mod load;
mod mixtures;

use anyhow::{Context, Result, anyhow};
use sterna_render::html::{self, ComparisonPage, Scripts};
use sterna_report::comparison::{Change, Comparison, Side, compare, reports_behind};
use sterna_report::write_atomically;

use super::baseline::Store;
use crate::args::{CompareFormat, CompareOptions, FailOn};
use crate::output::Output;
use crate::{machine, usage};
use load::Series;

/// Compares.
pub fn run(options: CompareOptions, output: Output) -> Result<u8> {
    let store = Store::new(&options.store);
    let name = options.name.as_deref().map(|it| store.checked(it)).transpose()?;
    let save_as = options.save_as.as_deref().map(|it| store.checked(it)).transpose()?;
    let wanted = if name.is_some() { 1 } else { 2 };
    if options.inputs.len() < wanted && (save_as.is_none() || options.inputs.is_empty()) {
        return Err(usage(anyhow!(
            "Nothing to compare: give two reports or directories, or one and --name BASELINE"
        )));
    }
    if save_as.is_some() && options.inputs.len() + usize::from(name.is_some()) > 2 {
        return Err(usage(anyhow!(
            "--save-as: more than one candidate was given; which shall be kept?"
        )));
    }
    if options.inputs.iter().filter(|it| it.as_os_str() == "-").count() > 1 {
        return Err(usage(anyhow!(
            "stdin (`-`) can be read once only; give a file for the others"
        )));
    }
    let is_page = options.format == CompareFormat::Html;
    if is_page && options.output.is_none() && output.is_terminal() {
        return Err(usage(anyhow!(
            "--format html: say by -o FILE where the page shall go; it is no text for a terminal"
        )));
    }
    let mut series = if is_page { Series::drawn() } else { Series::Dropped };
    let mut sides = Vec::new();
    let mut is_first = false;
    match name {
        Some(name) if store.has(name) => {
            let path = store.path(name);
            sides.push(Side {
                label: format!("baseline {name}"),
                ..load::side(&path, &mut series, output)?
            });
        }
        // The first time there is nothing to compare with, and that is no mistake.
        Some(name) if save_as.is_some() => {
            output.warn(&format!("There is no baseline {name} in {} yet", options.store.display()));
            is_first = true;
        }
        Some(name) => return Err(store.unknown(name)),
        None => {}
    }
    for (index, path) in options.inputs.iter().enumerate() {
        let is_kept = save_as.is_some() && index + 1 == options.inputs.len();
        let series = if is_kept { &mut Series::Whole } else { &mut series };
        sides.push(load::side(path, series, output)?);
    }
    if !options.allows_model {
        mixtures::refuse_model_beside_measured(&sides)?;
    }
    let mut code = 0;
    if sides.len() > 1 {
        mixtures::refuse_at_rest_beside_running(&sides)?;
        let comparison = compare(&sides, &options.rules, machine::tool());
        tell(&comparison, &sides, &options, output)?;
        code = exit_code(&comparison, options.fail_on);
        if comparison.scenarios.is_empty() {
            return Err(anyhow!("No scenario is in both; nothing was compared"));
        }
    } else if !is_first {
        output.progress("Nothing to compare with; the reports are only kept\n");
    }
    keep(&store, save_as, &sides, code, output)?;
    Ok(code)
}

/// A candidate that fails does not become what the next one is compared with.
fn keep(
    store: &Store,
    save_as: Option<&str>,
    sides: &[Side],
    code: u8,
    output: Output,
) -> Result<()> {
    let Some((name, side)) = save_as.zip(sides.last()) else { return Ok(()) };
    if code != 0 {
        output.warn(&format!("Baseline {name} stays as it was, because of the exit code {code}"));
        return Ok(());
    }
    store.save(name, &side.reports)?;
    output.progress(&format!("Kept {} reports as baseline {name}\n", side.reports.len()));
    Ok(())
}

fn exit_code(comparison: &Comparison, fail_on: Option<FailOn>) -> u8 {
    let fails = |change: Change| match fail_on {
        None => false,
        Some(FailOn::Regressed) => change == Change::Regressed,
        Some(FailOn::Unsure) => !matches!(change, Change::Improved | Change::NoChange),
    };
    // What is not measured on either side is no metric of the comparison at all.
    let is_bad = comparison.is_integrity_worse() || comparison.changes().any(fails);
    if is_bad { 4 } else { 0 }
}

fn tell(
    comparison: &Comparison,
    sides: &[Side],
    options: &CompareOptions,
    output: Output,
) -> Result<()> {
    let is_file = options.output.is_some();
    let style = sterna_render::Style {
        colour: output.colour() && !is_file,
        width: if is_file { 120 } else { output.width() },
    };
    let text = match options.format {
        CompareFormat::Text => sterna_render::comparison_text(comparison, style),
        CompareFormat::Markdown => sterna_render::comparison_markdown(comparison),
        CompareFormat::Html => {
            let runs = reports_behind(sides);
            html::comparison(&ComparisonPage { comparison, runs: &runs, scripts: Scripts::Inside })
        }
        CompareFormat::Json => format!("{}\n", serde_json::to_string_pretty(comparison)?),
    };
    match &options.output {
        None => output.document(&text).context("Cannot print the result"),
        Some(path) => {
            if let Err(error) = write_atomically(path, text.as_bytes()) {
                // The result is not lost with the file.
                output.result(&sterna_render::comparison_text(comparison, style))?;
                return Err(error.into());
            }
            output.progress(&format!("{}\n", sterna_render::comparison_line(comparison)));
            Ok(())
        }
    }
}
