//! What travels between an observer and a responder.

/// Bytes of one message, so that messages on a stream need no lengths. A datagram may be longer; the rest is padding.
pub const MESSAGE_BYTES: usize = 48;

/// The version of everything that is said here; both sides must have the same.
pub const PROTOCOL_VERSION: u8 = 2;

/// Tells a message from whatever else comes to a port for echoes.
const MAGIC: [u8; 8] = *b"StrnPrb2";

/// What everything begins with that this crate sends.
pub const PREFIX: &[u8] = b"Strn";

/// What every version begins with; the last byte is the version's digit, or `!` before a number that says which one a responder speaks.
const FAMILY: &[u8] = b"StrnPrb";

/// One message of a probe.
///
/// A responder that only echoes leaves it as it is; one that counts fills in the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Which probe sent it; unlike for any two that may meet.
    pub probe: u64,
    /// Its number, from 0.
    pub number: u64,
    /// How many messages of this probe had reached the responder, this one included; 0 when nobody counted.
    pub heard: u64,
    /// The responder's clocks when it heard it; both 0 when nobody counted.
    pub moment: Moment,
}

/// What the clocks of a machine said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// CLOCK_MONOTONIC, nanoseconds.
    pub monotonic_ns: u64,
    /// CLOCK_REALTIME, nanoseconds since 1970.
    pub realtime_ns: u64,
}

impl Moment {
    /// What ours say.
    pub fn now() -> Moment {
        Moment {
            monotonic_ns: sterna_sys::clock::monotonic_ns(),
            realtime_ns: sterna_sys::datagram::realtime_ns(),
        }
    }
}

impl Message {
    /// A message that has not been anywhere yet.
    pub fn new(probe: u64, number: u64) -> Message {
        Message { probe, number, ..Message::default() }
    }

    /// Whether it asks for an answer: nothing is in it that only a responder fills in.
    pub fn is_question(self) -> bool {
        self.heard == 0 && self.moment == Moment::default()
    }

    /// As it is sent.
    pub fn to_bytes(self) -> [u8; MESSAGE_BYTES] {
        let mut bytes = [0; MESSAGE_BYTES];
        let numbers = [
            self.probe,
            self.number,
            self.heard,
            self.moment.monotonic_ns,
            self.moment.realtime_ns,
        ];
        let words = bytes.as_chunks_mut().0;
        words[0] = MAGIC;
        for (word, number) in words[1..].iter_mut().zip(numbers) {
            *word = number.to_be_bytes();
        }
        bytes
    }

    /// Reads one, and leaves what stands behind it; `None` for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Message> {
        let bytes: &[u8; MESSAGE_BYTES] = bytes.first_chunk()?;
        let &[magic, probe, number, heard, monotonic, realtime] = bytes.as_chunks().0 else {
            return None;
        };
        let [probe, number, heard, monotonic_ns, realtime_ns] =
            [probe, number, heard, monotonic, realtime].map(u64::from_be_bytes);
        let moment = Moment { monotonic_ns, realtime_ns };
        (magic == MAGIC).then_some(Message { probe, number, heard, moment })
    }
}

/// What a responder says to a message of another version: its own.
pub fn refusal() -> [u8; 16] {
    let mut bytes = *b"StrnPrb!\0\0\0\0\0\0\0\0";
    bytes[15] = PROTOCOL_VERSION;
    bytes
}

/// The version of a responder that refused ours; `None` for anything else.
#[cfg(any(test, feature = "client"))]
pub fn refused_by(bytes: &[u8]) -> Option<u64> {
    let version = bytes.strip_prefix(b"StrnPrb!")?;
    Some(u64::from_be_bytes(*version.first_chunk()?))
}

/// Whether a datagram was meant for a responder of another version.
pub fn is_of_another_version(bytes: &[u8]) -> bool {
    let version = bytes.strip_prefix(FAMILY).and_then(|it| it.first());
    version.is_some_and(|it| it.is_ascii_digit() && *it != MAGIC[7])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_bytes_of_a_message_are_these() {
        let moment = Moment { monotonic_ns: 5, realtime_ns: 0x0600 };
        let message = Message { probe: 0x0102, number: 3, heard: 4, moment };
        let expected = b"StrnPrb2\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\x06\0";
        assert_eq!(&message.to_bytes(), expected);
        assert_eq!(Message::from_bytes(&[&expected[..], b"padding"].concat()), Some(message));
    }

    #[test]
    fn versions_are_told_apart() {
        assert_eq!(refused_by(&refusal()), Some(2));
        assert_eq!(refused_by(b"StrnPrb!"), None);
        assert!(is_of_another_version(b"StrnPrb1 and so on"));
        for other in [&Message::default().to_bytes()[..], &refusal(), b"StrnPrb", b"GET / HTTP"] {
            assert!(!is_of_another_version(other));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(probe: u64, number: u64, heard: u64, a: u64, b: u64) {
            let moment = Moment { monotonic_ns: a, realtime_ns: b };
            let message = Message { probe, number, heard, moment };
            prop_assert_eq!(Message::from_bytes(&message.to_bytes()), Some(message));
        }

        #[test]
        fn rubbish_is_no_message(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assume!(!bytes.starts_with(&MAGIC));
            prop_assert_eq!(Message::from_bytes(&bytes), None);
        }
    }
}
