//! Several streams over one session, each an ordinary socket at both ends.
//!
//! One thread reads the session and hands out what comes.
//! Each channel has a thread that sends what its socket says, and one that writes to it, so that a reader who is slow, or a QEMU that is busy, holds up its own channel only.
//! A channel whose reader is so slow that [`MOST_WAITING_BYTES`] wait for it is cut off.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sterna_wire::mux::{MuxDecoder, MuxError, MuxFrame, PREAMBLE, encode_close, encode_data};

/// The channel of questions and answers; each frame on it is one of them.
const CONTROL: u16 = 0;

/// Bytes that may wait for a channel's reader.
const MOST_WAITING_BYTES: usize = 16 << 20;

/// How long the session may take nothing of what is sent. A frame that was cut cannot be continued, so the session ends then.
const WRITE_LIMIT: Duration = Duration::from_secs(20);

/// One end of a session.
pub struct Mux {
    shared: Arc<Shared>,
    control: Mutex<Receiver<Vec<u8>>>,
    /// Ends the session also while a write holds it.
    session: UnixStream,
}

/// What the threads have in common.
struct Shared {
    session: Mutex<UnixStream>,
    channels: Mutex<BTreeMap<u16, Inlet>>,
    error: Mutex<Option<MuxError>>,
}

/// Where the bytes of a channel go.
struct Inlet {
    queue: Sender<Vec<u8>>,
    waiting: Arc<AtomicUsize>,
    socket: UnixStream,
}

/// Why no control message came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoMessage {
    /// The session has ended.
    #[error("The session has ended")]
    Ended,
    /// The other end speaks something else.
    #[error(transparent)]
    Garbled(#[from] MuxError),
    /// Nothing came in time.
    #[error("Nothing came in time")]
    Silent,
}

impl Mux {
    /// Takes over a session's socket; both ends do.
    ///
    /// # Errors
    /// The session has ended, or no thread can be had.
    pub fn start(session: &UnixStream) -> io::Result<Mux> {
        Mux::start_with(session, WRITE_LIMIT)
    }

    fn start_with(session: &UnixStream, write_limit: Duration) -> io::Result<Mux> {
        session.set_read_timeout(None)?;
        session.set_write_timeout(Some(write_limit))?;
        let (reading, handle) = (session.try_clone()?, session.try_clone()?);
        let mut writing = session.try_clone()?;
        writing.write_all(&PREAMBLE)?;
        let shared = Arc::new(Shared {
            session: Mutex::new(writing),
            channels: Mutex::default(),
            error: Mutex::default(),
        });
        let (sender, control) = channel();
        let theirs = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("session".to_owned())
            .spawn(move || hand_out(reading, &theirs, &sender))?;
        Ok(Mux { shared, control: Mutex::new(control), session: handle })
    }

    /// Sends one control message.
    ///
    /// # Errors
    /// The session has ended.
    pub fn send(&self, message: &[u8]) -> io::Result<()> {
        self.shared.send(&encode_data(CONTROL, message))
    }

    /// The next control message.
    ///
    /// # Errors
    /// The session has ended, or nothing came in time.
    pub fn receive(&self, limit: Duration) -> Result<Vec<u8>, NoMessage> {
        use std::sync::mpsc::RecvTimeoutError;
        match lock(&self.control).recv_timeout(limit) {
            Ok(message) => Ok(message),
            Err(RecvTimeoutError::Timeout) => Err(NoMessage::Silent),
            Err(RecvTimeoutError::Disconnected) => {
                let error = lock(&self.shared.error).clone();
                Err(error.map_or(NoMessage::Ended, NoMessage::Garbled))
            }
        }
    }

    /// Joins a socket to a channel, which is what the other end does with another: the two are then as one.
    /// What comes on a channel before it is opened here is dropped.
    ///
    /// # Errors
    /// No thread or descriptor can be had.
    pub fn open(&self, channel: u16, socket: UnixStream) -> io::Result<()> {
        open(&self.shared, channel, socket)
    }
}

impl Drop for Mux {
    fn drop(&mut self) {
        let _ = self.session.shutdown(Shutdown::Both);
    }
}

impl Shared {
    fn send(&self, frames: &[u8]) -> io::Result<()> {
        let mut session = lock(&self.session);
        let sent = session.write_all(frames);
        if sent.is_err() {
            let _ = session.shutdown(Shutdown::Both);
        }
        sent
    }

    fn take_in(&self, frame: MuxFrame, control: &Sender<Vec<u8>>) {
        match frame {
            MuxFrame::Data { channel: CONTROL, bytes } => {
                let _ = control.send(bytes);
            }
            MuxFrame::Data { channel, bytes } => {
                let channels = lock(&self.channels);
                let Some(inlet) = channels.get(&channel) else { return };
                let waiting = inlet.waiting.fetch_add(bytes.len(), Ordering::Relaxed);
                if waiting > MOST_WAITING_BYTES {
                    let _ = inlet.socket.shutdown(Shutdown::Both);
                } else {
                    let _ = inlet.queue.send(bytes);
                }
            }
            MuxFrame::Close { channel } => {
                // Without its sender the queue ends, and with it the channel.
                lock(&self.channels).remove(&channel);
            }
        }
    }
}

