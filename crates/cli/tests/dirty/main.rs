//! The real binary dirties real memory, and its numbers are held against what the kernel and the clock say.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking, also in their helpers")]

mod distinct;
mod files;
mod harness;
mod memory;
mod metrics;
mod output;
mod peers;
mod phases;
mod refusals;
mod schema;
mod signals;
mod verification;
