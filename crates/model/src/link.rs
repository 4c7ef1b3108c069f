//! The way between the two sides.

/// What carries the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// What the wire carries; `None` for more than the hosts can send.
    pub bytes_per_second: Option<u64>,
    /// How long each byte is under way, in one direction.
    pub latency_ns: u64,
}
