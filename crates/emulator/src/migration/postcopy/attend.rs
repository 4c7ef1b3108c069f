//! The thread that reads faults and asks for pages.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sterna_sys::clock::monotonic_ns;
use sterna_sys::tracking::Uffd;
use sterna_wire::stream::{MAX_LIST_RUNS, PageRun};

use super::fault_book::{FaultBook, Need};

/// How often the thread looks whether it is still needed when nobody faults.
const SLICE: Duration = Duration::from_millis(20);

/// Longest wait for a page that was asked for; then the source counts as gone, since the guest stands still for no other.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Why nobody asks for pages any more.
#[derive(Debug, thiserror::Error)]
pub enum AttendError {
    /// The kernel does not give its faults.
    #[error("Reading the page faults failed: {0}")]
    Faults(#[source] io::Error),
    /// A request cannot be sent.
    #[error("Asking the source for a page failed: {0}")]
    Request(#[source] io::Error),
    /// A request is not answered.
    #[error("The source has not sent a page that the guest waits for within {} s", LONGEST_WAIT.as_secs())]
    Silence,
}

/// Reads faults and has their pages asked for by `request`, until `stop` is set.
///
/// # Errors
/// Faults cannot be read, a request cannot be sent, or a page does not come.
pub fn attend(
    uffd: &Uffd,
    book: &FaultBook,
    request: &mut dyn FnMut(Vec<PageRun>) -> io::Result<()>,
    stop: &AtomicBool,
) -> Result<(), AttendError> {
    while !stop.load(Ordering::Acquire) {
        let runs = read(uffd, book).map_err(AttendError::Faults)?;
        if !runs.is_empty() {
            request(runs).map_err(AttendError::Request)?;
            continue;
        }
        uffd.wait_fault(Some(SLICE)).map_err(AttendError::Faults)?;
        let longest_ns = LONGEST_WAIT.as_nanos() as u64;
        if book.oldest_wait_ns().is_some_and(|it| monotonic_ns().saturating_sub(it) > longest_ns) {
            return Err(AttendError::Silence);
        }
    }
    Ok(())
}

/// Takes the faults that are there, and returns the pages to ask for.
fn read(uffd: &Uffd, book: &FaultBook) -> io::Result<Vec<PageRun>> {
    let mut runs = Vec::new();
    while runs.len() < MAX_LIST_RUNS
        && let Some(fault) = uffd.read_fault()?
    {
        match book.fault(fault, monotonic_ns()) {
            Need::Request => runs.push(PageRun { first: fault.page as u64, count: 1 }),
            Need::Patience => {}
            // Placing the page woke its waiters; one that fell asleep just then is woken here.
            Need::Nothing => uffd.wake(fault.page, 1)?,
        }
    }
    Ok(runs)
}
