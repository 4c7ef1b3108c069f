//! The connection to the destination.

use std::io;
use std::time::{Duration, Instant};

use sterna_sys::socket;
use sterna_wire::control::HostConfig;
use sterna_wire::stream::{Message, MessageWriter, ReadError};

use super::Stop;
use crate::link::Inbound;
use crate::migration::connections::Connections;
use crate::migration::postcopy::is_link_lost;
use crate::migration::replies::Replies;
use crate::transport::{Socket, Target, TransportError};

/// Longest wait for a greeting or for RUNNING: long for any network, short for a person.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest time in which the destination may accept not a single byte.
pub(super) const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Sleeps are cut into slices of this length, so that a cancel is noticed.
pub(super) const SLICE: Duration = Duration::from_millis(10);

/// Time worth of data that the send buffers together may hold on a slow link; more would make "sent" mean "queued".
const SEND_BUFFER_SECONDS: f64 = 0.05;

/// The send buffer's bounds when it is set at all.
const SEND_BUFFER_BYTES: (u64, u64) = (64 << 10, 4 << 20);

/// Makes connections to the destination, as many as the migration needs.
pub(super) struct Dialer<'a> {
    pub(super) target: &'a Target,
    pub(super) config: &'a HostConfig,
    /// Keeps a handle on each.
    pub(super) connections: &'a Connections,
}

impl Dialer<'_> {
    pub(super) fn dial(&self) -> Result<Socket, TransportError> {
        let socket = self.target.connect(ANSWER_TIMEOUT)?;
        let set_up = || {
            socket.set_write_timeout(Some(STALL_TIMEOUT))?;
            if socket.peer().is_some() {
                // A write that has moved some bytes waits again from the beginning, so its own limit may pass twice.
                socket::set_user_timeout(&socket, Some(STALL_TIMEOUT))?;
            }
            size_send_buffer(&socket, self.config)?;
            self.connections.keep(socket.try_clone()?);
            Ok(())
        };
        set_up().map_err(TransportError::SetUp)?;
        Ok(socket)
    }
}

/// The connection to the destination: one thread writes, one listens.
pub(super) struct Connection {
    pub(super) socket: Socket,
    pub(super) writer: MessageWriter,
    replies: Option<Replies>,
}

impl Connection {
    pub(super) fn open(dialer: &Dialer<'_>) -> Result<Connection, Stop> {
        let socket = dialer.dial().map_err(|error| Stop::Cut(error.to_string()))?;
        let latency = Duration::from_nanos(dialer.config.link_latency_ns);
        let replies = Replies::listen(Inbound::new(socket.try_clone()?, latency)?)?;
        Ok(Connection { socket, writer: MessageWriter::default(), replies: Some(replies) })
    }

    pub(super) fn send(&mut self, message: &Message) -> io::Result<u64> {
        self.writer.send(&mut self.socket, message)
    }

    /// Where frames are written, and their numbers.
    pub(super) fn outlet(&mut self) -> (&mut Socket, &mut MessageWriter) {
        (&mut self.socket, &mut self.writer)
    }

    /// The next message, if one comes within `limit`.
    pub(super) fn next(&self, limit: Duration) -> Result<Option<Message>, Stop> {
        let Some(replies) = &self.replies else { return Err(lost(ReadError::Closed)) };
        let message = if limit.is_zero() { replies.poll() } else { replies.wait(limit) };
        match message {
            Some(Ok(Message::Error(text))) => Err(Stop::Failed(format!("Destination: {text}"))),
            Some(Err(error)) => Err(lost(error)),
            Some(Ok(message)) => Ok(Some(message)),
            None => Ok(None),
        }
    }

    /// An error the destination has sent by now.
    pub(super) fn check(&self) -> Result<(), Stop> {
        match self.replies.as_ref().and_then(Replies::poll) {
            None => Ok(()),
            Some(Ok(Message::Error(text))) => Err(Stop::Failed(format!("Destination: {text}"))),
            Some(Ok(other)) => Err(unexpected(&other, "nothing yet")),
            Some(Err(error)) => Err(lost(error)),
        }
    }

    /// Waits for an answer; `keep_waiting` is asked every few milliseconds.
    pub(super) fn wait(
        &self,
        limit: Duration,
        what: &str,
        keep_waiting: &dyn Fn() -> Result<(), Stop>,
    ) -> Result<Message, Stop> {
        let deadline = Instant::now() + limit;
        let Some(replies) = &self.replies else { return Err(lost(ReadError::Closed)) };
        loop {
            match replies.wait(SLICE) {
                Some(Ok(Message::Error(text))) => {
                    return Err(Stop::Failed(format!("Destination: {text}")));
                }
                Some(Ok(message)) => return Ok(message),
                Some(Err(error)) => return Err(lost(error)),
                None => keep_waiting()?,
            }
            if Instant::now() >= deadline {
                return Err(Stop::Cut(format!(
                    "The destination has not sent {what} within {} s",
                    limit.as_secs()
                )));
            }
        }
    }

    /// Prefers the destination's own words over "broken pipe": after a failed write its error may still be on the way.
    pub(super) fn explain(&self, stop: Stop) -> Stop {
        let Some(replies) = &self.replies else { return stop };
        let deadline = Instant::now() + Duration::from_millis(100);
        while Instant::now() < deadline
            && let Some(Ok(message)) =
                replies.wait(deadline.saturating_duration_since(Instant::now()))
        {
            if let Message::Error(text) = message {
                return Stop::Failed(format!("Destination: {text}"));
            }
        }
        stop
    }

    pub(super) fn abort(&mut self, text: &str) {
        let _ = self.socket.set_write_timeout(Some(Duration::from_millis(200)));
        let _ = self.send(&Message::Abort(text.to_owned()));
    }

    pub(super) fn close(mut self) {
        self.socket.shut_down();
        if let Some(replies) = self.replies.take() {
            replies.join();
        }
    }
}

fn size_send_buffer(socket: &Socket, config: &HostConfig) -> io::Result<()> {
    let rates = [config.link_bytes_per_second, config.max_bandwidth_bytes_per_second];
    let Some(rate) = rates.into_iter().flatten().min() else { return Ok(()) };
    let (least, most) = SEND_BUFFER_BYTES;
    let connections = 1 + config.multifd.as_ref().map_or(0, |it| u64::from(it.channels));
    let bytes = (rate as f64 * SEND_BUFFER_SECONDS) as u64 / connections;
    if bytes < most {
        socket::set_send_buffer_bytes(socket, bytes.max(least) as usize)?;
    }
    Ok(())
}

fn lost(error: ReadError) -> Stop {
    let stop = if is_link_lost(&error) { Stop::Cut } else { Stop::Failed };
    stop(match error {
        ReadError::Closed => "The destination closed the connection".to_owned(),
        ReadError::Frame(error) => format!("The destination's answer is damaged: {error}"),
        ReadError::Io(error) => format!("The connection to the destination failed: {error}"),
    })
}

pub(super) fn unexpected(message: &Message, expected: &str) -> Stop {
    Stop::Failed(format!("The destination sent {:?} where {expected} was due", message.kind()))
}
