//! The real binary, from the command line to the report, also when everything goes wrong.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking, also in their helpers")]

mod command_line;
mod completion;
mod faults;
mod harness;
mod injected;
mod interrupts;
mod limits;
mod parallel;
mod postcopy;
