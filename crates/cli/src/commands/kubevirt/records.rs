//! Reports of migrations: written as each one ends, and shown together.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use serde_json::{Value, json};
use sterna_kubevirt::{ClusterFacts, MigrationRecord, Preflight};
use sterna_report::{Integrity, Probe, Report, Verdict};
use sterna_units::pad_right;

use super::super::kept;
use crate::args::kubevirt::{ReportArgs, TextFormat};
use crate::output::Output;
use crate::{machine, usage};

/// A directory of reports, one for each migration.
pub struct Records {
    directory: PathBuf,
    facts: ClusterFacts,
    next: u32,
    worst: u8,
}

impl Records {
    /// Makes the directory; what is in it already stays.
    pub fn open(directory: &Path, run_id: Option<&str>, preflight: &Preflight) -> Result<Records> {
        std::fs::create_dir_all(directory).map_err(|error| {
            usage(anyhow!("--records {} cannot be made: {error}", directory.display()))
        })?;
        super::super::check_writable(&directory.join("0000.json"))?;
        let facts = ClusterFacts {
            run_id: run_id.map(str::to_owned),
            kubevirt_version: preflight.kubevirt_version.clone(),
            limits: preflight.limits.clone(),
            scenario: serde_json::Map::new(),
        };
        let next = numbers(directory).max().map_or(1, |it| it + 1);
        Ok(Records { directory: directory.to_owned(), facts, next, worst: 0 })
    }

    /// Writes one at once, so that nothing that happens later can lose it.
    /// The migrations that follow are recorded also where this one cannot be kept.
    pub fn write(&mut self, record: &MigrationRecord, output: Output) -> PathBuf {
        let report = record.report(machine::tool(), machine::host(), &self.facts);
        let path = self.directory.join(format!("{:04}-{}.json", self.next, record.vmi));
        let code = kept::report(&path, &report.to_json_pretty(), report.exit_code(), output);
        self.next += 1;
        self.worst = worse(self.worst, code);
        path
    }

    /// The exit code of the worst migration.
    pub fn exit_code(&self) -> u8 {
        self.worst
    }
}

/// Interrupted ranks above failed: who pressed Ctrl-C knows why.
fn worse(a: u8, b: u8) -> u8 {
    let rank = |code: u8| match code {
        4 => 4,
        130 => 3,
        0 => 0,
        _ => 2,
    };
    if rank(b) > rank(a) { b } else { a }
}

fn numbers(directory: &Path) -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|it| it.file_name().to_str()?.split_once('-')?.0.parse().ok())
}

/// Shows reports together.
pub fn report(args: &ReportArgs, output: Output) -> Result<u8> {
    let mut reports = Vec::new();
    for path in &args.paths {
        for file in files(path)? {
            let text = std::fs::read_to_string(&file)
                .with_context(|| format!("Cannot read {}", file.display()))?;
            let report = Report::read(&text)
                .map_err(|error| usage(anyhow!("{} is no report: {error}", file.display())))?;
            reports.push((file, report));
        }
    }
    if reports.is_empty() {
        return Err(usage(anyhow!("There is no report in {}", args.paths[0].display())));
    }
    let text = match args.output {
        TextFormat::Json => format!("{:#}\n", summary(&reports)),
        TextFormat::Text => table(&reports),
    };
    output.result(&text)?;
    let codes = reports.iter().map(|it| it.1.exit_code());
    Ok(codes.fold(0, worse))
}

fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries =
        std::fs::read_dir(path).with_context(|| format!("Cannot read {}", path.display()))?;
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|it| it.path())
        .filter(|it| it.extension().is_some_and(|it| it == "json"))
        .collect();
    files.sort();
    Ok(files)
}

fn detail<'a>(report: &'a Report, name: &str) -> &'a str {
    report.engine.details.get(name).and_then(Value::as_str).unwrap_or("-")
}

/// The longest outage that a probe of the network saw, in seconds; None without one.
fn blackout(report: &Report) -> Option<f64> {
    report.probes.iter().filter(|it| it.is_of_network()).filter_map(longest).reduce(f64::max)
}

/// The longest stall of the data disk, in seconds; None where it was not followed.
fn disk_stall(report: &Report) -> Option<f64> {
    report.probes.iter().filter(|it| !it.is_of_network()).filter_map(longest).reduce(f64::max)
}

fn longest(probe: &Probe) -> Option<f64> {
    probe.longest_outage_seconds()
}

const HEADINGS: [&str; 11] = [
    "GUEST",
    "SOURCE",
    "TARGET",
    "VERDICT",
    "TOTAL",
    "QUEUED",
    "ITERATIONS",
    "BLACKOUT",
    "DISK STALL",
    "INTEGRITY",
    "POLICY",
];

