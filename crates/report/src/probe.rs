//! What an observer outside the guest saw.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One observer that watched the guest during the whole run, and what it missed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Probe {
    /// What was observed, for example `udp`.
    pub kind: String,
    /// Time between two messages of the probe, in seconds; an outage shorter than this can stay unseen.
    pub interval_seconds: Option<f64>,
    /// Messages sent during the run.
    pub sent: Option<u64>,
    /// Messages that arrived, each counted once.
    pub received: Option<u64>,
    /// Arrivals beyond the first of a message.
    #[serde(default)]
    pub duplicates: Option<u64>,
    /// How long messages were under way, there and back.
    #[serde(default)]
    pub round_trip: Option<RoundTrip>,
    /// How late the probe itself was at most with a message, in seconds: the noise of the machine
    /// that measures. A silence of about that length may be its own.
    #[serde(default)]
    pub late_seconds: Option<f64>,
    /// Every stretch in which the probe heard nothing although it should have.
    #[serde(default)]
    pub outages: Vec<Outage>,
    /// An outage at least this long would be in `outages`, in seconds. Null when it is not known what
    /// could have been seen; an empty `outages` then says nothing. Older reports lack it, and in those of
    /// `sterna run` it is `interval_seconds`.
    #[serde(default)]
    pub outage_resolution_seconds: Option<f64>,
}

impl Probe {
    /// The kind of a probe whose messages are records on a disk of the guest: sent when they were due, arrived when they
    /// were safe.
    pub const DISK: &str = "disk";

    /// With no outage in `outages`: the length from which on one would have been seen. `None` when
    /// that is unknown, or nothing ever arrived, so that nothing can be said of outages.
    pub fn unseen_seconds(&self) -> Option<f64> {
        if self.received == Some(0) {
            return None;
        }
        // Reports of ours that are older than the field know how late each message was sent.
        let of_older = self.interval_seconds.filter(|_| self.late_seconds.is_some());
        self.outage_resolution_seconds.or(of_older)
    }

    /// The longest outage, in seconds; 0 where one would have been seen, and none was.
    pub fn longest_outage_seconds(&self) -> Option<f64> {
        let longest = self.outages.iter().map(|it| it.length_seconds).max_by(f64::total_cmp);
        longest.or_else(|| self.unseen_seconds().map(|_| 0.0))
    }

    /// Whether its outages are those of a network. What a disk holds up no client of the guest need ever notice.
    pub fn is_of_network(&self) -> bool {
        self.kind != Probe::DISK
    }
}

/// Distribution of the time from the sending of a message to its return.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoundTrip {
    /// Half of the messages took at most this long, in nanoseconds.
    pub p50_ns: u64,
    /// 99 % of the messages took at most this long, in nanoseconds.
    pub p99_ns: u64,
    /// The slowest message, in nanoseconds.
    pub max_ns: u64,
}

/// One stretch of silence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Outage {
    /// Arrival of the last message before the silence, in seconds on the pilot's clock
    /// (0 = migrate command accepted).
    pub start_seconds: f64,
    /// From that arrival to the next one, in seconds; to the end of watching where `has_ended` is
    /// false.
    pub length_seconds: f64,
    /// Whether a message arrived after it.
    #[serde(default = "yes")]
    pub has_ended: bool,
    /// Messages that never arrived; null when the probe cannot tell lost from late.
    pub lost: Option<u64>,
    /// The way on which the messages went missing.
    pub direction: Direction,
    /// The true length may lie this far above `length_seconds`, in seconds: what the observer could
    /// not see for the coarseness of its own record. Null when that is unknown.
    #[serde(default)]
    pub resolution_seconds: Option<f64>,
}

/// The way of a message as seen from the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Towards the guest.
    ToGuest,
    /// Away from the guest.
    FromGuest,
    /// To the guest and back; which half failed is unknown.
    RoundTrip,
    /// Some went missing towards the guest and some away from it.
    Both,
}

fn yes() -> bool {
    true
}
