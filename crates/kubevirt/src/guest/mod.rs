//! What the agent in a guest tells, by way of the API server: how far its workers are, and whether its memory is right.
//!
//! ```text
//!   we ──► API server ──► virt-launcher Pod ──► guest:  /metrics every quarter of a second,  /verify at the end,
//!                                                       /disk/begin before the first,  /disk/end after the last
//! ```
//!
//! The API server's proxy to Pods is the one way that works from wherever an API server is reached. Before a migration
//! the Pod of the source answers, after it that of the target; in between there is nobody, and what the workers did
//! meanwhile is known from their counters at the next answer.

mod agent;
mod disk;
mod page;
mod watch;

use sterna_report::{CorruptPage, GuestSample, IntegrityDetail, Side, Word};
use sterna_wire::guest_disk::DiskEnded;

pub use watch::{Asking, Finish, GuestWatch};

/// What a guest told during a migration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GuestSeen {
    /// Its counters, in order of time.
    pub readings: Vec<Reading>,
    /// How often it was asked and did not answer.
    pub misses: u64,
    /// The check of its memory after the migration; None where none was wanted.
    pub check: Option<Result<Check, String>>,
    /// The records that were written to its data disk meanwhile, or why none could be followed; None for a guest without
    /// such a disk.
    pub disk: Option<Result<DiskEnded, String>>,
}

/// The counters at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// When, on the clock of whoever follows: between the question and the answer.
    pub at_ns: u64,
    /// The Pod that answered.
    pub pod: String,
    /// Page writes of each worker since the agent began.
    pub counts: Vec<u64>,
    /// The guest's own monotonic clock when it answered; None where the agent does not tell.
    pub guest_ns: Option<u64>,
}

/// A check of a guest's memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Check {
    /// Pages that were compared with what they must hold.
    pub pages_checked: u64,
    /// Pages of those that were wrong.
    pub corrupt_pages: u64,
    /// The first wrong words: page, offset, what was expected, what was found.
    pub first: Vec<(u64, u64, u64, u64)>,
}

impl GuestSeen {
    /// Samples between each two answers, with 0 at `began_ns`. One over the switchover is the destination's.
    pub fn samples(&self, began_ns: u64, target_pod: Option<&str>) -> Vec<GuestSample> {
        let seconds = |from: u64, to: u64| (to as f64 - from as f64) / 1e9;
        let samples = self.readings.windows(2).filter_map(|pair| {
            let (before, after) = (&pair[0], &pair[1]);
            let counts_per_worker = after.since(before)?;
            let interval_seconds = seconds(before.at_ns, after.at_ns);
            let writes: u64 = counts_per_worker.iter().sum();
            let is_there = target_pod == Some(after.pod.as_str());
            Some(GuestSample {
                t_seconds: seconds(began_ns, after.at_ns),
                side: if is_there { Side::Destination } else { Side::Source },
                interval_seconds,
                counts_per_worker,
                writes_per_second: writes as f64 / interval_seconds,
                checking_seconds: None,
                latency: None,
                latency_histogram: None,
            })
        });
        samples.collect()
    }

    /// Whether its agent began anew meanwhile.
    pub fn has_restarted(&self) -> bool {
        self.readings.windows(2).any(|pair| pair[1].since(&pair[0]).is_none())
    }
}

impl Reading {
    /// What the workers did since an earlier reading; None where they began anew, or no time has passed.
    fn since(&self, before: &Reading) -> Option<Vec<u64>> {
        let is_same = self.counts.len() == before.counts.len() && self.at_ns > before.at_ns;
        let pairs = self.counts.iter().zip(&before.counts);
        is_same.then(|| pairs.map(|(now, then)| now.checked_sub(*then)).collect())?
    }
}

impl Check {
    /// As a report has it.
    pub fn detail(&self, side: Side) -> IntegrityDetail {
        let page = |&(page, offset_bytes, expected, found): &(u64, u64, u64, u64)| CorruptPage {
            page,
            offset_bytes,
            expected: Word(expected),
            found: Word(found),
        };
        IntegrityDetail {
            side,
            pages_checked: self.pages_checked,
            corrupt_pages: self.corrupt_pages,
            first: self.first.iter().map(page).collect(),
            memory_pages: None,
            first_writes: None,
            writes_after_go: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(at_ms: u64, pod: &str, counts: &[u64]) -> Reading {
        let at_ns = at_ms * 1_000_000;
        Reading { at_ns, pod: pod.to_owned(), counts: counts.to_vec(), guest_ns: None }
    }

    #[test]
    fn what_lies_between_two_answers_is_a_sample_and_the_switchover_is_in_the_first_of_the_target()
    {
        let seen = GuestSeen {
            readings: vec![
                reading(1000, "a", &[100, 0]),
                reading(1500, "a", &[150, 50]),
                reading(2500, "b", &[160, 50]),
            ],
            ..GuestSeen::default()
        };
        let samples = seen.samples(2_000_000_000, Some("b"));
        let flat: Vec<_> = samples
            .iter()
            .map(|it| (it.t_seconds, it.side, it.interval_seconds, it.writes_per_second))
            .collect();
        assert_eq!(flat, [(-0.5, Side::Source, 0.5, 200.0), (0.5, Side::Destination, 1.0, 10.0)]);
        assert_eq!(samples[0].counts_per_worker, [50, 50]);
        assert!(!seen.has_restarted());
    }

    #[test]
    fn counters_that_fall_are_another_agents_and_make_no_sample() {
        let seen = GuestSeen {
            readings: vec![reading(1, "a", &[9]), reading(2, "a", &[1]), reading(3, "a", &[2])],
            ..GuestSeen::default()
        };
        assert!(seen.has_restarted());
        assert_eq!(seen.samples(0, None).len(), 1);
    }
}
