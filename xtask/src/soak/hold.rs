//! Held migrations of real guests: in each of them memory is provably sent, written and sent again.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use serde_json::Value;
use sterna_report::{Integrity, Report, Verdict};

use super::leftovers;
use crate::flight::{Flights, Landed};
use crate::qemu;

/// A guest that is quick to boot and to verify, held for two passes.
const HELD: &[&str] = &[
    "--engine=qemu",
    "--accelerator=tcg",
    "--memory=160MiB",
    "--workload-memory=32MiB",
    "--hold-at-least-passes=2",
    "--warmup=500ms",
    "--cooldown=500ms",
];

/// No held migration takes longer; throttling a whole one takes thirty.
const LONGEST_SECONDS: f64 = 5.0;

/// Flies `count` of each kind with each QEMU that is here: the distribution's, and the one of `cargo xtask qemu`.
pub fn run(flights: &Flights, count: u32) -> Result<()> {
    let programs: Vec<PathBuf> =
        std::iter::once("qemu-system-x86_64".into()).chain(qemu::fetched()).collect();
    for program in &programs {
        for (kind, more) in [("plain", None), ("multifd", Some("--multifd"))] {
            let mut totals = Vec::new();
            for number in 1..=count {
                let report = fly(flights, program, more.as_slice(), Some(0))?;
                let seconds = proven(&report)?;
                let version = report.engine.peer_versions.source.unwrap_or_default();
                println!("{version}, {kind} {number}: {seconds:.2} s");
                totals.push(seconds);
            }
            totals.sort_by(f64::total_cmp);
            if let (Some(least), Some(most)) = (totals.first(), totals.last()) {
                let median = totals[totals.len() / 2];
                let name = program.display();
                println!(
                    "{name}, {kind}: {count} of {count} proven and verified, median {median:.2} s ({least:.2} to {most:.2})"
                );
            }
        }
        refused(flights, program)?;
    }
    Ok(())
}

/// A proof must fail where there is nothing to prove it by.
fn refused(flights: &Flights, program: &Path) -> Result<()> {
    let report = fly(flights, program, &["--x-break=no-marker", "--max-time=4s"], Some(3))?;
    ensure!(report.summary.verdict == Verdict::Cancelled, "{}", report.summary.verdict);
    ensure!(hold(&report)["proven"] == false, "A proof without a marker: {}", hold(&report));
    println!("{}: without the marker nothing is proven", program.display());
    Ok(())
}

fn fly(flights: &Flights, program: &Path, more: &[&str], expected: Option<i32>) -> Result<Report> {
    let mut flags: Vec<String> = HELD.iter().chain(more).map(|it| (*it).to_owned()).collect();
    flags.push(format!("--qemu-source={}", program.display()));
    let Landed { exit_code, report } = flights.fly(&flags)?;
    if exit_code != expected {
        let summary = &report.summary;
        bail!("{flags:?}: exit code {exit_code:?}, {} {}", summary.verdict, summary.integrity);
    }
    let left = leftovers(flights)?;
    ensure!(left.is_empty(), "These are left: {left:?}");
    Ok(report)
}

/// The migration's seconds, if all of it is as it should be.
fn proven(report: &Report) -> Result<f64> {
    let summary = &report.summary;
    ensure!(summary.verdict == Verdict::Completed, "{}", summary.verdict);
    ensure!(summary.integrity == Integrity::Verified, "{}", summary.integrity);
    ensure!(hold(report)["proven"] == true, "Not proven: {}", hold(report));
    ensure!(summary.pages_resent.is_some_and(|it| it > 0), "No page was sent again");
    let Some(seconds) = summary.total_time_seconds else { bail!("No total time is known") };
    ensure!(seconds < LONGEST_SECONDS, "It took {seconds:.2} s, more than {LONGEST_SECONDS} s");
    Ok(seconds)
}

fn hold(report: &Report) -> &Value {
    report.engine.details.get("hold").unwrap_or(&Value::Null)
}
