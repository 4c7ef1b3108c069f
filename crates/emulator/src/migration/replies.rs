//! What the destination says while the source is busy sending.

use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use sterna_wire::stream::{Message, MessageReader, ReadError};

use crate::link::Inbound;

/// A thread that listens to the destination, so that its refusal is heard at once and in its own words, not as a broken pipe a megabyte later.
#[derive(Debug)]
pub struct Replies {
    messages: Receiver<Result<Message, ReadError>>,
    thread: Option<JoinHandle<()>>,
}

impl Replies {
    /// Listens until the connection ends.
    pub fn listen(mut from: Inbound) -> std::io::Result<Replies> {
        let (sender, messages) = channel();
        let listen = move || {
            let mut reader = MessageReader::default();
            loop {
                let message = reader.message(&mut from);
                let is_last = message.is_err();
                if sender.send(message).is_err() || is_last {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("replies".to_owned()).spawn(listen)?;
        Ok(Replies { messages, thread: Some(thread) })
    }

    /// What has come by now.
    pub fn poll(&self) -> Option<Result<Message, ReadError>> {
        match self.messages.try_recv() {
            Ok(message) => Some(message),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(ReadError::Closed)),
        }
    }

    /// Waits for the next message; `None` when the time is up.
    pub fn wait(&self, limit: Duration) -> Option<Result<Message, ReadError>> {
        match self.messages.recv_timeout(limit) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Err(ReadError::Closed)),
        }
    }

    /// Ends the thread; the connection must have been shut down.
    pub fn join(mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
