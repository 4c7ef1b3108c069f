//! What is said on the control connection of a trial.

use serde::{Deserialize, Serialize};

/// What the client asks for, after the greeting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "ask")]
pub enum Ask {
    /// To get ready for this.
    Test(Box<Test>),
    /// To begin: all lanes are there.
    Begin,
    /// To end before the time, in good order.
    Stop,
}

/// What the server tells; `I` is what was seen in an interval, `S` in all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "tell")]
pub enum Tell<I, S> {
    /// Lanes may come.
    Prepared(Prepared),
    /// It has begun.
    Begun,
    /// An interval is over.
    Interval(Box<I>),
    /// It is over.
    Done(Box<S>),
    /// It cannot be.
    Refused {
        /// Why.
        error: String,
    },
}

/// What is to be tried; a direction of its own for each way in which pages travel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Test {
    /// The version of the trial.
    pub version: u16,
    /// Whether bulk is sent.
    pub bulk: bool,
    /// Whether pages are asked for.
    pub requests: bool,
    /// Whether requests and their pages have a lane of their own.
    pub preempt: bool,
    /// Whether pages travel from the client to the server.
    pub up: bool,
    /// Whether pages travel from the server to the client.
    pub down: bool,
    /// Lanes for bulk, each way.
    pub channels: u16,
    /// Bytes that are sent at once.
    pub block_bytes: u64,
    /// Memory at each source; `None` sends one block over and over.
    pub memory_bytes: Option<u64>,
    /// Whether pages that come are put into memory of that size.
    pub place: bool,
    /// The workload that dirties the source's memory meanwhile, in its short text.
    pub dirty: Option<String>,
    /// The limit, each way.
    pub max_bytes_per_second: Option<u64>,
    /// How long; `None` for as long as bytes or the client say.
    pub duration_ns: Option<u64>,
    /// Bytes of pages to send, each way; `None` for as long as time or the client say.
    pub bytes: Option<u64>,
    /// Time between two intervals.
    pub interval_ns: u64,
    /// Virtual processors that each wait for a page.
    pub vcpus: u16,
    /// Pages asked for ahead of each that is waited for.
    pub prefetch: u16,
    /// Whether pages are sent from where they are.
    pub zero_copy: bool,
    /// `none`, `zlib` or `zstd`.
    pub compression: String,
    /// How hard the compressor tries.
    pub level: Option<u8>,
    /// Congestion control of the lanes, by its name.
    pub congestion: Option<String>,
    /// Class of service of the lanes.
    pub dscp: Option<u8>,
    /// The socket's buffer for sending.
    pub send_buffer_bytes: Option<u64>,
    /// The socket's buffer for receiving.
    pub receive_buffer_bytes: Option<u64>,
}

/// The server is ready.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Prepared {
    /// What each lane has to name.
    pub session: [u8; 16],
    /// What the client should tell its user.
    pub warnings: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{decode, encode, receive};
    use serde::de::DeserializeOwned;

    type Plain = Tell<u32, u32>;

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
        check(Ask::Begin, r#"{"ask":"begin"}"#);
        check(Ask::Stop, r#"{"ask":"stop"}"#);
        check(Plain::Begun, r#"{"tell":"begun"}"#);
        check(Plain::Refused { error: "No".to_owned() }, r#"{"tell":"refused","error":"No"}"#);
        let test = Test { version: 1, bulk: true, channels: 2, ..Test::default() };
        let Ok(found) =
            decode::<Ask>(br#"{"ask":"test","version":1,"bulk":true,"channels":2,"novelty":true}"#)
        else {
            panic!("a field of a newer version is ignored, and missing ones default");
        };
        assert_eq!(found, Ask::Test(Box::new(test)));
        let bytes = encode(&found).unwrap();
        let text = std::str::from_utf8(&bytes[4..]).unwrap();
        for name in ["block-bytes", "max-bytes-per-second", "interval-ns", "zero-copy"] {
            assert!(text.contains(&format!("\"{name}\":")), "{text}");
        }
    }

    #[test]
    fn what_is_no_question_is_refused() {
        for bytes in [&b"{}"[..], b"[]", b"{\"ask\":\"dance\"}", b"{\"ask\":\"test\",\"vcpus\":-1}"]
        {
            assert!(decode::<Ask>(bytes).is_err());
        }
    }
}
