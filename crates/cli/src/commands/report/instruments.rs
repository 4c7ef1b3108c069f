//! Reports of `sterna dirty`, `sterna probe` and `sterna stream`, alone or several over one time axis.

use std::path::Path;

use anyhow::{Result, anyhow};
use sterna_render::html::{self, Detail, Scripts};
use sterna_render::{Placed, instruments_text};
use sterna_report::Integrity;
use sterna_report::instrument::{Instrument, offsets};

use super::{
    Seen,
    input::{self, DASH, Input},
    place::{self, Place},
};
use crate::args::{ReportForm, ReportOptions};
use crate::output::Output;
use crate::usage;

/// Shows them, if that is what was given; None where these are reports of migrations.
pub fn run(options: &ReportOptions, inputs: &[Input], output: Output) -> Result<Option<Seen>> {
    // stdin can be read once, and is a report of a migration.
    if inputs.iter().any(|it| it.path == Path::new(DASH)) {
        return Ok(None);
    }
    let mut found = Vec::new();
    for input in inputs {
        // What cannot be opened at all is refused with the others' words.
        found.push(
            input::read_instrument(&input.path)
                .or_else(|error| if input.path.is_file() { Err(error) } else { Ok(None) })?,
        );
    }
    if found.iter().all(Option::is_none) {
        return Ok(None);
    }
    let mut instruments = Vec::new();
    for (input, instrument) in inputs.iter().zip(&found) {
        instruments.push(instrument.as_ref().ok_or_else(|| mixed(input, inputs, &found))?);
    }
    show(options, inputs, &instruments, output).map(Some)
}

fn mixed(other: &Input, inputs: &[Input], found: &[Option<Instrument>]) -> anyhow::Error {
    let first = inputs.iter().zip(found).find_map(|(input, it)| Some((input, it.as_ref()?)));
    let first = first.map_or_else(String::new, |(input, it)| {
        format!("{} is a report of `{}`", input.name, it.command())
    });
    usage(anyhow!(
        "{first}, and {} is none of `sterna dirty`, `probe` or `stream`; make a page for each of the two kinds",
        other.name
    ))
}

fn show(
    options: &ReportOptions,
    inputs: &[Input],
    instruments: &[&Instrument],
    output: Output,
) -> Result<Seen> {
    let mut all: Vec<Placed<'_>> = inputs
        .iter()
        .zip(instruments)
        .zip(offsets(instruments))
        .map(|((input, instrument), offset_seconds)| Placed {
            name: &input.name,
            offset_seconds,
            instrument,
        })
        .collect();
    all.sort_by(|a, b| {
        let begin = |it: &Placed<'_>| it.offset_seconds.unwrap_or(f64::INFINITY);
        begin(a).total_cmp(&begin(b))
    });
    let place = options.output.as_deref().map(Place::of);
    match options.form {
        ReportForm::Summary => {
            let place = place.unwrap_or(Place::Stdout);
            place::write(&place, &instruments_text(&all), inputs, output)?;
        }
        ReportForm::Html => {
            let place = match (place, inputs) {
                (Some(place), _) => place,
                (None, [one]) => super::html::beside(one)?,
                (None, several) => {
                    return Err(usage(anyhow!(
                        "These are {} reports; -o FILE.html makes one page of them",
                        several.len()
                    )));
                }
            };
            let page = html::instruments(&all, Scripts::Inside, Detail::FULL);
            place::write(&place, &page, inputs, output)?;
            super::html::tell(&place, output);
        }
        _ => {
            return Err(usage(anyhow!(
                "{} is a report of `{}`, of which there are `report summary` and `report html`",
                all[0].name,
                all[0].instrument.command()
            )));
        }
    }
    let is_corrupt = instruments.iter().any(|it| {
        matches!(it, Instrument::Dirty(report) if report.summary.integrity == Integrity::Corrupt)
    });
    Ok(Seen { is_bad: is_corrupt, is_damaged: false })
}
