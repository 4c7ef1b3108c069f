//! What an earlier batch in the same directory has made besides the runs that are asked for now.
//!
//! `--resume` may come with another filter, fewer repeats or another engine than the batch was begun with.
//! The runs that this leaves out were made all the same, and the manifest keeps them.

use std::path::Path;

use clap::ValueEnum;
use serde_json::Value;
use sterna_scenario::Suite;

use super::Job;
use super::manifest::{self, Entry};
use crate::args::EngineKind;

/// The runs in the directory that are none of `jobs`. A report is found by its file, whatever the manifest says:
/// it may be from the moment between the end of a run and the next manifest.
pub fn others(suite: &Suite, jobs: &[Job<'_>], directory: &Path) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut seen: Vec<(EngineKind, String, u32)> =
        jobs.iter().map(|it| (it.engine, it.run.name.clone(), it.repeat)).collect();
    for engine in EngineKind::value_variants() {
        for file in json_files(&directory.join(engine.name())) {
            let Some(job) = job_of(suite, *engine, &file) else { continue };
            let key = (*engine, job.run.name.clone(), job.repeat);
            if seen.contains(&key) {
                continue;
            }
            if let Some(entry) = Entry::of_report(&job, directory) {
                seen.push(key);
                entries.push(entry);
            }
        }
    }
    let listed = manifest::read(directory).unwrap_or_default();
    for run in listed["runs"].as_array().into_iter().flatten() {
        let Some((job, exit_code)) = without_report(suite, run) else { continue };
        let key = (job.engine, job.run.name.clone(), job.repeat);
        if !seen.contains(&key) {
            seen.push(key);
            entries.push(Entry::without_report(&job, exit_code));
        }
    }
    entries
}

/// Names without `.json`.
fn json_files(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.filter_map(|it| it.file_name().into_string().ok());
    names.filter_map(|it| it.strip_suffix(".json").map(str::to_owned)).collect()
}

/// `NAME.REPEAT`
fn job_of<'a>(suite: &'a Suite, engine: EngineKind, file: &str) -> Option<Job<'a>> {
    let (name, repeat) = file.rsplit_once('.')?;
    let run = suite.runs.iter().find(|it| it.name == name)?;
    Some(Job::new(suite, run, engine, repeat.parse().ok()?))
}

/// A run that was made and left nothing is known from the manifest only.
fn without_report<'a>(suite: &'a Suite, run: &Value) -> Option<(Job<'a>, u8)> {
    if !run["report"].is_null() {
        return None;
    }
    let engine = EngineKind::from_str(run["engine"].as_str()?, false).ok()?;
    let repeat = u32::try_from(run["repeat"].as_u64()?).ok()?;
    let name = run["name"].as_str()?;
    let made = suite.runs.iter().find(|it| it.name == name)?;
    let exit_code = u8::try_from(run["exit_code"].as_u64()?).ok()?;
    Some((Job::new(suite, made, engine, repeat), exit_code))
}
