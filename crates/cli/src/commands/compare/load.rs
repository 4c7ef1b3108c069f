//! The reports of a file, a directory, a batch or a baseline.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use sterna_report::Report;
use sterna_report::comparison::Side;
use sterna_report::readers::{AnyReadError, Format, read_any};

use crate::output::Output;
use crate::usage;

/// Directories within directories are looked into so deep.
const DEPTH: usize = 4;

/// Reads all reports at a path. What is no result at all is passed over aloud; a broken report is
/// an error, for a comparison without it would not be the one that was asked for.
///
/// The series are kept only where `whole` reports are wanted: a comparison does not look at them, and
/// a batch has many.
pub fn side(path: &Path, whole: bool, output: Output) -> Result<Side> {
    let light = |report| if whole { report } else { without_series(report) };
    let is_directory = std::fs::metadata(path)
        .map_err(|error| usage(anyhow!("Cannot read {}: {error}", path.display())))?
        .is_dir();
    let mut reports = Vec::new();
    if is_directory {
        let mut files = Vec::new();
        collect(path, DEPTH, &mut files)?;
        files.sort();
        for file in files {
            match read_any(&file) {
                Ok(found) => reports.push(light(found.report)),
                Err(error @ AnyReadError::Unknown { .. }) => output.warn(&error.to_string()),
                Err(error) => return Err(error.into()),
            }
        }
    } else {
        let found = read_any(path)?;
        if found.format != Format::Sterna {
            output.progress(&format!("{} is {}\n", path.display(), found.format.as_str()));
        }
        reports.push(light(found.report));
    }
    if reports.is_empty() {
        return Err(usage(anyhow!("There is no report in {}", path.display())));
    }
    Ok(Side { label: path.display().to_string(), reports })
}

fn without_series(report: Report) -> Report {
    Report {
        passes: Vec::new(),
        timeline: Vec::new(),
        guest: Vec::new(),
        cpu: Vec::new(),
        events: Vec::new(),
        ..report
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
        } else if !is_directory && path.extension().is_some_and(|it| it == "json") {
            files.push(path);
        }
    }
    Ok(())
}
