//! Text: one report whole, of several a line for each.

use anyhow::Result;
use sterna_render::Style;
use sterna_units::{pad_right, printable};

use super::{
    Seen,
    input::{self, Inputs},
    place::{self, Place},
};
use crate::{args::ReportOptions, output::Output};

/// Shows reports as text.
pub fn run(options: &ReportOptions, inputs: &Inputs, output: Output) -> Result<Seen> {
    let place = options.output.as_deref().map_or(Place::Stdout, Place::of);
    let style = Style { colour: place == Place::Stdout && output.colour(), width: output.width() };
    let reports = match inputs {
        Inputs::Reports(reports) => reports.clone(),
        Inputs::Batch(directory, listed) => input::of_batch(directory, listed),
    };
    let (mut text, mut seen) = (String::new(), Seen::default());
    let width = reports.iter().map(|it| printable(&it.name).chars().count()).max().unwrap_or(0);
    let padded = |name: &str| pad_right(&printable(name), width);
    for it in &reports {
        let report = match (input::read(&it.path), &inputs) {
            // One that is damaged does not keep the others of a batch from being shown.
            (Err(error), Inputs::Batch(..)) => {
                output.error(&format!("{error:#}"));
                seen.is_damaged = true;
                text.push_str(&format!("{}  Its report cannot be read\n", padded(&it.name)));
                continue;
            }
            (read, _) => read?,
        };
        seen.is_bad |= report.exit_code() == 4;
        if reports.len() == 1 {
            text.push_str(&sterna_render::text(&report, style));
        } else {
            let line = sterna_render::one_line(&report);
            text.push_str(&format!("{}  {line}\n", padded(&it.name)));
        }
    }
    if let Inputs::Batch(_, listed) = inputs {
        for run in listed.runs.iter().filter(|it| it.report.is_none()) {
            text.push_str(&format!("{}  No report was left\n", padded(&run.long_name())));
        }
    }
    place::write(&place, &text, &reports, output)?;
    Ok(seen)
}
