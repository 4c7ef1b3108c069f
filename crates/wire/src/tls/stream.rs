//! An encrypted connection whose two directions are used by two threads.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::Connection;

use super::{Credentials, TlsError, explain};

/// Encrypted bytes taken from the socket at once.
const INCOMING_BYTES: usize = 256 << 10;

/// Plain bytes encrypted at once; the other direction waits that long.
const OUTGOING_BYTES: usize = 128 << 10;

/// How long a peer that is not believed is listened to, so that it hears why; a silent one, as long as the socket's own timeout.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// An encrypted connection over `S`.
///
/// # Two directions, one state
/// rustls keeps both directions in one value, but a source sends while it listens.
/// So the state is locked only while bytes are turned from plain to encrypted or back, and never while the socket is waited for; each direction has a lock of its own that keeps its bytes in order.
/// Reading never writes: what the protocol itself wants to say (a new key, say) leaves with the next write.
///
/// # A write that failed
/// What the socket did not take is never sent later, so a message counts as sent if and only if its write succeeded.
pub struct TlsStream<S> {
    socket: S,
    state: Mutex<Connection>,
    incoming: Mutex<Incoming>,
    outgoing: Mutex<Outgoing>,
    /// Bytes written to the socket beyond those that were to be sent.
    encryption_bytes: AtomicU64,
}

