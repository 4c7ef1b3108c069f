//! Many runs in a row: what goes wrong once in a hundred times goes wrong here.

mod advice;
mod compare;
pub mod dice;
mod hold;
mod kubevirt;
mod pairs;
mod probe;
mod recovery;
mod techniques;
mod truth;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use sterna_report::{Integrity, Verdict};

use crate::flight::{Flights, Landed, flags};
use crate::release;
use dice::Dice;

#[derive(Args)]
pub struct Options {
    /// What to repeat
    #[arg(value_enum)]
    what: What,
    /// How often
    #[arg(long)]
    count: Option<u32>,
    /// Where the random choices begin; a failure names the seed that shows it again alone
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A few runs only
    #[arg(long)]
    short: bool,
    /// A `sterna` that is built already; else a release build is made
    #[arg(long)]
    program: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// Migrations with random sizes, rates, patterns, methods, trackers and transports: all must verify and leave nothing
    Migrations,
    /// Migrations with random techniques, faults and cut-offs: no wrong byte, no hang, nothing left
    Techniques,
    /// Post-copies whose link is cut at random moments: all must be made anew and verify
    Recovery,
    /// Held migrations of real guests with each QEMU that is here, plain and with multifd: each must be proven, verified, and done within 5 s
    Hold,
    /// Every pair of techniques on each QEMU that is here: each flight must end, verified, or be refused before it begins
    Pairs,
    /// Migrations over a link of 1 Gbit/s: the downtime must keep to its limit x 1.2 + 20 ms in 19 of 20
    Downtime,
    /// Runs that differ by a known throttle: `sterna compare` must tell them apart, and equal ones not
    Compare,
    /// What `sterna probe` reports against what was done: responders stopped, a cable pulled, a quiet minute, writers killed
    Probe,
    /// Each defect with each technique and each method of writing: the run must end as the table in docs/faults.md says
    Truth,
    /// Guests whose migration does not end, and the command that `sterna advise` prints for each: 49 of 60 must keep the goal
    Advice,
    /// A drain of 500 guests against a real API server: all recorded, within limits of memory and calls
    Kubevirt,
}

/// Runs until all are done, and tells each.
pub fn run(options: &Options) -> Result<ExitCode> {
    if let What::Kubevirt = options.what {
        return kubevirt::run(options.count.unwrap_or(if options.short { 30 } else { 500 }));
    }
    if let What::Truth = options.what {
        return truth::run(options.short);
    }
    let program = match &options.program {
        Some(program) => program.clone(),
        None => release::sterna()?,
    };
    let flights = Flights::of(program.clone())?;
    let count = |full| options.count.unwrap_or(if options.short { 4 } else { full });
    match options.what {
        What::Migrations => migrations(&flights, options.seed, count(50)),
        What::Techniques => {
            let short = if options.short { 12 } else { 1000 };
            techniques::run(&flights, options.seed, options.count.unwrap_or(short))?;
            Ok(ExitCode::SUCCESS)
        }
        What::Recovery => {
            recovery::run(&flights, options.seed, count(200))?;
            Ok(ExitCode::SUCCESS)
        }
        What::Hold => {
            hold::run(&flights, options.count.unwrap_or(if options.short { 1 } else { 20 }))?;
            Ok(ExitCode::SUCCESS)
        }
        What::Pairs => {
            let short = if options.short { 3 } else { u32::MAX };
            pairs::run(&flights, options.count.unwrap_or(short) as usize)?;
            Ok(ExitCode::SUCCESS)
        }
        What::Downtime => downtime(&flights, options.seed, count(20)),
        What::Compare => {
            let short = if options.short { 1 } else { 5 };
            compare::run(&program, &flights, options.count.unwrap_or(short))
        }
        What::Advice => {
            let short = if options.short { 3 } else { 60 };
            advice::run(&program, &flights, options.seed, options.count.unwrap_or(short))?;
            Ok(ExitCode::SUCCESS)
        }
        What::Probe => probe::run(&program, count(20)),
        What::Kubevirt | What::Truth => unreachable!("they fly nothing, and have returned above"),
    }
}

