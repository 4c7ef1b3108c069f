//! Packets: what parallel connections carry in place of `Pages` and `Zero` frames.

use super::{FrameError, Header, Kind, PAGE_BYTES, PageRun, RUN_BYTES, decode_runs};

/// Most pages in one packet, zero pages included, as in QEMU's multifd: 512 KiB.
pub const PACKET_PAGES: usize = 128;

/// Bytes of a packet in front of its runs.
pub const PACKET_HEAD_BYTES: usize = 8;

/// Set when the frame's checksum does not cover the pages' content.
const UNSUMMED: u8 = 1;

/// How the content of a packet travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Compression {
    /// As it is.
    #[default]
    None = 0,
    /// One zlib stream.
    Zlib = 1,
    /// One zstd frame.
    Zstd = 2,
}

/// What stands in front of a packet's runs.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 1 | compression |
/// | 1 | 1 | 1 if the checksum does not cover the content, otherwise 0 |
/// | 2 | 2 | how many of the frame's runs have content; the others are zero pages |
/// | 4 | 4 | bytes of content as they travel |
///
/// The frame's runs follow, those with content first, and then the content.
/// A packet has at most [`PACKET_PAGES`] pages, and content that does not get smaller travels as it is, so no packet is longer than an uncompressed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketHead {
    /// How the content travels.
    pub compression: Compression,
    /// Whether the frame's checksum covers the content; it cannot when the pages are sent from where they are, because they may change on the way.
    pub is_summed: bool,
    /// Runs with content, the first ones of the frame.
    pub content_runs: u16,
    /// Bytes of content as they travel.
    pub content_bytes: u32,
}

/// The pages of a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PacketPages {
    /// Pages with content, in the order of the content.
    pub content: Vec<PageRun>,
    /// Pages that hold only zero bytes.
    pub zero: Vec<PageRun>,
}

impl Compression {
    /// Every method, in wire order.
    pub const ALL: [Compression; 3] = [Compression::None, Compression::Zlib, Compression::Zstd];

    /// The method with this name, as in a scenario.
    pub fn from_name(name: &str) -> Option<Compression> {
        Compression::ALL.into_iter().find(|it| it.name() == name)
    }

    /// The word for messages and scenarios.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Zlib => "zlib",
            Compression::Zstd => "zstd",
        }
    }
}

impl PacketHead {
    /// Writes the head.
    pub fn encode(&self) -> [u8; PACKET_HEAD_BYTES] {
        let mut bytes = [0; PACKET_HEAD_BYTES];
        bytes[0] = self.compression as u8;
        bytes[1] = if self.is_summed { 0 } else { UNSUMMED };
        bytes[2..4].copy_from_slice(&self.content_runs.to_le_bytes());
        bytes[4..].copy_from_slice(&self.content_bytes.to_le_bytes());
        bytes
    }

