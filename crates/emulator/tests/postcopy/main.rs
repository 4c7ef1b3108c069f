//! Post-copy, without a pilot: peers that are played, and links that are cut.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking, also in their helpers")]
#![allow(clippy::print_stderr, reason = "a skipped test says why")]

mod host;
mod played;
mod recovery;
