//! What a running migration tells about itself.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use sterna_sys::clock::monotonic_ns;
use sterna_wire::control::{HostEvent, HostStatus, PassRecord, Phase, Stamps};

use super::connections::Connections;
use super::faults::FaultPlan;
use super::pacer::Pacer;
use super::postcopy::{Backlog, FaultBook};

/// The status of a migration, written by its thread and read by the control connection.
///
/// One lock, held for a few assignments at each batch of a megabyte: a poll sees values that belong together, and the sender does not notice it.
#[derive(Debug, Default)]
pub struct Progress {
    inner: Mutex<Inner>,
    pacer: OnceLock<(Arc<Pacer>, Connections)>,
}

#[derive(Debug, Default)]
struct Inner {
    status: HostStatus,
    passes: Vec<PassRecord>,
    events: Vec<HostEvent>,
    backlog: Option<Arc<Backlog>>,
    page_faults: Option<Arc<FaultBook>>,
}

impl Progress {
    /// Reads the bytes on the wire from their source from now on: they are sent by threads of their own, and a count that lags would make a limit look broken.
    /// What encryption adds to them is no business of the limit's, but of the wire's.
    pub fn watch(&self, pacer: &Arc<Pacer>, connections: &Connections) {
        let _ = self.pacer.set((Arc::clone(pacer), connections.clone()));
    }

    /// Changes the status.
    pub fn update(&self, change: impl FnOnce(&mut HostStatus)) {
        change(&mut self.lock().status);
    }

    /// Changes the stamps.
    pub fn stamp(&self, change: impl FnOnce(&mut Stamps, u64)) {
        change(&mut self.lock().status.stamps, monotonic_ns());
    }

    /// Adds a finished pass.
    pub fn finish_pass(&self, record: PassRecord) {
        self.lock().passes.push(record);
    }

    /// Notes that something happened now.
    pub fn note(&self, kind: &str, text: String) {
        let event = HostEvent { at_ns: monotonic_ns(), kind: kind.to_owned(), text };
        self.lock().events.push(event);
    }

    /// Sets which faults have not struck yet.
    pub fn note_waiting(&self, faults: &FaultPlan) {
        let waiting = faults.waiting();
        self.update(|it| it.waiting_faults = waiting);
    }

    /// Takes what happened since the last time.
    pub fn take_events(&self) -> Vec<HostEvent> {
        std::mem::take(&mut self.lock().events)
    }

    /// From now on the status tells what was sent of these pages.
    pub fn watch_backlog(&self, backlog: Arc<Backlog>) {
        self.lock().backlog = Some(backlog);
    }

    /// From now on the status tells of these faults.
    pub fn watch_faults(&self, book: Arc<FaultBook>) {
        self.lock().page_faults = Some(book);
    }

    /// The phase alone.
    pub fn phase(&self) -> Phase {
        self.lock().status.phase
    }

    /// The status now, with the passes behind the first `passes_seen`.
    pub fn read(&self, passes_seen: usize) -> HostStatus {
        let inner = self.lock();
        let passes = inner.passes.get(passes_seen..).unwrap_or_default().to_vec();
        let mut status = HostStatus {
            passes,
            served: inner.backlog.as_ref().map(|it| it.served()),
            page_faults: inner.page_faults.as_ref().map(|it| it.told()),
            ..inner.status.clone()
        };
        if let Some((pacer, connections)) = self.pacer.get() {
            status.transferred_bytes = pacer.sent_bytes() + connections.encryption_bytes();
        }
        status.at_ns = monotonic_ns();
        status
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
