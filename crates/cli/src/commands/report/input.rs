//! Which reports were meant, and reading them one at a time: a batch may be larger than memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use sterna_report::{
    Report,
    instrument::Instrument,
    readers::{self, MOST_BYTES},
};

use super::manifest::{self, Listed};
use crate::usage;

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

/// Reads the report of an instrument (`sterna dirty`, `probe`, `stream`); None where it is another result.
pub fn read_instrument(path: &Path) -> Result<Option<Instrument>> {
    let mut head = Vec::new();
    let refuse = |why: String| usage(anyhow!("{} cannot be read: {why}", path.display()));
    let file = File::open(path).map_err(|error| refuse(error.to_string()))?;
    file.take(MOST_BYTES + 1).read_to_end(&mut head).map_err(|error| refuse(error.to_string()))?;
    match Instrument::read(&head) {
        Some(Ok(instrument)) => Ok(Some(instrument)),
        Some(Err(error)) => Err(usage(
            anyhow::Error::new(error).context(format!("Cannot use {} as a report", path.display())),
        )),
        None => Ok(None),
    }
}

/// Reads one report, of ours or of another program.
pub fn read(path: &Path) -> Result<Report> {
    let found = match path == Path::new(DASH) {
        true => readers::read_any_bytes(Path::new("stdin"), &stdin()?),
        false => readers::read_any(path),
    };
    found.map(|it| it.report).map_err(usage)
}

/// All that stands on stdin, if it is no more than a report can be.
pub fn stdin() -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let refuse = |why: String| usage(anyhow!("stdin cannot be read: {why}"));
    let read = std::io::stdin().lock().take(MOST_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| refuse(error.to_string()))?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(refuse(format!("It is larger than {} MiB", MOST_BYTES >> 20)));
    }
    Ok(bytes)
}

/// The text of a manifest that is not too large.
fn text(path: &Path) -> Result<String> {
    let refuse = |why: String| usage(anyhow!("{} cannot be read: {why}", path.display()));
    let file = File::open(path).map_err(|error| refuse(error.to_string()))?;
    let mut text = String::new();
    let read = file.take(MOST_BYTES).read_to_string(&mut text);
    read.map_err(|error| refuse(error.to_string()))?;
    Ok(text)
}

fn batch_in(directory: &Path) -> Result<Option<Listed>> {
    let file = directory.join(manifest::FILE);
    if !directory.is_dir() || !file.is_file() {
        return Ok(None);
    }
    manifest::read(&file, &text(&file)?).map(Some)
}

/// The files that a path stands for: itself, what a batch lists, or all results in a directory. A file
/// that is called JSON is taken for one, so that a broken one is missed; of others the content decides.
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
    let is_hidden =
        |it: &Path| it.file_name().is_some_and(|it| it.as_encoded_bytes().starts_with(b"."));
    let is_json = |it: &Path| it.extension().is_some_and(|it| it == "json");
    files.retain(|it| {
        it.is_file() && !is_hidden(it) && (is_json(it) || readers::read_any(it).is_ok())
    });
    files.sort();
    if files.is_empty() {
        return Err(usage(anyhow!(
            "{} holds no report: neither a manifest of a batch nor a result that can be read",
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
