//! What a flight has seen, before it becomes a report.

use std::collections::BTreeMap;

use sterna_report::{EventSide, IntegrityDetail, Side, Verdict};

use crate::{
    CpuPoint, GapSpan, GuestPoint, LatencyPair, Moments, PassRow, ProbeSeen, Samples, Status,
};

/// Everything seen in a flight, stamps in nanoseconds of the pilot's clock.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// How it ended; the default, `interrupted`, stands until something better is known.
    pub verdict: Verdict,
    /// Why.
    pub reason: Option<String>,
    /// Acceptance of the migrate command: the report's time zero.
    pub accepted_ns: Option<u64>,
    /// When the flight began.
    pub began_ns: u64,
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
    /// Write latencies by side.
    pub latency: BTreeMap<Side, LatencyPair>,
    /// Highest resident memory by side.
    pub resident_peak_bytes: BTreeMap<Side, u64>,
    /// What probes saw.
    pub probes: Vec<ProbeSeen>,
    /// What happened.
    pub events: Vec<RecordedEvent>,
    /// The outcome of the verification.
    pub verified: Option<IntegrityDetail>,
    /// Set when the guest was stopped by a limit or a pause.
    pub was_forced: bool,
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
        self.latency.extend(samples.latency);
        self.resident_peak_bytes.extend(samples.resident_peak_bytes);
        self.events.extend(samples.events);
        if !samples.probes.is_empty() {
            self.probes = samples.probes;
        }
    }

    /// Takes in a status poll.
    pub fn add_status(&mut self, status: &Status) {
        self.passes.extend(status.new_passes.iter().cloned());
        self.moments = status.moments.clone();
        self.polls.push(Status { new_passes: Vec::new(), ..status.clone() });
    }

    /// Passes completed by now.
    pub fn completed_passes(&self) -> u64 {
        self.passes.iter().filter(|it| !it.is_final && it.ended_ns.is_some()).count() as u64
    }
}
