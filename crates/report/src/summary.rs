//! The headline numbers, each with its definition.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{DiskIntegrity, FailedIn, Integrity, IntegrityDetail, Latency, Verdict};

/// The headline numbers of a run.
///
/// Every field is always present in the JSON, unless it says that it may be absent; null means that the value is not
/// known, and a 0 was measured. `Summary::default()` knows nothing, so that a partial report starts from it and fills
/// in what was seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// How the migration ended.
    pub verdict: Verdict,
    /// Why it ended so, in one sentence, where possible in the engine's own words; null when there
    /// is nothing to explain.
    pub verdict_reason: Option<String>,
    /// Where it failed, if that was before the migrate command was accepted: `boot`, `connect` or `prepare`; absent
    /// otherwise. The exit code is then 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_in: Option<FailedIn>,
    /// What a lost guest died of; absent unless the verdict is `lost` and that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_cause: Option<LostCause>,
    /// Whether guest memory was found intact after the run, and the records on a disk where some were written.
    /// `corrupt` outranks every verdict.
    pub integrity: Integrity,
    /// What the check of guest memory looked at; null when there was none.
    pub integrity_detail: Option<IntegrityDetail>,
    /// What became of records that were written to a disk of the guest during the migration; absent where none were, or
    /// where they could not be read again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_integrity: Option<DiskIntegrity>,

    /// Total time in seconds: from the acceptance of the migrate command to the terminal state of
    /// the migration, a post-copy phase included. Excludes warm-up, cool-down and verification.
    /// Null when the migration never began or its end was not seen.
    pub total_time_seconds: Option<f64>,
    /// From the acceptance of the migrate command to the beginning of pass 1, in seconds:
    /// connecting, negotiating. The synchronisation that opens pass 1 belongs to the pass.
    pub setup_seconds: Option<f64>,

    /// Downtime in seconds: from the vCPUs being stopped on the source to the vCPUs running on the
    /// destination. Each moment is stamped on the side where it happens and mapped to the pilot's
    /// clock; the arrival time of a poll is never used. Excludes a slow restart of the guest's
    /// work after that, which `blackout_seconds` shows. Null when there was no switchover.
    pub downtime_seconds: Option<f64>,
    /// The true downtime lies at most this far from `downtime_seconds`, in seconds: the sum of the
    /// uncertainties of both clock offsets. Null when the downtime is, or when the clocks were not
    /// compared.
    pub downtime_uncertainty_seconds: Option<f64>,
    /// The downtime as the engine itself claims it, in seconds, by whatever definition it has.
    pub downtime_claimed_seconds: Option<f64>,
    /// The downtime limit that was in force when the guest was stopped, in seconds: with a limit that
    /// grows, the step that it had reached. Null when there was no switchover, or no limit is known.
    #[serde(default)]
    pub downtime_limit_seconds: Option<f64>,
    /// First part of the downtime, in seconds: from the vCPUs being stopped on the source to the
    /// last bitmap of dirty pages being complete.
    pub final_sync_seconds: Option<f64>,
    /// Second part of the downtime, in seconds: from that bitmap being complete to the source
    /// hearing that the destination has loaded everything. The bandwidth limit may not hold here.
    pub final_transfer_seconds: Option<f64>,
    /// Third part of the downtime, in seconds: from there to the vCPUs running on the destination.
    pub resume_seconds: Option<f64>,

    /// Blackout in seconds: the longest time in which no worker of the guest made progress, seen from
    /// inside, anywhere between the acceptance of the migrate command and the end of the cool-down.
    /// It contains the downtime and the time until the first write after it, and also throttling.
    /// A worker that waits because the scenario's pace has nothing for it to do is in no gap.
    /// 0 means that no gap was longer than `blackout_resolution_seconds`. Null when gaps were not
    /// recorded, and when the guest was not seen to go on after a stop.
    pub blackout_seconds: Option<f64>,
    /// When the blackout began, in seconds on the pilot's clock (0 = migrate command accepted). Null when
    /// `blackout_seconds` is 0 or null.
    #[serde(default)]
    pub blackout_start_seconds: Option<f64>,
    /// The phase of the migration in which the blackout lay. Null when `blackout_start_seconds` is.
    #[serde(default)]
    pub blackout_phase: Option<BlackoutPhase>,
    /// The longest gap of the same kind that the switchover lies in, in seconds: from the last progress on
    /// the source to the first on the destination. Equal to `blackout_seconds` where the phase is
    /// `switchover`. Null when there was no stop, or gaps were not recorded.
    #[serde(default)]
    pub blackout_at_switchover_seconds: Option<f64>,
    /// Gaps shorter than this are not recorded, in seconds. Null when gaps were not recorded.
    pub blackout_resolution_seconds: Option<f64>,

    /// Convergence point as a pass: number of the pass opened by the first synchronisation after
    /// which the pending amount stayed under the threshold until switchover. Null when there was no
    /// switchover or it was forced.
    pub convergence_pass: Option<u64>,
    /// Convergence point as a time: beginning of that synchronisation, in seconds since the migrate
    /// command was accepted. Null when `convergence_pass` is.
    pub convergence_seconds: Option<f64>,
    /// How the guest came back after switchover.
    pub resumption: Resumption,
    /// Lost work in guest-seconds: the integral over time of max(0, 1 - guest throughput / baseline),
    /// from the acceptance of the migrate command until the guest is back at 95 % of the baseline
    /// after switchover (or after the terminal state, where there was no switchover). The downtime
    /// is in it in full. Faster phases pay nothing back, so scatter of the samples adds a little.
    /// Null without a baseline.
    pub lost_work_seconds: Option<f64>,
    /// True when the guest was not seen to come back to the baseline, or samples are missing, so
    /// that the true loss is at least `lost_work_seconds`. Null when that is.
    pub lost_work_lower_bound: Option<bool>,

    /// Baseline: page writes by all workers / second, repeats included, during warm-up, with
    /// the tracker off. Null without warm-up.
    pub baseline_pages_per_second: Option<f64>,
    /// The baseline as a touch rate: `baseline_pages_per_second` x 4 KiB.
    pub baseline_bytes_per_second: Option<f64>,
    /// Touch rate during migration: page writes by all workers / second, repeats included, from the
    /// acceptance of the migrate command to the vCPUs being stopped on the source (or the terminal
    /// state, where they never were). Excludes the downtime.
    pub touch_rate_pages_per_second: Option<f64>,
    /// The same in bytes: `touch_rate_pages_per_second` x 4 KiB.
    pub touch_rate_bytes_per_second: Option<f64>,
    /// Dirty rate during migration: distinct pages found written at the end of each complete pass,
    /// summed over passes, x 4 KiB / the summed lengths of these passes. Depends on how long the
    /// passes were; never to be compared with a touch rate. Null without a complete pass.
    pub dirty_rate_bytes_per_second: Option<f64>,
    /// True when at least 99 % of the workload's pages were found written in every complete pass: a
    /// page counts once in each, so that the guest may dirty faster than `dirty_rate_bytes_per_second`
    /// says, and a comparison with the bandwidth says nothing. Null when that rate is.
    #[serde(default)]
    pub dirty_rate_lower_bound: Option<bool>,
    /// Time that single page writes took, before and during migration.
    pub write_latency: WriteLatency,

    /// Completed passes. The transfer at the stop is not one.
    pub passes: u64,
    /// Pages of 4 KiB sent with their contents, the final transfer included; excludes zero pages.
    pub pages_sent: Option<u64>,
    /// Pages of 4 KiB that held only zeros and were sent as a mark, the final transfer included.
    pub zero_pages: Option<u64>,
    /// Pages of 4 KiB sent although this migration had sent them before, while the guest ran:
    /// excludes the final transfer. More than 0 shows that a live second pass really happened.
    pub pages_resent: Option<u64>,
    /// Bytes given to the network, on all connections, headers, device state and what encryption adds
    /// included; excludes
    /// what the kernel adds (TCP, IP, retransmissions) and the control connection.
    pub wire_bytes: Option<u64>,
    /// Amplification: `wire_bytes` / size of guest memory. 1 means that memory crossed once.
    pub amplification: Option<f64>,
    /// Slowest window of 100 ms, in bytes per second: windows laid end to end from the beginning
    /// of pass 1 to the end of the transfer; a shorter rest at the end
    /// belongs to the last window.
    pub bandwidth_min_bytes_per_second: Option<f64>,
    /// Bytes over time from the beginning of pass 1 to the end of the transfer, in bytes per second.
    pub bandwidth_mean_bytes_per_second: Option<f64>,
    /// Fastest window of 100 ms, in bytes per second, of the same windows.
    pub bandwidth_max_bytes_per_second: Option<f64>,

    /// CPU time by class of threads, on both sides.
    pub cpu: CpuBySide,
    /// Highest resident memory of each side's process.
    pub resident_peak_bytes: ResidentPeak,
}

