//! Where a migration stands, as its host sees it.

use serde::{Deserialize, Serialize};

use super::{MultifdStatus, PageFaults, Served, TechniqueStatus};

/// Where a migration stands, as its host sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// No migration yet.
    #[default]
    Idle,
    /// Connecting, greeting, first synchronisation.
    Setup,
    /// Memory moves while the guest runs.
    Active,
    /// The guest is stopped; the rest moves.
    Switchover,
    /// GO was sent, no answer yet: the source will never run the guest again.
    Committed,
    /// The guest runs on the destination, and the rest of its memory follows.
    Postcopy,
    /// The connection was lost in post-copy: each side has a part of the guest's memory, and waits for a new one.
    PostcopyPaused,
    /// The guest runs on the destination.
    Completed,
    /// Given up on request; the guest runs on the source.
    Cancelled,
    /// Broken before the commit point; the guest runs on the source.
    Failed,
    /// GO was sent and the connection broke before an answer: only the destination can tell.
    Undecided,
    /// The guest runs here, lacks memory, and will never get it: the source is gone, or does not keep to the protocol.
    Incomplete,
}

/// The state of a migration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct HostStatus {
    /// The host's clock when this was read.
    pub at_ns: u64,
    /// Where the migration stands.
    pub phase: Phase,
    /// Why it failed, was cancelled or is undecided.
    pub error: Option<String>,
    /// Guest RAM.
    pub total_bytes: u64,
    /// Raw bytes of the pages still to be sent.
    pub remaining_bytes: u64,
    /// Bytes that passed the token bucket so far, headers included.
    pub transferred_bytes: u64,
    /// The bandwidth estimate over the last 100 ms; `None` before the first.
    pub bandwidth_bytes_per_second: Option<u64>,
    /// Pending bytes under which the guest may be stopped; `None` before the first estimate.
    pub threshold_bytes: Option<u64>,
    /// Distinct pages found dirty by the last synchronisation over the time since the one before.
    pub dirty_rate_bytes_per_second: Option<u64>,
    /// Running pass, from 1; 0 before the first.
    pub pass: u32,
    /// Pages sent with content.
    pub pages_sent: u64,
    /// Pages sent as a zero mark.
    pub zero_pages: u64,
    /// Pages sent again while the guest ran.
    pub pages_resent: u64,
    /// Passes completed since `passes_seen`, then the final phase.
    pub passes: Vec<PassRecord>,
    /// What travelled on parallel connections; `None` when there are none.
    pub multifd: Option<MultifdStatus>,
    /// The stamps of the switchover.
    pub stamps: Stamps,
    /// What the source has sent since a switch to post-copy.
    pub served: Option<Served>,
    /// What the destination has met since a switch to post-copy.
    pub page_faults: Option<PageFaults>,
    /// What the techniques have done.
    pub techniques: TechniqueStatus,
    /// The side's faults that have not struck yet.
    pub waiting_faults: Vec<String>,
    /// Size of the device state that arrived and was as it was sent (destination only).
    pub device_state_bytes: Option<u64>,
    /// Writes that workers made after their guest was given up by GO (source only); anything but 0 means that two copies
    /// of the guest ran.
    pub writes_after_go: Option<u64>,
}

/// One pass, or the final phase after the stop.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct PassRecord {
    /// From 1; the final phase has the number after the last pass.
    pub number: u32,
    /// Whether this is the final phase, which is not a pass.
    pub is_final: bool,
    /// When its synchronisation began.
    pub started_ns: u64,
    /// When the next one began, or when the last byte was sent.
    pub ended_ns: u64,
    /// How long the synchronisation at its start took.
    pub sync_ns: u64,
    /// Distinct pages found dirty by that synchronisation.
    pub dirty_pages: u64,
    /// Pages sent with content.
    pub pages_sent: u64,
    /// Pages sent as a zero mark.
    pub zero_pages: u64,
    /// Pages that had been sent before.
    pub pages_resent: u64,
    /// Bytes sent, headers included.
    pub wire_bytes: u64,
    /// Raw bytes pending at its end, before the next synchronisation.
    pub remaining_bytes: u64,
    /// Writes the workers had made at its start.
    pub writes_at_start: u64,
    /// Writes the workers had made at its end.
    pub writes_at_end: u64,
}

/// Moments of a migration on the clock of the host where they happened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Stamps {
    /// The migrate request was accepted.
    pub accepted_ns: Option<u64>,
    /// The first pass began to send.
    pub setup_done_ns: Option<u64>,
    /// The last worker stopped on the source.
    pub stopped_ns: Option<u64>,
    /// The final synchronisation was done.
    pub final_sync_done_ns: Option<u64>,
    /// The last byte of state was sent.
    pub final_sent_ns: Option<u64>,
    /// READY came.
    pub ready_ns: Option<u64>,
    /// GO was sent.
    pub go_ns: Option<u64>,
    /// The workers were released on the destination.
    pub resumed_ns: Option<u64>,
    /// RUNNING came.
    pub running_ns: Option<u64>,
    /// The migration ended: RUNNING came, all memory arrived, or it failed.
    pub ended_ns: Option<u64>,
    /// The workers were released on the source again.
    pub restored_ns: Option<u64>,
    /// Each worker's last write before it stopped, or first write after it was released.
    pub worker_edge_ns: Vec<Option<u64>>,
}
