//! Migrations that others begin, watched from outside.
//!
//! ```text
//!  a way to look ──► flight ──► chronicle ──► record ──► report
//!  (held, shared,      │            │
//!   libvirt)           │            └─ what was said becomes moments, passes, an ending
//!                      └─ waits for a beginning, looks again and again, waits for the end
//! ```
//!
//! A watcher begins nothing, decides nothing and changes nothing.
//! [`Way`] is all that it can do to a guest: it asks, and it listens.
//! The report is that of a run, with `engine.control = observed`; what cannot be seen from outside is null in it, and a warning says why.
#![forbid(unsafe_code)]

mod chronicle;
mod error;
mod flight;
pub mod libvirt;
pub mod qmp;
mod report;
mod settings;
mod way;

pub use error::WatchError;
pub use flight::{Options, watch};
pub use report::Watched;
pub use settings::Settings;
pub use way::{Answer, Destination, Heard, Look, Pace, Place, Way, Wish};
