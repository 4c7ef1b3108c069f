//! Further connections of a migration: the source opens them after its greeting, the destination takes them in.
//!
//! They introduce themselves by a frame, since the order in which connections are accepted says nothing.
//! Whoever comes with another session, or with no introduction at all, is sent away on its own connection, and the migration goes on waiting for its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sterna_wire::stream::{Channel, Message, MessageReader, MessageWriter, ReadError, Role};

use super::callers::{Caller, Callers, NoCaller, Strangers};
use super::trouble::Trouble;
use crate::link::Inbound;
use crate::transport::{Listener, Socket, TransportError};

/// Longest wait until all further connections are there.
pub const CHANNELS_TIMEOUT: Duration = Duration::from_secs(10);

/// A further connection, introduced and acknowledged.
#[derive(Debug)]
pub struct Further {
    /// What it is for, and which one it is.
    pub channel: Channel,
    /// The connection.
    pub socket: Socket,
    /// Numbers the frames that leave on it.
    pub writer: MessageWriter,
    /// What the peer says on it.
    pub inbound: Inbound,
    /// Checks the numbers of what the peer says on it.
    pub reader: MessageReader,
    /// What is to go wrong on it.
    pub trouble: Arc<Trouble>,
}

/// Why a further connection could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// It could not be made, or none came.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// It broke, or the peer talks nonsense on it.
    #[error("Connection {index} for {} pages failed: {source}", .role.name())]
    Read {
        /// What it is for.
        role: Role,
        /// Which one of them.
        index: u8,
        /// What was read.
        source: ReadError,
    },
    /// The peer refused it.
    #[error("The destination refused connection {index} for {} pages: {text}", .role.name())]
    Refused {
        /// What it is for.
        role: Role,
        /// Which one of them.
        index: u8,
        /// The destination's words.
        text: String,
    },
    /// Some did not come.
    #[error(
        "Only {found} of {expected} further connections came within {} s{strangers}; look for a firewall that limits connections to one port",
        .limit.as_secs()
    )]
    Missing {
        /// How many came.
        found: usize,
        /// How many were announced.
        expected: usize,
        /// The wait.
        limit: Duration,
        /// Who else came.
        strangers: Strangers,
    },
    /// The wait was given up.
    #[error("The wait for further connections was given up")]
    GivenUp,
    /// A system call failed.
    #[error("A further connection cannot be set up: {0}")]
    Io(#[from] std::io::Error),
}

/// Opens the further connections of `role` with `connect`, and waits until the destination has acknowledged each.
///
/// All of them introduce themselves before the first acknowledgement is waited for, so this takes two round trips, however many there are.
pub fn open(
    session: [u8; 16],
    role: Role,
    count: u8,
    latency: Duration,
    connect: &mut dyn FnMut() -> Result<Socket, TransportError>,
) -> Result<Vec<Further>, ChannelError> {
    let mut channels = Vec::with_capacity(usize::from(count));
    for index in 0..count {
        let channel = Channel { session, role, index };
        let mut socket = connect()?;
        let mut writer = MessageWriter::default();
        writer.send(&mut socket, &Message::Channel(channel))?;
        let mut inbound = Inbound::new(socket.try_clone()?, latency)?;
        inbound.set_timeout(Some(CHANNELS_TIMEOUT))?;
        let reader = MessageReader::default();
        let trouble = Arc::default();
        channels.push(Further { channel, socket, writer, inbound, reader, trouble });
    }
    for Further { channel: Channel { role, index, .. }, inbound, reader, .. } in &mut channels {
        let (role, index) = (*role, *index);
        match reader.message(inbound) {
            Ok(Message::ChannelAck) => inbound.set_timeout(None)?,
            Ok(Message::Error(text)) => return Err(ChannelError::Refused { role, index, text }),
            Ok(other) => {
                let text = format!("it answered with {:?}", other.kind());
                return Err(ChannelError::Refused { role, index, text });
            }
            Err(source) => return Err(ChannelError::Read { role, index, source }),
        }
    }
    Ok(channels)
}

/// What the destination waits for.
pub struct Reception<'a> {
    /// Where they come in.
    pub listener: &'a Listener,
    /// The migration they must belong to.
    pub session: [u8; 16],
    /// How many of each role.
    pub expected: &'a [(Role, u8)],
    /// The emulated wire's delay.
    pub latency: Duration,
    /// How long all of them may take together.
    pub limit: Duration,
    /// Whether somebody still wants the migration.
    pub keep_waiting: &'a dyn Fn() -> bool,
    /// Hears of those who were sent away.
    pub on_stranger: &'a dyn Fn(&str),
}

