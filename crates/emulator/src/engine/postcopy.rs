//! What the two hosts tell of a post-copy, put together.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sterna_pilot::EngineError;
use sterna_wire::control::{HostStatus, PageFaults, Phase, Served};

/// How long the source may take to hear that the destination lacks nothing any more.
const NEWS_NS: u64 = 1_000_000_000;

/// Takes in what the destination says while the source believes in a post-copy: only there it can be seen that it will never end, or that it has ended.
pub fn check_destination(status: &mut HostStatus, theirs: &Result<HostStatus, EngineError>) {
    let is_paused = status.phase == Phase::PostcopyPaused;
    let words = match theirs {
        Ok(theirs) => match theirs.phase {
            Phase::Incomplete => incomplete(theirs),
            Phase::Failed if is_paused => {
                let words = theirs.error.clone().unwrap_or_default();
                format!("the destination never ran the guest: {words}")
            }
            // The link was lost behind the last page, be it that the source does not know.
            Phase::Completed if is_paused || ended_long_ago(theirs) => {
                status.phase = Phase::Completed;
                status.error = None;
                status.remaining_bytes = 0;
                return;
            }
            // The source does not notice as long as it has nothing to send.
            Phase::PostcopyPaused if !is_paused => {
                status.phase = Phase::PostcopyPaused;
                status.error.clone_from(&theirs.error);
                return;
            }
            _ => return,
        },
        // It is asked again at the next poll.
        Err(EngineError::Silent { .. }) => return,
        Err(error) => format!("{error}"),
    };
    status.phase = Phase::Undecided;
    status.error = Some(format!("Post-copy cannot go on: {words}"));
}

/// Whether the source would have heard by now that all of its pages are there.
fn ended_long_ago(theirs: &HostStatus) -> bool {
    theirs.stamps.ended_ns.is_some_and(|it| theirs.at_ns.saturating_sub(it) > NEWS_NS)
}

/// Why a destination that runs the guest can never have all of it.
pub fn incomplete(theirs: &HostStatus) -> String {
    let words = theirs.error.clone().unwrap_or_default();
    format!("the destination runs the guest, but lacks memory that it will never get: {words}")
}

/// What both sides have counted; the names are those under which QEMU's counters stand in a report.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    precopy_bytes: Option<u64>,
    downtime_bytes: Option<u64>,
    served: Option<Served>,
    faults: Option<PageFaults>,
}

impl Evidence {
    /// Takes in a status of the source.
    pub fn see_source(&mut self, status: &HostStatus) {
        let Some(served) = &status.served else { return };
        if let Some(last) = status.passes.iter().find(|it| it.is_final) {
            self.downtime_bytes = Some(last.wire_bytes);
        }
        let before = status.transferred_bytes.saturating_sub(served.wire_bytes);
        self.precopy_bytes = self.downtime_bytes.map(|it| before.saturating_sub(it));
        self.served = Some(served.clone());
    }

    /// Takes in a status of the destination.
    pub fn see_destination(&mut self, status: &HostStatus) {
        if status.page_faults.is_some() {
            self.faults.clone_from(&status.page_faults);
        }
    }

    /// For the report.
    pub fn to_details(&self) -> BTreeMap<String, Value> {
        let mut details = BTreeMap::new();
        if let Some(served) = &self.served {
            details.insert("source_counters".to_owned(), self.source_counters(served));
            if served.recoveries > 0 {
                details.insert("postcopy_recoveries".to_owned(), served.recoveries.into());
            }
        }
        if let Some(faults) = &self.faults {
            details.insert("destination_counters".to_owned(), destination_counters(faults));
        }
        details
    }

    fn source_counters(&self, served: &Served) -> Value {
        json!({
            "precopy_bytes": self.precopy_bytes,
            "downtime_bytes": self.downtime_bytes,
            "postcopy_bytes": served.wire_bytes,
            "postcopy_requests": served.requests,
            "postcopy_pages_by_request": served.pages_by_request,
            "postcopy_pages_by_background": served.pages_by_background,
            "postcopy_pages_sent_again": served.pages_sent_again,
            "postcopy_paused_milliseconds": served.paused_ns as f64 / 1e6,
        })
    }
}

fn destination_counters(faults: &PageFaults) -> Value {
    let milliseconds = |ns: u64| ns as f64 / 1e6;
    let blocked: Vec<f64> = faults.blocked_ns.iter().map(|it| milliseconds(*it)).collect();
    let mut counters = Map::new();
    let mut put = |name: &str, value: Value| counters.insert(name.to_owned(), value);
    put("postcopy_blocktime", milliseconds(faults.all_blocked_ns).into());
    put("postcopy_vcpu_blocktime", blocked.into());
    put("postcopy_discarded_pages", faults.discarded_pages.into());
    put("postcopy_discard_milliseconds", milliseconds(faults.discard_ns).into());
    put(
        "postcopy_discard_milliseconds_in_downtime",
        milliseconds(faults.discard_stopped_ns).into(),
    );
    put("postcopy_missing_pages", faults.missing_pages.into());
    put("postcopy_faults", faults.faults.into());
    put("postcopy_duplicate_pages", faults.duplicates.into());
    if let Some(latency) = faults.latency {
        // As QEMU: the mean, in nanoseconds, and how many took from 2^N to 2^(N+1) µs.
        put("postcopy_latency", latency.mean_ns.into());
        put("postcopy_latency_dist", faults.latency_buckets.clone().into());
        put(
            "postcopy_latency_ns",
            json!({
                "p50": latency.p50_ns,
                "p90": latency.p90_ns,
                "p99": latency.p99_ns,
                "p999": latency.p999_ns,
                "max": latency.max_ns,
            }),
        );
    }
    counters.into()
}
