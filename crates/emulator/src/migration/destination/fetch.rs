//! Fetching what the guest lacks while it runs.
//!
//! ```text
//!  migration        Pages, Zero … from the main connection, until Finished
//!  migration-fault  page faults in, Request … out
//!  migration-urg    Pages, Zero … from the connection for requested pages, until Finished
//! ```
//!
//! Without a connection for requested pages, requests leave by the main one, and all pages come by it.
//! Whoever fails first cuts all connections, and its reason is the one that is told.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, Scope, ScopedJoinHandle};
use std::time::Duration;

use sterna_sys::clock::monotonic_ns;
use sterna_sys::tracking::Uffd;
use sterna_wire::stream::{HEADER_BYTES, Kind, Message, MessageReader, MessageWriter, ReadError};

use super::{Load, LoadError, unexpected};
use crate::host::session::{FAULT_THREAD, URGENT_THREAD};
use crate::link::Inbound;
use crate::migration::breakage::Moment;
use crate::migration::channels::Further;
use crate::migration::faults::Damaging;
use crate::migration::postcopy::{AttendError, FaultBook, PlaceError, Placer, attend};
use crate::migration::trouble::Trouble;
use crate::transport::Socket;

/// Longest silence of the source while pages are missing.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);

/// Why the guest's memory will not become whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error(transparent)]
    Attend(#[from] AttendError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("The source says that it has sent everything, but {0} pages never came")]
    NeverCame(usize),
    #[error("No thread can be had for post-copy: {0}")]
    Thread(#[source] io::Error),
}

impl From<ReadError> for FetchError {
    fn from(error: ReadError) -> FetchError {
        FetchError::Place(error.into())
    }
}

/// The way on which requests leave.
struct Outlet {
    socket: Socket,
    writer: MessageWriter,
    trouble: Arc<Trouble>,
}

/// The way on which requested pages come, where it is not the main connection.
struct Incoming {
    inbound: Inbound,
    reader: MessageReader,
    socket: Socket,
    trouble: Arc<Trouble>,
}

/// What the threads share.
struct Fetching<'a> {
    uffd: &'a Uffd,
    book: &'a FaultBook,
    ram_pages: u64,
    outlet: Mutex<Outlet>,
    /// To be cut when somebody fails, whoever writes at that moment.
    connections: [Socket; 2],
    failure: Mutex<Option<FetchError>>,
    stop: AtomicBool,
}