    /// Reads head and runs of a packet, of which `bytes` are the part of its body in front of the content; everything is checked against the header and the guest's size.
    pub fn decode(
        header: &Header,
        bytes: &[u8],
        ram_pages: u64,
        to: &mut PacketPages,
    ) -> Result<PacketHead, FrameError> {
        let malformed = |detail| Err(FrameError::Malformed { kind: Kind::Packet, detail });
        let Some((&[method, flags, low, high, a, b, c, d], runs)) =
            bytes.split_first_chunk::<PACKET_HEAD_BYTES>()
        else {
            return malformed(format!("{} bytes are too few", bytes.len()));
        };
        let Some(compression) = Compression::ALL.into_iter().find(|it| *it as u8 == method) else {
            return malformed(format!("unknown compression {method}"));
        };
        if flags & !UNSUMMED != 0 {
            return malformed(format!("unknown flags {flags:#04x}"));
        }
        let content_runs = u16::from_le_bytes([low, high]);
        let content_bytes = u32::from_le_bytes([a, b, c, d]);
        let content_run_bytes = usize::from(content_runs) * RUN_BYTES;
        if content_run_bytes > runs.len() || runs.len() != usize::from(header.runs) * RUN_BYTES {
            return malformed(format!("{content_runs} runs with content of {}", header.runs));
        }
        let (content, zero) = runs.split_at(content_run_bytes);
        let content_pages = decode_runs(Kind::Packet, content, ram_pages, &mut to.content)?;
        let zero_pages = decode_runs(Kind::Packet, zero, ram_pages, &mut to.zero)?;
        if content_pages + zero_pages > PACKET_PAGES as u64 {
            let pages = content_pages + zero_pages;
            return malformed(format!("{pages} pages, at most {PACKET_PAGES} are allowed"));
        }
        let raw_bytes = content_pages * PAGE_BYTES as u64;
        let fits = match compression {
            Compression::None => u64::from(content_bytes) == raw_bytes,
            Compression::Zlib | Compression::Zstd => {
                content_bytes > 0 && u64::from(content_bytes) < raw_bytes
            }
        };
        if !fits || header.body_bytes as usize != bytes.len() + content_bytes as usize {
            return malformed(format!(
                "{content_bytes} bytes of content ({}) for {content_pages} pages in a body of {} bytes",
                compression.name(),
                header.body_bytes
            ));
        }
        let is_summed = flags & UNSUMMED == 0;
        Ok(PacketHead { compression, is_summed, content_runs, content_bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::encode_runs;
    use proptest::prelude::*;

    const HEAD: PacketHead = PacketHead {
        compression: Compression::Zstd,
        is_summed: false,
        content_runs: 1,
        content_bytes: 0x0102,
    };

    /// A packet of two pages with content and three without.
    fn packet(head: PacketHead) -> (Header, Vec<u8>) {
        let mut bytes = head.encode().to_vec();
        encode_runs(&[PageRun { first: 4, count: 2 }, PageRun { first: 9, count: 3 }], &mut bytes);
        let body_bytes = bytes.len() as u32 + head.content_bytes;
        (Header { kind: Kind::Packet, runs: 2, body_bytes, crc: 0, sequence: 0 }, bytes)
    }

    #[test]
    fn a_head_has_golden_bytes_and_round_trips() {
        assert_eq!(HEAD.encode(), [2, 1, 1, 0, 2, 1, 0, 0]);
        let (header, bytes) = packet(HEAD);
        let mut pages = PacketPages::default();
        assert_eq!(PacketHead::decode(&header, &bytes, 12, &mut pages), Ok(HEAD));
        assert_eq!(pages.content, [PageRun { first: 4, count: 2 }]);
        assert_eq!(pages.zero, [PageRun { first: 9, count: 3 }]);
    }

    #[test]
    fn packets_that_lie_are_refused() {
        #[track_caller]
        fn check(change: impl Fn(&mut Header, &mut Vec<u8>), expected: &str) {
            let (mut header, mut bytes) = packet(HEAD);
            change(&mut header, &mut bytes);
            let found = PacketHead::decode(&header, &bytes, 12, &mut PacketPages::default());
            let error = found.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        check(|_, it| it[0] = 3, "unknown compression 3");
        check(|_, it| it[1] = 2, "unknown flags 0x02");
        check(|_, it| it[2] = 3, "3 runs with content of 2");
        check(|header, _| header.runs = 3, "1 runs with content of 3");
        check(|_, it| it[8] = 11, "outside");
        check(|_, it| it[16] = 10, "outside");
        check(|header, _| header.body_bytes += 1, "for 2 pages in a body");
        // As much as uncompressed, more, and nothing.
        check(|header, it| (it[4], it[5], header.body_bytes) = (0, 0x20, 24 + 8192), "8192 bytes");
        check(|header, it| (it[5], header.body_bytes) = (0xff, 24 + 0xff02), "bytes of content");
        check(|header, it| (it[4], it[5], header.body_bytes) = (0, 0, 24), "0 bytes of content");
        // Uncompressed content has one length.
        check(|_, it| it[0] = 0, "(none) for 2 pages");
        check(|_, it| it.truncate(7), "too few");
    }

    #[test]
    fn no_packet_has_more_than_its_pages() {
        let mut bytes = PacketHead { content_runs: 0, content_bytes: 0, ..HEAD }.encode().to_vec();
        bytes[0] = 0;
        encode_runs(&[PageRun { first: 0, count: 129 }], &mut bytes);
        let header = Header { kind: Kind::Packet, runs: 1, body_bytes: 16, crc: 0, sequence: 0 };
        let error =
            PacketHead::decode(&header, &bytes, 1000, &mut PacketPages::default()).unwrap_err();
        assert!(error.to_string().contains("129 pages"), "{error}");
    }

    proptest! {
        #[test]
        fn any_bytes_decode_within_bounds_or_fail(
            runs in 0u16..140,
            extra in 0u32..600_000,
            bytes in prop::collection::vec(any::<u8>(), 0..1100),
        ) {
            let body_bytes = bytes.len() as u32 + extra;
            let header = Header { kind: Kind::Packet, runs, body_bytes, crc: 0, sequence: 0 };
            let mut pages = PacketPages::default();
            if let Ok(head) = PacketHead::decode(&header, &bytes, 1 << 20, &mut pages) {
                let count = |runs: &[PageRun]| runs.iter().map(|it| usize::from(it.count)).sum::<usize>();
                prop_assert!(count(&pages.content) + count(&pages.zero) <= PACKET_PAGES);
                prop_assert!(head.content_bytes as usize <= count(&pages.content) * PAGE_BYTES);
            }
        }
    }
}
