//! Further connections of a migration: who they are for, and how they introduce themselves.

use super::{FrameError, Kind};

/// What a further connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Role {
    /// Pages, packet by packet, beside other connections that do the same.
    Multifd = 1,
    /// Pages that the guest waits for after the switch to post-copy.
    Urgent = 2,
}

/// Optional features of a stream, one bit each; [`Hello`](super::Hello) asks for them, and the acknowledgement repeats those that will be used.
pub mod capability {
    /// Pages travel on connections of [`Role::Multifd`](super::Role::Multifd).
    pub const MULTIFD: u32 = 1 << 0;
    /// There is one connection of [`Role::Urgent`](super::Role::Urgent).
    pub const URGENT: u32 = 1 << 1;
    /// Pages that were sent before may travel as what changed in them, in frames of kind `Deltas`.
    pub const XBZRLE: u32 = 1 << 3;
    /// The guest may go on by post-copy, and the destination prepares for it while the guest still runs on the source.
    pub const POSTCOPY: u32 = 1 << 4;
    /// A connection that is lost in post-copy may be made anew.
    pub const RECOVER: u32 = 1 << 5;
}

/// First frame of a further connection: which migration it belongs to, and which of its connections it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    /// The migration's session, as in its greeting.
    pub session: [u8; 16],
    /// What it is for.
    pub role: Role,
    /// Its number among those of its role, from 0.
    pub index: u8,
}

const CHANNEL_BYTES: usize = 16 + 4;

impl Role {
    /// Every role.
    pub const ALL: [Role; 2] = [Role::Multifd, Role::Urgent];

    /// The word for messages.
    pub fn name(self) -> &'static str {
        match self {
            Role::Multifd => "multifd",
            Role::Urgent => "urgent",
        }
    }
}

impl Channel {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.session.to_vec();
        bytes.extend_from_slice(&[self.role as u8, self.index, 0, 0]);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Channel, FrameError> {
        let malformed = |detail| FrameError::Malformed { kind: Kind::Channel, detail };
        let Some((session, &[role, index, 0, 0])) = bytes.split_first_chunk::<16>() else {
            return Err(malformed(format!(
                "{} bytes where {CHANNEL_BYTES} were due, two of them zero",
                bytes.len()
            )));
        };
        let known = Role::ALL.into_iter().find(|it| *it as u8 == role);
        let role = known.ok_or_else(|| malformed(format!("unknown role {role}")))?;
        Ok(Channel { session: *session, role, index })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn channel_has_golden_bytes() {
        let channel = Channel { session: [9; 16], role: Role::Urgent, index: 3 };
        let golden = [[9; 16].as_slice(), &[2, 3, 0, 0]].concat();
        assert_eq!(channel.encode(), golden);
        assert_eq!(Channel::decode(&golden), Ok(channel));
    }

    #[test]
    fn lies_are_refused() {
        #[track_caller]
        fn check(change: impl Fn(&mut Vec<u8>), expected: &str) {
            let mut bytes = Channel { session: [9; 16], role: Role::Multifd, index: 0 }.encode();
            change(&mut bytes);
            let error = Channel::decode(&bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        check(|it| it[16] = 0, "unknown role 0");
        check(|it| it[16] = 3, "unknown role 3");
        check(|it| it[19] = 1, "two of them zero");
        check(|it| it.push(0), "21 bytes");
        check(|it| it.truncate(15), "15 bytes");
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_fail(bytes: Vec<u8>) {
            if let Ok(channel) = Channel::decode(&bytes) {
                prop_assert_eq!(channel.encode(), bytes);
            }
        }
    }
}
