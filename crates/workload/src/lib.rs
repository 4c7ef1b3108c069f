//! Dirties memory in a known way, and can say afterwards what every word of it must be.
//!
//! - [`spec`]: what to do, with one compact text form.
//! - [`crew`]: the threads that do it, and what they tell while they run.
//! - [`fill()`] and [`verify()`]: the content of memory before and after.
//! - [`order`] and [`replay`]: why the result is known from a seed and the number of writes alone.
//! - [`bitmap`]: which pages were written, as told by the writers themselves.
//! - [`gaps`]: when a worker made no progress.
//! - [`histogram`], [`hdr`]: how long writes took, also for the tools of others.
//!
//! The hot loop neither allocates nor calls the kernel.

#![forbid(unsafe_code)]

pub mod bitmap;
mod control;
pub mod crew;
mod crew_error;
pub mod fill;
mod first_write;
pub mod gaps;
pub mod hdr;
pub mod histogram;
mod image;
mod meter;
mod method;
mod mix;
pub mod order;
mod pace;
pub mod partition;
mod peek;
pub mod replay;
mod segment;
pub mod spec;
mod state;
mod strokes;
#[cfg(test)]
mod testing;
mod timeline;
pub mod verify;
mod worker;

pub use bitmap::DirtyBitmap;
pub use crew::{Crew, CrewOptions};
pub use crew_error::CrewError;
pub use fill::{expected_word, fill};
pub use first_write::FirstWrites;
pub use gaps::{Gap, Stall};
pub use histogram::{Histogram, HistogramParts, NoSuchCell};
pub use method::stamp_word;
pub use peek::writes_of_page;
pub use replay::distinct_pages;
pub use spec::{
    HotSet, Method, Pace, Pattern, Phase, PhaseError, PhaseRate, Phases, Ratio, Skew, Spec,
    SpecError, UnknownName,
};
pub use state::CrewState;
pub use strokes::TimingCost;
pub use verify::{Corruption, Layout, Verification, verify, verify_remapped, verify_with};
