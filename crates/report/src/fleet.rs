//! Several guests over one link.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::statistics::median;
use crate::{
    Clock, CpuSample, Engine, Event, GuestSample, Integrity, Pass, Poll, Probe, Summary, Verdict,
    Warning,
};

/// Several guests that were migrated over one link, and what became of each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Fleet {
    /// Most migrations at the same time; 1 when they went one after the other.
    pub parallel: u64,
    /// Total time of the whole in seconds: from the acceptance of the first migrate command to the
    /// last terminal state. Null when a migration never began or its end was not seen.
    pub total_time_seconds: Option<f64>,
    /// Bytes on the wire of all migrations / `total_time_seconds`, in bytes per second.
    pub bandwidth_mean_bytes_per_second: Option<f64>,
    /// Total time of each migration, from its own migrate command on, in seconds.
    pub guest_total_time_seconds: Spread,
    /// Downtime of each guest, in seconds.
    pub downtime_seconds: Spread,
    /// Blackout of each guest, in seconds.
    pub blackout_seconds: Spread,
    /// Lost work of each guest, in guest-seconds. Waiting for its turn is not in it.
    pub lost_work_seconds: Spread,
    /// The guests, in the order in which they were to migrate.
    pub guests: Vec<FleetGuest>,
}

/// A number over all guests of a fleet for which it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Spread {
    /// The median. Null when it is known of no guest.
    pub median: Option<f64>,
    /// The largest. Null when it is known of no guest.
    pub worst: Option<f64>,
    /// Of how many guests it is known.
    pub known: u64,
}

/// One guest of a fleet: a run of its own. Its times are in seconds since its own migrate command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FleetGuest {
    /// Its number, from 0. Its workload has the scenario's seed plus this.
    pub guest: u64,
    /// When its migrate command was accepted, in seconds since that of the first guest. Null when
    /// it never was.
    pub started_seconds: Option<f64>,
    /// The mechanism that migrated it.
    pub engine: Engine,
    /// Its headline numbers.
    pub summary: Summary,
    /// One row for each pass, and one for the transfer at the stop.
    pub passes: Vec<Pass>,
    /// Every status poll in order.
    pub timeline: Vec<Poll>,
    /// Samples of the guest's progress in order, warm-up, waiting and cool-down included.
    pub samples: Vec<GuestSample>,
    /// Samples of CPU time and resident memory in order.
    pub cpu: Vec<CpuSample>,
    /// What happened, in order.
    pub events: Vec<Event>,
    /// How the clocks of both sides were mapped to the pilot's.
    pub clocks: Vec<Clock>,
    /// Observers outside the guest.
    pub probes: Vec<Probe>,
    /// Reasons to trust a number less, with advice.
    pub warnings: Vec<Warning>,
}

impl Spread {
    /// Of the values that are known.
    pub fn of(values: impl Iterator<Item = Option<f64>>) -> Spread {
        let known: Vec<f64> = values.flatten().collect();
        let worst = known.iter().copied().max_by(f64::total_cmp);
        Spread { median: median(&known), worst, known: known.len() as u64 }
    }
}

impl Fleet {
    /// From what became of each guest.
    pub fn new(parallel: u64, guests: Vec<FleetGuest>) -> Fleet {
        let spread = |field: fn(&Summary) -> Option<f64>| {
            Spread::of(guests.iter().map(|it| field(&it.summary)))
        };
        let total_time_seconds = total_time(&guests);
        let wire_bytes = sum(&guests, |it| it.wire_bytes);
        let bandwidth = wire_bytes.zip(total_time_seconds).filter(|it| it.1 > 0.0);
        Fleet {
            parallel,
            total_time_seconds,
            bandwidth_mean_bytes_per_second: bandwidth.map(|(bytes, time)| bytes as f64 / time),
            guest_total_time_seconds: spread(|it| it.total_time_seconds),
            downtime_seconds: spread(|it| it.downtime_seconds),
            blackout_seconds: spread(|it| it.blackout_seconds),
            lost_work_seconds: spread(|it| it.lost_work_seconds),
            guests,
        }
    }

    /// The headline numbers of the whole: the worst ending, the total time of the whole, the worst
    /// downtime and blackout, and sums of what can be added up. What has no meaning for several
    /// guests is unknown.
    pub fn summary(&self) -> Summary {
        let guests = &self.guests;
        let all = || guests.iter().map(|it| &it.summary);
        let worst = guests.iter().max_by_key(|it| badness(&it.summary));
        let is_bound = |it: &Summary| it.lost_work_lower_bound == Some(true);
        let lost_work = sum_seconds(all().map(|it| it.lost_work_seconds));
        Summary {
            verdict: worst.map(|it| it.summary.verdict).unwrap_or_default(),
            verdict_reason: worst.and_then(reason),
            failed_in: worst.and_then(|it| it.summary.failed_in),
            integrity: worst_integrity(all()),
            total_time_seconds: self.total_time_seconds,
            downtime_seconds: self.downtime_seconds.worst,
            downtime_limit_seconds: all()
                .filter_map(|it| it.downtime_limit_seconds)
                .max_by(f64::total_cmp),
            blackout_seconds: self.blackout_seconds.worst,
            blackout_at_switchover_seconds: all()
                .filter_map(|it| it.blackout_at_switchover_seconds)
                .max_by(f64::total_cmp),
            lost_work_seconds: lost_work,
            lost_work_lower_bound: lost_work.map(|_| all().any(is_bound)),
            passes: all().map(|it| it.passes).sum(),
            pages_sent: sum(guests, |it| it.pages_sent),
            zero_pages: sum(guests, |it| it.zero_pages),
            pages_resent: sum(guests, |it| it.pages_resent),
            wire_bytes: sum(guests, |it| it.wire_bytes),
            bandwidth_mean_bytes_per_second: self.bandwidth_mean_bytes_per_second,
            ..Summary::default()
        }
    }
}

