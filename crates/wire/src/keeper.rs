//! What is said to the keeper of one QEMU on another machine, and what it answers; one question at a time.
//!
//! Each message is one JSON value, the whole content of a control frame of a [`mux`](crate::mux) session.
//! Unknown fields are left aside. Both ends are the same program, so there is only one version.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A question to the keeper. Names are of files in its private directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum KeeperRequest {
    /// Who and where are you?
    Hello,
    /// What time is it?
    Clock,
    /// Take a file, whose bytes will come on a channel.
    Receive {
        /// Its name, below the directory.
        name: String,
        /// The channel.
        channel: u16,
        /// How many bytes will come.
        length: u64,
    },
    /// Is the last file complete?
    Received,
    /// Start QEMU; the one before is ended.
    Launch {
        /// The program; a name without a slash is searched for.
        program: String,
        /// Its arguments.
        arguments: Vec<String>,
        /// Processors of the machine that it may use; empty for all.
        cpus: Vec<u64>,
        /// Whether it gets no transparent huge pages.
        small_pages: bool,
        /// The channel of its monitor, which is its standard input.
        monitor: u16,
    },
    /// Connect a channel to a socket that QEMU listens on.
    Connect {
        /// The socket's name.
        name: String,
        /// The channel.
        channel: u16,
    },
    /// Listen for QEMU on a socket, and connect a channel to what comes.
    Listen {
        /// The socket's name.
        name: String,
        /// The channel.
        channel: u16,
    },
    /// The last bytes of a file.
    Read {
        /// Its name.
        name: String,
        /// At most so many, and at most 64 KiB.
        limit: u64,
    },
    /// Remove a file.
    Remove {
        /// Its name.
        name: String,
    },
    /// What QEMU has cost since the last time.
    Costs,
    /// Whether QEMU runs.
    State,
    /// Kill QEMU and wait until it is gone.
    Kill {
        /// Its number; another one is left alone.
        pid: u32,
    },
}

/// An answer of the keeper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum KeeperReply {
    /// Done.
    Done,
    /// Refused, or tried and failed.
    Refused {
        /// Why.
        error: String,
        /// Whether something is missing on the machine, which somebody could install.
        is_unsupported: bool,
    },
    /// To [`KeeperRequest::Hello`].
    Hello(KeeperHello),
    /// To [`KeeperRequest::Clock`].
    Clock {
        /// The machine's monotonic clock.
        monotonic_ns: u64,
        /// Its wall clock, since 1970.
        realtime_ns: u64,
    },
    /// To [`KeeperRequest::Received`].
    Received {
        /// How many bytes came.
        length: u64,
        /// Their CRC-32C.
        checksum: u32,
    },
    /// To [`KeeperRequest::Launch`].
    Launched {
        /// The process's number there.
        pid: u32,
    },
    /// To [`KeeperRequest::Read`].
    Bytes {
        /// As many as there are.
        bytes: Vec<u8>,
    },
    /// To [`KeeperRequest::Costs`].
    Costs {
        /// Oldest first.
        points: Vec<KeeperCost>,
    },
    /// To [`KeeperRequest::State`] and [`KeeperRequest::Kill`].
    State {
        /// How QEMU ended, if it has.
        end: Option<String>,
        /// What it said on stderr so far; only the last lines.
        stderr: Vec<String>,
    },
}

/// Who and where a keeper is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeeperHello {
    /// Its private directory.
    pub directory: String,
    /// The machine's name.
    pub host: String,
    /// The kernel there.
    pub kernel: String,
    /// Processors there.
    pub cpus: u64,
    /// Why KVM is out of the question there; `None` when it is not.
    pub kvm_obstacle: Option<String>,
    /// The address by which ssh came in there.
    pub server_address: Option<String>,
    /// The address from which ssh came in there.
    pub client_address: Option<String>,
}

/// What QEMU has cost at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeeperCost {
    /// On the monotonic clock there.
    pub at_ns: u64,
    /// Processor time since it began, by class of threads.
    pub classes: BTreeMap<String, u64>,
    /// Memory in RAM.
    pub resident_bytes: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_golden_bytes() {
        #[track_caller]
        fn check<T>(value: &T, golden: &str)
        where
            T: Serialize + for<'a> Deserialize<'a> + PartialEq + std::fmt::Debug,
        {
            assert_eq!(serde_json::to_string(value).unwrap(), golden);
            assert_eq!(serde_json::from_str::<T>(golden).unwrap(), *value);
        }
        check(&KeeperRequest::Hello, r#"{"request":"hello"}"#);
        check(
            &KeeperRequest::Launch {
                program: "q".to_owned(),
                arguments: vec!["-S".to_owned()],
                cpus: vec![1],
                small_pages: true,
                monitor: 2,
            },
            r#"{"request":"launch","program":"q","arguments":["-S"],"cpus":[1],"small_pages":true,"monitor":2}"#,
        );
        check(
            &KeeperRequest::Read { name: "n".to_owned(), limit: 9 },
            r#"{"request":"read","name":"n","limit":9}"#,
        );
        check(
            &KeeperReply::Clock { monotonic_ns: 1, realtime_ns: 2 },
            r#"{"reply":"clock","monotonic_ns":1,"realtime_ns":2}"#,
        );
        check(
            &KeeperReply::State { end: None, stderr: Vec::new() },
            r#"{"reply":"state","end":null,"stderr":[]}"#,
        );
        check(&KeeperReply::Bytes { bytes: vec![7] }, r#"{"reply":"bytes","bytes":[7]}"#);
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for text in ["", "{}", r#"{"request":"dance"}"#, r#"{"request":"read","limit":-1}"#] {
            assert!(serde_json::from_str::<KeeperRequest>(text).is_err(), "{text}");
        }
        let newer = r#"{"request":"clock","novelty":1}"#;
        assert_eq!(serde_json::from_str::<KeeperRequest>(newer).unwrap(), KeeperRequest::Clock);
    }
}
