//! A model of live migration in simulated time; pure, without clock, threads or I/O.
//!
//! A [`Plan`] is a guest, a way, machines, rules and settings; [`fly`] flies it under a policy and returns the [`Outcome`].
//! A [`Flight`] is the same step by step, for a pilot that steers it.
//! The algorithm itself is that of `sterna_converge`, which the emulator runs as well.
//!
//! What the model cannot know it takes from [`Host`], whose numbers are assumptions until they are measured.
#![forbid(unsafe_code)]

mod cost;
mod dirty;
mod flight;
mod fly;
mod guest;
mod host;
mod link;
mod memory;
mod outcome;
mod phases;
mod rules;
mod scenario;
mod settings;

pub use dirty::{Activity, DirtyProcess, Phase, Region, Sweep, SweepOrder};
pub use flight::{Flight, Plan, Refusal, Stage};
pub use fly::{fly, fly_watched};
pub use guest::{Content, Guest};
pub use host::Host;
pub use link::Link;
pub use outcome::{End, Outcome, Pass};
pub use rules::{Rearm, Rules};
pub use scenario::{Unmodelled, unmodelled};
pub use settings::{Compression, Multifd, Settings};
