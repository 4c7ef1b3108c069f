//! What a page takes: bytes on the wire and time of the hosts.

use crate::dirty::PAGE;
use crate::guest::Content;
use crate::host::Host;
use crate::rules::Rules;
use crate::settings::{Compression, Settings};

/// A mean page of a region.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cost {
    /// Bytes on the wire.
    pub(crate) wire_bytes: f64,
    /// Time of the hosts.
    pub(crate) seconds: f64,
    /// The part that travels as a mark only.
    pub(crate) zero_share: f64,
}

impl Cost {
    /// How long it takes over a way of that rate: the hosts work while bytes travel.
    pub(crate) fn seconds_at(&self, bytes_per_second: Option<f64>) -> f64 {
        let wire = bytes_per_second.map_or(0.0, |rate| self.wire_bytes / rate.max(1.0));
        wire.max(self.seconds)
    }
}

/// What a page of this content takes, of which `cached` are in the cache of former contents.
pub(crate) fn cost(
    content: &Content,
    settings: &Settings,
    host: &Host,
    rules: &Rules,
    cached: f64,
) -> Cost {
    let zero_share = if settings.finds_zero_pages { content.zero_share } else { 0.0 };
    let (share, seconds) = full_page(content, settings, host, cached);
    let full = 1.0 - zero_share;
    Cost {
        wire_bytes: zero_share * rules.zero_page_bytes
            + full * (share * PAGE + rules.page_overhead_bytes),
        seconds: zero_share * PAGE / host.zero_scan_bytes_per_second + full * seconds,
        zero_share,
    }
}

/// The part of itself that a page with content takes on the wire, and the time of the hosts.
fn full_page(content: &Content, settings: &Settings, host: &Host, cached: f64) -> (f64, f64) {
    let channels = settings.multifd.map(|it| f64::from(it.channels.max(1)));
    let gain = channels.map_or(1.0, |it| it.min(host.parallel_gain));
    let send = PAGE / (host.send_bytes_per_second * gain);
    let packed = |share: f64, rate: f64| {
        let workers = channels.unwrap_or(1.0).min(f64::from(host.processors.max(1)));
        (share, (PAGE / (rate * workers)).max(share * send))
    };
    match settings.multifd.map_or(Compression::None, |it| it.compression) {
        Compression::Zlib => packed(content.zlib_share, host.zlib_bytes_per_second),
        Compression::Zstd => packed(content.zstd_share, host.zstd_bytes_per_second),
        Compression::None if settings.xbzrle_cache_bytes.is_some() => {
            let share = cached * content.delta_share.min(1.0) + (1.0 - cached);
            (share, share * send + cached * PAGE / host.delta_bytes_per_second)
        }
        Compression::None => (1.0, send),
    }
}
