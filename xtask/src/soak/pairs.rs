//! Every pair of techniques on every QEMU that is here: each flight ends, with the guest's memory as it must be, or is refused before it begins.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use sterna_report::{Integrity, Report, Verdict};

use super::leftovers;
use crate::flight::{Flights, Landed};
use crate::qemu;

/// A guest that is quick to boot and writes more than may be sent, with an end to each flight.
const BUSY: &[&str] = &[
    "--engine=qemu",
    "--accelerator=tcg",
    "--memory=160MiB",
    "--workload-memory=32MiB",
    "--rate=unlimited",
    "--max-bandwidth=60MB/s",
    "--max-time=12s",
    "--warmup=300ms",
    "--cooldown=300ms",
];

/// Each technique with what it is asked for by. Those that come first have hung beside another before.
const TECHNIQUES: &[(&str, &str)] = &[
    ("multifd", "--multifd"),
    ("post-copy with preempt", "--postcopy-after-passes=1 --postcopy-preempt=true"),
    ("post-copy without preempt", "--postcopy-after-passes=1 --postcopy-preempt=false"),
    ("multifd with zstd", "--multifd-compression=zstd"),
    ("multifd with zero-copy", "--multifd --zero-copy"),
    ("xbzrle", "--xbzrle"),
    ("compress", "--compress"),
    ("auto-converge", "--auto-converge-initial=90"),
    ("hold", "--hold-at-least-passes=2"),
    ("pause", "--pause-after-passes=2"),
    ("tls", "--tls"),
    ("switchover-ack", "--switchover-ack"),
    ("no return path", "--return-path=false"),
    ("unix socket", "--transport=unix"),
    ("all memory", "--verify=all-memory"),
];

/// Flies all pairs of the first techniques, as many as are asked for, with the distribution's QEMU and that of `cargo xtask qemu`.
pub fn run(flights: &Flights, techniques: usize) -> Result<()> {
    let programs: Vec<PathBuf> =
        std::iter::once("qemu-system-x86_64".into()).chain(qemu::fetched()).collect();
    let techniques = &TECHNIQUES[..techniques.min(TECHNIQUES.len())];
    for program in &programs {
        let mut outcomes: BTreeMap<String, u32> = BTreeMap::new();
        for (index, one) in techniques.iter().enumerate() {
            for other in &techniques[index + 1..] {
                let name = format!("{} and {}", one.0, other.0);
                let report =
                    fly(flights, program, &[one.1, other.1]).with_context(|| name.clone())?;
                let summary = &report.summary;
                let reason = summary.verdict_reason.as_deref().unwrap_or_default();
                println!("{name}: {} {} {reason}", summary.verdict, summary.integrity);
                judge(&report).with_context(|| format!("{name}: {reason}"))?;
                *outcomes.entry(summary.verdict.to_string()).or_default() += 1;
            }
        }
        println!("{}: {outcomes:?}, and each ended", program.display());
    }
    Ok(())
}

fn fly(flights: &Flights, program: &Path, techniques: &[&str]) -> Result<Report> {
    let asked = techniques.iter().flat_map(|it| it.split(' '));
    let mut flags: Vec<String> = BUSY.iter().copied().map(str::to_owned).collect();
    for flag in asked.map(str::to_owned) {
        if !flags.contains(&flag) {
            flags.push(flag);
        }
    }
    flags.push(format!("--qemu-source={}", program.display()));
    // The later one counts where both ask for the same in two ways.
    let last = |flag: &String| {
        let name = |it: &String| it.split('=').next().map(str::to_owned);
        flags.iter().rev().find(|it| name(it) == name(flag)) == Some(flag)
    };
    let flags: Vec<String> = flags.iter().filter(|it| last(it)).cloned().collect();
    let Landed { report, .. } = flights.fly(&flags)?;
    let left = leftovers(flights)?;
    ensure!(left.is_empty(), "These are left: {left:?}");
    Ok(report)
}

/// A guest is never lost or damaged by a pair, and what cannot be done is refused before it begins.
fn judge(report: &Report) -> Result<()> {
    let summary = &report.summary;
    match summary.verdict {
        Verdict::Unsupported => Ok(()),
        Verdict::Completed | Verdict::CompletedForced | Verdict::Cancelled => {
            ensure!(summary.integrity == Integrity::Verified, "{}", summary.integrity);
            Ok(())
        }
        other => anyhow::bail!("It ended as {other}"),
    }
}
