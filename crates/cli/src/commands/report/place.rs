//! Where a result goes, and what may not be replaced there.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};

use super::input::{DASH, Input};
use crate::{output::Output, usage};

/// Where a result goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// stdout.
    Stdout,
    /// One file.
    File(PathBuf),
    /// A directory.
    Directory(PathBuf),
}

impl Place {
    /// What a path means: `-`, a directory that is there or ends in a slash, or else a file.
    pub fn of(path: &Path) -> Place {
        let ends_in_slash = path.as_os_str().to_string_lossy().ends_with('/');
        match path {
            _ if path == Path::new(DASH) => Place::Stdout,
            _ if ends_in_slash || path.is_dir() => Place::Directory(path.to_owned()),
            _ => Place::File(path.to_owned()),
        }
    }
}

/// Writes one result to stdout or to its file.
pub fn write(place: &Place, text: &str, inputs: &[Input], output: Output) -> Result<()> {
    match place {
        Place::Stdout => Ok(output.document(text)?),
        Place::File(path) => write_file(path, text, inputs),
        Place::Directory(path) => Err(usage(anyhow!(
            "-o {}: this result is one file, and that is a directory; name a file in it",
            path.display()
        ))),
    }
}

/// Writes a file in one step; a report that was read is never replaced.
pub fn write_file(path: &Path, text: &str, inputs: &[Input]) -> Result<()> {
    let same = |it: &&Input| is_same(&it.path, path);
    if let Some(input) = inputs.iter().find(same) {
        return Err(usage(anyhow!(
            "-o {}: that is the report {} itself; choose another file",
            path.display(),
            input.name
        )));
    }
    sterna_report::write_atomically(path, text.as_bytes())
        .map_err(anyhow::Error::new)
        .with_context(|| format!("Cannot write {}", path.display()))
}

/// Makes a directory for pages; one with other things in it is left alone.
pub fn open_directory(path: &Path) -> Result<()> {
    let context = || format!("Cannot use {} for the result", path.display());
    if path.is_dir() {
        let mut entries = std::fs::read_dir(path).with_context(context)?;
        if entries.next().is_some() && !is_ours(path) {
            return Err(usage(anyhow!(
                "-o {}: the directory holds something else; choose an empty or a new one",
                path.display()
            )));
        }
        return Ok(());
    }
    std::fs::create_dir_all(path).with_context(context)
}

/// Whether an earlier `sterna report` has filled the directory.
fn is_ours(path: &Path) -> bool {
    let has = |name: &str| path.join(name).is_file();
    let tables = sterna_render::CsvTable::ALL;
    has(sterna_render::html::PLOTLY_FILE)
        || tables.iter().any(|it| has(&format!("{}.csv", it.as_str())))
}

fn is_same(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}
