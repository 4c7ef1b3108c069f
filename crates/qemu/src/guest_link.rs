//! The guest line as the engine holds it: one agent, whichever QEMU it is in.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sterna_report::Side;
use sterna_sys::clock::monotonic_ns;
use sterna_wire::guest_line::{Decoder, Encoder, GuestCommand, GuestMessage};

/// One message, with where and when it came out.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub side: Side,
    pub received_ns: u64,
    pub message: GuestMessage,
}

/// Both ends of the line, and what has come out of them.
///
/// A thread for each end reads at once, so that an answer is stamped when it comes, not when somebody looks.
/// The bytes of the destination are decoded after all those of the source: a line that was cut by the migration becomes whole again.
pub(crate) struct GuestLink {
    source: End,
    destination: Option<End>,
    decoder: Decoder<GuestMessage>,
    encoder: Encoder,
}

/// Pieces as they were read, each with its moment.
type Inbox = Vec<(u64, Vec<u8>)>;

struct End {
    side: Side,
    socket: UnixStream,
    inbox: Arc<Mutex<Inbox>>,
}

impl GuestLink {
    /// Takes the connection to the QEMU where the guest begins.
    pub fn new(socket: UnixStream) -> std::io::Result<GuestLink> {
        let source = End::new(Side::Source, socket)?;
        let (decoder, encoder) = (Decoder::default(), Encoder::default());
        Ok(GuestLink { source, destination: None, decoder, encoder })
    }

    /// Takes the connection to the QEMU where the guest goes.
    pub fn add_destination(&mut self, socket: UnixStream) -> std::io::Result<()> {
        self.destination = Some(End::new(Side::Destination, socket)?);
        Ok(())
    }

    /// The guest has arrived, and goes on from there to another destination.
    pub fn turn(&mut self, socket: UnixStream) -> std::io::Result<()> {
        // What the source has left to say comes before.
        self.take();
        if let Some(mut arrived) = self.destination.take() {
            arrived.side = Side::Source;
            self.source = arrived;
        }
        self.add_destination(socket)
    }

    /// Says something to the agent, where it is believed to be. A line that is gone is met by the wait for an answer.
    pub fn say(&mut self, home: Side, command: &GuestCommand) {
        let line = self.encoder.encode(command);
        let end = match (home, &mut self.destination) {
            (Side::Destination, Some(destination)) => destination,
            _ => &mut self.source,
        };
        let _ = end.socket.write_all(&line);
    }

    /// Says something where the agent will be; without a destination nothing is said.
    pub fn say_ahead(&mut self, command: &GuestCommand) {
        if self.destination.is_some() {
            self.say(Side::Destination, command);
        }
    }

    /// Everything heard since the last time.
    pub fn take(&mut self) -> Vec<Heard> {
        let mut heard = Vec::new();
        for end in std::iter::once(&self.source).chain(&self.destination) {
            for (received_ns, bytes) in end.take() {
                let side = end.side;
                let messages = self.decoder.push(&bytes);
                heard.extend(messages.into_iter().map(|message| Heard {
                    side,
                    received_ns,
                    message,
                }));
            }
        }
        heard
    }

    /// Lines that were lost or damaged.
    pub fn lines_lost(&self) -> u64 {
        self.decoder.missed()
    }
}

impl End {
    fn new(side: Side, socket: UnixStream) -> std::io::Result<End> {
        socket.set_write_timeout(Some(Duration::from_millis(500)))?;
        let inbox = Arc::new(Mutex::new(Inbox::new()));
        let (theirs, reading) = (Arc::clone(&inbox), socket.try_clone()?);
        std::thread::Builder::new()
            .name("guest line".to_owned())
            .spawn(move || read_all(reading, &theirs))?;
        Ok(End { side, socket, inbox })
    }

    fn take(&self) -> Inbox {
        std::mem::take(&mut *self.inbox.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        // Wakes the reader, which then ends.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }
}

fn read_all(mut socket: UnixStream, inbox: &Mutex<Inbox>) {
    let mut buffer = [0; 16 << 10];
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => {
                let piece = (monotonic_ns(), buffer[..length].to_vec());
                inbox.lock().unwrap_or_else(PoisonError::into_inner).push(piece);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
