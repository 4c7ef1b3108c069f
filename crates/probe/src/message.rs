//! What travels between an observer and a responder.

/// Bytes of one message, always the same, so that messages on a stream need no lengths.
pub const MESSAGE_BYTES: usize = 32;

/// Tells a message from whatever else comes to a port for echoes.
const MAGIC: [u8; 8] = *b"StrnPrb1";

/// One message of a probe.
///
/// A responder that only echoes leaves it as it is; one that counts fills in `heard`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Which probe sent it; unlike for any two that may meet.
    pub probe: u64,
    /// Its number, from 0.
    pub number: u64,
    /// How many messages of this probe had reached the responder, this one included; 0 when nobody counted.
    pub heard: u64,
}

impl Message {
    /// As it is sent.
    pub fn to_bytes(self) -> [u8; MESSAGE_BYTES] {
        let mut bytes = [0; MESSAGE_BYTES];
        let words =
            [MAGIC, self.probe.to_be_bytes(), self.number.to_be_bytes(), self.heard.to_be_bytes()];
        bytes.as_chunks_mut().0.copy_from_slice(&words);
        bytes
    }

    /// Reads one; `None` for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Message> {
        let bytes: &[u8; MESSAGE_BYTES] = bytes.try_into().ok()?;
        let &[magic, probe, number, heard] = bytes.as_chunks().0 else { return None };
        let [probe, number, heard] = [probe, number, heard].map(u64::from_be_bytes);
        (magic == MAGIC).then_some(Message { probe, number, heard })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_bytes_of_a_message_are_these() {
        let message = Message { probe: 0x0102, number: 3, heard: 4 };
        let expected = b"StrnPrb1\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x04";
        assert_eq!(&message.to_bytes(), expected);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(probe: u64, number: u64, heard: u64) {
            let message = Message { probe, number, heard };
            prop_assert_eq!(Message::from_bytes(&message.to_bytes()), Some(message));
        }

        #[test]
        fn rubbish_is_no_message(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assume!(!bytes.starts_with(&MAGIC));
            prop_assert_eq!(Message::from_bytes(&bytes), None);
        }
    }
}
