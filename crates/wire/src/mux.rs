//! Several streams of bytes over one, for a session with another machine.
//!
//! ```text
//!  both ends, first   "STRNMUX" 1
//!  then frames        kind (1 byte) · 0 · channel (2) · length (4) · that many bytes
//! ```
//!
//! Numbers are little-endian.
//! Kind 1 carries bytes of a channel, kind 2 ends it in both directions; zero is no kind.
//! There is no checksum, since what carries this has its own, and no flow control: an end that does not read is cut off by its own side.

/// What both ends say first; the last byte is the version.
pub const PREAMBLE: [u8; 8] = *b"STRNMUX\x01";

/// Most bytes in one frame.
pub const MAX_PAYLOAD_BYTES: usize = 256 << 10;

/// Bytes before a frame's own.
const HEADER_BYTES: usize = 8;

const DATA: u8 = 1;
const CLOSE: u8 = 2;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MuxFrame {
    /// Bytes of a channel.
    Data {
        /// Which channel.
        channel: u16,
        /// At most [`MAX_PAYLOAD_BYTES`].
        bytes: Vec<u8>,
    },
    /// The channel has ended.
    Close {
        /// Which channel.
        channel: u16,
    },
}

/// A peer that speaks something else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MuxError {
    /// It did not begin as it should.
    #[error(
        "The other end of the session begins with {0:02x?}, which is no Sterna of this version"
    )]
    Preamble(Vec<u8>),
    /// A kind of frame that does not exist.
    #[error("The session has a frame of the unknown kind {0}")]
    Kind(u8),
    /// A length beyond the bound.
    #[error(
        "The session has a frame that claims {0} bytes; at most {MAX_PAYLOAD_BYTES} are allowed"
    )]
    TooLong(u32),
    /// Bytes where there must be none.
    #[error("The session has a damaged frame")]
    Damaged,
}

/// The frames that carry these bytes.
pub fn encode_data(channel: u16, bytes: &[u8]) -> Vec<u8> {
    let mut frames = Vec::with_capacity(bytes.len() + HEADER_BYTES);
    for piece in bytes.chunks(MAX_PAYLOAD_BYTES) {
        frames.extend(header(DATA, channel, piece.len() as u32));
        frames.extend_from_slice(piece);
    }
    frames
}

/// The frame that ends a channel.
pub fn encode_close(channel: u16) -> Vec<u8> {
    header(CLOSE, channel, 0).to_vec()
}

fn header(kind: u8, channel: u16, length: u32) -> [u8; HEADER_BYTES] {
    let ([c0, c1], [l0, l1, l2, l3]) = (channel.to_le_bytes(), length.to_le_bytes());
    [kind, 0, c0, c1, l0, l1, l2, l3]
}

/// Finds the frames in bytes as they come.
#[derive(Debug, Default)]
pub struct MuxDecoder {
    bytes: Vec<u8>,
    has_begun: bool,
}

impl MuxDecoder {
    /// Takes bytes as they come, and returns the frames that are complete.
    ///
    /// # Errors
    /// The peer speaks something else; nothing that it says later can be trusted.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<MuxFrame>, MuxError> {
        self.bytes.extend_from_slice(bytes);
        let mut at = 0;
        if !self.has_begun {
            let Some(first) = self.bytes.get(..PREAMBLE.len()) else { return Ok(Vec::new()) };
            if first != PREAMBLE {
                return Err(MuxError::Preamble(first.to_vec()));
            }
            self.has_begun = true;
            at = PREAMBLE.len();
        }
        let mut frames = Vec::new();
        while let Some((frame, length)) = frame(&self.bytes[at..])? {
            frames.push(frame);
            at += length;
        }
        self.bytes.drain(..at);
        Ok(frames)
    }
}

