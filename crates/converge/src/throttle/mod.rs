//! Slowing the guest down, so that a migration can end.

mod auto_converge;
mod dirty_limit;
mod strikes;

pub use auto_converge::AutoConverge;
pub use dirty_limit::{DirtyLimit, WorkerLimit};
pub use strikes::{Period, Strikes, SyncTimer};