fn table(reports: &[(PathBuf, Report)]) -> String {
    let mut lines = vec![HEADINGS.map(str::to_owned)];
    for (_, report) in reports {
        let seconds =
            |it: Option<f64>| it.map_or_else(|| "-".to_owned(), |it| format!("{it:.1} s"));
        let queued = report.engine.details.get("queue_seconds").and_then(Value::as_f64);
        lines.push([
            detail(report, "vmi").to_owned(),
            detail(report, "source_node").to_owned(),
            detail(report, "target_node").to_owned(),
            report.summary.verdict.to_string(),
            seconds(report.summary.total_time_seconds),
            seconds(queued),
            report.summary.passes.to_string(),
            outage(blackout(report)),
            outage(disk_stall(report)),
            integrity(report),
            detail(report, "policy").to_owned(),
        ]);
    }
    let mut text = String::new();
    for line in &lines {
        let cells: Vec<String> = (0..line.len())
            .map(|column| {
                let width = lines.iter().map(|it| it[column].chars().count()).max().unwrap_or(0);
                pad_right(&line[column], width)
            })
            .collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    for (_, report) in reports.iter().filter(|it| it.1.summary.verdict != Verdict::Completed) {
        if let Some(reason) = &report.summary.verdict_reason {
            let _ = writeln!(text, "{}: {reason}", detail(report, "vmi"));
        }
    }
    for (_, report) in reports.iter().filter(|it| it.1.summary.disk_is_corrupt()) {
        let lost = report.warnings.iter().filter(|it| it.code == "disk-lost-records");
        lost.for_each(|it| {
            let _ = writeln!(text, "{}: {}", detail(report, "vmi"), it.text);
        });
    }
    let _ = writeln!(text, "\n{}", sentence(reports));
    text
}

fn outage(longest: Option<f64>) -> String {
    match longest {
        None => "-".to_owned(),
        Some(0.0) => "none".to_owned(),
        Some(length) => format!("{length:.3} s"),
    }
}

/// Of the memory, unless it is the disk that is corrupt.
fn integrity(report: &Report) -> String {
    let summary = &report.summary;
    match summary.disk_is_corrupt() && summary.memory_integrity() != Integrity::Corrupt {
        true => "disk corrupt".to_owned(),
        false => summary.integrity.to_string(),
    }
}

fn sentence(reports: &[(PathBuf, Report)]) -> String {
    let completed = reports.iter().filter(|it| it.1.exit_code() == 0).count();
    let mut text = format!("{completed} of {} migrations completed", reports.len());
    if let Some((median, least, most)) = times(reports) {
        let _ = write!(text, "; total time {median:.1} s in the median, {least:.1} to {most:.1} s");
    }
    text
}

/// Median, least and most total time of those that completed.
fn times(reports: &[(PathBuf, Report)]) -> Option<(f64, f64, f64)> {
    let mut all: Vec<f64> = reports
        .iter()
        .filter(|it| it.1.exit_code() == 0)
        .filter_map(|it| it.1.summary.total_time_seconds)
        .collect();
    all.sort_by(f64::total_cmp);
    let (least, most) = (*all.first()?, *all.last()?);
    let middle = all.len() / 2;
    let median =
        if all.len() % 2 == 1 { all[middle] } else { f64::midpoint(all[middle - 1], all[middle]) };
    Some((median, least, most))
}

fn summary(reports: &[(PathBuf, Report)]) -> Value {
    let migrations: Vec<Value> = reports
        .iter()
        .map(|(file, report)| {
            json!({
                "file": file,
                "guest": detail(report, "vmi"),
                "source_node": report.engine.details.get("source_node"),
                "target_node": report.engine.details.get("target_node"),
                "verdict": report.summary.verdict,
                "verdict_reason": report.summary.verdict_reason,
                "total_time_seconds": report.summary.total_time_seconds,
                "queue_seconds": report.engine.details.get("queue_seconds"),
                "iterations": report.summary.passes,
                "network_blackout_seconds": blackout(report),
                "disk_stall_seconds": disk_stall(report),
                "disk_integrity": report.summary.disk_integrity,
                "lost_work_seconds": report.summary.lost_work_seconds,
                "integrity": report.summary.integrity,
            })
        })
        .collect();
    let corrupt = reports.iter().any(|it| it.1.summary.integrity == Integrity::Corrupt);
    json!({
        "migrations": migrations,
        "completed": reports.iter().filter(|it| it.1.exit_code() == 0).count(),
        "corrupt": corrupt,
        "total_time_median_seconds": times(reports).map(|it| it.0),
        "total_time_min_seconds": times(reports).map(|it| it.1),
        "total_time_max_seconds": times(reports).map(|it| it.2),
    })
}
