//! What the report says of parallel connections.

use serde_json::{Value, json};
use sterna_report::Warning;
use sterna_wire::control::{ChannelStatus, MultifdConfig, MultifdStatus};
use sterna_wire::stream::PAGE_BYTES;

/// What both sides have counted, by now.
#[derive(Clone, Debug, Default)]
pub struct Parallel {
    config: Option<MultifdConfig>,
    source: Option<MultifdStatus>,
    destination: Option<MultifdStatus>,
}

impl Parallel {
    /// Begins a run with these settings.
    pub fn new(config: Option<MultifdConfig>) -> Parallel {
        Parallel { config, source: None, destination: None }
    }

    /// Notes what the source has counted.
    pub fn note_source(&mut self, status: &Option<MultifdStatus>) {
        self.source = status.clone().or(self.source.take());
    }

    /// Notes what the destination has counted.
    pub fn note_destination(&mut self, status: &Option<MultifdStatus>) {
        self.destination = status.clone().or(self.destination.take());
    }

    /// The evidence; `None` when everything travelled on one connection.
    pub fn to_details(&self) -> Option<Value> {
        let (config, source) = (self.config.as_ref()?, self.source.as_ref()?);
        let sum = total(source);
        let raw_bytes = sum.pages * PAGE_BYTES as u64;
        let ratio = (config.compression != "none" && sum.content_bytes > 0)
            .then(|| raw_bytes as f64 / sum.content_bytes as f64);
        let zero_copy = config.zero_copy.then(|| {
            json!({
                "sends": sum.zero_copy_sends,
                "copied_by_the_kernel": sum.zero_copy_copied,
                "refused_and_sent_with_a_copy": sum.zero_copy_refused,
                "checksum_covers": "headers",
            })
        });
        Some(json!({
            "channels": config.channels,
            "compression": config.compression,
            "level": config.level,
            "syncs": source.syncs,
            "packets": sum.packets,
            "compressed_packets": sum.compressed_packets,
            "raw_bytes": raw_bytes,
            "content_bytes": sum.content_bytes,
            "wire_bytes": sum.wire_bytes,
            "compression_ratio": ratio,
            "zero_copy": zero_copy,
            "source": source.channels.iter().map(channel).collect::<Vec<_>>(),
            "destination": self.destination.as_ref().map(|it| {
                it.channels.iter().map(channel).collect::<Vec<_>>()
            }),
        }))
    }

    /// What somebody who reads the figures must know.
    pub fn warnings(&self) -> Vec<Warning> {
        let (Some(config), Some(source)) = (&self.config, &self.source) else { return Vec::new() };
        let mut warnings = Vec::new();
        let sum = total(source);
        if config.zero_copy {
            warnings.push(Warning {
                code: "checksum-headers-only".to_owned(),
                text: "Under zero-copy the checksums cover headers only, since pages may change on the way".to_owned(),
                advice: Some("Whether memory arrived whole is shown by the verification alone".to_owned()),
            });
        }
        if sum.zero_copy_copied + sum.zero_copy_refused > 0 {
            let text = format!(
                "Of {} zero-copy sends the kernel copied {} after all, and it had no room for {} more",
                sum.zero_copy_sends, sum.zero_copy_copied, sum.zero_copy_refused
            );
            warnings.push(Warning {
                code: "zero-copy-copied".to_owned(),
                text,
                advice: Some("Loopback always copies; measure zero-copy between two machines, with a large RLIMIT_MEMLOCK".to_owned()),
            });
        }
        warnings
    }
}

fn total(status: &MultifdStatus) -> ChannelStatus {
    let sum = |field: fn(&ChannelStatus) -> u64| status.channels.iter().map(field).sum();
    ChannelStatus {
        packets: sum(|it| it.packets),
        pages: sum(|it| it.pages),
        zero_pages: sum(|it| it.zero_pages),
        wire_bytes: sum(|it| it.wire_bytes),
        content_bytes: sum(|it| it.content_bytes),
        compressed_packets: sum(|it| it.compressed_packets),
        zero_copy_sends: sum(|it| it.zero_copy_sends),
        zero_copy_copied: sum(|it| it.zero_copy_copied),
        zero_copy_refused: sum(|it| it.zero_copy_refused),
    }
}

fn channel(it: &ChannelStatus) -> Value {
    json!({
        "packets": it.packets,
        "pages": it.pages,
        "zero_pages": it.zero_pages,
        "wire_bytes": it.wire_bytes,
        "content_bytes": it.content_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parallel(compression: &str, zero_copy: bool) -> Parallel {
        let config = MultifdConfig {
            channels: 2,
            compression: compression.to_owned(),
            level: None,
            finds_zero_pages: true,
            zero_copy,
        };
        let channel = ChannelStatus {
            packets: 3,
            pages: 300,
            content_bytes: 300 * 1024,
            zero_copy_sends: 3,
            zero_copy_copied: 3,
            ..ChannelStatus::default()
        };
        let mut parallel = Parallel::new(Some(config));
        let status = MultifdStatus { syncs: 4, channels: vec![channel; 2] };
        parallel.note_source(&Some(status));
        parallel.note_source(&None);
        parallel
    }

    #[test]
    fn the_ratio_is_told_where_something_was_packed() {
        let details = parallel("zstd", false).to_details().unwrap();
        assert_eq!(details["compression_ratio"], 4.0);
        assert_eq!((&details["syncs"], &details["packets"]), (&json!(4), &json!(6)));
        assert_eq!(details["source"][1]["pages"], 300);
        assert_eq!(details["destination"], Value::Null);
        assert!(details["zero_copy"].is_null());
        let details = parallel("none", false).to_details().unwrap();
        assert!(details["compression_ratio"].is_null());
        assert_eq!(Parallel::default().to_details(), None);
        assert!(parallel("zstd", false).to_details().unwrap()["zero_copy"].is_null());
    }

    #[test]
    fn what_zero_copy_did_not_do_is_told() {
        let parallel = parallel("none", true);
        assert_eq!(parallel.to_details().unwrap()["zero_copy"]["copied_by_the_kernel"], 6);
        let codes: Vec<String> = parallel.warnings().into_iter().map(|it| it.code).collect();
        assert_eq!(codes, ["checksum-headers-only", "zero-copy-copied"]);
    }
}
