//! What a flight has seen, before it becomes a report.

use std::collections::BTreeMap;

use sterna_report::{
    Control, Engine, EventSide, FailedIn, IntegrityDetail, LostCause, Side, Verdict, Warning,
};
use sterna_scenario::Scenario;

use crate::{
    ClockOffset, CpuPoint, GapSpan, GuestPoint, LatencyPair, Moments, PassRow, ProbeSeen, Samples,
    Status, WriteTimes,
};

/// Everything seen in a flight, stamps in nanoseconds of the pilot's clock.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// What was asked for.
    pub scenario: Scenario,
    /// How it ended; the default, `interrupted`, stands until something better is known.
    pub verdict: Verdict,
    /// Why.
    pub reason: Option<String>,
    /// Where it failed, if that was before the migrate command was accepted.
    pub failed_in: Option<FailedIn>,
    /// What a lost guest died of, where that is known.
    pub lost_cause: Option<LostCause>,
    /// When the flight began.
    pub began_ns: u64,
    /// When the guest was known to work; `None` when it never was.
    pub booted_ns: Option<u64>,
    /// The warm-up of a guest of a fleet, which also works before and after it; `None` for a guest that is alone.
    pub warmup_ns: Option<(u64, u64)>,
    /// When the guest was paused on purpose before the migration.
    pub paused_ns: Option<u64>,
    /// Acceptance of the migrate command: the report's time zero.
    pub accepted_ns: Option<u64>,
    /// When the guest was ordered to stop by a limit or a pause.
    pub forced_ns: Option<u64>,
    /// The downtime limit that was last set while the migration ran; `None` where it stayed as it began.
    pub downtime_limit_ns: Option<u64>,
    /// Every status poll.
    pub polls: Vec<Status>,
    /// Completed passes and the final phase.
    pub passes: Vec<PassRow>,
    /// The moments of the switchover.
    pub moments: Moments,
    /// Samples of the guest.
    pub guest: Vec<GuestPoint>,
    /// Samples of the hosts.
    pub cpu: Vec<CpuPoint>,
    /// Standstills of workers.
    pub gaps: Vec<GapSpan>,
    /// Shortest gap told.
    pub gap_resolution_ns: Option<u64>,
    /// Write latencies by side, up to the terminal state.
    pub latency: BTreeMap<Side, LatencyPair>,
    /// Highest resident memory by side.
    pub resident_peak_bytes: BTreeMap<Side, u64>,
    /// What probes saw.
    pub probes: Vec<ProbeSeen>,
    /// The longest time for which each side owed an answer during the migration, in seconds; a side that always answered at once is missing.
    pub silences: BTreeMap<Side, f64>,
    /// What happened.
    pub events: Vec<RecordedEvent>,
    /// Faults of the scenario that never struck.
    pub waiting_faults: Vec<String>,
    /// The outcome of the verification.
    pub verified: Option<IntegrityDetail>,
    /// The engine's facts. Where its control is `observed`, the scenario is a stand-in: only its downtime limit and
    /// memory mean something, and only where `downtime_limit_ns` and the caller's identity say so.
    pub engine: Engine,
    /// How the clocks were mapped.
    pub clocks: Vec<ClockOffset>,
    /// The limit that post-copy passed, in a sentence.
    pub postcopy_over_limit: Option<String>,
    /// What the engine wants the user to know.
    pub warnings: Vec<Warning>,
    /// Whether there was no guest at all, only a model of one.
    pub is_simulated: bool,
    /// Set from the terminal state on.
    pub(crate) is_migration_over: bool,
}

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedEvent {
    /// When.
    pub at_ns: u64,
    /// Who says so.
    pub side: EventSide,
    /// One stable word.
    pub kind: String,
    /// One sentence.
    pub text: String,
}

impl Record {
    /// Takes in samples.
    pub fn add_samples(&mut self, samples: Samples) {
        self.guest.extend(samples.guest);
        self.cpu.extend(samples.cpu);
        self.gaps.extend(samples.gaps);
        self.gap_resolution_ns = samples.gap_resolution_ns.or(self.gap_resolution_ns);
        self.events.extend(samples.events);
        if !samples.probes.is_empty() {
            self.probes = samples.probes;
        }
        for (side, pair) in samples.latency {
            self.add_latency(side, pair);
        }
        for (side, bytes) in samples.resident_peak_bytes {
            let peak = self.resident_peak_bytes.entry(side).or_default();
            *peak = bytes.max(*peak);
        }
    }

