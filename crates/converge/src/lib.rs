//! The algorithm by which a live migration converges, and the policy above it; pure, without clock, threads or I/O.
//!
//! Engines that move real memory and the model that only computes use the same code, so a prediction cannot drift from what is emulated.
//! Every moment is passed in as nanoseconds of any monotonic clock.
//!
//! - [`Decision`] says when the guest may be stopped, [`Travel`] what pending pages will take on the wire.
//! - [`Strikes`], [`AutoConverge`], [`DirtyLimit`] and [`SyncTimer`] slow a guest down that writes too fast.
//! - [`bucket`] is the arithmetic of a bandwidth limit, [`keeps_its_place`] the age rule of the xbzrle cache.
//! - [`Policy`] says when to switch to post-copy, pause, stretch the downtime or give up.
#![forbid(unsafe_code)]

mod action;
mod age;
pub mod bucket;
mod decision;
mod policy;
mod throttle;
mod travel;

pub use action::Action;
pub use age::keeps_its_place;
pub use decision::{Decision, Judgement, SYNC_SPACING_NS, WINDOW_NS};
pub use policy::{Policy, Ruling, Situation};
pub use throttle::{AutoConverge, DirtyLimit, Period, Strikes, SyncTimer, WorkerLimit};
pub use travel::Travel;
