//! The frame header and its bounds.

use sterna_sys::crc32c;

use super::resume::MAX_RECEIVED_BYTES;
use super::{
    MAX_LIST_RUNS, MAX_PAGES, MAX_PIECES, MAX_RUNS, PACKET_HEAD_BYTES, PACKET_PAGES, PAGE_BYTES,
    PIECE_BYTES, RUN_BYTES,
};

/// Bytes of a frame header.
pub const HEADER_BYTES: usize = 16;

/// Most bytes of guest state (workload state and device blob) in one stream.
const MAX_STATE_BYTES: usize = 64 << 20;

/// Most bytes of an error or abort text.
pub(super) const MAX_TEXT_BYTES: usize = 4096;

/// What a frame carries. Zero is not a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// First frame of the source: who it is and what it will send.
    Hello = 1,
    /// The destination accepts.
    HelloAck = 2,
    /// The destination refuses or has failed; the text says why.
    Error = 3,
    /// Runs of pages followed by their content.
    Pages = 4,
    /// Runs of pages that hold only zero bytes.
    Zero = 5,
    /// A pass ended with a dirty synchronisation on the source.
    PassEnd = 6,
    /// The workload's state and the device blob.
    State = 7,
    /// Nothing follows: everything the guest needs has been sent.
    Finished = 8,
    /// The destination has loaded everything and could run the guest.
    Ready = 9,
    /// The commit point: the source will never run this guest again.
    Go = 10,
    /// The guest runs on the destination.
    Running = 11,
    /// The source gives up before the commit point; the text says why.
    Abort = 12,
    /// First frame of a further connection: which one it is.
    Channel = 13,
    /// The destination takes the further connection.
    ChannelAck = 14,
    /// What changed in pages, each told by its former content; see `delta`.
    Deltas = 19,
    /// Pages on a parallel connection: head, runs, content.
    Packet = 24,
    /// On a parallel connection: what follows may be newer than what others still carry.
    Sync = 25,
    /// On the first connection: the place in it where all parallel ones have their `Sync`.
    Flush = 26,
    /// Runs of pages that the destination must forget: they follow after the switch to post-copy.
    Discard = 15,
    /// Takes the place of `Finished` at a switch to post-copy: the guest can run, and the discarded pages follow.
    Listen = 16,
    /// The destination's guest waits for these pages.
    Request = 17,
    /// After a switch to post-copy: all of the guest's memory has arrived.
    Loaded = 18,
    /// First frame of a connection that takes the place of a lost one in post-copy.
    Resume = 20,
    /// Which pages the destination has when a lost connection was made anew.
    Received = 21,
    /// A switch to post-copy is near: the destination answers when it has done all that it can do before.
    Prepare = 22,
    /// The destination has discarded what it was told to so far.
    Prepared = 23,
}

impl Kind {
    /// Every kind, in wire order.
    pub const ALL: [Kind; 26] = [
        Kind::Hello,
        Kind::HelloAck,
        Kind::Error,
        Kind::Pages,
        Kind::Zero,
        Kind::PassEnd,
        Kind::State,
        Kind::Finished,
        Kind::Ready,
        Kind::Go,
        Kind::Running,
        Kind::Abort,
        Kind::Channel,
        Kind::ChannelAck,
        Kind::Deltas,
        Kind::Packet,
        Kind::Sync,
        Kind::Flush,
        Kind::Discard,
        Kind::Listen,
        Kind::Request,
        Kind::Loaded,
        Kind::Resume,
        Kind::Received,
        Kind::Prepare,
        Kind::Prepared,
    ];

    fn from_byte(byte: u8) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }

    /// Most bytes a body of this kind may have.
    pub fn max_body_bytes(self) -> usize {
        match self {
            Kind::Hello | Kind::HelloAck | Kind::Channel | Kind::Resume => 64,
            Kind::Error | Kind::Abort => MAX_TEXT_BYTES,
            Kind::Pages => MAX_RUNS * RUN_BYTES + MAX_PAGES * PAGE_BYTES,
            Kind::Zero => MAX_RUNS * RUN_BYTES,
            Kind::Deltas => MAX_PIECES * (PIECE_BYTES + PAGE_BYTES),
            Kind::State => MAX_STATE_BYTES,
            Kind::Discard | Kind::Request => MAX_LIST_RUNS * RUN_BYTES,
            Kind::Received => MAX_RECEIVED_BYTES,
            Kind::PassEnd
            | Kind::Finished
            | Kind::Ready
            | Kind::Go
            | Kind::Running
            | Kind::ChannelAck
            | Kind::Sync
            | Kind::Flush
            | Kind::Listen
            | Kind::Loaded
            | Kind::Prepare
            | Kind::Prepared => 16,
            Kind::Packet => PACKET_HEAD_BYTES + PACKET_PAGES * (RUN_BYTES + PAGE_BYTES),
        }
    }
}