fn hand_out(mut session: UnixStream, shared: &Shared, control: &Sender<Vec<u8>>) {
    let mut decoder = MuxDecoder::default();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length = match session.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        match decoder.push(&buffer[..length]) {
            Ok(frames) => frames.into_iter().for_each(|frame| shared.take_in(frame, control)),
            Err(error) => {
                *lock(&shared.error) = Some(error);
                let _ = session.shutdown(Shutdown::Both);
                break;
            }
        }
    }
    lock(&shared.channels).clear();
}

fn open(shared: &Arc<Shared>, channel_number: u16, socket: UnixStream) -> io::Result<()> {
    let (queue, incoming) = channel::<Vec<u8>>();
    let waiting = Arc::new(AtomicUsize::new(0));
    let (mut writing, mut reading) = (socket.try_clone()?, socket.try_clone()?);
    let inlet = Inlet { queue, waiting: Arc::clone(&waiting), socket };
    lock(&shared.channels).insert(channel_number, inlet);
    std::thread::Builder::new().name("channel in".to_owned()).spawn(move || {
        for bytes in incoming {
            let is_open = writing.write_all(&bytes).is_ok();
            waiting.fetch_sub(bytes.len(), Ordering::Relaxed);
            if !is_open {
                break;
            }
        }
        let _ = writing.shutdown(Shutdown::Both);
    })?;
    let shared = Arc::clone(shared);
    std::thread::Builder::new().name("channel out".to_owned()).spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match reading.read(&mut buffer) {
                Ok(length) if length > 0 => {
                    if shared.send(&encode_data(channel_number, &buffer[..length])).is_err() {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => break,
            }
        }
        let _ = shared.send(&encode_close(channel_number));
        lock(&shared.channels).remove(&channel_number);
    })?;
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    fn pair() -> (Mux, Mux) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Mux::start(&ours).unwrap(), Mux::start(&theirs).unwrap())
    }

    #[test]
    fn messages_and_channels_do_not_mix() {
        let (here, there) = pair();
        let (mut first, inner) = UnixStream::pair().unwrap();
        here.open(1, inner).unwrap();
        let (mut second, inner) = UnixStream::pair().unwrap();
        there.open(1, inner).unwrap();
        here.send(b"question").unwrap();
        assert_eq!(there.receive(LIMIT).unwrap(), b"question");
        let long: Vec<u8> = (0..1_000_000u32).map(|it| it as u8).collect();
        let sent = long.clone();
        let writer = std::thread::spawn(move || {
            first.write_all(&sent).unwrap();
            first
        });
        there.send(b"answer").unwrap();
        assert_eq!(here.receive(LIMIT).unwrap(), b"answer");
        let mut found = vec![0; long.len()];
        second.read_exact(&mut found).unwrap();
        assert!(found == long);
        second.write_all(b"back").unwrap();
        let mut first = writer.join().unwrap();
        let mut back = [0; 4];
        first.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"back");
        drop(second);
        assert_eq!(first.read(&mut back).unwrap(), 0);
        assert_eq!(here.receive(Duration::from_millis(10)), Err(NoMessage::Silent));
    }

    #[test]
    fn a_reader_that_is_slow_holds_nobody_up_and_is_cut_off_in_the_end() {
        let (here, there) = pair();
        let (slow, inner) = UnixStream::pair().unwrap();
        there.open(1, inner).unwrap();
        let (mut writer, inner) = UnixStream::pair().unwrap();
        here.open(1, inner).unwrap();
        let piece = vec![0; 1 << 20];
        let mut sent = 0;
        while sent < 64 && writer.write_all(&piece).is_ok() {
            sent += 1;
        }
        assert!(sent < 64, "nothing was cut off");
        here.send(b"still there").unwrap();
        assert_eq!(there.receive(LIMIT).unwrap(), b"still there");
        drop(slow);
    }

    #[test]
    fn a_peer_that_takes_nothing_ends_the_session_instead_of_blocking_it() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mux = Mux::start_with(&ours, Duration::from_millis(50)).unwrap();
        let piece = vec![0; 1 << 20];
        let sent = (0..64).take_while(|_| mux.send(&piece).is_ok()).count();
        assert!(sent < 64, "a peer that reads nothing cannot have taken {sent} MiB");
        assert!(mux.send(b"more").is_err(), "a frame was cut, and nothing may follow it");
        assert_eq!(mux.receive(LIMIT), Err(NoMessage::Ended));
        drop(theirs);
    }

    #[test]
    fn the_end_of_the_session_ends_every_channel() {
        let (here, there) = pair();
        let (mut outer, inner) = UnixStream::pair().unwrap();
        here.open(1, inner).unwrap();
        drop(there);
        assert_eq!(outer.read(&mut [0]).unwrap(), 0);
        assert_eq!(here.receive(LIMIT), Err(NoMessage::Ended));
    }

    #[test]
    fn a_peer_that_speaks_something_else_is_told_by_its_first_bytes() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mux = Mux::start(&ours).unwrap();
        theirs.write_all(b"Segmentation fault\n").unwrap();
        assert!(matches!(mux.receive(LIMIT), Err(NoMessage::Garbled(_))));
    }
}
