//! Short ways to write series down in tests.

use crate::{GuestSample, Pass, PassKind, Poll, Side};

pub fn source(t_seconds: f64, interval_seconds: f64, pages: u64) -> GuestSample {
    sample(Side::Source, t_seconds, interval_seconds, &[pages])
}

pub fn destination(t_seconds: f64, interval_seconds: f64, pages: u64) -> GuestSample {
    sample(Side::Destination, t_seconds, interval_seconds, &[pages])
}

pub fn sample(side: Side, t_seconds: f64, interval_seconds: f64, counts: &[u64]) -> GuestSample {
    GuestSample {
        t_seconds,
        side,
        interval_seconds,
        counts_per_worker: counts.to_vec(),
        writes_per_second: counts.iter().sum::<u64>() as f64 / interval_seconds,
        checking_seconds: None,
        latency: None,
        latency_histogram: None,
    }
}

pub fn poll(t_seconds: f64) -> Poll {
    Poll {
        t_seconds,
        state: "active".to_owned(),
        pass: None,
        remaining_bytes: None,
        transferred_bytes: None,
        bandwidth_bytes_per_second: None,
        dirty_rate_bytes_per_second: None,
        threshold_bytes: None,
        expected_downtime_seconds: None,
        throttle_percent: None,
    }
}

pub fn pass(number: u64, kind: PassKind, started_seconds: f64, length_seconds: f64) -> Pass {
    Pass {
        number,
        kind,
        started_seconds,
        length_seconds: Some(length_seconds),
        sync_seconds: None,
        dirty_pages_at_sync: None,
        pages_sent: None,
        zero_pages: None,
        pages_resent: None,
        wire_bytes: None,
        bandwidth_bytes_per_second: None,
        remaining_bytes_at_end: None,
        dirty_rate_bytes_per_second: None,
        touch_rate_bytes_per_second: None,
        guest_dip_percent: None,
    }
}
