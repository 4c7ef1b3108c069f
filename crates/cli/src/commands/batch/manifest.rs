//! What became of the runs of a batch: `manifest.json` beside the reports.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};
use sterna_report::{Report, Verdict};
use sterna_scenario::Suite;

use super::Job;
use super::noise::Noise;

/// The version of the manifest's form.
const SCHEMA_VERSION: &str = "1.2";

/// Its file.
const FILE: &str = "manifest.json";

/// A batch so far.
pub struct Manifest {
    suite: String,
    about: String,
    /// In the order of the suite, whatever that was in which they were made.
    pub runs: Vec<Entry>,
    /// What each `sterna run` was given besides its scenario.
    pub run_arguments: Vec<String>,
    /// How many were made at the same time.
    pub concurrent: usize,
    /// The seed of the order in which they were made; `None` for that of the suite.
    pub shuffle_seed: Option<u64>,
    /// How quiet the machine was before the first run and after the last.
    pub noise: [Option<Noise>; 2],
}

/// One run that was made.
pub struct Entry {
    /// The run's name within the suite.
    pub name: String,
    /// The group of the variant; empty where it has none.
    pub group: String,
    /// The variant.
    pub variant: String,
    /// The values of the matrix.
    pub point: String,
    /// The engine.
    pub engine: &'static str,
    /// Which repetition, from 1.
    pub repeat: u32,
    /// What `sterna run` ended with; 1 when it was killed.
    pub exit_code: u8,
    /// The summary and what belongs to it, where there is a report; the series are in the file.
    pub report: Option<Report>,
    /// How quiet the machine was around it; `None` where that was not measured.
    pub noise: Option<Noise>,
    /// Where it stands: by engine, repetition, and place in the suite.
    place: (usize, u32, usize),
    file: String,
}

impl Manifest {
    /// Of a batch that has made no run yet.
    pub fn new(suite: &Suite) -> Manifest {
        Manifest {
            suite: suite.name.clone(),
            about: suite.about.clone(),
            runs: Vec::new(),
            run_arguments: Vec::new(),
            concurrent: 1,
            shuffle_seed: None,
            noise: [None, None],
        }
    }

    /// Adds a run at its place.
    pub fn add(&mut self, entry: Entry) {
        let place = self.runs.partition_point(|it| it.place < entry.place);
        self.runs.insert(place, entry);
    }

    /// The exit code of the batch: the worst of its runs.
    pub fn exit_code(&self, is_interrupted: bool) -> u8 {
        if is_interrupted {
            return 130;
        }
        worst_exit_code(self.runs.iter().map(|run| run.exit_code))
    }

    /// Writes the file anew, in one step.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let path = directory.join(FILE);
        let runs: Vec<Value> = self.runs.iter().map(Entry::json).collect();
        let text = json!({
            "schema_version": SCHEMA_VERSION,
            "suite": self.suite,
            "about": self.about,
            "run_arguments": self.run_arguments,
            "concurrent": self.concurrent,
            "shuffle_seed": self.shuffle_seed,
            "noise_before": self.noise[0].as_ref().map(Noise::json),
            "noise_after": self.noise[1].as_ref().map(Noise::json),
            "runs": runs,
        });
        sterna_report::write_atomically(&path, format!("{text:#}\n").as_bytes())?;
        Ok(())
    }
}

/// The manifest in a directory, where there is one that can be read.
pub fn read(directory: &Path) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(directory.join(FILE)).ok()?).ok()
}

/// The exit code of many runs: the worst there is, corrupt memory first.
pub fn worst_exit_code(codes: impl Iterator<Item = u8>) -> u8 {
    const FROM_WORST: [u8; 6] = [4, 1, 2, 3, 5, 0];
    let known = |code: u8| match code {
        // Its time limit interrupted it, so it did not complete.
        130 => 3,
        code if FROM_WORST.contains(&code) => code,
        _ => 1,
    };
    let codes: Vec<u8> = codes.map(known).collect();
    FROM_WORST.into_iter().find(|code| codes.contains(code)).unwrap_or(1)
}

impl Entry {
    /// What a run left that ended with this code; `None` when a signal ended it.
    pub fn of_run(job: &Job, directory: &Path, code: Option<i32>) -> Entry {
        let exit_code = code.and_then(|it| u8::try_from(it).ok()).unwrap_or(1);
        Entry::new(job, exit_code, read_report(&directory.join(&job.report)))
    }

    /// A run that an earlier batch has made.
    pub fn of_report(job: &Job, directory: &Path) -> Option<Entry> {
        let report = read_report(&directory.join(&job.report))?;
        let entry = Entry::new(job, report.exit_code(), Some(report));
        let noise = noise_of(directory, &entry.file);
        Some(Entry { noise, ..entry })
    }

    /// A run that left nothing.
    pub fn without_report(job: &Job, exit_code: u8) -> Entry {
        Entry::new(job, exit_code, None)
    }

    fn new(job: &Job, exit_code: u8, report: Option<Report>) -> Entry {
        Entry {
            name: job.run.name.clone(),
            group: job.run.group.clone(),
            variant: job.run.variant.clone(),
            point: job.run.point.clone(),
            engine: job.engine.name(),
            repeat: job.repeat,
            exit_code,
            // A batch keeps all its reports in memory, for the tables at its end.
            report: report.map(Report::without_series),
            noise: None,
            place: (job.engine as usize, job.repeat, job.index),
            file: job.report.display().to_string(),
        }
    }

    /// Whether the run needs not be made again.
    pub fn has_ended(&self) -> bool {
        self.report.as_ref().is_some_and(|it| it.summary.verdict != Verdict::Interrupted)
    }

    /// The run in a line.
    pub fn line(&self) -> String {
        let outcome = match &self.report {
            Some(report) => sterna_render::one_line(report),
            None => format!("no report, exit code {}", self.exit_code),
        };
        format!("{} ({}): {outcome}", self.name, self.engine)
    }

    fn json(&self) -> Value {
        let summary = self.report.as_ref().map(|it| &it.summary);
        json!({
            "name": self.name,
            "group": self.group,
            "variant": self.variant,
            "point": self.point,
            "engine": self.engine,
            "repeat": self.repeat,
            "exit_code": self.exit_code,
            "report": self.report.as_ref().map(|_| &self.file),
            "verdict": summary.map(|it| it.verdict.as_str()),
            "verdict_reason": summary.and_then(|it| it.verdict_reason.as_deref()),
            "integrity": summary.map(|it| it.integrity),
            "total_time_seconds": summary.and_then(|it| it.total_time_seconds),
            "downtime_seconds": summary.and_then(|it| it.downtime_seconds),
            "lost_work_seconds": summary.and_then(|it| it.lost_work_seconds),
            "noise": self.noise.as_ref().map(Noise::json),
        })
    }
}

fn read_report(path: &Path) -> Option<Report> {
    Some(sterna_report::readers::read_any(path).ok()?.report)
}

/// What an earlier batch has measured around a run.
fn noise_of(directory: &Path, file: &str) -> Option<Noise> {
    let manifest = read(directory)?;
    let runs = manifest["runs"].as_array()?;
    Noise::from_json(&runs.iter().find(|it| it["report"] == file)?["noise"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_run_decides_and_one_that_ran_out_of_time_is_no_success() {
        let table: [(&[u8], u8); 6] =
            [(&[0, 0], 0), (&[0, 5], 5), (&[0, 130], 3), (&[3, 4, 1], 4), (&[0, 101], 1), (&[], 1)];
        for (codes, expected) in table {
            assert_eq!(worst_exit_code(codes.iter().copied()), expected, "{codes:?}");
        }
    }
}
