//! Parallel connections, as the pilot asks for them and as a host counts them.

use serde::{Deserialize, Serialize};

/// How to send through parallel connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct MultifdConfig {
    /// How many, 1 to 64.
    pub channels: u8,
    /// How content is packed: none, zlib, zstd.
    pub compression: String,
    /// How hard the compressor tries; `None` for its default.
    pub level: Option<u8>,
    /// Whether zero pages are found by the channels rather than by the main thread.
    pub finds_zero_pages: bool,
    /// Whether pages are sent from where they are.
    pub zero_copy: bool,
}

/// What travelled on parallel connections so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct MultifdStatus {
    /// Times that all channels were brought to the same point.
    pub syncs: u32,
    /// One after the other.
    pub channels: Vec<ChannelStatus>,
}

/// What travelled on one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct ChannelStatus {
    /// Packets.
    pub packets: u64,
    /// Pages with content.
    pub pages: u64,
    /// Pages sent as a zero mark.
    pub zero_pages: u64,
    /// Bytes on the wire, headers included.
    pub wire_bytes: u64,
    /// Bytes of content as they travelled.
    pub content_bytes: u64,
    /// Packets that were packed.
    pub compressed_packets: u64,
    /// Calls that sent pages from where they are.
    pub zero_copy_sends: u64,
    /// Those of them whose data the kernel copied after all.
    pub zero_copy_copied: u64,
    /// Sends that the kernel had no room for and that were made with a copy instead.
    pub zero_copy_refused: u64,
}
