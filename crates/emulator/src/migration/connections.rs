//! The connections of one migration, as seen by those who do not use them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sterna_sys::socket;

use crate::transport::Socket;

/// A handle on each connection of a migration, so that one that is stuck can be noticed and ended from outside.
#[derive(Clone, Debug, Default)]
pub struct Connections(Arc<Mutex<Vec<Socket>>>);

impl Connections {
    /// Keeps one more.
    pub fn keep(&self, socket: Socket) {
        self.lock().push(socket);
    }

    /// What encryption has added to the bytes sent on all of them.
    pub fn encryption_bytes(&self) -> u64 {
        self.lock().iter().map(Socket::encryption_bytes).sum()
    }

    /// Ends all of them.
    pub fn cut(&self) {
        self.lock().iter().for_each(Socket::shut_down);
    }

    /// Something of each connection that changes whenever the peer's machine takes data, however slow the way there is.
    pub fn marks(&self) -> Vec<u64> {
        self.lock().iter().map(mark).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Socket>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that has ended makes no progress.
fn mark(connection: &Socket) -> u64 {
    socket::acknowledged_bytes(connection)
        .or_else(|_| socket::unread_bytes(connection))
        .unwrap_or(0)
}
