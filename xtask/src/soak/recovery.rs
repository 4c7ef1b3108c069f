//! Post-copies whose link is cut at random moments, several times, also while it is made anew: no page may be lost or wrong.

use anyhow::{Result, ensure};
use sterna_report::{Integrity, Verdict};

use super::dice::Dice;
use super::leftovers;
use crate::flight::{Flights, Landed, flags};

/// Flies `count` of them.
pub fn run(flights: &Flights, first_seed: u64, count: u32) -> Result<()> {
    let (mut recoveries, mut again) = (0, 0);
    for seed in first_seed..first_seed + u64::from(count) {
        let chosen = choose(seed);
        let Landed { exit_code, report } = flights.fly(&chosen)?;
        let (summary, details) = (&report.summary, &report.engine.details);
        let counter = |it: Option<&serde_json::Value>| it.and_then(|it| it.as_u64()).unwrap_or(0);
        let made_anew = counter(details.get("postcopy_recoveries"));
        let sent_again = counter(
            details.get("source_counters").and_then(|it| it.get("postcopy_pages_sent_again")),
        );
        println!(
            "seed {seed}: {} {}, {made_anew} recoveries, {sent_again} pages sent again, {}",
            summary.verdict,
            summary.integrity,
            chosen.join(" ")
        );
        let reason = summary.verdict_reason.as_deref().unwrap_or("no reason");
        let has_completed =
            matches!(summary.verdict, Verdict::Completed | Verdict::CompletedForced);
        ensure!(has_completed, "seed {seed}: {}: {reason}", summary.verdict);
        ensure!(summary.integrity == Integrity::Verified, "seed {seed}: {}", summary.integrity);
        ensure!(exit_code == Some(0), "seed {seed}: exit code {exit_code:?}");
        let left = leftovers(flights)?;
        ensure!(left.is_empty(), "seed {seed}: these are left: {left:?}");
        recoveries += made_anew;
        again += sent_again;
    }
    println!(
        "{count} post-copies without a wrong byte, {recoveries} lost links made anew, {again} pages sent again"
    );
    Ok(())
}

fn choose(seed: u64) -> Vec<String> {
    let mut dice = Dice::new(seed ^ 0x4ec0);
    let vcpus = (1 + dice.pick(3)).to_string();
    let memory_mib = 16 + dice.pick(49);
    let cuts: Vec<String> = (0..1 + dice.pick(5)).map(|_| cut(&mut dice)).collect();
    let mut chosen = flags([
        ("seed", seed.to_string()),
        ("memory", format!("{memory_mib}MiB")),
        ("workers", vcpus.clone()),
        ("vcpus", vcpus),
        ("workload-memory", dice.one_of(&["10%", "25%", "60%"]).to_owned()),
        ("ballast", format!("{}MiB", memory_mib / 4)),
        ("pattern", dice.one_of(&["random", "sequential", "zipf(0.99)"]).to_owned()),
        ("method", dice.one_of(&["counter", "touch", "xor-random", "fill-random"]).to_owned()),
        ("rate", dice.one_of(&["1MiB/s", "32MiB/s", "unlimited"]).to_owned()),
        ("transport", dice.one_of(&["tcp", "unix"]).to_owned()),
        ("max-bandwidth", dice.one_of(&["500Mbit/s", "unlimited"]).to_owned()),
        ("postcopy-after-passes", dice.one_of(&["0", "1"]).to_owned()),
        ("postcopy-preempt", dice.one_of(&["true", "false"]).to_owned()),
        ("postcopy-recover", "true".to_owned()),
        ("postcopy-max-bandwidth", dice.one_of(&["10MB/s", "40MB/s", "unlimited"]).to_owned()),
        // A limit that switches, so that a guest that writes much does not wait for its passes.
        ("max-time", "2s".to_owned()),
        ("limits-then", "postcopy".to_owned()),
        ("tls-mode", dice.one_of(&["off", "off", "x509"]).to_owned()),
        ("warmup", "100ms".to_owned()),
        ("cooldown", "100ms".to_owned()),
    ]);
    chosen.push(format!("--faults={}", cuts.join(";")));
    chosen
}

/// One cut; some strike so soon behind another that they hit the greeting of the new link.
fn cut(dice: &mut Dice) -> String {
    let at_ms = dice.pick(600);
    let side = dice.one_of(&["source", "destination"]);
    let action = dice.one_of(&["drop", "drop", "drop", "corrupt"]);
    format!("at-postcopy={at_ms}ms,side={side},action={action}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_choices_again_and_seeds_differ() {
        assert_eq!(choose(7), choose(7));
        assert_ne!(choose(7)[1..], choose(8)[1..]);
    }
}