fn migrations(flights: &Flights, first_seed: u64, count: u32) -> Result<ExitCode> {
    for seed in first_seed..first_seed + u64::from(count) {
        let chosen = random_flags(seed);
        let Landed { exit_code, report } = flights.fly(&chosen)?;
        let summary = &report.summary;
        println!("seed {seed}: {} {}, {}", summary.verdict, summary.integrity, chosen.join(" "));
        ensure!(exit_code == Some(0), "seed {seed}: exit code {exit_code:?}");
        ensure!(summary.integrity == Integrity::Verified, "seed {seed}: {}", summary.integrity);
        let left = leftovers(flights)?;
        ensure!(left.is_empty(), "seed {seed}: these are left: {left:?}");
    }
    println!("{count} migrations verified, nothing left behind");
    Ok(ExitCode::SUCCESS)
}

fn downtime(flights: &Flights, first_seed: u64, count: u32) -> Result<ExitCode> {
    const LIMIT_SECONDS: f64 = 0.3;
    let most = LIMIT_SECONDS * 1.2 + 0.02;
    let mut kept = 0;
    for seed in first_seed..first_seed + u64::from(count) {
        let Landed { report, .. } = flights.fly(&flags([
            ("seed", seed.to_string()),
            ("rate", "96MiB/s".to_owned()),
            ("link-bandwidth", "1Gbit/s".to_owned()),
            ("max-bandwidth", "unlimited".to_owned()),
            ("downtime-limit", "300ms".to_owned()),
            ("warmup", "500ms".to_owned()),
            ("cooldown", "200ms".to_owned()),
        ]))?;
        ensure!(report.summary.verdict == Verdict::Completed, "seed {seed} did not complete");
        let seconds = report.summary.downtime_seconds.unwrap_or(f64::INFINITY);
        kept += u32::from(seconds <= most);
        println!("seed {seed}: downtime {:.1} ms of at most {:.0} ms", seconds * 1e3, most * 1e3);
    }
    // 19 of 20: one run may meet a machine that was busy with something else.
    let needed = count - count / 20;
    println!("{kept} of {count} kept the limit, {needed} are needed");
    Ok(if kept >= needed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Choices that follow from the seed alone, so that a failure can be shown again.
fn random_flags(seed: u64) -> Vec<String> {
    let mut dice = Dice::new(seed);
    let vcpus = (1 + dice.pick(3)).to_string();
    let memory_mib = 16 + dice.pick(241);
    let mut one_of = |choices: &[&str]| dice.one_of(choices).to_owned();
    flags([
        ("seed", seed.to_string()),
        ("memory", format!("{memory_mib}MiB")),
        ("workers", vcpus.clone()),
        ("vcpus", vcpus),
        ("workload-memory", one_of(&["10%", "25%", "60%", "100%"])),
        ("pattern", one_of(&["random", "sequential", "zipf(0.99)", "hot-set(10%,90%)"])),
        ("method", one_of(&["counter", "touch", "xor-random", "fill-random", "write64nt"])),
        ("rate", one_of(&["1MiB/s", "32MiB/s", "200MiB/s", "unlimited"])),
        ("tracker", one_of(&["auto", "cooperative"])),
        ("transport", one_of(&["tcp", "unix"])),
        ("max-bandwidth", one_of(&["500Mbit/s", "1Gbit/s", "unlimited"])),
        ("max-time", "3s".to_owned()),
        ("limits-then", "pause".to_owned()),
        ("warmup", "200ms".to_owned()),
        ("cooldown", "200ms".to_owned()),
    ])
}

/// Hosts and directories of ours that no run is using any more.
fn leftovers(flights: &Flights) -> Result<Vec<String>> {
    let own = std::process::id().to_string();
    let mut left = Vec::new();
    for process in std::fs::read_dir("/proc")?.flatten() {
        let status = std::fs::read_to_string(process.path().join("status")).unwrap_or_default();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        if parent.is_some_and(|it| it.trim() == own) && !status.contains("State:\tZ") {
            left.push(format!("process {}", process.file_name().display()));
        }
    }
    let entries = |place: &Path| std::fs::read_dir(place).into_iter().flatten().flatten();
    left.extend(entries(&flights.temporary()).map(|it| it.path().display().to_string()));
    let shared = entries(Path::new("/dev/shm"));
    let ours = shared.filter(|it| it.file_name().to_string_lossy().starts_with("sterna-"));
    left.extend(ours.map(|it| it.path().display().to_string()));
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_choices_again_and_seeds_differ() {
        assert_eq!(random_flags(7), random_flags(7));
        assert_ne!(random_flags(7)[1..], random_flags(8)[1..]);
    }
}
