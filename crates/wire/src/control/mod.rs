//! The control connection: the pilot asks, a host answers, one question at a time.
//!
//! ```text
//!  pilot                                   host
//!    │  Request                              │
//!    │ ────────────────────────────────────► │
//!    │            Progress (none or several) │
//!    │ ◄──────────────────────────────────── │
//!    │                      Reply or Refused │
//!    │ ◄──────────────────────────────────── │
//! ```
//!
//! A frame is a little-endian 32-bit length, at most [`MAX_FRAME_BYTES`], and that many bytes of JSON.
//! JSON, since a control message is small and rare, and since a field added by a newer version is ignored by an older one.
//! The first request on a connection is [`Request::Hello`]; a host answers nothing else before it.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

mod multifd;
mod postcopy;
mod request;
mod samples;
mod status;
mod techniques;

pub use multifd::{ChannelStatus, MultifdConfig, MultifdStatus};
pub use postcopy::{FaultLatency, PageFaults, Served};
pub use request::{
    Act, Endpoint, HostConfig, PostcopyConfig, Prepared, Reply, Request, Side, Welcome,
};
pub use samples::{
    Corruption, FirstWrites, Gap, HostEvent, HostSample, HostSamples, LatencySummary, Verified,
};
pub use status::{HostStatus, PassRecord, Phase, Stamps};
pub use techniques::{
    AutoConvergeConfig, LimitedWorker, RuleVerdict, Switchover, SwitchoverRule, TechniqueStatus,
    Techniques, XbzrleCounters,
};

/// The control version this build speaks.
pub const VERSION: u16 = 1;

/// The oldest control version this build still understands.
pub const OLDEST_VERSION: u16 = 1;

/// Longest first request: whoever has not said yet who it is may claim no more.
pub const MAX_HELLO_BYTES: usize = 4096;

/// Longest control frame; a minute of samples at 10 Hz with 1024 workers stays below, and whoever asks does so each 200 ms.
pub const MAX_FRAME_BYTES: usize = 16 << 20;

/// Why a control frame could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The peer is gone.
    #[error("The control connection was closed")]
    Closed,
    /// The connection failed, or a wait ran out.
    #[error("The control connection failed")]
    Io(#[source] io::Error),
    /// A length beyond the bound.
    #[error("A control frame claims {0} bytes; at most {MAX_FRAME_BYTES} are allowed")]
    TooLong(u64),
    /// The JSON is not what was expected.
    #[error("A control frame cannot be understood")]
    Malformed(#[source] serde_json::Error),
}

impl From<io::Error> for ControlError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset => ControlError::Closed,
            _ => ControlError::Io(error),
        }
    }
}

/// Sends one request or reply as one write.
pub fn send<T: Serialize>(to: &mut impl Write, value: &T) -> Result<(), ControlError> {
    let bytes = encode(value)?;
    Ok(to.write_all(&bytes)?)
}

/// Receives one request or reply.
pub fn receive<T: DeserializeOwned>(from: &mut impl Read) -> Result<T, ControlError> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_FRAME_BYTES {
        return Err(ControlError::TooLong(length as u64));
    }
    // `take` lets the buffer grow with what really comes, not with what was claimed.
    let mut body = Vec::new();
    if from.take(length as u64).read_to_end(&mut body)? < length {
        return Err(ControlError::Closed);
    }
    decode(&body)
}

/// The bytes of one frame, length included.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, ControlError> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, value).map_err(ControlError::Malformed)?;
    let length = bytes.len() - 4;
    if length > MAX_FRAME_BYTES {
        return Err(ControlError::TooLong(length as u64));
    }
    bytes[..4].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(bytes)
}

/// Decodes the body of a frame.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, ControlError> {
    serde_json::from_slice(body).map_err(ControlError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn frames_have_golden_bytes() {
        #[track_caller]
        fn check<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
            value: T,
            golden: &str,
        ) {
            let bytes = encode(&value).unwrap();
            assert_eq!(bytes[..4], (golden.len() as u32).to_le_bytes());
            assert_eq!(std::str::from_utf8(&bytes[4..]).unwrap(), golden);
            assert_eq!(receive::<T>(&mut bytes.as_slice()).unwrap(), value);
        }
        check(
            Request::Hello { version: 1, oldest_version: 0, token: "t".to_owned() },
            r#"{"request":"hello","version":1,"token":"t"}"#,
        );
        check(
            Request::Hello { version: 2, oldest_version: 1, token: "t".to_owned() },
            r#"{"request":"hello","version":2,"oldest_version":1,"token":"t"}"#,
        );
        check(Reply::Gone { reason: "r".to_owned() }, r#"{"reply":"gone","reason":"r"}"#);
        let welcome = Welcome { version: 1, pid: 7, ..Welcome::default() };
        assert_eq!(
            decode::<Reply>(br#"{"reply":"welcome","version":1,"pid":7}"#).unwrap(),
            Reply::Welcome(welcome)
        );
        check(Request::Act(Act::Cancel), r#"{"request":"act","act":"cancel"}"#);
        check(
            Request::Listen { endpoint: Endpoint::Tcp("[::1]:0".to_owned()), session: [1; 16] },
            r#"{"request":"listen","endpoint":{"transport":"tcp","address":"[::1]:0"},"session":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}"#,
        );
        check(Reply::Clock { now_ns: 5 }, r#"{"reply":"clock","now_ns":5}"#);
        check(
            Reply::Refused { error: "No".to_owned(), unsupported: true },
            r#"{"reply":"refused","error":"No","unsupported":true}"#,
        );
    }

    #[test]
    fn fields_of_a_newer_version_are_ignored_and_missing_ones_default() {
        let status: HostStatus = decode(br#"{"phase":"active","novelty":[1]}"#).unwrap();
        assert_eq!(status, HostStatus { phase: Phase::Active, ..HostStatus::default() });
    }

    #[test]
    fn lies_are_refused() {
        #[track_caller]
        fn check(bytes: &[u8], expected: &str) {
            let error = receive::<Request>(&mut &bytes[..]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        check(&[0xff; 8], "claims 4294967295 bytes");
        check(&[4, 0, 0, 0, b'{'], "closed");
        check(&[2, 0, 0, 0, b'{', b'}'], "cannot be understood");
        check(&[], "closed");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = receive::<Request>(&mut bytes.as_slice());
            let _ = decode::<Reply>(&bytes);
        }
    }
}
