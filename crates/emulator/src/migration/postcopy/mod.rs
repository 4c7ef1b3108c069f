//! Post-copy: the guest runs on the destination, and its memory follows.
//!
//! ```text
//!   source                                     destination
//!   ┌───────────────────────┐                  ┌────────────────────────────────────────────┐
//!   │ Backlog: what is left │                  │ FaultBook: what is missing, and who waits  │
//!   │   ▲ next    ▲ asked   │     Request      │   ▲ placed      ▲ fault                    │
//!   │   │         └─────────┼◄─────────────────┼───┼───────── fault thread ◄── userfaultfd  │
//!   │ background scan       │   Pages, Zero    │   │                               ▲        │
//!   │   └───────────────────┼─────────────────►┼── bounce buffer ── UFFDIO_COPY ───┤        │
//!   └───────────────────────┘                  │                              workers       │
//!                                              └────────────────────────────────────────────┘
//! ```
//!
//! # What keeps a worker from reading what is not there
//! Before the first worker exists on the destination, the pages to come are discarded and the region is registered for missing faults; from then on a worker that touches one waits in the kernel.
//! The registration is never taken back, also when nothing will come any more: a worker would go on with zeros.
//! So a host that cannot get its guest's memory must end as a process, with its workers waiting.
//!
//! # When the connection is lost
//! Each side keeps what it has: the source the pages, the destination its workers, which run on what is there and wait for what is not.
//! A new connection begins with what the destination has, since nobody knows what became of pages under way on the old one.
//!
//! # Why a bounce buffer
//! The userfaultfd serves faults of user mode only, as everybody may have it.
//! The kernel's own accesses, such as `recv()` into a page that is missing, then fail with EFAULT instead of waiting.
//! So frames are received into plain memory, checked there, and placed by an ioctl.

mod backlog;
mod fault_book;
mod placer;

use sterna_sys::cpu;
use sterna_wire::stream::{FrameError, ReadError};

pub use backlog::Backlog;
pub use fault_book::{Discard, FaultBook, Need};
pub use placer::{PlaceError, Placer};

/// For threads that the guest waits for: they run as soon as they can.
pub fn hurry() {
    // Where the kernel does not grant it, a page may come later on a busy machine.
    let _ = cpu::prefer_short_turns();
}

/// Whether an error means that the link is gone or damages what it carries, so that a new one may do better; else the peer does not keep to the protocol.
pub fn is_link_lost(error: &ReadError) -> bool {
    match error {
        ReadError::Closed | ReadError::Io(_) => true,
        ReadError::Frame(error) => {
            matches!(error, FrameError::Checksum { .. } | FrameError::OutOfSequence { .. })
        }
    }
}
