//! Every frame but those that carry pages, as a value.

use super::frame::MAX_TEXT_BYTES;
use super::runs::{decode_list, encode_runs};
use super::{Channel, FrameError, Hello, HelloAck, Kind, PageRun, RUN_BYTES, Received, State};

/// A frame without page runs, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// See [`Kind::Hello`].
    Hello(Hello),
    /// See [`Kind::HelloAck`].
    HelloAck(HelloAck),
    /// See [`Kind::Error`].
    Error(String),
    /// See [`Kind::PassEnd`]; the number of the pass that ended, from 1.
    PassEnd(u32),
    /// See [`Kind::State`].
    State(State),
    /// See [`Kind::Finished`].
    Finished,
    /// See [`Kind::Ready`].
    Ready,
    /// See [`Kind::Go`].
    Go,
    /// See [`Kind::Running`]; the destination's monotonic clock when its workers were released.
    Running {
        /// Nanoseconds of the destination's `CLOCK_MONOTONIC`.
        resumed_ns: u64,
    },
    /// See [`Kind::Abort`].
    Abort(String),
    /// See [`Kind::Channel`].
    Channel(Channel),
    /// See [`Kind::ChannelAck`].
    ChannelAck,
    /// See [`Kind::Sync`]; the number of the synchronisation, from 1.
    Sync(u32),
    /// See [`Kind::Flush`]; the number of the synchronisation, from 1.
    Flush(u32),
    /// See [`Kind::Discard`]; whether the guest has such pages is the receiver's to check.
    Discard(Vec<PageRun>),
    /// See [`Kind::Listen`].
    Listen,
    /// See [`Kind::Request`]; whether the guest has such pages is the receiver's to check.
    Request(Vec<PageRun>),
    /// See [`Kind::Loaded`].
    Loaded,
    /// See [`Kind::Resume`]; the migration's session, as in its greeting.
    Resume([u8; 16]),
    /// See [`Kind::Received`].
    Received(Received),
    /// See [`Kind::Prepare`].
    Prepare,
    /// See [`Kind::Prepared`].
    Prepared,
}

impl Message {
    /// The kind of the frame that carries this message.
    pub fn kind(&self) -> Kind {
        match self {
            Message::Hello(_) => Kind::Hello,
            Message::HelloAck(_) => Kind::HelloAck,
            Message::Error(_) => Kind::Error,
            Message::PassEnd(_) => Kind::PassEnd,
            Message::State(_) => Kind::State,
            Message::Finished => Kind::Finished,
            Message::Ready => Kind::Ready,
            Message::Go => Kind::Go,
            Message::Running { .. } => Kind::Running,
            Message::Abort(_) => Kind::Abort,
            Message::Channel(_) => Kind::Channel,
            Message::ChannelAck => Kind::ChannelAck,
            Message::Sync(_) => Kind::Sync,
            Message::Flush(_) => Kind::Flush,
            Message::Discard(_) => Kind::Discard,
            Message::Listen => Kind::Listen,
            Message::Request(_) => Kind::Request,
            Message::Loaded => Kind::Loaded,
            Message::Resume(_) => Kind::Resume,
            Message::Received(_) => Kind::Received,
            Message::Prepare => Kind::Prepare,
            Message::Prepared => Kind::Prepared,
        }
    }

    /// The body of the frame.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Message::Hello(hello) => hello.encode(),
            Message::HelloAck(ack) => ack.encode(),
            Message::State(state) => state.encode(),
            Message::Error(text) | Message::Abort(text) => encode_text(text),
            Message::PassEnd(number) | Message::Sync(number) | Message::Flush(number) => {
                number.to_le_bytes().to_vec()
            }
            Message::Running { resumed_ns } => resumed_ns.to_le_bytes().to_vec(),
            Message::Channel(channel) => channel.encode(),
            Message::Resume(session) => session.to_vec(),
            Message::Received(received) => received.encode(),
            Message::Discard(runs) | Message::Request(runs) => {
                let mut bytes = Vec::with_capacity(runs.len() * RUN_BYTES);
                encode_runs(runs, &mut bytes);
                bytes
            }
            Message::Finished
            | Message::Ready
            | Message::Go
            | Message::ChannelAck
            | Message::Listen
            | Message::Loaded
            | Message::Prepare
            | Message::Prepared => Vec::new(),
        }
    }

    /// Decodes the body of a frame of `kind`; page frames are not messages.
    pub fn decode(kind: Kind, body: &[u8]) -> Result<Message, FrameError> {
        Ok(match kind {
            Kind::Hello => Message::Hello(Hello::decode(body)?),
            Kind::HelloAck => Message::HelloAck(HelloAck::decode(body)?),
            Kind::State => Message::State(State::decode(body)?),
            Kind::Error => Message::Error(decode_text(body)),
            Kind::Abort => Message::Abort(decode_text(body)),
            Kind::PassEnd => Message::PassEnd(u32::from_le_bytes(exact(kind, body)?)),
            Kind::Running => {
                Message::Running { resumed_ns: u64::from_le_bytes(exact(kind, body)?) }
            }
            Kind::Finished => exact::<0>(kind, body).map(|_| Message::Finished)?,
            Kind::Ready => exact::<0>(kind, body).map(|_| Message::Ready)?,
            Kind::Go => exact::<0>(kind, body).map(|_| Message::Go)?,
            Kind::Channel => Message::Channel(Channel::decode(body)?),
            Kind::ChannelAck => exact::<0>(kind, body).map(|_| Message::ChannelAck)?,
            Kind::Sync => Message::Sync(u32::from_le_bytes(exact(kind, body)?)),
            Kind::Flush => Message::Flush(u32::from_le_bytes(exact(kind, body)?)),
            Kind::Discard => Message::Discard(decode_list(kind, body)?),
            Kind::Request => Message::Request(decode_list(kind, body)?),
            Kind::Listen => exact::<0>(kind, body).map(|_| Message::Listen)?,
            Kind::Loaded => exact::<0>(kind, body).map(|_| Message::Loaded)?,
            Kind::Resume => Message::Resume(exact(kind, body)?),
            Kind::Received => Message::Received(Received::decode(body)?),
            Kind::Prepare => exact::<0>(kind, body).map(|_| Message::Prepare)?,
            Kind::Prepared => exact::<0>(kind, body).map(|_| Message::Prepared)?,
            Kind::Pages | Kind::Zero | Kind::Packet | Kind::Deltas => {
                return Err(FrameError::Unexpected { found: kind, expected: "a message" });
            }
        })
    }
}

