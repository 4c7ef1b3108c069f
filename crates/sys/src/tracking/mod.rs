//! Knowing which pages were written, and serving pages that are missing.
//!
//! One [`Uffd`] per region does both: [`WpTracker`] uses it to find dirty pages while a guest is
//! copied away, and post-copy uses its missing-page faults on the other side. [`probe()`] says what
//! this kernel can do.

mod abi;
mod error;
mod probe;
mod uffd;
mod wp;

pub(crate) use self::uffd::UffdSlot;
pub use self::{
    error::TrackingError,
    probe::{probe, probe_kernel_faults, probe_missing_faults, probe_write_tracking},
    uffd::{Fault, Features, Mode, Placed, Uffd},
    wp::{SyncStats, WpTracker},
};
