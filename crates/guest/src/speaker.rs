//! Saying things on the line, from any thread.

use std::fs::File;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use sterna_wire::guest_line::{Encoder, GuestMessage};

/// The agent's end of the line; lines of different threads do not mix.
///
/// A write waits while nobody listens at the other end, which is how a guest waits for its engine.
#[derive(Debug)]
pub struct Speaker {
    line: Mutex<(Encoder, File)>,
}

/// How long last words wait for somebody who is just speaking: that may be forever, if nobody listens.
const PATIENCE: Duration = Duration::from_millis(200);

impl Speaker {
    pub fn new(file: File) -> Speaker {
        Speaker { line: Mutex::new((Encoder::default(), file)) }
    }

    pub fn say(&self, message: &GuestMessage) -> io::Result<()> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        write(&mut line, message)
    }

    /// As [`Speaker::say`], but gives up when the line is taken for long.
    pub fn last_words(&self, message: &GuestMessage) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match self.line.try_lock() {
                Ok(mut line) => return drop(write(&mut line, message)),
                Err(TryLockError::Poisoned(line)) => {
                    return drop(write(&mut line.into_inner(), message));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

/// One call for a whole line: on virtio it is then one buffer, which a migration moves whole.
fn write((encoder, file): &mut (Encoder, File), message: &GuestMessage) -> io::Result<()> {
    file.write_all(&encoder.encode(message))
}