/// Text longer than the bound is cut at a character's edge: an error must always be sayable.
fn encode_text(text: &str) -> Vec<u8> {
    text.as_bytes()[..text.floor_char_boundary(MAX_TEXT_BYTES)].to_vec()
}

/// A peer's text is shown to people, so control characters do not survive.
fn decode_text(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.chars().map(|it| if it.is_control() { ' ' } else { it }).collect()
}

fn exact<const N: usize>(kind: Kind, body: &[u8]) -> Result<[u8; N], FrameError> {
    body.try_into().map_err(|_| FrameError::Malformed {
        kind,
        detail: format!("{} bytes where {N} were due", body.len()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bodies_have_golden_bytes() {
        #[track_caller]
        fn check(message: Message, golden: &[u8]) {
            assert_eq!(message.encode(), golden);
            assert_eq!(Message::decode(message.kind(), golden), Ok(message));
        }
        check(Message::Error("No".to_owned()), b"No");
        check(Message::Abort("é".to_owned()), b"\xc3\xa9");
        check(Message::PassEnd(0x0102), b"\x02\x01\0\0");
        check(Message::Finished, b"");
        check(Message::Ready, b"");
        check(Message::Go, b"");
        check(Message::ChannelAck, b"");
        check(Message::Sync(0x0102), b"\x02\x01\0\0");
        check(Message::Flush(3), b"\x03\0\0\0");
        check(Message::Listen, b"");
        check(Message::Loaded, b"");
        check(Message::Prepare, b"");
        check(Message::Prepared, b"");
        check(Message::Resume([7; 16]), &[7; 16]);
        let runs = vec![PageRun { first: 0x0102, count: 3 }, PageRun { first: 9, count: 1 }];
        let golden = b"\x02\x01\0\0\0\0\x03\0\x09\0\0\0\0\0\x01\0";
        check(Message::Discard(runs.clone()), golden);
        check(Message::Request(runs), golden);
        check(Message::Running { resumed_ns: 5 }, b"\x05\0\0\0\0\0\0\0");
        check(Message::HelloAck(HelloAck { version: 1, capabilities: 2 }), b"\x01\0\0\0\x02\0\0\0");
    }

    #[test]
    fn lists_of_pages_that_lie_are_refused() {
        #[track_caller]
        fn check(body: &[u8], expected: &str) {
            for kind in [Kind::Discard, Kind::Request] {
                let error = Message::decode(kind, body).unwrap_err().to_string();
                assert!(error.contains(expected), "{error}");
            }
        }
        check(b"", "names no page");
        check(&[1; 9], "no whole number of runs");
        check(&[0; 8], "no page at page 0");
    }

    #[test]
    fn long_texts_are_cut_and_control_characters_dropped() {
        let long = "é".repeat(MAX_TEXT_BYTES);
        assert!(Message::Error(long).encode().len() <= MAX_TEXT_BYTES);
        let shown = Message::decode(Kind::Error, b"a\x1b[2Jb\xff").unwrap();
        assert_eq!(shown, Message::Error("a [2Jb\u{fffd}".to_owned()));
    }

    proptest! {
        #[test]
        fn any_body_decodes_or_fails(kind in prop::sample::select(Kind::ALL.to_vec()), body: Vec<u8>) {
            if let Ok(message) = Message::decode(kind, &body) {
                prop_assert_eq!(message.kind(), kind);
            }
        }
    }
}
