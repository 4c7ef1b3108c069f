//! Reasons to trust a number less that any engine can give, each with what to do about it.
//!
//! A warning is about the measurement or about a scenario that cannot show what it seems to show.
//! That a migration was slow, or failed, is a result and no warning.

#[cfg(test)]
mod tests;

use sterna_report::statistics::percentile;
use sterna_report::{GuestSample, Integrity, PAGE_BYTES, Report, Verdict, Warning};
use sterna_scenario::Verify;
use sterna_units::human_bytes_per_second;
use sterna_workload::Pace;

use crate::Record;

/// The slowest pace of status polls at which limits count as held in time.
const LEAST_POLLS_PER_SECOND: f64 = 20.0;

/// The longest silence between two polls that an engine's own work explains, such as ending a stuck connection.
const LONGEST_SILENCE_SECONDS: f64 = 0.5;

/// Fewer polls than this say nothing about their pace.
const FEWEST_POLLS: usize = 8;

/// A spread of the baseline up to this share is what a machine that does other things too may show.
const BASELINE_SPREAD: f64 = 0.2;

/// Fewer samples, or fewer writes in each, are coarse rather than noisy.
const FEWEST_SAMPLES: usize = 5;
const FEWEST_WRITES_PER_SAMPLE: f64 = 20.0;

/// A guest that reaches less than this share of its pace does not run at that pace.
const PACE_SHARE: f64 = 0.9;

/// A sample is late when its interval is longer than this many intervals asked for; some may be.
const LATE_FACTOR: f64 = 2.0;
const LATE_SHARE: f64 = 0.05;

/// The guest counts as back only when a mean over 1 s is; see `at_95_percent_seconds`.
const BACK_WINDOW_SECONDS: f64 = 1.0;

/// An uncertainty below both of these is of no importance for a downtime.
const UNCERTAIN_SECONDS: f64 = 1e-3;
const UNCERTAIN_SHARE: f64 = 0.1;

/// An engine's claim may be off by both of these, as definitions of downtime differ.
const CLAIM_SECONDS: f64 = 0.01;
const CLAIM_SHARE: f64 = 0.2;