impl Reception<'_> {
    /// Takes all expected connections in, in order of role and number, and acknowledges each.
    pub fn take_all(
        &self,
        on_connect: &mut dyn FnMut(&Socket),
    ) -> Result<Vec<Further>, ChannelError> {
        let expected: usize = self.expected.iter().map(|it| usize::from(it.1)).sum();
        let deadline = Instant::now() + self.limit;
        let mut found: Vec<Further> = Vec::with_capacity(expected);
        let mut callers = Callers::at(self.listener, self.latency, self.on_stranger);
        while found.len() < expected {
            let caller = callers.next(deadline, self.keep_waiting).map_err(|it| match it {
                NoCaller::GivenUp => ChannelError::GivenUp,
                NoCaller::Ours(error) => error.into(),
                NoCaller::Late | NoCaller::Crowded => {
                    let (found, limit, strangers) = (found.len(), self.limit, callers.strangers());
                    ChannelError::Missing { found, expected, limit, strangers }
                }
            })?;
            match self.judge(&caller.introduction, &found) {
                Err(reason) => callers.send_away(caller, &reason),
                Ok(channel) => {
                    // One that is gone again was none.
                    let Ok(further) = acknowledge(channel, caller) else { continue };
                    on_connect(&further.socket);
                    found.push(further);
                }
            }
        }
        found.sort_by_key(|it| (it.channel.role as u8, it.channel.index));
        Ok(found)
    }

    /// Which one of ours it is, or why it is a stranger.
    fn judge(&self, introduction: &Message, found: &[Further]) -> Result<Channel, String> {
        let Message::Channel(channel) = introduction else {
            return Err(format!("{:?} where a further connection was due", introduction.kind()));
        };
        let Channel { session, role, index } = *channel;
        let count = self.expected.iter().find(|it| it.0 == role).map_or(0, |it| it.1);
        if session != self.session {
            Err("The connection belongs to another migration".to_owned())
        } else if index >= count {
            Err(format!("Number {index} of {count} connections for {} pages", role.name()))
        } else if found.iter().any(|it| it.channel == *channel) {
            Err(format!("Connection {index} for {} pages is there already", role.name()))
        } else {
            Ok(*channel)
        }
    }
}

fn acknowledge(channel: Channel, caller: Caller) -> std::io::Result<Further> {
    let Caller { mut socket, inbound, reader, .. } = caller;
    let mut writer = MessageWriter::default();
    writer.send(&mut socket, &Message::ChannelAck)?;
    Ok(Further { channel, socket, writer, inbound, reader, trouble: Arc::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Target;
    use std::io::Write;
    use std::net::TcpStream;
    use sterna_wire::control::Endpoint;

    const SESSION: [u8; 16] = [7; 16];

    fn listen() -> (Listener, Endpoint) {
        Listener::bind(&Endpoint::Tcp("127.0.0.1:0".to_owned())).unwrap()
    }

    fn connector(endpoint: &Endpoint) -> impl FnMut() -> Result<Socket, TransportError> + use<> {
        let target = Target::clear(endpoint.clone());
        move || target.connect(Duration::from_secs(5))
    }

    fn take(listener: &Listener, millis: u64) -> Result<Vec<Further>, ChannelError> {
        Reception {
            listener,
            session: SESSION,
            expected: &[(Role::Multifd, 3), (Role::Urgent, 1)],
            latency: Duration::ZERO,
            limit: Duration::from_millis(millis),
            keep_waiting: &|| true,
            on_stranger: &|_| {},
        }
        .take_all(&mut |_| {})
    }

    #[test]
    fn all_roles_arrive_sorted_and_carry_messages() {
        let (listener, endpoint) = listen();
        let source = std::thread::spawn(move || {
            let connect = &mut connector(&endpoint);
            let mut urgent = connect().unwrap();
            let mut writer = MessageWriter::default();
            let channel = Channel { session: SESSION, role: Role::Urgent, index: 0 };
            writer.send(&mut urgent, &Message::Channel(channel)).unwrap();
            let mut channels =
                open(SESSION, Role::Multifd, 3, Duration::from_millis(5), connect).unwrap();
            for (it, pass) in channels.iter_mut().zip(10..) {
                it.writer.send(&mut it.socket, &Message::PassEnd(pass)).unwrap();
            }
            (urgent, channels)
        });
        let mut found = take(&listener, 5000).unwrap();
        let names: Vec<_> =
            found.iter().map(|it| (it.channel.role.name(), it.channel.index)).collect();
        assert_eq!(names, [("multifd", 0), ("multifd", 1), ("multifd", 2), ("urgent", 0)]);
        let Further { reader, inbound, .. } = &mut found[2];
        assert_eq!(reader.message(inbound).unwrap(), Message::PassEnd(12));
        drop(source.join().unwrap());
    }

    #[test]
    fn strangers_are_told_so_and_do_no_harm() {
        let (listener, endpoint) = listen();
        let Endpoint::Tcp(address) = endpoint.clone() else { panic!() };
        let source = std::thread::spawn(move || {
            let mut noise = TcpStream::connect(&address).unwrap();
            noise.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
            let _silent = TcpStream::connect(&address).unwrap();
            let connect = &mut connector(&endpoint);
            let open = |session, role, count, connect: &mut dyn FnMut() -> _| {
                open(session, role, count, Duration::ZERO, connect)
            };
            let other = open([8; 16], Role::Multifd, 1, connect).unwrap_err();
            assert!(other.to_string().contains("another migration"), "{other}");
            let ours = open(SESSION, Role::Multifd, 3, connect).unwrap();
            let twice = open(SESSION, Role::Multifd, 1, connect).unwrap_err();
            assert!(twice.to_string().contains("there already"), "{twice}");
            let beyond = open(SESSION, Role::Urgent, 2, connect).unwrap_err();
            assert!(beyond.to_string().contains("Number 1 of 1"), "{beyond}");
            (noise, ours)
        });
        let found = take(&listener, 20_000);
        // The urgent connection above was acknowledged before its neighbour was refused.
        assert_eq!(found.unwrap().len(), 4);
        drop(listener);
        drop(source.join());
    }

    #[test]
    fn connections_that_do_not_come_are_not_waited_for_for_ever() {
        let (listener, endpoint) = listen();
        let one = std::thread::spawn(move || {
            open(SESSION, Role::Multifd, 1, Duration::ZERO, &mut connector(&endpoint))
        });
        let error = take(&listener, 300).unwrap_err().to_string();
        assert!(error.contains("Only 1 of 4 further connections"), "{error}");
        drop(one.join());
    }
}
