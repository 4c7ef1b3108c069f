//! Random techniques, sizes, faults and cut-offs: whatever happens, no byte is wrong, nothing hangs, and nothing is left.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use sterna_report::{Integrity, Report, Verdict};

use super::dice::Dice;
use super::leftovers;
use crate::flight::{Flights, Landed, flags};

/// How the stream travels.
const STREAMS: &[&str] = &[
    "",
    "",
    "--multifd-channels=2",
    "--multifd-channels=3 --zero-page=multifd",
    "--multifd-channels=2 --multifd-compression=zstd",
    "--multifd-channels=1 --multifd-compression=zlib --multifd-level=1",
    "--multifd-channels=2 --zero-copy=true",
    "--xbzrle-cache=25%",
    "--xbzrle-cache=100%",
    "--zero-page=off",
    "--fleet-guests=2 --link-bandwidth=1Gbit/s",
];

/// How a hard migration is brought to its end.
const ENDINGS: &[&str] = &[
    "",
    "--postcopy-after-passes=0 --postcopy-preempt=false",
    "--postcopy-after-passes=1 --postcopy-preempt=true",
    "--postcopy-after-passes=2 --postcopy-preempt=true",
    "--auto-converge=on",
    "--dirty-limit-per-vcpu=4MB/s",
    "--pause-after-passes=2",
    "--hold-at-least-passes=2",
    "--downtime-from=5ms --downtime-to=200ms --downtime-every=200ms",
];

/// Seconds after which a guest that was stopped for nothing must run again, on a busy machine.
const LONGEST_STANDSTILL: f64 = 20.0;

/// What a seed stands for.
struct Chosen {
    flags: Vec<String>,
    has_fault: bool,
    /// A side is killed, or something goes wrong when both sides are needed.
    may_be_lost: bool,
}

/// Flies `count` of them.
pub fn run(flights: &Flights, first_seed: u64, count: u32) -> Result<()> {
    let mut outcomes: BTreeMap<String, u32> = BTreeMap::new();
    for seed in first_seed..first_seed + u64::from(count) {
        let chosen = choose(seed);
        let Landed { exit_code, report } = flights
            .fly(&chosen.flags)
            .with_context(|| format!("seed {seed}: {}", chosen.flags.join(" ")))?;
        let summary = &report.summary;
        println!(
            "seed {seed}: {} {}, {}",
            summary.verdict,
            summary.integrity,
            chosen.flags.join(" ")
        );
        if let Err(error) = judge(&chosen, exit_code, &report) {
            let reason = summary.verdict_reason.as_deref().unwrap_or("no reason");
            bail!("seed {seed}: {error}; {reason}");
        }
        let left = leftovers(flights)?;
        ensure!(left.is_empty(), "seed {seed}: these are left: {left:?}");
        *outcomes.entry(summary.verdict.to_string()).or_default() += 1;
    }
    let told: Vec<String> =
        outcomes.iter().map(|(verdict, it)| format!("{it} {verdict}")).collect();
    println!("{count} migrations without a wrong byte, nothing left behind: {}", told.join(", "));
    Ok(())
}

/// Whether a run ended as its seed allows.
fn judge(chosen: &Chosen, exit_code: Option<i32>, report: &Report) -> Result<()> {
    let summary = &report.summary;
    let verified = summary.integrity == Integrity::Verified;
    ensure!(exit_code == Some(i32::from(report.exit_code())), "exit code {exit_code:?}");
    let frozen = summary.blackout_seconds.unwrap_or_default();
    let is_home = matches!(summary.verdict, Verdict::Failed | Verdict::Cancelled);
    ensure!(
        !is_home || frozen < LONGEST_STANDSTILL,
        "the guest stood still for {frozen:.1} s for nothing"
    );
    match summary.verdict {
        Verdict::Completed | Verdict::CompletedForced => {
            ensure!(verified, "completed, not verified");
        }
        // A limit, which every run has.
        Verdict::Cancelled => ensure!(verified, "cancelled, and the source was not verified"),
        Verdict::Failed => {
            ensure!(chosen.has_fault, "failed without a fault");
            ensure!(verified, "failed, and the source was not verified");
        }
        Verdict::Lost => ensure!(chosen.may_be_lost, "lost, and nothing could lose it"),
        // A pair of techniques that do not go together.
        Verdict::Unsupported => {}
        Verdict::Interrupted => bail!("nobody interrupted it"),
    }
    Ok(())
}

