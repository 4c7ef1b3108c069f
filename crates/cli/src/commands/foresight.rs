//! `sterna predict`, `sterna advise` and `sterna diagnose`: what will happen, which settings, and what happened.

use std::path::Path;

use anyhow::{Result, anyhow};
use serde::Serialize;
use sterna_advice::{Evidence, Figures, MeasuredLink, advise, diagnose, predict, reproduce};

use super::report::read_report;
use crate::args::{AdviseOptions, DiagnoseOptions, Format, Known, ReproduceOptions};
use crate::output::Output;
use crate::{machine, usage};

/// The exit code of advice where nothing keeps the goal.
const NOTHING_KEEPS_IT: u8 = 3;

/// Predicts.
pub fn run_predict(known: &Known, output: Output) -> Result<u8> {
    let evidence = evidence(known)?;
    let prediction = predict(&evidence, known.sampling, machine::tool());
    let style = style(output);
    print(&prediction, known.format, output, || {
        sterna_render::prediction_text(&prediction, style)
    })?;
    Ok(0)
}

/// Advises.
pub fn run_advise(options: &AdviseOptions, output: Output) -> Result<u8> {
    let AdviseOptions { known, goal, target } = options;
    let evidence = evidence(known)?;
    let tool = machine::tool();
    let advice = advise(&evidence, goal, known.sampling, tool, target).map_err(usage)?;
    let style = style(output);
    print(&advice, known.format, output, || sterna_render::advice_text(&advice, style))?;
    Ok(if advice.best.is_some() { 0 } else { NOTHING_KEEPS_IT })
}

/// Diagnoses.
pub fn run_diagnose(options: &DiagnoseOptions, output: Output) -> Result<u8> {
    #[derive(Serialize)]
    struct Document<'a> {
        what: &'a str,
        why: &'a [String],
        advice: &'a [sterna_report::Advice],
    }
    let report = read_report(&options.file)?;
    let found = diagnose(&report);
    let document = Document { what: &found.what, why: &found.why, advice: &found.advice };
    let style = style(output);
    print(&document, options.format, output, || {
        sterna_render::diagnosis_text(&found.what, &found.why, &found.advice, style)
    })?;
    Ok(0)
}

/// Reproduces.
pub fn run_reproduce(options: &ReproduceOptions, output: Output) -> Result<u8> {
    let report = read_report(&options.file)?;
    let evidence = Evidence::from_report(&report, name(&options.file), &options.figures);
    let found = reproduce(&evidence.map_err(usage)?, options.most_bytes).map_err(usage)?;
    let notes: String = found.notes.iter().map(|it| format!("# {it}.\n")).collect();
    let text = format!("{notes}{}", found.scenario.to_toml());
    found.notes.iter().for_each(|it| output.progress(&format!("{it}\n")));
    match &options.output {
        None => output.result(&text)?,
        Some(path) => sterna_report::write_atomically(path, text.as_bytes())?,
    }
    Ok(0)
}

fn evidence(known: &Known) -> Result<Evidence> {
    let Known { file, what_if, .. } = known;
    let link = known.link.as_deref().map(link).transpose()?;
    let link_bytes_per_second = link.as_ref().map(|it| it.bytes_per_second as u64);
    let figures = &Figures {
        link_bytes_per_second: known.figures.link_bytes_per_second.or(link_bytes_per_second),
        ..known.figures
    };
    let mut evidence = match file {
        Some(path) => {
            let report = read_report(path)?;
            Evidence::from_report(&report, name(path), figures).map_err(usage)?
        }
        None if figures.memory_bytes.is_none() && figures.dirty_bytes_per_second.is_none() => {
            return Err(usage(anyhow!(
                "Nothing is known of the guest: give the report of an earlier migration, or figures, as in --memory 64GiB --dirty-rate 300MB/s --link-bandwidth 10Gbit/s"
            )));
        }
        None => Evidence::from_figures(figures).map_err(usage)?,
    };
    if let Some(link) = &link {
        evidence.set_measured_link(link);
    }
    for (setting, value) in what_if {
        evidence.what_if(setting, value).map_err(usage)?;
    }
    Ok(evidence)
}

fn link(path: &Path) -> Result<MeasuredLink> {
    let bytes = std::fs::read(path)
        .map_err(|error| usage(anyhow!("Cannot read {}: {error}", path.display())))?;
    MeasuredLink::read(path, &bytes).map_err(usage)
}

fn name(path: &Path) -> Option<String> {
    Some(path.display().to_string()).filter(|it| it != "-")
}

fn style(output: Output) -> sterna_render::Style {
    sterna_render::Style { colour: output.colour(), width: output.width() }
}

fn print(
    document: &impl Serialize,
    format: Format,
    output: Output,
    text: impl FnOnce() -> String,
) -> Result<()> {
    match format {
        Format::Json => output.result(&format!("{}\n", serde_json::to_string_pretty(document)?))?,
        Format::Text => output.result(&text())?,
    }
    Ok(())
}
