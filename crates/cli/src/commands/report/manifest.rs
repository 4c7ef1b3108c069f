//! What a batch's manifest lists, as far as its pages need it.

use std::path::{Component, Path, PathBuf};

use anyhow::{Result, anyhow};
use serde_json::Value;

use crate::usage;

/// The name of the manifest in a batch's directory.
pub const FILE: &str = "manifest.json";

/// A batch by its manifest.
#[derive(Debug)]
pub struct Listed {
    /// The suite.
    pub suite: String,
    /// What it is for.
    pub about: String,
    /// Its runs, in their order.
    pub runs: Vec<ListedRun>,
}

/// One run of it.
#[derive(Clone, Debug)]
pub struct ListedRun {
    /// Its name within the suite.
    pub name: String,
    /// The row.
    pub variant: String,
    /// The column: values of the matrix.
    pub point: String,
    /// By what it was run.
    pub engine: String,
    /// Which repetition, from 1.
    pub repeat: u64,
    /// What the run ended with.
    pub exit_code: Option<u64>,
    /// The report within the directory; `None` where the run left none.
    pub report: Option<PathBuf>,
}

impl ListedRun {
    /// A name that no other run of the batch has.
    pub fn long_name(&self) -> String {
        match self.repeat {
            0 | 1 => format!("{} ({})", self.name, self.engine),
            repeat => format!("{} ({}, {repeat})", self.name, self.engine),
        }
    }
}

/// Reads a manifest.
pub fn read(path: &Path, text: &str) -> Result<Listed> {
    let refuse =
        |why: String| usage(anyhow!("{} is no manifest of a batch: {why}", path.display()));
    let manifest: Value = serde_json::from_str(text).map_err(|error| refuse(error.to_string()))?;
    let version = manifest["schema_version"].as_str().unwrap_or_default();
    if version.split('.').next() != Some("1") {
        return Err(refuse(format!("its schema_version is {version:?}, expected 1.x")));
    }
    let runs = manifest["runs"].as_array().ok_or_else(|| refuse("`runs` is missing".to_owned()))?;
    let mut listed = Vec::new();
    for (index, run) in runs.iter().enumerate() {
        listed.push(listed_run(run).map_err(|why| refuse(format!("runs[{index}]: {why}")))?);
    }
    if listed.is_empty() {
        return Err(refuse("it lists no runs".to_owned()));
    }
    let text = |name: &str| manifest[name].as_str().unwrap_or_default().to_owned();
    Ok(Listed { suite: text("suite"), about: text("about"), runs: listed })
}

fn listed_run(run: &Value) -> Result<ListedRun, String> {
    let text = |name: &str| run[name].as_str().map(str::to_owned);
    let report = text("report").map(PathBuf::from);
    // A manifest names files beside itself; one that leads elsewhere is damaged, or worse.
    if let Some(outside) = report.as_ref().filter(|it| !is_inside(it)) {
        return Err(format!("report {outside:?} is outside of the batch's directory"));
    }
    let name = text("name").ok_or("`name` is missing")?;
    Ok(ListedRun {
        variant: text("variant").filter(|it| !it.is_empty()).unwrap_or_else(|| name.clone()),
        name,
        point: text("point").unwrap_or_default(),
        engine: text("engine").unwrap_or_default(),
        repeat: run["repeat"].as_u64().unwrap_or(1),
        exit_code: run["exit_code"].as_u64(),
        report,
    })
}

fn is_inside(path: &Path) -> bool {
    path.components().all(|it| matches!(it, Component::Normal(_) | Component::CurDir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<usize, &str>) {
        match (read(Path::new("m.json"), text), expected) {
            (Ok(listed), Ok(runs)) => assert_eq!(listed.runs.len(), runs),
            (Err(error), Err(words)) => {
                assert!(error.to_string().contains(words), "{error} / {words}");
            }
            (outcome, expected) => panic!("{outcome:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn what_is_no_manifest_is_refused_with_the_reason() {
        check(r#"{"schema_version":"1.7","runs":[{"name":"a","report":"e/a.json"}]}"#, Ok(1));
        check(r#"{"schema_version":"2.0","runs":[{"name":"a"}]}"#, Err("expected 1.x"));
        check(r#"{"schema_version":"1.0","runs":[]}"#, Err("lists no runs"));
        check(r#"{"schema_version":"1.0"}"#, Err("`runs` is missing"));
        check(r#"{"schema_version":"1.0","runs":[{}]}"#, Err("runs[0]: `name` is missing"));
        check(
            r#"{"schema_version":"1.0","runs":[{"name":"a","report":"../b.json"}]}"#,
            Err("outside of the batch"),
        );
        check(
            r#"{"schema_version":"1.0","runs":[{"name":"a","report":"/etc/b.json"}]}"#,
            Err("outside of the batch"),
        );
        check("nonsense", Err("no manifest of a batch"));
    }
}