impl Load<'_> {
    /// Returns when all memory is there and the source knows it.
    pub(super) fn fetch(&mut self, book: &FaultBook) -> Result<(), FetchError> {
        let (outlet, incoming) = self.split_urgent()?;
        let has_urgent = incoming.is_some();
        let guest = self.guest;
        let handles = outlet.socket.try_clone().and_then(|it| Ok([it, self.socket.try_clone()?]));
        let fetching = Fetching {
            uffd: guest.region.uffd().map_err(LoadError::from)?,
            book,
            ram_pages: guest.region.pages() as u64,
            outlet: Mutex::new(outlet),
            connections: handles.map_err(LoadError::from)?,
            failure: Mutex::default(),
            stop: AtomicBool::new(false),
        };
        std::thread::scope(|scope| {
            let fetching = &fetching;
            fetching.spawn(scope, FAULT_THREAD, || fetching.attend());
            let urgent = incoming
                .and_then(|it| fetching.spawn(scope, URGENT_THREAD, || fetching.take_urgent(it)));
            fetching.note(self.receive(fetching));
            if let Some(thread) = urgent {
                fetching.note(fetching.send(&Message::Finished));
                let _ = thread.join();
            }
            fetching.stop.store(true, Ordering::Release);
        });
        let Fetching { outlet, failure, .. } = fetching;
        if !has_urgent {
            self.writer = outlet.into_inner().unwrap_or_else(PoisonError::into_inner).writer;
        }
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None if book.missing_pages() > 0 => Err(FetchError::NeverCame(book.missing_pages())),
            None => Ok(self.send(&Message::Loaded).map(|_| ()).map_err(LoadError::from)?),
        }
    }

    /// Without a connection for requested pages, requests leave by the main one.
    fn split_urgent(&mut self) -> Result<(Outlet, Option<Incoming>), LoadError> {
        if let Some(Further { socket, writer, inbound, reader, trouble, .. }) = self.urgent.take() {
            let (ours, its) = (socket.try_clone()?, Arc::clone(&trouble));
            let incoming = Incoming { inbound, reader, socket: ours, trouble: its };
            return Ok((Outlet { socket, writer, trouble }, Some(incoming)));
        }
        let socket = self.socket.try_clone()?;
        let writer = std::mem::take(&mut self.writer);
        Ok((Outlet { socket, writer, trouble: Arc::default() }, None))
    }

    fn receive(&mut self, fetching: &Fetching<'_>) -> Result<(), FetchError> {
        self.inbound.set_timeout(Some(SILENCE_TIMEOUT)).map_err(LoadError::from)?;
        let mut placer = Placer::new(fetching.uffd, fetching.book, fetching.ram_pages);
        self.faults.begin_postcopy(monotonic_ns());
        loop {
            self.suffer();
            let header = self.reader.header(&mut self.inbound)?;
            self.taken_bytes += HEADER_BYTES as u64 + u64::from(header.body_bytes);
            if matches!(header.kind, Kind::Pages | Kind::Zero) {
                placer.take(&header, &mut self.inbound)?;
                self.strike(Moment::Postcopy);
                continue;
            }
            match self.reader.body(&mut self.inbound, &header)? {
                Message::Finished => return Ok(()),
                other => return Err(unexpected(other.kind(), "memory").into()),
            }
        }
    }
}

impl<'a> Fetching<'a> {
    fn spawn<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        name: &str,
        work: impl FnOnce() -> Result<(), FetchError> + Send + 'scope,
    ) -> Option<ScopedJoinHandle<'scope, ()>> {
        let thread = Builder::new().name(name.to_owned());
        let spawned = thread.spawn_scoped(scope, move || self.note(work()));
        spawned.map_err(|error| self.note(Err(FetchError::Thread(error)))).ok()
    }

    /// Remembers the first failure, and ends everybody else.
    fn note(&self, result: Result<(), FetchError>) {
        let Err(error) = result else { return };
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if failure.is_none() {
            *failure = Some(error);
            self.stop.store(true, Ordering::Release);
            self.connections.iter().for_each(Socket::shut_down);
        }
    }

    fn attend(&self) -> Result<(), FetchError> {
        let request = &mut |runs| self.outlet().send(&Message::Request(runs));
        Ok(attend(self.uffd, self.book, request, &self.stop)?)
    }

    fn take_urgent(&self, mut from: Incoming) -> Result<(), FetchError> {
        let mut placer = Placer::new(self.uffd, self.book, self.ram_pages);
        loop {
            from.trouble.suffer(&from.socket);
            let header = from.reader.header(&mut from.inbound)?;
            if matches!(header.kind, Kind::Pages | Kind::Zero) {
                placer.take(&header, &mut from.inbound)?;
                continue;
            }
            match from.reader.body(&mut from.inbound, &header)? {
                Message::Finished => return Ok(()),
                other => return Err(unexpected(other.kind(), "requested memory").into()),
            }
        }
    }

    fn send(&self, message: &Message) -> Result<(), FetchError> {
        Ok(self.outlet().send(message).map_err(LoadError::from)?)
    }

    fn outlet(&self) -> MutexGuard<'_, Outlet> {
        self.outlet.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outlet {
    fn send(&mut self, message: &Message) -> io::Result<()> {
        let sent = match self.trouble.take_damage() {
            true => self.writer.send(&mut Damaging::new(&mut self.socket), message),
            false => self.writer.send(&mut self.socket, message),
        };
        sent.map(|_| ())
    }
}
