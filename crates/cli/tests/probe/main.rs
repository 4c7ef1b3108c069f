//! `sterna probe` as its users run it.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking, also in their helpers")]

mod harness;
mod refusals;
