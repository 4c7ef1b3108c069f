//! A live stream of pictures at a constant rate: its source, and what a viewer sees of it.
//!
//! ```text
//!   viewer                             source
//!     ── PlayRequest, no cookie ────────►
//!     ◄──────────────── PlayAnswer::Cookie ──
//!     ── PlayRequest with the cookie ───►      and again each half second, or the stream ends
//!     ◄─────────── Frame 0, Frame 1, … ──
//! ```

#[cfg(feature = "client")]
mod player;
mod source;
#[cfg(feature = "client")]
mod viewer;

#[cfg(feature = "client")]
pub use player::{Freeze, Player};
pub use source::Source;
#[cfg(feature = "client")]
pub use viewer::{ASK_EVERY, BUFFER, Viewer};

const REQUEST: [u8; 8] = *b"StrnPly2";
const COOKIE: [u8; 8] = *b"StrnCky2";
const BUSY: [u8; 8] = *b"StrnBsy2";
const FRAME: [u8; 8] = *b"StrnFrm2";

/// Bytes of a frame that is nothing but its header.
pub const SMALLEST_FRAME_BYTES: usize = 32;

/// No source sends larger ones: they have to fit one datagram of an Ethernet.
pub const LARGEST_FRAME_BYTES: usize = 1400;

/// Asks for a stream, or for more of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlayRequest {
    /// What the source answered to the first request; 0 before.
    pub cookie: u64,
    /// Any number of the viewer's.
    pub session: u64,
    /// Time between two frames.
    pub interval_ns: u64,
    /// Bytes of each frame.
    pub frame_bytes: u64,
}

/// What a source says beside its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlayAnswer {
    /// Ask again with this.
    Cookie {
        /// Of the request.
        session: u64,
        /// Valid for this session and address.
        cookie: u64,
    },
    /// Too many watch already.
    Busy {
        /// Of the request.
        session: u64,
    },
}

/// One picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Whose stream it is of.
    pub session: u64,
    /// Its number by the source's clock: a source that stood still leaves numbers out.
    pub number: u64,
    /// The source's CLOCK_MONOTONIC when it left.
    pub sent_ns: u64,
}

impl PlayRequest {
    /// As it is sent.
    pub fn to_bytes(self) -> [u8; 40] {
        let mut bytes = [0; 40];
        let words = [self.cookie, self.session, self.interval_ns, self.frame_bytes];
        write(&mut bytes, REQUEST, &words);
        bytes
    }

    /// Reads one.
    pub fn from_bytes(bytes: &[u8]) -> Option<PlayRequest> {
        let [cookie, session, interval_ns, frame_bytes] = read(bytes, REQUEST)?;
        Some(PlayRequest { cookie, session, interval_ns, frame_bytes })
    }
}

impl PlayAnswer {
    /// As it is sent.
    pub fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        match self {
            PlayAnswer::Cookie { session, cookie } => write(&mut bytes, COOKIE, &[session, cookie]),
            PlayAnswer::Busy { session } => write(&mut bytes, BUSY, &[session, 0]),
        }
        bytes
    }

    /// Reads one.
    pub fn from_bytes(bytes: &[u8]) -> Option<PlayAnswer> {
        let cookie = read(bytes, COOKIE);
        let cookie = cookie.map(|[session, cookie]| PlayAnswer::Cookie { session, cookie });
        let busy = || read(bytes, BUSY).map(|[session, _]| PlayAnswer::Busy { session });
        cookie.or_else(busy)
    }
}

impl Frame {
    /// Its header.
    pub fn to_bytes(self) -> [u8; SMALLEST_FRAME_BYTES] {
        let mut bytes = [0; SMALLEST_FRAME_BYTES];
        write(&mut bytes, FRAME, &[self.session, self.number, self.sent_ns]);
        bytes
    }

    /// All of it, with its padding.
    pub fn padded(self, bytes: usize) -> Vec<u8> {
        let mut all = self.to_bytes().to_vec();
        all.resize(bytes.max(SMALLEST_FRAME_BYTES), 0);
        all
    }

    /// Reads one.
    pub fn from_bytes(bytes: &[u8]) -> Option<Frame> {
        let [session, number, sent_ns] = read(bytes, FRAME)?;
        Some(Frame { session, number, sent_ns })
    }
}

fn write(bytes: &mut [u8], magic: [u8; 8], numbers: &[u64]) {
    let words = bytes.as_chunks_mut().0;
    words[0] = magic;
    for (word, number) in words[1..].iter_mut().zip(numbers) {
        *word = number.to_be_bytes();
    }
}

fn read<const COUNT: usize>(bytes: &[u8], magic: [u8; 8]) -> Option<[u64; COUNT]> {
    let words = bytes.as_chunks::<8>().0;
    let numbers = words.get(1..=COUNT).filter(|_| words[0] == magic)?;
    Some(std::array::from_fn(|index| u64::from_be_bytes(numbers[index])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_bytes_of_a_frame_are_these() {
        let frame = Frame { session: 1, number: 2, sent_ns: 3 };
        let expected = b"StrnFrm2\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03";
        assert_eq!(&frame.to_bytes(), expected);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(a: u64, b: u64, c: u64, d: u64) {
            let request = PlayRequest { cookie: a, session: b, interval_ns: c, frame_bytes: d };
            prop_assert_eq!(PlayRequest::from_bytes(&request.to_bytes()), Some(request));
            for answer in [PlayAnswer::Cookie { session: a, cookie: b }, PlayAnswer::Busy { session: a }] {
                prop_assert_eq!(PlayAnswer::from_bytes(&answer.to_bytes()), Some(answer));
            }
            let frame = Frame { session: a, number: b, sent_ns: c };
            prop_assert_eq!(Frame::from_bytes(&[&frame.to_bytes()[..], &[0; 99]].concat()), Some(frame));
        }

        #[test]
        fn rubbish_is_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            prop_assume!(!bytes.starts_with(b"Strn"));
            prop_assert_eq!(PlayRequest::from_bytes(&bytes), None);
            prop_assert_eq!(PlayAnswer::from_bytes(&bytes), None);
            prop_assert_eq!(Frame::from_bytes(&bytes), None);
        }
    }
}