impl Summary {
    /// By how much the guest was frozen longer than the limit allowed, in seconds; `None` where it was not, or is not
    /// known to have been.
    pub fn downtime_over_limit(&self) -> Option<f64> {
        let over = self.downtime_seconds? - self.downtime_limit_seconds?;
        (over > self.downtime_uncertainty_seconds.unwrap_or(0.0)).then_some(over)
    }

    /// What is known of the memory alone, also where `integrity` is `corrupt` because of a disk.
    pub fn memory_integrity(&self) -> Integrity {
        if self.integrity != Integrity::Corrupt || !self.disk_is_corrupt() {
            return self.integrity;
        }
        match &self.integrity_detail {
            None => Integrity::Unchecked,
            Some(it) if it.is_sound() => Integrity::Verified,
            Some(_) => Integrity::Corrupt,
        }
    }

    /// Whether a disk has lost what it had acknowledged.
    pub fn disk_is_corrupt(&self) -> bool {
        self.disk_integrity.as_ref().is_some_and(|it| !it.is_sound())
    }
}

/// A part of a migration in which the guest may stand still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BlackoutPhase {
    /// Before pass 1: connecting, negotiating, arming the tracker.
    Setup,
    /// While memory was sent and the guest ran on the source.
    Passes,
    /// From the stop on the source to the resumption; a gap that reaches into it is part of it.
    Switchover,
    /// After the resumption, while the rest of the memory was fetched.
    Postcopy,
    /// After the terminal state.
    CoolDown,
}

