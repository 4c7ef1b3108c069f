//! Comma-separated values: one table to a file or to stdout, or all tables to a directory.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use sterna_render::{CsvTable, csv_header, csv_rows, html::Named};
use sterna_report::Report;

use super::{
    Seen,
    input::{self, Inputs},
    place::{self, Place},
    texts,
};
use crate::{args::ReportOptions, output::Output, usage};

/// Makes the tables, reading one report at a time.
pub fn run(options: &ReportOptions, inputs: &Inputs, output: Output) -> Result<Seen> {
    let place = options.output.as_deref().map_or(Place::Stdout, Place::of);
    let tables: Vec<CsvTable> = match (&place, options.table) {
        (_, Some(table)) => vec![table],
        (Place::Directory(_), None) => CsvTable::ALL.to_vec(),
        _ => vec![CsvTable::Summary],
    };
    match &place {
        Place::Directory(directory) => to_directory(directory, &tables, inputs, output),
        _ => to_one(&place, tables[0], inputs, output),
    }
}

fn to_one(place: &Place, table: CsvTable, inputs: &Inputs, output: Output) -> Result<Seen> {
    let mut text = csv_header(table);
    let seen = each(inputs, output, |run| {
        text.push_str(&csv_rows(table, run));
        Ok(())
    })?;
    place::write(place, &text, &texts::read(inputs), output)?;
    Ok(seen)
}

fn to_directory(
    directory: &Path,
    tables: &[CsvTable],
    inputs: &Inputs,
    output: Output,
) -> Result<Seen> {
    place::open_directory(directory)?;
    let mut files = Vec::new();
    for table in tables {
        let path = directory.join(format!("{}.csv", table.as_str()));
        let context = || format!("Cannot write {}", path.display());
        let mut file = BufWriter::new(File::create(&path).with_context(context)?);
        file.write_all(csv_header(*table).as_bytes()).with_context(context)?;
        files.push((*table, file));
    }
    let fail = |error: std::io::Error| {
        anyhow::Error::new(error).context(format!("Cannot write to {}", directory.display()))
    };
    let seen = each(inputs, output, |run| {
        for (table, file) in &mut files {
            file.write_all(csv_rows(*table, run).as_bytes()).map_err(fail)?;
        }
        Ok(())
    })?;
    for (_, mut file) in files {
        file.flush().map_err(fail)?;
    }
    output.progress(&format!("Wrote {} tables to {}\n", tables.len(), directory.display()));
    Ok(seen)
}

/// Hands over one report after the other.
fn each(
    inputs: &Inputs,
    output: Output,
    mut take: impl FnMut(Named<'_>) -> Result<()>,
) -> Result<Seen> {
    let (mut seen, mut count) = (Seen::default(), 0);
    for input in texts::read(inputs) {
        let report: Report = match (input::read(&input.path), inputs) {
            (Ok(report), _) => report,
            // The others of a batch are shown all the same.
            (Err(error), Inputs::Batch(..)) => {
                output.error(&format!("{error:#}"));
                seen.is_damaged = true;
                continue;
            }
            (Err(error), Inputs::Reports(_)) => return Err(error),
        };
        seen.is_bad |= report.exit_code() == 4;
        take(Named { name: &input.name, report: &report })?;
        count += 1;
    }
    if count == 0 {
        return Err(usage(anyhow!("No report of the batch can be read")));
    }
    Ok(seen)
}