/// Of a fleet that is not whole the time is not known.
fn total_time(guests: &[FleetGuest]) -> Option<f64> {
    let ends = guests.iter().map(|it| Some(it.started_seconds? + it.summary.total_time_seconds?));
    ends.collect::<Option<Vec<f64>>>()?.into_iter().max_by(f64::total_cmp)
}

fn sum(guests: &[FleetGuest], field: fn(&Summary) -> Option<u64>) -> Option<u64> {
    guests.iter().map(|it| field(&it.summary)).sum()
}

fn sum_seconds(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    values.sum()
}

/// An interrupt ends all flights, so it is told before what it did to some of them; memory that is wrong or lost is worse than either.
fn badness(summary: &Summary) -> u8 {
    if summary.integrity == Integrity::Corrupt {
        return 7;
    }
    match summary.verdict {
        Verdict::Completed => 0,
        Verdict::CompletedForced => 1,
        Verdict::Cancelled => 2,
        Verdict::Failed => 3,
        Verdict::Unsupported => 4,
        Verdict::Interrupted => 5,
        Verdict::Lost => 6,
    }
}

fn reason(guest: &FleetGuest) -> Option<String> {
    let reason = guest.summary.verdict_reason.as_ref()?;
    Some(format!("Guest {}: {reason}", guest.guest))
}

fn worst_integrity<'a>(mut all: impl Iterator<Item = &'a Summary>) -> Integrity {
    let mut worst = Integrity::Verified;
    let found = all.try_for_each(|it| match it.integrity {
        Integrity::Corrupt => Err(Integrity::Corrupt),
        Integrity::Unchecked => {
            worst = Integrity::Unchecked;
            Ok(())
        }
        Integrity::Verified => Ok(()),
    });
    found.err().unwrap_or(worst)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(number: u64, verdict: Verdict, started: f64, total: f64) -> FleetGuest {
        let summary = Summary {
            verdict,
            verdict_reason: Some("why".to_owned()),
            integrity: Integrity::Verified,
            total_time_seconds: Some(total),
            downtime_seconds: Some(total / 10.0),
            lost_work_seconds: Some(1.0),
            lost_work_lower_bound: Some(false),
            wire_bytes: Some(100),
            passes: 2,
            ..Summary::default()
        };
        FleetGuest {
            guest: number,
            started_seconds: Some(started),
            engine: Engine::default(),
            summary,
            passes: Vec::new(),
            timeline: Vec::new(),
            samples: Vec::new(),
            cpu: Vec::new(),
            events: Vec::new(),
            clocks: Vec::new(),
            probes: Vec::new(),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn the_whole_lasts_from_the_first_to_the_last() {
        let guests = vec![
            guest(0, Verdict::Completed, 0.0, 4.0),
            guest(1, Verdict::Completed, 1.0, 2.0),
            guest(2, Verdict::Completed, 2.0, 3.0),
        ];
        let fleet = Fleet::new(2, guests);
        assert_eq!(fleet.total_time_seconds, Some(5.0));
        assert_eq!(fleet.bandwidth_mean_bytes_per_second, Some(60.0));
        let total = Spread { median: Some(3.0), worst: Some(4.0), known: 3 };
        assert_eq!(fleet.guest_total_time_seconds, total);
        let summary = fleet.summary();
        assert_eq!(summary.verdict, Verdict::Completed);
        assert_eq!(summary.integrity, Integrity::Verified);
        assert_eq!(summary.downtime_seconds, Some(0.4));
        assert_eq!(summary.lost_work_seconds, Some(3.0));
        assert_eq!(summary.lost_work_lower_bound, Some(false));
        assert_eq!(summary.passes, 6);
    }

    #[test]
    fn one_bad_guest_is_the_result_of_all() {
        let mut bad = guest(1, Verdict::Failed, 1.0, 2.0);
        bad.started_seconds = None;
        bad.summary.wire_bytes = None;
        let guests = || vec![guest(0, Verdict::Completed, 0.0, 4.0), bad.clone()];
        let summary = Fleet::new(1, guests()).summary();
        assert_eq!(summary.verdict, Verdict::Failed);
        assert_eq!(summary.verdict_reason.as_deref(), Some("Guest 1: why"));
        assert_eq!((summary.total_time_seconds, summary.wire_bytes), (None, None));

        let mut corrupt = guests();
        corrupt[0].summary.integrity = Integrity::Corrupt;
        let summary = Fleet::new(1, corrupt).summary();
        assert_eq!(summary.integrity, Integrity::Corrupt);

        let mut unchecked = guests();
        unchecked[1].summary.integrity = Integrity::Unchecked;
        assert_eq!(Fleet::new(1, unchecked).summary().integrity, Integrity::Unchecked);
    }
}
