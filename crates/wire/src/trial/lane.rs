//! The first bytes of a data connection.

use super::{MAX_CHANNELS, VERSION};

/// What a data connection begins with; as the length of a control frame it would be far too long, and it is no TLS.
pub const MAGIC: [u8; 4] = *b"STRl";

/// Bytes of a [`Lane`].
pub const LANE_BYTES: usize = 28;

/// The server's answer to a lane that it takes.
pub const YES: u8 = 1;

/// Which way pages travel on a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Way {
    /// From the client to the server.
    Up = 1,
    /// From the server to the client.
    Down = 2,
}

/// What a lane is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Part {
    /// Bulk; the first of them also requests and their pages, where these have no lane of their own.
    Main = 1,
    /// Requests and their pages alone.
    Urgent = 2,
}

/// Says which data connection this is.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 4 | `STRl` |
/// | 4 | 2 | version |
/// | 6 | 2 | number of the lane, from 0, among those of its way and part |
/// | 8 | 16 | the session, as `Prepared` named it |
/// | 24 | 1 | way |
/// | 25 | 1 | part |
/// | 26 | 2 | 0 |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    /// The session that it belongs to.
    pub session: [u8; 16],
    /// Which way pages travel.
    pub way: Way,
    /// What for.
    pub part: Part,
    /// Which one.
    pub index: u16,
}

/// Why bytes are no lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LaneError {
    /// Something else comes in.
    #[error("This is no data connection of a trial")]
    Magic,
    /// Another version.
    #[error("The data connection speaks version {0} of a trial, and this program {VERSION}")]
    Version(u16),
    /// A field that must be something else.
    #[error("The data connection has {value} as {field}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What it holds.
        value: u16,
    },
}

impl Lane {
    /// The bytes of this lane.
    pub fn encode(&self) -> [u8; LANE_BYTES] {
        let mut to = [0; LANE_BYTES];
        to[..4].copy_from_slice(&MAGIC);
        to[4..6].copy_from_slice(&VERSION.to_le_bytes());
        to[6..8].copy_from_slice(&self.index.to_le_bytes());
        to[8..24].copy_from_slice(&self.session);
        to[24] = self.way as u8;
        to[25] = self.part as u8;
        to
    }

    /// Reads a lane.
    ///
    /// # Errors
    /// See [`LaneError`].
    pub fn decode(from: &[u8; LANE_BYTES]) -> Result<Lane, LaneError> {
        if from[..4] != MAGIC {
            return Err(LaneError::Magic);
        }
        let number = |at: usize| u16::from_le_bytes([from[at], from[at + 1]]);
        let field = |field, value: u16| LaneError::Field { field, value };
        if number(4) != VERSION {
            return Err(LaneError::Version(number(4)));
        }
        let way = match from[24] {
            1 => Way::Up,
            2 => Way::Down,
            other => return Err(field("way", u16::from(other))),
        };
        let part = match from[25] {
            1 => Part::Main,
            2 => Part::Urgent,
            other => return Err(field("part", u16::from(other))),
        };
        if number(26) != 0 {
            return Err(field("padding", number(26)));
        }
        let index = number(6);
        if index >= MAX_CHANNELS {
            return Err(field("number", index));
        }
        let mut session = [0; 16];
        session.copy_from_slice(&from[8..24]);
        Ok(Lane { session, way, part, index })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LANE: Lane = Lane { session: [7; 16], way: Way::Down, part: Part::Main, index: 0x0102 };

    #[test]
    fn a_lane_has_golden_bytes() {
        let lane = Lane { index: 3, ..LANE };
        let mut golden = *b"STRl\x01\x00\x03\x00................\x02\x01\x00\x00";
        golden[8..24].fill(7);
        assert_eq!(lane.encode(), golden);
        assert_eq!(Lane::decode(&golden), Ok(lane));
    }

    #[test]
    fn lanes_that_lie_are_refused() {
        #[track_caller]
        fn check(at: usize, value: u8, expected: &str) {
            let mut bytes = Lane { index: 2, ..LANE }.encode();
            bytes[at] = value;
            let error = Lane::decode(&bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        check(0, 0, "no data connection");
        check(4, 2, "speaks version 2");
        check(7, 1, "258 as number");
        check(24, 0, "0 as way");
        check(25, 3, "3 as part");
        check(27, 1, "256 as padding");
    }

    #[test]
    fn the_magic_is_no_length_and_no_handshake() {
        assert!(u32::from_le_bytes(MAGIC) > (16 << 20));
        assert_ne!(MAGIC[..2], [0x16, 0x03]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_lane_or_none(bytes: [u8; LANE_BYTES]) {
            if let Ok(lane) = Lane::decode(&bytes) {
                prop_assert_eq!(lane.encode(), bytes);
            }
        }
    }
}