struct Incoming {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

#[derive(Default)]
struct Outgoing {
    bytes: Vec<u8>,
    is_broken: bool,
}

impl<S> TlsStream<S>
where
    for<'a> &'a S: Read + Write,
{
    /// Greets a server that is known as `name`. Waits for it until `deadline` at least, in steps of the socket's own timeout.
    ///
    /// # Errors
    /// The peer cannot be believed, does not believe us as far as is known by now, or does not answer. A peer that does not believe us may say so only in place of its first bytes.
    pub fn connect(
        socket: S,
        credentials: &Credentials,
        name: &str,
        deadline: Instant,
    ) -> Result<TlsStream<S>, TlsError> {
        TlsStream::greet(socket, credentials.connect(name)?.into(), deadline)
    }

    /// Greets a client, which must show a certificate; for the rest as [`connect`](Self::connect).
    ///
    /// # Errors
    /// As there, but a client has been believed when this succeeds.
    pub fn accept(
        socket: S,
        credentials: &Credentials,
        deadline: Instant,
    ) -> Result<TlsStream<S>, TlsError> {
        TlsStream::greet(socket, credentials.accept()?.into(), deadline)
    }

    fn greet(
        socket: S,
        mut state: Connection,
        deadline: Instant,
    ) -> Result<TlsStream<S>, TlsError> {
        // The size of a write bounds what is kept.
        state.set_buffer_limit(None);
        let mut incoming = Incoming { bytes: vec![0; INCOMING_BYTES], start: 0, end: 0 };
        let mut handshake_bytes = 0;
        loop {
            handshake_bytes += flush(&socket, &mut state).map_err(TlsError::Io)?;
            if !state.is_handshaking() {
                break;
            }
            if Instant::now() >= deadline {
                return Err(TlsError::Handshake(
                    "The peer has not finished the TLS handshake in time".to_owned(),
                ));
            }
            if incoming.is_empty() {
                match incoming.fill(&socket) {
                    Ok(0) => return Err(TlsError::Handshake(
                        "The peer closed the connection during the TLS handshake; does it speak TLS?"
                            .to_owned(),
                    )),
                    Ok(_) => {}
                    Err(error) if is_timeout(&error) => continue,
                    Err(error) => return Err(TlsError::Io(error)),
                }
            }
            if let Err(error) = incoming.feed(&mut state) {
                // The peer is told what is wrong with it, as far as it still listens.
                let _ = flush(&socket, &mut state);
                incoming.waste(&socket);
                return Err(error);
            }
        }
        Ok(TlsStream {
            socket,
            state: Mutex::new(state),
            incoming: Mutex::new(incoming),
            outgoing: Mutex::default(),
            encryption_bytes: AtomicU64::new(handshake_bytes),
        })
    }

    /// Reads decrypted bytes; 0 when the peer said that nothing follows.
    ///
    /// # Errors
    /// The socket's, and bytes that are not the peer's. The end of the socket is `UnexpectedEof`.
    pub fn receive(&self, to: &mut [u8]) -> io::Result<usize> {
        let mut incoming = self.incoming.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            {
                let mut state = self.state();
                match state.reader().read(to) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    done => return done,
                }
                if !incoming.is_empty() {
                    incoming.feed(&mut state)?;
                    continue;
                }
            }
            if incoming.fill(&self.socket)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Encrypts and sends the beginning of `from`; gives how much.
    ///
    /// # Errors
    /// The socket's. The connection cannot be written to any more after one.
    pub fn send(&self, from: &[u8]) -> io::Result<usize> {
        let mut outgoing = self.outgoing.lock().unwrap_or_else(PoisonError::into_inner);
        if outgoing.is_broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let taken = {
            let mut state = self.state();
            let most = from.len().min(OUTGOING_BYTES);
            let taken = state.writer().write(&from[..most])?;
            while state.wants_write() {
                state.write_tls(&mut outgoing.bytes)?;
            }
            taken
        };
        let sent = (&self.socket).write_all(&outgoing.bytes);
        let beyond = outgoing.bytes.len().saturating_sub(taken) as u64;
        self.encryption_bytes.fetch_add(beyond, Ordering::Relaxed);
        outgoing.bytes.clear();
        outgoing.is_broken = sent.is_err();
        sent.map(|()| taken)
    }

    /// Whether a read would find something without waiting for the socket. Says no while another thread reads.
    pub fn has_received(&self) -> bool {
        let Ok(incoming) = self.incoming.try_lock() else { return false };
        !incoming.is_empty()
            || self.state().process_new_packets().is_ok_and(|it| it.plaintext_bytes_to_read() > 0)
    }

    fn state(&self) -> MutexGuard<'_, Connection> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> TlsStream<S> {
    /// What encryption added to the bytes that were sent: the handshake, and of each record its header and its tag.
    pub fn encryption_bytes(&self) -> u64 {
        self.encryption_bytes.load(Ordering::Relaxed)
    }

    /// The socket, for its options; its bytes are encrypted.
    pub fn socket(&self) -> &S {
        &self.socket
    }
}

impl<S: std::fmt::Debug> std::fmt::Debug for TlsStream<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsStream").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Incoming {
    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn fill<S>(&mut self, mut socket: &S) -> io::Result<usize>
    where
        for<'a> &'a S: Read,
    {
        self.start = 0;
        self.end = 0;
        self.end = loop {
            match socket.read(&mut self.bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => break done?,
            }
        };
        Ok(self.end)
    }

    /// Swallows what still comes for a moment: closing before would be a reset, which overtakes what the peer was told.
    fn waste<S>(&mut self, socket: &S)
    where
        for<'a> &'a S: Read,
    {
        let deadline = Instant::now() + LAST_WORDS;
        while Instant::now() < deadline && self.fill(socket).is_ok_and(|it| it > 0) {}
    }

    /// Decrypts at most a record.
    fn feed(&mut self, state: &mut Connection) -> Result<(), TlsError> {
        let mut rest = &self.bytes[self.start..self.end];
        let before = rest.len();
        state.read_tls(&mut rest).map_err(TlsError::Io)?;
        self.start += before - rest.len();
        state
            .process_new_packets()
            .map(|_| ())
            .map_err(|error| TlsError::Handshake(explain(&error)))
    }
}

/// Sends what the protocol itself wants to say; gives how much that was.
fn flush<S>(mut socket: &S, state: &mut Connection) -> io::Result<u64>
where
    for<'a> &'a S: Write,
{
    let mut bytes = Vec::new();
    while state.wants_write() {
        state.write_tls(&mut bytes)?;
    }
    socket.write_all(&bytes)?;
    Ok(bytes.len() as u64)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
