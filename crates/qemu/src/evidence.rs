//! What shows that a technique was really at work.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// The highest of what QEMU told, and its last words. Counters of techniques appear and disappear in its answers, so each is kept when it is seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    peaks: BTreeMap<String, f64>,
    destination: Map<String, Value>,
    file_bytes: Option<u64>,
}

/// Where each stands in an answer of the source, and the name that the report gives it.
const WATCHED: [(&str, &str); 20] = [
    ("/ram/multifd-bytes", "multifd_bytes"),
    ("/ram/precopy-bytes", "precopy_bytes"),
    ("/ram/downtime-bytes", "downtime_bytes"),
    ("/ram/postcopy-bytes", "postcopy_bytes"),
    ("/ram/postcopy-requests", "postcopy_requests"),
    ("/ram/dirty-sync-count", "dirty_sync_count"),
    ("/ram/dirty-sync-missed-zero-copy", "zero_copy_missed"),
    ("/ram/mbps", "peak_mbps"),
    ("/cpu-throttle-percentage", "throttle_percent"),
    ("/xbzrle-cache/cache-size", "xbzrle_cache_bytes"),
    ("/xbzrle-cache/pages", "xbzrle_pages"),
    ("/xbzrle-cache/bytes", "xbzrle_bytes"),
    ("/xbzrle-cache/cache-miss", "xbzrle_cache_misses"),
    ("/xbzrle-cache/overflow", "xbzrle_overflows"),
    ("/xbzrle-cache/encoding-rate", "xbzrle_encoding_rate"),
    ("/compression/pages", "compressed_pages"),
    ("/compression/compressed-size", "compressed_bytes"),
    ("/dirty-limit-throttle-time-per-round", "dirty_limit_throttle_microseconds"),
    ("/setup-time", "setup_milliseconds"),
    ("/total-time", "total_milliseconds"),
];

impl Evidence {
    /// Takes in an answer of the source to `query-migrate`.
    pub fn see_source(&mut self, answer: &Value) {
        for (path, name) in WATCHED {
            let Some(value) = answer.pointer(path).and_then(Value::as_f64) else { continue };
            let peak = self.peaks.entry(name.to_owned()).or_insert(value);
            *peak = peak.max(value);
        }
    }

    /// Takes in the destination's last answer.
    pub fn see_destination(&mut self, answer: &Value) {
        for name in ["postcopy-blocktime", "postcopy-vcpu-blocktime", "postcopy-latency"] {
            if let Some(value) = answer.get(name) {
                self.destination.insert(name.replace('-', "_"), value.clone());
            }
        }
    }

    /// Takes in the length of a stream that is a file.
    pub fn see_file(&mut self, bytes: Option<u64>) {
        self.file_bytes = bytes;
    }

    /// The highest value of a counter; `None` when QEMU never told it.
    pub fn peak(&self, name: &str) -> Option<f64> {
        self.peaks.get(name).copied()
    }

    /// For the report.
    pub fn to_details(&self) -> BTreeMap<String, Value> {
        let mut details = BTreeMap::new();
        let whole = |value: f64| {
            if value.fract() == 0.0 { Value::from(value as u64) } else { Value::from(value) }
        };
        let peaks: Map<String, Value> =
            self.peaks.iter().map(|(name, value)| (name.clone(), whole(*value))).collect();
        if !peaks.is_empty() {
            details.insert("source_counters".to_owned(), peaks.into());
        }
        if let Some(bytes) = self.file_bytes {
            details.insert("stream_file_bytes".to_owned(), bytes.into());
        }
        if !self.destination.is_empty() {
            details.insert("destination_counters".to_owned(), self.destination.clone().into());
        }
        details
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_seen_once_stays() {
        let mut evidence = Evidence::default();
        evidence.see_source(&json!({"cpu-throttle-percentage": 30, "ram": {"mbps": 10.5}}));
        evidence
            .see_source(&json!({"status": "completed", "ram": {"mbps": 2.0, "multifd-bytes": 9}}));
        evidence.see_destination(&json!({"status": "completed", "postcopy-blocktime": 4}));
        assert_eq!(evidence.peak("throttle_percent"), Some(30.0));
        assert_eq!(evidence.peak("xbzrle_pages"), None);
        let details = evidence.to_details();
        assert_eq!(
            details["source_counters"],
            json!({"multifd_bytes": 9, "peak_mbps": 10.5, "throttle_percent": 30})
        );
        assert_eq!(details["destination_counters"], json!({"postcopy_blocktime": 4}));
    }
}