/// What the pilot has to say about a report that is otherwise complete.
pub fn warnings(record: &Record, report: &Report) -> Vec<Warning> {
    if record.accepted_ns.is_none() {
        return Vec::new();
    }
    let of = Of { record, report };
    if record.is_observed() {
        // What a scenario asked for, a check of memory and samples of a guest belong to runs of our own.
        let found = [of.downtime_uncertain(), of.downtime_claimed(), of.downtime_over_limit()];
        return found.into_iter().flatten().collect();
    }
    [
        of.unverified(),
        of.times_not_measured(),
        of.postcopy_over_limit(),
        of.fault_never_struck(),
        of.nothing_sent_again(),
        of.side_silent(),
        of.polls_late(),
        of.samples_late(),
        of.no_baseline(),
        of.baseline_noisy(),
        of.pace_missed(),
        of.not_back(),
        of.downtime_uncertain(),
        of.downtime_claimed(),
        of.downtime_over_limit(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

struct Of<'a> {
    record: &'a Record,
    report: &'a Report,
}

impl Of<'_> {
    fn times_not_measured(&self) -> Option<Warning> {
        let has_resumed = self.record.moments.resumed_ns.is_some();
        let is_compared = self.record.scenario.verify == Verify::AllMemory && has_resumed;
        is_compared.then(|| Warning {
            code: "times-not-measured".to_owned(),
            text: "Total time, downtime, blackout, resumption and lost work are unknown: the guest stood still while all memory of both sides was compared".to_owned(),
            advice: Some("Measure them in a run with verify = \"workload\"".to_owned()),
        })
    }

    fn unverified(&self) -> Option<Warning> {
        if self.record.is_simulated {
            return None;
        }
        let summary = &self.report.summary;
        let is_expected = !matches!(summary.verdict, Verdict::Interrupted | Verdict::Lost);
        let is_unchecked = is_expected && summary.integrity == Integrity::Unchecked;
        is_unchecked.then(|| {
            warning(
                "unverified",
                "Guest memory was not checked, so nothing is known of its integrity".to_owned(),
                "The events say what went wrong; run again",
            )
        })
    }

    fn postcopy_over_limit(&self) -> Option<Warning> {
        let text = self.record.postcopy_over_limit.clone()?;
        Some(warning(
            "postcopy-over-limit",
            text,
            "Raise migration.postcopy.max-bandwidth or use a faster link; limits.abandon-postcopy-after bounds post-copy by giving the guest up",
        ))
    }

    fn fault_never_struck(&self) -> Option<Warning> {
        let faults = &self.record.waiting_faults;
        (!faults.is_empty()).then(|| {
            let (subject, was) =
                if faults.len() == 1 { ("This fault", "was") } else { ("These faults", "were") };
            warning(
                "fault-never-struck",
                format!(
                    "{subject} never struck, since the migration ended before it {was} due: {}",
                    faults.join("; ")
                ),
                "Choose an earlier moment (at-pass=1, at-bytes, at), or make the migration longer with a lower migration.max-bandwidth or a higher workload.rate",
            )
        })
    }

    fn nothing_sent_again(&self) -> Option<Warning> {
        let summary = &self.report.summary;
        let is_idle = summary.baseline_pages_per_second == Some(0.0);
        let is_easy = summary.verdict == Verdict::Completed && summary.pages_resent == Some(0);
        (is_easy && !is_idle).then(|| {
            warning(
                "nothing-sent-again",
                "No page had to be sent again while the guest ran, so this run shows nothing about convergence".to_owned(),
                "Raise workload.rate or workload.memory, or lower migration.max-bandwidth or the downtime limit",
            )
        })
    }

    /// Where a side was silent, that is why, and not this machine.
    fn side_silent(&self) -> Option<Warning> {
        let longest = self.record.silences.iter().max_by(|a, b| a.1.total_cmp(b.1));
        let (side, silence) = longest.filter(|it| *it.1 > LONGEST_SILENCE_SECONDS)?;
        Some(warning(
            "side-silent",
            format!(
                "The {side} host did not answer for {}, so what happened there meanwhile was seen late or not at all",
                seconds(*silence)
            ),
            "Look at the network between this machine and that host: `sterna probe tcp` shows its outages, `sterna stream` what it carries",
        ))
    }

    /// Simulated time is looked at only when something happens in it.
    fn polls_late(&self) -> Option<Warning> {
        if self.record.is_simulated || self.side_silent().is_some() {
            return None;
        }
        let polls = &self.report.timeline;
        let (first, last) = polls.first().zip(polls.last())?;
        let length = last.t_seconds - first.t_seconds;
        let silences = polls.windows(2).map(|it| it[1].t_seconds - it[0].t_seconds);
        let longest = silences.fold(0.0, f64::max);
        let pace = (polls.len() - 1) as f64 / length;
        let is_slow = polls.len() >= FEWEST_POLLS && pace < LEAST_POLLS_PER_SECOND;
        (is_slow || longest > LONGEST_SILENCE_SECONDS).then(|| {
            warning(
                "polls-late",
                format!("The migration was looked at {pace:.0} times a second, and once not for {}, so limits may have been held late and the extremes of the bandwidth are coarse", seconds(longest)),
                "The machine or the engine is overloaded; leave them a processor of their own (guest.source.cpus, guest.destination.cpus), or run on a quieter machine",
            )
        })
    }

    fn samples_late(&self) -> Option<Warning> {
        if self.record.is_simulated {
            return None;
        }
        let asked = self.record.scenario.timing.sample_interval.seconds();
        let intervals = || self.report.guest.iter().map(|it| it.interval_seconds);
        let late = intervals().filter(|it| *it > LATE_FACTOR * asked).count();
        let longest = intervals().fold(0.0, f64::max);
        (asked > 0.0 && late as f64 > LATE_SHARE * self.report.guest.len() as f64).then(|| {
            warning(
                "samples-late",
                format!("{late} of {} guest samples came late: up to {} passed where {} were asked for, so short dips are smeared over", self.report.guest.len(), seconds(longest), seconds(asked)),
                "The machine is overloaded; leave it processors that the guest does not use, or lengthen timing.sample-interval",
            )
        })
    }

    fn no_baseline(&self) -> Option<Warning> {
        let is_missing = self.report.summary.baseline_pages_per_second.is_none();
        is_missing.then(|| {
            let warmup = self.record.scenario.timing.warmup;
            warning(
                "no-baseline",
                format!("A warm-up of {warmup} gave no baseline, so lost work, dips and the return to normal are unknown"),
                "Set timing.warmup to 1s or more, and to several times timing.sample-interval",
            )
        })
    }

    fn baseline_noisy(&self) -> Option<Warning> {
        let baseline = self.report.summary.baseline_pages_per_second.filter(|it| *it > 0.0)?;
        let warmup: Vec<&GuestSample> =
            self.report.guest.iter().filter(|it| it.t_seconds <= 0.0).collect();
        let rates: Vec<f64> = warmup.iter().map(|it| it.writes_per_second).collect();
        let writes: u64 = warmup.iter().flat_map(|it| &it.counts_per_worker).sum();
        let is_coarse = (writes as f64) < FEWEST_WRITES_PER_SAMPLE * warmup.len() as f64;
        if warmup.len() < FEWEST_SAMPLES || is_coarse {
            return None;
        }
        let low = percentile(&rates, 10.0)? / baseline;
        let high = percentile(&rates, 90.0)? / baseline;
        (high - low > BASELINE_SPREAD).then(|| {
            warning(
                "baseline-noisy",
                format!("In the warm-up the guest's throughput went from {:.0} % to {:.0} % of its mean, so lost work and dips of that size may be noise", low * 100.0, high * 100.0),
                "Run on a quieter machine, lengthen timing.warmup, or ask for a workload.rate that the guest can keep",
            )
        })
    }

    fn pace_missed(&self) -> Option<Warning> {
        let reached = self.report.summary.baseline_bytes_per_second?;
        let asked = self.asked_bytes_per_second()?;
        (reached < PACE_SHARE * asked).then(|| {
            warning(
                "pace-missed",
                format!("Even before the migration the guest reached only {} of the {} asked for", human_bytes_per_second(reached), human_bytes_per_second(asked)),
                "Lower workload.rate, or give the guest more processors (guest.vcpus, guest.source.cpus)",
            )
        })
    }

    /// The pace of the scenario, where it is one and the same all the time.
    fn asked_bytes_per_second(&self) -> Option<f64> {
        let workload = &self.record.scenario.workload;
        match workload.rate {
            _ if workload.phases.is_some() => None,
            Pace::BytesPerSecond(rate) => Some(rate.bytes_per_second() as f64),
            Pace::PagesPerSecond(pages) => Some(pages.get() as f64 * PAGE_BYTES as f64),
            Pace::Unlimited | Pace::Idle | Pace::ShareOfUnlimited(_) => None,
        }
    }

    fn not_back(&self) -> Option<Warning> {
        let summary = &self.report.summary;
        let running = self.record.moments.resumed_ns.filter(|_| summary.downtime_seconds.is_some());
        let accepted_ns = self.record.accepted_ns?;
        let running = (running? as f64 - accepted_ns as f64) / 1e9;
        let has_baseline = summary.baseline_pages_per_second.is_some_and(|it| it > 0.0);
        let is_known = summary.resumption.at_95_percent_seconds.is_some();
        if !has_baseline || is_known || self.times_not_measured().is_some() {
            return None;
        }
        let watched = self.report.guest.last().map_or(0.0, |it| it.t_seconds - running).max(0.0);
        Some(if watched < BACK_WINDOW_SECONDS {
            let sample = self.record.scenario.timing.sample_interval.seconds();
            warning(
                "cool-down-short",
                format!(
                    "The guest was watched for only {} after the switchover, too short to see it come back, so lost work is a lower bound",
                    seconds(watched)
                ),
                &format!(
                    "Set timing.cooldown to {} or more",
                    seconds(BACK_WINDOW_SECONDS + 2.0 * sample)
                ),
            )
        } else {
            warning(
                "not-back",
                format!(
                    "{} after the switchover the guest was still below 95 % of its baseline, so lost work is a lower bound",
                    seconds(watched)
                ),
                "Lengthen timing.cooldown; if it never comes back, compare the two sides' processors and memory nodes",
            )
        })
    }

    fn downtime_uncertain(&self) -> Option<Warning> {
        let summary = &self.report.summary;
        let downtime = summary.downtime_seconds?;
        let advice =
            "Measure longer downtimes, or shorten the way between the pilot and both sides";
        let Some(error) = summary.downtime_uncertainty_seconds else {
            let text = "The clocks of the two sides were not compared, so the error of the downtime is unknown";
            return Some(warning("downtime-uncertain", text.to_owned(), advice));
        };
        let is_large = error > UNCERTAIN_SECONDS && error > UNCERTAIN_SHARE * downtime;
        is_large.then(|| {
            warning(
                "downtime-uncertain",
                format!(
                    "The clocks of the two sides are known to {} only, for a downtime of {}",
                    seconds(error),
                    seconds(downtime)
                ),
                advice,
            )
        })
    }

    fn downtime_over_limit(&self) -> Option<Warning> {
        let summary = &self.report.summary;
        summary.downtime_over_limit()?;
        let (downtime, limit) = summary.downtime_seconds.zip(summary.downtime_limit_seconds)?;
        let (why, advice) = if self.record.was_forced() {
            (
                "; the guest was stopped although more was pending than fits into the limit",
                "Let the migration finish by itself, raise migration.max-bandwidth, or give a bound that fails the run (--fail-if)",
            )
        } else {
            (
                "",
                "See which part of the downtime took the time; lower the limit, lower workload.rate, or give a bound that fails the run (--fail-if)",
            )
        };
        Some(warning(
            "downtime-over-limit",
            format!(
                "The guest was frozen for {}, longer than the downtime limit of {}{why}",
                seconds(downtime),
                seconds(limit)
            ),
            advice,
        ))
    }

    fn downtime_claimed(&self) -> Option<Warning> {
        let summary = &self.report.summary;
        let (seen, claimed) = summary.downtime_seconds.zip(summary.downtime_claimed_seconds)?;
        let error = (seen - claimed).abs();
        (error > CLAIM_SECONDS.max(CLAIM_SHARE * seen)).then(|| {
            warning(
                "downtime-claimed",
                format!(
                    "The engine claims a downtime of {}, seen were {}",
                    seconds(claimed),
                    seconds(seen)
                ),
                "Trust what was seen: both of its ends were stamped where they happened",
            )
        })
    }
}

fn warning(code: &str, text: String, advice: &str) -> Warning {
    Warning { code: code.to_owned(), text, advice: Some(advice.to_owned()) }
}

fn seconds(value: f64) -> String {
    match value {
        _ if value >= 10.0 => format!("{value:.0} s"),
        _ if value >= 1.0 => format!("{value:.1} s"),
        _ if value >= 0.01 => format!("{:.0} ms", value * 1e3),
        _ => format!("{:.2} ms", value * 1e3),
    }
}
