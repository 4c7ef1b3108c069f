//! Forms that show headline numbers only: Markdown, OpenMetrics, JUnit.

use anyhow::Result;
use sterna_render::{TestCase, html::Named};

use super::{
    Seen,
    input::{self, Input, Inputs},
    place::{self, Place},
    slim::{self, Slim},
};
use crate::{
    args::{ReportForm, ReportOptions},
    output::Output,
};

/// Makes the text.
pub fn run(options: &ReportOptions, inputs: &Inputs, output: Output) -> Result<Seen> {
    let runs = slim::read_all(inputs, output)?;
    let text = match options.form {
        ReportForm::Markdown => markdown(&runs),
        ReportForm::OpenMetrics => sterna_render::openmetrics(&named(&runs)),
        _ => junit(inputs, &runs),
    };
    let place = options.output.as_deref().map_or(Place::Stdout, Place::of);
    place::write(&place, &text, &read(inputs), output)?;
    Ok(slim::seen(&runs))
}

/// The files that were read, which the result must not replace.
pub fn read(inputs: &Inputs) -> Vec<Input> {
    match inputs {
        Inputs::Reports(reports) => reports.clone(),
        Inputs::Batch(directory, listed) => input::of_batch(directory, listed),
    }
}

fn named(runs: &[Slim]) -> Vec<Named<'_>> {
    let named = runs.iter().filter_map(|it| Some((it, it.report.as_ref()?)));
    named.map(|(run, report)| Named { name: &run.name, report }).collect()
}

fn markdown(runs: &[Slim]) -> String {
    let mut text = sterna_render::markdown(&named(runs));
    for run in runs.iter().filter(|it| it.report.is_none()) {
        let name = sterna_render::markdown_text(&run.name);
        text.push_str(&format!(
            "- {name}: {}\n",
            sterna_render::markdown_text(&run.without_report)
        ));
    }
    text
}

fn junit(inputs: &Inputs, runs: &[Slim]) -> String {
    let cases: Vec<TestCase<'_>> = runs
        .iter()
        .map(|run| TestCase {
            name: &run.name,
            report: run.report.as_ref(),
            without_report: &run.without_report,
        })
        .collect();
    let suite = match inputs {
        Inputs::Batch(_, listed) if !listed.suite.is_empty() => &listed.suite,
        _ => "sterna",
    };
    sterna_render::junit(suite, &cases)
}
