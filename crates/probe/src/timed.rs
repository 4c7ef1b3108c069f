//! A connection whose waits have an end.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A connection with one deadline for everything that is read and written until it is set again.
///
/// A timeout of the socket alone would begin again with every byte, so a peer that drips bytes could hold it for ever.
#[derive(Clone, Debug)]
pub struct Timed {
    stream: Arc<TcpStream>,
    deadline: Arc<Mutex<Instant>>,
}

impl Timed {
    /// It may take so long from now on.
    pub fn new(stream: TcpStream, limit: Duration) -> Timed {
        let deadline = Arc::new(Mutex::new(Instant::now() + limit));
        Timed { stream: Arc::new(stream), deadline }
    }

    /// From now on it may take so long, on every handle.
    pub fn set_limit(&self, limit: Duration) {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + limit;
    }

    /// The connection itself.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    fn left(&self) -> io::Result<Duration> {
        let deadline = *self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        (&*self.stream).read(buffer).map_err(timed_out)
    }
}

impl Write for Timed {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        (&*self.stream).write(buffer).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The kernel says "would block" when the time is over.
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == ErrorKind::WouldBlock { ErrorKind::TimedOut.into() } else { error }
}