    /// Engines go on timing after the migration; what they tell then is not about it.
    fn add_latency(&mut self, side: Side, pair: LatencyPair) {
        if self.is_migration_over {
            return;
        }
        let known = self.latency.entry(side).or_default();
        let or = |first: WriteTimes, second| if first.service.is_some() { first } else { second };
        *known = match self.accepted_ns {
            None => {
                LatencyPair { before: or(pair.before, pair.since), since: WriteTimes::default() }
            }
            Some(_) => LatencyPair { before: or(pair.before, known.before), since: pair.since },
        };
    }

    /// Takes in a status poll.
    pub fn add_status(&mut self, status: &Status) {
        self.passes.extend(status.new_passes.iter().cloned());
        self.add_moments(status.moments.clone());
        self.polls.push(Status { new_passes: Vec::new(), ..status.clone() });
    }

    /// Takes in moments; what was once known stays known.
    pub(crate) fn add_moments(&mut self, moments: Moments) {
        self.moments = moments.or(&self.moments);
    }

    /// Passes completed by now.
    pub fn completed_passes(&self) -> u64 {
        self.passes.iter().filter(|it| !it.is_final && it.ended_ns.is_some()).count() as u64
    }

    /// Whether the guest was stopped by a limit or a pause, and not by the engine a moment before.
    pub fn was_forced(&self) -> bool {
        let stopped_ns = self.moments.stopped_ns;
        self.forced_ns.is_some_and(|forced| stopped_ns.is_none_or(|stopped| stopped >= forced))
    }

    /// Whether others steered this migration, and it was only watched.
    pub fn is_observed(&self) -> bool {
        self.engine.control == Control::Observed
    }

    /// Adds a sentence to the reason.
    pub(crate) fn add_reason(&mut self, text: &str) {
        self.reason = Some(match self.reason.take() {
            Some(reason) => format!("{reason}; {text}"),
            None => text.to_owned(),
        });
    }
}

#[cfg(test)]
mod tests {
    use sterna_report::Latency;

    use super::*;

    fn latency(samples: u64) -> Option<Latency> {
        Some(Latency { samples, p50_ns: 1, p99_ns: 2, p999_ns: 3, max_ns: 4 })
    }

    fn tell(record: &mut Record, before: Option<Latency>, since: Option<Latency>) {
        let of = |service| WriteTimes { service, since_due: service };
        let pair = LatencyPair { before: of(before), since: of(since) };
        let latency = vec![(Side::Source, pair)];
        record.add_samples(Samples { latency, ..Samples::default() });
    }

    #[test]
    fn latencies_belong_to_the_time_in_which_they_were_told() {
        let mut record = Record::default();
        let known = |it: &Record| {
            let LatencyPair { before, since } = it.latency[&Side::Source];
            assert_eq!((before.since_due, since.since_due), (before.service, since.service));
            (before.service, since.service)
        };
        tell(&mut record, None, latency(5));
        assert_eq!(known(&record), (latency(5), None));
        record.accepted_ns = Some(0);
        tell(&mut record, latency(6), latency(1));
        tell(&mut record, None, latency(2));
        assert_eq!(known(&record), (latency(6), latency(2)));
        record.is_migration_over = true;
        tell(&mut record, latency(6), latency(900));
        assert_eq!(known(&record), (latency(6), latency(2)));
    }

    #[test]
    fn what_was_once_known_stays_known() {
        let mut record = Record::default();
        record.add_moments(Moments { stopped_ns: Some(5), ..Moments::default() });
        record.add_moments(Moments { resumed_ns: Some(7), ..Moments::default() });
        let expected = Moments { stopped_ns: Some(5), resumed_ns: Some(7), ..Moments::default() };
        assert_eq!(record.moments, expected);
    }

    #[test]
    fn a_pause_that_came_after_the_stop_forced_nothing() {
        #[track_caller]
        fn check(forced_ns: Option<u64>, stopped_ns: Option<u64>, expected: bool) {
            let moments = Moments { stopped_ns, ..Moments::default() };
            let record = Record { forced_ns, moments, ..Record::default() };
            assert_eq!(record.was_forced(), expected);
        }
        check(None, Some(5), false);
        check(Some(5), Some(5), true);
        check(Some(5), None, true);
        check(Some(5), Some(4), false);
    }
}