/// The first frame and its length with the header; `None` when it is not complete.
fn frame(bytes: &[u8]) -> Result<Option<(MuxFrame, usize)>, MuxError> {
    let Some(&[kind, zero, c0, c1, l0, l1, l2, l3]) = bytes.first_chunk() else { return Ok(None) };
    let (channel, length) = (u16::from_le_bytes([c0, c1]), u32::from_le_bytes([l0, l1, l2, l3]));
    if zero != 0 {
        return Err(MuxError::Damaged);
    }
    if length as usize > MAX_PAYLOAD_BYTES {
        return Err(MuxError::TooLong(length));
    }
    match kind {
        DATA => {
            let end = HEADER_BYTES + length as usize;
            let data = bytes.get(HEADER_BYTES..end);
            Ok(data.map(|it| (MuxFrame::Data { channel, bytes: it.to_vec() }, end)))
        }
        CLOSE if length == 0 => Ok(Some((MuxFrame::Close { channel }, HEADER_BYTES))),
        CLOSE => Err(MuxError::Damaged),
        other => Err(MuxError::Kind(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(bytes: &[u8]) -> Result<Vec<MuxFrame>, MuxError> {
        MuxDecoder::default().push(&[&PREAMBLE[..], bytes].concat())
    }

    #[test]
    fn frames_have_golden_bytes() {
        #[track_caller]
        fn check(frame: &MuxFrame, golden: &[u8]) {
            let bytes = match frame {
                MuxFrame::Data { channel, bytes } => encode_data(*channel, bytes),
                MuxFrame::Close { channel } => encode_close(*channel),
            };
            assert_eq!(bytes, golden);
            assert_eq!(decode(golden).unwrap(), std::slice::from_ref(frame));
        }
        assert_eq!(PREAMBLE, [0x53, 0x54, 0x52, 0x4e, 0x4d, 0x55, 0x58, 1]);
        let data = MuxFrame::Data { channel: 0x0102, bytes: b"hey".to_vec() };
        check(&data, &[1, 0, 2, 1, 3, 0, 0, 0, b'h', b'e', b'y']);
        check(&MuxFrame::Close { channel: 7 }, &[2, 0, 7, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_peer_that_lies_is_refused() {
        let preamble = MuxDecoder::default().push(b"SSH-2.0-x");
        assert_eq!(preamble, Err(MuxError::Preamble(b"SSH-2.0-".to_vec())));
        assert_eq!(decode(&[0; 8]), Err(MuxError::Kind(0)));
        assert_eq!(decode(&[3, 0, 0, 0, 0, 0, 0, 0]), Err(MuxError::Kind(3)));
        assert_eq!(decode(&[1, 9, 0, 0, 0, 0, 0, 0]), Err(MuxError::Damaged));
        assert_eq!(decode(&[2, 0, 0, 0, 1, 0, 0, 0]), Err(MuxError::Damaged));
        assert_eq!(decode(&[1, 0, 0, 0, 1, 0, 4, 0]), Err(MuxError::TooLong(0x4_0001)));
        // What has not come yet is no lie.
        assert_eq!(decode(&[1, 0, 0, 0, 5, 0, 0, 0, 1]), Ok(Vec::new()));
    }

    #[test]
    fn what_is_too_long_for_one_frame_travels_in_several() {
        let bytes = vec![7; MAX_PAYLOAD_BYTES + 1];
        let frames = decode(&encode_data(1, &bytes)).unwrap();
        assert_eq!(frames.len(), 2);
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_frames(
            pieces in prop::collection::vec((any::<u16>(), prop::option::of(prop::collection::vec(any::<u8>(), 1..50))), 0..8),
            cut in 1usize..20,
        ) {
            let mut bytes = PREAMBLE.to_vec();
            let mut expected = Vec::new();
            for (channel, piece) in pieces {
                match piece {
                    Some(piece) => {
                        bytes.extend(encode_data(channel, &piece));
                        expected.push(MuxFrame::Data { channel, bytes: piece });
                    }
                    None => {
                        bytes.extend(encode_close(channel));
                        expected.push(MuxFrame::Close { channel });
                    }
                }
            }
            let mut decoder = MuxDecoder::default();
            let mut found = Vec::new();
            for piece in bytes.chunks(cut) {
                found.extend(decoder.push(piece).unwrap());
            }
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }
    }
}
