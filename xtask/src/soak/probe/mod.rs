//! Whether `sterna probe` tells the truth: what it reports against what was really done to the responder.

mod cable;
mod child;
mod disk;
mod monitor;
mod stops;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;

/// A trial is good when the length it reported is off by no more: one interval and 2 ms.
const INTERVAL_SECONDS: f64 = 0.001;
const MOST_OFF_SECONDS: f64 = INTERVAL_SECONDS + 0.002;

/// What was really done, and what was reported, in seconds.
struct Trial {
    /// The outage was at least so long, and at most.
    truth: (f64, f64),
    reported: f64,
}

/// Runs everything; `count` is the number of trials of each length, and kills are ten times as many.
pub fn run(sterna: &Path, count: u32) -> Result<ExitCode> {
    let sterna: PathBuf = sterna.to_owned();
    let mut is_good = true;
    for length_ms in [50, 100, 500, 2000] {
        let trials = stops::run(&sterna, count, length_ms)?;
        is_good &= judge(&format!("SIGSTOP for {length_ms} ms"), &trials);
    }
    match cable::run(&sterna, count)? {
        Some(trials) => is_good &= judge("a veth taken down and up", &trials),
        None => println!("skipped: no network namespaces can be had here"),
    }
    is_good &= monitor::run(count)?;
    is_good &= stops::quiet(&sterna)?;
    is_good &= disk::run(&sterna, 10 * count)?;
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// 19 of 20 have to be good.
fn judge(what: &str, trials: &[Trial]) -> bool {
    let mut off: Vec<f64> = trials.iter().map(Trial::off).collect();
    let good = off.iter().filter(|it| **it <= MOST_OFF_SECONDS).count();
    off.sort_by(f64::total_cmp);
    let at = |share: f64| off[((off.len() - 1) as f64 * share) as usize] * 1e3;
    let needed = trials.len() - trials.len() / 20;
    println!(
        "{what}: {good} of {} within {:.0} ms, {needed} are needed; off by {:.2} ms in the median, {:.2} ms at most",
        trials.len(),
        MOST_OFF_SECONDS * 1e3,
        at(0.5),
        at(1.0)
    );
    good >= needed
}

impl Trial {
    /// How far the report is from the nearest truth.
    fn off(&self) -> f64 {
        let (least, most) = self.truth;
        (least - self.reported).max(self.reported - most).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_is_off_by_what_lies_outside_the_truth() {
        let off = |reported| Trial { truth: (1.0, 2.0), reported }.off();
        assert_eq!([0.5, 1.0, 1.5, 2.25].map(off), [0.5, 0.0, 0.0, 0.25]);
        let trials = |bad: usize| -> Vec<Trial> {
            (0..20)
                .map(|it| Trial { truth: (1.0, 1.0), reported: if it < bad { 1.5 } else { 1.0 } })
                .collect()
        };
        assert!(judge("one bad", &trials(1)) && !judge("two bad", &trials(2)));
    }
}