/// The 16 bytes in front of every body.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 1 | kind, never 0 |
/// | 1 | 1 | flags, 0 in version 1 |
/// | 2 | 2 | runs in the body (`Pages`, `Zero`, `Packet`), or pieces (`Deltas`); otherwise 0 |
/// | 4 | 4 | body length in bytes |
/// | 8 | 4 | CRC-32C of page contents as they travel, the rest of the body, and the header with this field as 0, in this order |
/// | 12 | 4 | sequence number of the frame on its connection and direction, from 0, wrapping |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the body is.
    pub kind: Kind,
    /// Number of page runs at the start of the body.
    pub runs: u16,
    /// Length of the body in bytes, already checked against the kind's bound.
    pub body_bytes: u32,
    /// CRC-32C as found on the wire or to be put there.
    pub crc: u32,
    /// Position of this frame in its direction of the connection.
    pub sequence: u32,
}

/// Why bytes are not a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The kind byte is zero or none that we know.
    #[error("Unknown frame kind {0} at frame {1}: the peer does not speak this protocol")]
    UnknownKind(u8, u32),
    /// A flag bit is set that this version does not define.
    #[error("Unknown flags {flags:#04x} in a {kind:?} frame")]
    UnknownFlags {
        /// The kind whose header carried them.
        kind: Kind,
        /// The flags byte.
        flags: u8,
    },
    /// The length exceeds what this kind may have.
    #[error("A {kind:?} frame claims {bytes} bytes; at most {limit} are allowed")]
    TooLong {
        /// The kind that was claimed.
        kind: Kind,
        /// The length that was claimed.
        bytes: u64,
        /// The bound of that kind.
        limit: usize,
    },
    /// The checksum does not fit.
    #[error(
        "Checksum mismatch in a {kind:?} frame (number {sequence}): expected {expected:#010x}, found {found:#010x}"
    )]
    Checksum {
        /// The kind of the frame.
        kind: Kind,
        /// Its number on the connection.
        sequence: u32,
        /// What the header says.
        expected: u32,
        /// What the bytes give.
        found: u32,
    },
    /// A frame is missing or came twice.
    #[error("Frame number {found} came where {expected} was due: frames were lost or repeated")]
    OutOfSequence {
        /// The number that was due.
        expected: u32,
        /// The number that came.
        found: u32,
    },
    /// The body contradicts its header or itself.
    #[error("Malformed {kind:?} frame: {detail}")]
    Malformed {
        /// The kind of the frame.
        kind: Kind,
        /// What is wrong with it.
        detail: String,
    },
    /// A frame that is not allowed at this point.
    #[error("Unexpected {found:?} frame while waiting for {expected}")]
    Unexpected {
        /// The kind that came.
        found: Kind,
        /// What would have been right.
        expected: &'static str,
    },
}

impl Header {
    /// Reads a header; the sequence number is the caller's to check.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Header, FrameError> {
        let sequence = word(bytes, 12);
        let kind = Kind::from_byte(bytes[0]).ok_or(FrameError::UnknownKind(bytes[0], sequence))?;
        if bytes[1] != 0 {
            return Err(FrameError::UnknownFlags { kind, flags: bytes[1] });
        }
        let header = Header {
            kind,
            runs: u16::from_le_bytes([bytes[2], bytes[3]]),
            body_bytes: word(bytes, 4),
            crc: word(bytes, 8),
            sequence,
        };
        header.check_bounds()?;
        Ok(header)
    }

    /// Writes the header with its CRC as it stands.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0] = self.kind as u8;
        bytes[2..4].copy_from_slice(&self.runs.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.body_bytes.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.crc.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes
    }

    /// Completes the header with the CRC over the body and itself.
    ///
    /// The header comes last, although it is first on the wire: a sender can sum up pages while it copies them, when it does not yet know how many there will be.
    pub fn seal(self, body_crc: u32) -> Header {
        Header { crc: self.full_crc(body_crc), ..self }
    }

    /// Compares the header's CRC with the one over the body that came and the header.
    pub fn check(&self, body_crc: u32) -> Result<(), FrameError> {
        let found = self.full_crc(body_crc);
        if self.crc == found {
            return Ok(());
        }
        let Header { kind, sequence, crc: expected, .. } = *self;
        Err(FrameError::Checksum { kind, sequence, expected, found })
    }

    fn full_crc(&self, body_crc: u32) -> u32 {
        crc32c(body_crc, &Header { crc: 0, ..*self }.encode())
    }

    fn check_bounds(&self) -> Result<(), FrameError> {
        let limit = self.kind.max_body_bytes();
        if self.body_bytes as usize > limit {
            let bytes = u64::from(self.body_bytes);
            return Err(FrameError::TooLong { kind: self.kind, bytes, limit });
        }
        let has_runs = matches!(self.kind, Kind::Pages | Kind::Zero | Kind::Packet | Kind::Deltas);
        let runs = usize::from(self.runs);
        let detail = if has_runs && runs == 0 {
            "it has no page runs".to_owned()
        } else if has_runs && runs > MAX_RUNS {
            format!("it has {runs} page runs, at most {MAX_RUNS} are allowed")
        } else if has_runs && (self.body_bytes as usize) < runs * RUN_BYTES {
            format!("{runs} page runs do not fit into {} bytes", self.body_bytes)
        } else if !has_runs && runs != 0 {
            format!("it has {runs} page runs, but its kind has none")
        } else {
            return Ok(());
        };
        Err(FrameError::Malformed { kind: self.kind, detail })
    }
}