/// What a lost guest died of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LostCause {
    /// The guest itself: its kernel panicked, or it switched itself off, while it ran on the source. The migration was
    /// not the cause.
    Guest,
}

/// How the guest came back after switchover.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Resumption {
    /// From the vCPUs running on the destination to the end of the first guest sample there that
    /// shows a write, in seconds; no finer than the sample interval. Null when there was no
    /// switchover or no such sample.
    pub first_sample_seconds: Option<f64>,
    /// From the vCPUs running on the destination to the beginning of the first sample that reaches
    /// 95 % of the baseline and with which a window of 1 s begins whose mean does, in seconds. Null when
    /// there was no switchover, no baseline or no such window before the cool-down ended.
    pub at_95_percent_seconds: Option<f64>,
}

/// Time that single page writes took, and time since they were due. Null where latency was not recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WriteLatency {
    /// During warm-up, with the tracker off.
    pub baseline: Option<Latency>,
    /// From the acceptance of the migrate command to the terminal state, on the side where more
    /// writes were timed; percentiles of two sides cannot be added up.
    pub during: Option<Latency>,
    /// Time since due during warm-up: for each page that the rate made due, from the moment when it was due to the end of
    /// its write. A page that was due in a stall counts with what was left of it, also if the stall made its worker give it
    /// up (corrected for coordinated omission); that pages due within 0.9 ms are written together is no delay. Absent
    /// without a rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline_since_due: Option<Latency>,
    /// The same from the acceptance of the migrate command to the terminal state, on the side of `during`. The
    /// standstill of the switchover is not in it, since no worker runs then: see `blackout_seconds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub during_since_due: Option<Latency>,
}

/// CPU time on both sides. A side that was not seen has an empty list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CpuBySide {
    /// Thread classes of the source.
    pub source: Vec<ClassCpu>,
    /// Thread classes of the destination.
    pub destination: Vec<ClassCpu>,
}

/// CPU time that one class of threads used during the migration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClassCpu {
    /// Name of the class, for example `workload` or `migration`.
    pub class: String,
    /// CPU time, user and system, from the acceptance of the migrate command to the terminal
    /// state, in seconds. What was used between two samples is divided by time where one of these
    /// moments lies between them.
    pub cpu_seconds: f64,
    /// `cpu_seconds` / the time over which it was measured: how many cores were busy on average.
    pub cores_mean: Option<f64>,
}

/// Highest resident memory seen in a sample, guest memory included. Null where it was not seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResidentPeak {
    /// Of the source's process, in bytes.
    pub source: Option<u64>,
    /// Of the destination's process, in bytes.
    pub destination: Option<u64>,
}
