//! Which reports were meant, and reading them one at a time: a batch may be larger than memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use sterna_report::Report;

use super::manifest::{self, Listed};
use crate::usage;

/// A report of hours has some ten MiB; what is far larger is something else, and would fill memory.
const LARGEST_BYTES: u64 = 256 << 20;

/// What stands for stdin and stdout.
pub const DASH: &str = "-";

/// One report that was meant, not yet read.
#[derive(Clone, Debug)]
pub struct Input {
    /// By what it is called; no two are alike.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

/// What was meant.
pub enum Inputs {
    /// Reports by themselves.
    Reports(Vec<Input>),
    /// The one batch in this directory.
    Batch(PathBuf, Box<Listed>),
}

/// Finds what the arguments name.
pub fn find(paths: &[PathBuf]) -> Result<Inputs> {
    if let [directory] = paths
        && let Some(listed) = batch_in(directory)?
    {
        return Ok(Inputs::Batch(directory.clone(), Box::new(listed)));
    }
    let mut found = Vec::new();
    for path in paths {
        found.extend(reports_at(path)?);
    }
    Ok(Inputs::Reports(named(found)))
}

/// All reports of a batch that have one, by the names of their runs.
pub fn of_batch(directory: &Path, listed: &Listed) -> Vec<Input> {
    let with_report = listed.runs.iter().filter_map(|run| Some((run, run.report.as_ref()?)));
    with_report
        .map(|(run, report)| Input { name: run.long_name(), path: directory.join(report) })
        .collect()
}

/// Reads one report.
pub fn read(path: &Path) -> Result<Report> {
    let text = text(path)?;
    let refuse = |error: sterna_report::ReadError| {
        usage(anyhow::Error::new(error).context(format!("{} cannot be read", path.display())))
    };
    Report::read(&text).map_err(refuse)
}

/// A text file that is not too large.
pub fn text(path: &Path) -> Result<String> {
    let refuse = |why: String| usage(anyhow!("{} cannot be read: {why}", path.display()));
    let too_large =
        || refuse(format!("It is larger than {} MiB, which no report is", LARGEST_BYTES >> 20));
    let mut bytes = Vec::new();
    let limit = LARGEST_BYTES + 1;
    let outcome = if path == Path::new(DASH) {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        let file = File::open(path).map_err(|error| refuse(error.to_string()))?;
        // Before anything is read: the kernel knows how large it is.
        if file.metadata().is_ok_and(|it| it.len() > LARGEST_BYTES) {
            return Err(too_large());
        }
        file.take(limit).read_to_end(&mut bytes)
    };
    outcome.map_err(|error| refuse(error.to_string()))?;
    if bytes.len() as u64 > LARGEST_BYTES {
        return Err(too_large());
    }
    String::from_utf8(bytes)
        .map_err(|error| refuse(format!("It is not text ({})", error.utf8_error())))
}

fn batch_in(directory: &Path) -> Result<Option<Listed>> {
    let file = directory.join(manifest::FILE);
    if !directory.is_dir() || !file.is_file() {
        return Ok(None);
    }
    manifest::read(&file, &text(&file)?).map(Some)
}

/// The files that a path stands for: itself, what a batch lists, or all JSON files in a directory.
fn reports_at(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    if let Some(listed) = batch_in(path)? {
        let reports = listed.runs.iter().filter_map(|it| it.report.as_ref());
        return Ok(reports.map(|it| path.join(it)).collect());
    }
    let entries = std::fs::read_dir(path)
        .map_err(|error| usage(anyhow!("{} cannot be read: {error}", path.display())))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|it| Some(it.ok()?.path())).collect();
    files.retain(|it| it.extension().is_some_and(|it| it == "json") && it.is_file());
    files.sort();
    if files.is_empty() {
        return Err(usage(anyhow!(
            "{} holds no report: neither a manifest of a batch nor a file that ends in .json",
            path.display()
        )));
    }
    Ok(files)
}

/// The shortest names by which the files differ.
fn named(paths: Vec<PathBuf>) -> Vec<Input> {
    let stem = |path: &Path| {
        path.file_stem()
            .map_or_else(|| path.display().to_string(), |it| it.to_string_lossy().into())
    };
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for path in &paths {
        *seen.entry(stem(path)).or_default() += 1;
    }
    let name = |path: &PathBuf| match seen.get(&stem(path)) {
        Some(1) => stem(path),
        _ => path.display().to_string(),
    };
    let mut inputs: Vec<Input> = Vec::new();
    for path in paths {
        let first = name(&path);
        let mut unique = first.clone();
        let mut number = 2;
        while inputs.iter().any(|it| it.name == unique) {
            unique = format!("{first} ({number})");
            number += 1;
        }
        inputs.push(Input { name: unique, path });
    }
    inputs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_unlike_each_other() {
        let paths = ["a/one.json", "b/one.json", "two.json", "two.json", "-"];
        let names: Vec<String> =
            named(paths.map(PathBuf::from).to_vec()).into_iter().map(|it| it.name).collect();
        assert_eq!(names, ["a/one.json", "b/one.json", "two.json", "two.json (2)", "-"]);
    }
}