/// Counts the frames of one direction and refuses gaps.
#[derive(Clone, Copy, Debug, Default)]
pub struct FrameCounter {
    next: u32,
}

impl FrameCounter {
    /// The number of the next frame to send.
    pub fn take(&mut self) -> u32 {
        let sequence = self.next;
        self.next = self.next.wrapping_add(1);
        sequence
    }

    /// Accepts a received number when it is the one that is due.
    pub fn accept(&mut self, found: u32) -> Result<(), FrameError> {
        let expected = self.take();
        if expected == found { Ok(()) } else { Err(FrameError::OutOfSequence { expected, found }) }
    }
}

fn word(bytes: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn header_has_golden_bytes() {
        let header = Header {
            kind: Kind::Pages,
            runs: 2,
            body_bytes: 0x1234,
            crc: 0xaabb_ccdd,
            sequence: 7,
        };
        let bytes = [4, 0, 2, 0, 0x34, 0x12, 0, 0, 0xdd, 0xcc, 0xbb, 0xaa, 7, 0, 0, 0];
        assert_eq!(header.encode(), bytes);
        assert_eq!(Header::decode(&bytes), Ok(header));
    }

    #[test]
    fn bad_headers_are_refused() {
        #[track_caller]
        fn check(change: impl Fn(&mut [u8; HEADER_BYTES]), expected: &str) {
            let mut bytes =
                Header { kind: Kind::Zero, runs: 1, body_bytes: 8, crc: 0, sequence: 3 }.encode();
            change(&mut bytes);
            let error = Header::decode(&bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        check(|it| it[0] = 0, "Unknown frame kind 0");
        check(|it| it[0] = 99, "Unknown frame kind 99");
        check(|it| it[1] = 1, "Unknown flags 0x01");
        check(|it| it[4..8].fill(0xff), "claims 4294967295 bytes");
        check(|it| it[2] = 0, "no page runs");
        check(|it| it[3] = 0xff, "page runs, at most");
        check(|it| it[4] = 7, "do not fit");
        check(|it| it[0] = Kind::Go as u8, "its kind has none");
    }

    #[test]
    fn a_flipped_bit_anywhere_breaks_the_checksum() {
        let body = [5u8; 24];
        let header = Header { kind: Kind::Zero, runs: 3, body_bytes: 24, crc: 0, sequence: 1 };
        let header = header.seal(crc32c(0, &body));
        assert_eq!(header.check(crc32c(0, &body)), Ok(()));
        for bit in 0..body.len() * 8 {
            let mut bad = body;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(header.check(crc32c(0, &bad)).is_err());
        }
    }

    #[test]
    fn sequence_gaps_are_refused_and_wrap() {
        let mut counter = FrameCounter { next: u32::MAX };
        assert_eq!(counter.accept(u32::MAX), Ok(()));
        assert_eq!(counter.accept(0), Ok(()));
        assert_eq!(counter.accept(2), Err(FrameError::OutOfSequence { expected: 1, found: 2 }));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_to_a_bounded_header_or_an_error(bytes: [u8; HEADER_BYTES]) {
            if let Ok(header) = Header::decode(&bytes) {
                prop_assert!(header.body_bytes as usize <= header.kind.max_body_bytes());
                prop_assert_eq!(header.encode(), bytes);
            }
        }
    }
}
