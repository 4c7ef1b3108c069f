//! What became of a migration.

/// The outcome of a flight. `None` is what did not happen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// Whether a pause or a limit brought the end about.
    pub is_forced: bool,
    /// From the accepted command to the terminal state.
    pub total_ns: u64,
    /// From the stop on the source to the first instruction at the destination.
    pub downtime_ns: Option<u64>,
    /// Bytes on the wire.
    pub wire_bytes: u64,
    /// Work that the guest did not get done, in seconds of the whole guest at full speed.
    pub lost_work_seconds: f64,
    /// The completed passes, and behind them the final phase if there was one.
    pub passes: Vec<Pass>,
    /// When the guest was slowed down, and to which share of its time it was held back.
    pub throttle: Vec<(u64, f64)>,
    /// Synchronisations, with the one at the start and the one at the stop.
    pub syncs: u64,
    /// From the resumption to the last page, after a switch to post-copy.
    pub postcopy_ns: Option<u64>,
    /// How long processors waited for pages in post-copy, on average.
    pub stall_seconds: Option<f64>,
}

/// How a flight ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// Not yet.
    #[default]
    UnderWay,
    /// The guest runs at the destination, with all of its memory.
    Completed,
    /// Given up; the guest runs on at the source.
    Cancelled,
}

/// One pass, or the final phase.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pass {
    /// From 1; the final phase carries the next number.
    pub number: u32,
    /// Whether it is the final phase.
    pub is_final: bool,
    /// When its synchronisation began.
    pub started_ns: u64,
    /// When it ended.
    pub ended_ns: u64,
    /// Length of its synchronisation.
    pub sync_ns: u64,
    /// Distinct pages that the synchronisation found written.
    pub dirty_pages: f64,
    /// Those of them that were not pending already.
    pub new_pages: f64,
    /// Pages that were to be sent after the synchronisation.
    pub pending_pages: f64,
    /// Pages sent with content.
    pub pages_sent: f64,
    /// Pages sent as zeros.
    pub zero_pages: f64,
    /// Pages that had been sent before.
    pub pages_resent: f64,
    /// Bytes on the wire.
    pub wire_bytes: f64,
    /// Raw bytes pending at its end.
    pub remaining_bytes: u64,
    /// Raw bytes under which the guest could have been stopped at its end; `None` before there was an estimate.
    pub threshold_bytes: Option<u64>,
    /// How much the guest was held back at its end, in percent.
    pub throttle_percent: f64,
    /// Writes of the guest within it.
    pub guest_writes: f64,
}

impl Outcome {
    /// Completed passes.
    pub fn completed_passes(&self) -> u32 {
        let has_final = self.passes.last().is_some_and(|it| it.is_final);
        self.passes.len() as u32 - u32::from(has_final)
    }

    /// The most that the guest was held back, in percent; 0 where it never was.
    pub fn peak_throttle_percent(&self) -> f64 {
        self.throttle.iter().map(|it| it.1).fold(0.0, f64::max)
    }
}
