//! The opening of a stream: what the source will send, and whether the destination takes it.

use super::channel::{Role, capability};
use super::{FrameError, Kind};

/// First bytes of a `Hello` body; the control byte in it makes text-mode damage visible.
pub const MAGIC: [u8; 8] = *b"STERNA\x1a\n";

const HELLO_BYTES: usize = 8 + 2 + 2 + 4 + 16 + 4 + 4 + 8;

/// Who the source is and what it is about to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Oldest stream version the source speaks.
    pub oldest_version: u16,
    /// Newest stream version the source speaks.
    pub version: u16,
    /// Optional features, one bit each; see [`capability`].
    pub capabilities: u32,
    /// Names the migration, so that a connection meant for another run is refused.
    pub session: [u8; 16],
    /// Page size of the stream.
    pub page_bytes: u32,
    /// Connections of [`Role::Multifd`] that follow; 0 without that capability.
    pub multifd_channels: u8,
    /// Size of guest RAM.
    pub ram_bytes: u64,
}

/// The destination's consent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelloAck {
    /// The version both sides speak from here on.
    pub version: u16,
    /// The capabilities both sides use.
    pub capabilities: u32,
}

/// The newest version that two ranges `(oldest, newest)` share.
pub fn negotiate(ours: (u16, u16), theirs: (u16, u16)) -> Option<u16> {
    let newest = ours.1.min(theirs.1);
    (newest >= ours.0.max(theirs.0) && newest > 0).then_some(newest)
}

impl Hello {
    /// How many further connections of a role follow.
    pub fn channels(&self, role: Role) -> u8 {
        match role {
            Role::Multifd => self.multifd_channels,
            Role::Urgent => u8::from(self.capabilities & capability::URGENT != 0),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HELLO_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.oldest_version.to_le_bytes());
        bytes.extend_from_slice(&self.version.to_le_bytes());
        bytes.extend_from_slice(&self.capabilities.to_le_bytes());
        bytes.extend_from_slice(&self.session);
        bytes.extend_from_slice(&self.page_bytes.to_le_bytes());
        bytes.extend_from_slice(&[self.multifd_channels, 0, 0, 0]);
        bytes.extend_from_slice(&self.ram_bytes.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Hello, FrameError> {
        let malformed =
            |detail: &str| FrameError::Malformed { kind: Kind::Hello, detail: detail.to_owned() };
        // A newer version may append fields; what this version knows stays in front.
        let Some(bytes) = bytes.first_chunk::<HELLO_BYTES>() else {
            return Err(malformed("it is shorter than this protocol's greeting"));
        };
        if bytes[..8] != MAGIC {
            return Err(malformed("the magic bytes are wrong"));
        }
        let mut session = [0; 16];
        session.copy_from_slice(&bytes[16..32]);
        Ok(Hello {
            oldest_version: u16::from_le_bytes([bytes[8], bytes[9]]),
            version: u16::from_le_bytes([bytes[10], bytes[11]]),
            capabilities: u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]),
            session,
            page_bytes: u32::from_le_bytes([bytes[32], bytes[33], bytes[34], bytes[35]]),
            multifd_channels: bytes[36],
            ram_bytes: u64::from_le_bytes([
                bytes[40], bytes[41], bytes[42], bytes[43], bytes[44], bytes[45], bytes[46],
                bytes[47],
            ]),
        })
    }
}

impl HelloAck {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; 8];
        bytes[..2].copy_from_slice(&self.version.to_le_bytes());
        bytes[4..].copy_from_slice(&self.capabilities.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<HelloAck, FrameError> {
        let [low, high, _, _, a, b, c, d] = *bytes else {
            let detail = format!("{} bytes where 8 were due", bytes.len());
            return Err(FrameError::Malformed { kind: Kind::HelloAck, detail });
        };
        Ok(HelloAck {
            version: u16::from_le_bytes([low, high]),
            capabilities: u32::from_le_bytes([a, b, c, d]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hello_has_golden_bytes() {
        let hello = Hello {
            oldest_version: 1,
            version: 2,
            capabilities: 3,
            session: [9; 16],
            page_bytes: 4096,
            multifd_channels: 5,
            ram_bytes: 256 << 20,
        };
        let bytes = hello.encode();
        let mut golden = b"STERNA\x1a\n\x01\x00\x02\x00\x03\x00\x00\x00".to_vec();
        golden.extend_from_slice(&[9; 16]);
        golden
            .extend_from_slice(b"\x00\x10\x00\x00\x05\x00\x00\x00\x00\x00\x00\x10\x00\x00\x00\x00");
        assert_eq!(bytes, golden);
        assert_eq!(Hello::decode(&bytes), Ok(hello));
        assert!(Hello::decode(&bytes[1..]).is_err());
    }

    #[test]
    fn the_newest_common_version_is_chosen() {
        #[track_caller]
        fn check(ours: (u16, u16), theirs: (u16, u16), expected: Option<u16>) {
            assert_eq!(negotiate(ours, theirs), expected);
            assert_eq!(negotiate(theirs, ours), expected);
        }
        check((1, 1), (1, 1), Some(1));
        check((1, 2), (1, 1), Some(1));
        check((2, 3), (1, 2), Some(2));
        check((2, 3), (1, 1), None);
        check((0, 0), (0, 0), None);
    }
}
