//! Advice against what becomes of it: guests whose migration does not end, the command that `sterna advise` prints for
//! the report of that, and the flight of the command. It has to keep the goal; the interval of its total time is judged
//! as well.
//!
//! Guests and goals follow from the seed; no advice was fitted to any of them.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use sterna_report::{Report, Verdict};

use super::dice::Dice;
use crate::flight::{Flights, flags};

/// Of 60 pieces of advice with a confidence of 0.9, this many must be kept: the 98 % range of 60 times 0.9 begins there.
const KEPT_OF_60: u32 = 49;

/// Time that a command gets at most, since its interval and not its limit is judged.
const MAX_TIME: &str = "60s";

/// What became of one guest.
enum Found {
    /// It ended by itself, or nothing keeps the goal.
    Nothing(String),
    Followed(Followed),
}

struct Followed {
    is_kept: bool,
    /// Whether the total time lay within the printed nine tenths.
    is_within: bool,
    words: String,
}

/// Follows `count` commands.
pub fn run(program: &Path, flights: &Flights, first_seed: u64, count: u32) -> Result<()> {
    let (mut all, mut seed) = (Vec::new(), first_seed);
    while all.len() < count as usize {
        match one(program, flights, seed).with_context(|| format!("seed {seed}"))? {
            Found::Nothing(why) => println!("seed {seed}: not counted, {why}"),
            Found::Followed(it) => {
                println!(
                    "seed {seed}: {} {}",
                    if it.is_kept { "kept" } else { "MISSED" },
                    it.words
                );
                all.push(it);
            }
        }
        seed += 1;
        ensure!(seed < first_seed + 20 * u64::from(count), "Too few guests have advice");
    }
    let kept = all.iter().filter(|it| it.is_kept).count();
    let within = all.iter().filter(|it| it.is_within).count();
    let needed = (count * KEPT_OF_60 / 60) as usize;
    println!(
        "{kept} of {count} kept the goal, {needed} are needed; {within} ended within the printed nine tenths of the total time"
    );
    ensure!(kept >= needed, "advice did not keep its goals");
    Ok(())
}

fn one(program: &Path, flights: &Flights, seed: u64) -> Result<Found> {
    let mut dice = Dice::new(seed);
    let guest = guest(seed, &mut dice);
    let goal_seconds = [0.05, 0.1, 0.3][dice.pick(3)];
    let hard = flights.fly(&guest)?.report;
    if hard.summary.verdict != Verdict::Cancelled {
        return Ok(Found::Nothing(format!("it is {}", hard.summary.verdict)));
    }
    let advice = advise(program, flights, &hard, goal_seconds)?;
    let command = advice["commands"][0]["text"].as_str().filter(|_| !advice["best"].is_null());
    let Some(command) = command else {
        return Ok(Found::Nothing("nothing keeps the goal".to_owned()));
    };
    // Quoted for a shell, and no value has a space in it.
    let words = command.split_whitespace().skip(2).map(|it| it.trim_matches('\'').to_owned());
    let words: Vec<String> = words.collect();
    let report = flights.fly(&words)?.report;
    let summary = &report.summary;
    let (total, downtime) = (summary.total_time_seconds, summary.downtime_seconds);
    let is_completed = summary.verdict == Verdict::Completed;
    let printed = &advice["best"]["outcome"]["total_time_seconds"];
    let (least, most) = (printed["p5"].as_f64(), printed["p95"].as_f64());
    let number = |it: Option<f64>| it.unwrap_or(f64::NAN);
    Ok(Found::Followed(Followed {
        is_kept: is_completed && downtime.is_some_and(|it| it <= goal_seconds),
        is_within: number(least) <= number(total) && number(total) <= number(most),
        words: format!(
            "{}: downtime {:.0} ms of {:.0} ms, total {:.2} s of {:.2} s to {:.2} s: {command}",
            summary.verdict,
            number(downtime) * 1e3,
            goal_seconds * 1e3,
            number(total),
            number(least),
            number(most),
        ),
    }))
}

/// The advice for a report, as its document.
fn advise(program: &Path, flights: &Flights, hard: &Report, goal_seconds: f64) -> Result<Value> {
    let path = flights.temporary().join("hard.json");
    std::fs::write(&path, hard.to_json_pretty())?;
    let goal = format!("{}ms", goal_seconds * 1e3);
    let mut advise = Command::new(program);
    advise.arg("advise").arg(&path).args(["--format", "json", "--max-time", MAX_TIME]);
    let output = advise.args(["--max-downtime", &goal]).output().context("Cannot start it")?;
    std::fs::remove_file(&path)?;
    serde_json::from_slice(&output.stdout).context("sterna advise printed no JSON")
}

/// A guest that writes about as much as its migration may send, or more.
fn guest(seed: u64, dice: &mut Dice) -> Vec<String> {
    let mut one_of = |choices: &[&str]| dice.one_of(choices).to_owned();
    flags([
        ("seed", seed.to_string()),
        ("memory", one_of(&["64MiB", "96MiB", "128MiB"])),
        ("workload-memory", one_of(&["30%", "50%", "70%"])),
        (
            "pattern",
            one_of(&["random", "sequential", "zipf(0.99)", "hot-set(20%,80%)", "stride(7)"]),
        ),
        ("method", one_of(&["counter", "fill-random", "compressible(3)"])),
        ("rate", one_of(&["80MB/s", "140MB/s", "220MB/s"])),
        ("max-bandwidth", one_of(&["300Mbit/s", "500Mbit/s", "700Mbit/s"])),
        ("downtime-limit", one_of(&["30ms", "60ms", "100ms"])),
        ("max-time", "6s".to_owned()),
        ("warmup", "300ms".to_owned()),
        ("cooldown", "200ms".to_owned()),
    ])
}
