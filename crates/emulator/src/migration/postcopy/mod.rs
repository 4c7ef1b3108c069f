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
//! # Why a bounce buffer
//! The userfaultfd serves faults of user mode only, as everybody may have it.
//! The kernel's own accesses, such as `recv()` into a page that is missing, then fail with EFAULT instead of waiting.
//! So frames are received into plain memory, checked there, and placed by an ioctl.

mod attend;
mod backlog;
mod fault_book;
mod placer;

pub use attend::{AttendError, attend};
pub use backlog::Backlog;
pub use fault_book::{FaultBook, Need};
pub use placer::{PlaceError, Placer};