fn choose(seed: u64) -> Chosen {
    let mut dice = Dice::new(seed ^ 0x7ec4);
    let vcpus = (1 + dice.pick(3)).to_string();
    let memory_mib = 16 + dice.pick(113);
    let transport = dice.one_of(&["tcp", "unix"]);
    let mut stream = dice.one_of(STREAMS);
    if transport == "unix" && stream.contains("zero-copy") {
        stream = "";
    }
    let ending = dice.one_of(ENDINGS);
    let fault = fault(&mut dice, memory_mib, channels(stream, ending));
    let mut chosen = flags([
        ("seed", seed.to_string()),
        ("memory", format!("{memory_mib}MiB")),
        ("workers", vcpus.clone()),
        ("vcpus", vcpus),
        ("workload-memory", dice.one_of(&["10%", "25%", "60%", "100%"]).to_owned()),
        (
            "pattern",
            dice.one_of(&["random", "sequential", "zipf(0.99)", "hot-set(10%,90%)"]).to_owned(),
        ),
        ("method", dice.one_of(&["counter", "touch", "xor-random", "fill-random"]).to_owned()),
        ("rate", dice.one_of(&["1MiB/s", "32MiB/s", "200MiB/s", "unlimited"]).to_owned()),
        ("transport", transport.to_owned()),
        ("max-bandwidth", dice.one_of(&["500Mbit/s", "1Gbit/s", "unlimited"]).to_owned()),
        ("max-time", dice.one_of(&["300ms", "2s", "4s"]).to_owned()),
        ("limits-then", dice.one_of(&["cancel", "pause"]).to_owned()),
        ("warmup", "100ms".to_owned()),
        ("cooldown", "100ms".to_owned()),
    ]);
    let words = stream.split(' ').chain(ending.split(' ')).filter(|it| !it.is_empty());
    chosen.extend(words.map(str::to_owned));
    chosen.extend(fault.iter().map(|fault| format!("--faults={fault}")));
    let may_be_lost =
        fault.as_ref().is_some_and(|it| it.contains("kill") || ending.contains("postcopy"));
    Chosen { flags: chosen, has_fault: fault.is_some(), may_be_lost }
}

/// The connections of such a migration, with the one that exists always twice as often.
fn channels(stream: &str, ending: &str) -> Vec<&'static str> {
    let mut all = vec!["main", "main"];
    if stream.contains("multifd") {
        all.push("multifd-0");
    }
    if ending.contains("preempt=true") {
        all.push("preempt");
    }
    all
}

/// In every second run something goes wrong.
fn fault(dice: &mut Dice, memory_mib: usize, channels: Vec<&'static str>) -> Option<String> {
    if dice.pick(2) == 0 {
        return None;
    }
    let moment = match dice.pick(3) {
        0 => format!("at-pass={}", 1 + dice.pick(4)),
        1 => format!("at-bytes={}KiB", dice.pick(memory_mib * 1024)),
        _ => format!("at={}ms", dice.pick(500)),
    };
    let side = dice.one_of(&["source", "destination"]);
    let action =
        dice.one_of(&["drop", "corrupt", "kill", "stall,for=200ms", "delay,for=2ms", "stall"]);
    let channel = match dice.one_of(&channels) {
        // What dies has no connection left, and a destination says nothing on a parallel one.
        "main" => "main",
        _ if action == "kill" => "main",
        "multifd-0" if action == "corrupt" && side == "destination" => "main",
        other => other,
    };
    let on = if channel == "main" { String::new() } else { format!(",channel={channel}") };
    Some(format!("{moment},side={side}{on},action={action}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_choices_again_and_seeds_differ() {
        assert_eq!(choose(7).flags, choose(7).flags);
        assert_ne!(choose(7).flags[1..], choose(8).flags[1..]);
    }

    #[test]
    fn all_techniques_and_actions_are_met_within_a_few_hundred_seeds() {
        let all: Vec<String> = (0..400).map(|seed| choose(seed).flags.join(" ")).collect();
        for word in STREAMS.iter().chain(ENDINGS).chain(&[
            "action=kill",
            "action=corrupt",
            "at-bytes",
            "channel=multifd-0",
            "channel=preempt",
        ]) {
            assert!(all.iter().any(|flags| flags.contains(word)), "{word}");
        }
    }
}
