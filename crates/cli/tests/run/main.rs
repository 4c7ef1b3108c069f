//! The real binary, from the command line to the report, also when everything goes wrong.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking, also in their helpers")]
#![allow(clippy::print_stderr, reason = "a skipped test says why, also in its helpers")]

mod command_line;
mod completion;
mod faults;
mod fleet;
mod harness;
mod hops;
mod injected;
mod interrupts;
mod leftovers;
mod limits;
mod model;
mod network;
mod parallel;
mod postcopy;
mod privileges;
mod recovery;
mod struck_channels;
mod techniques;
mod thresholds;
mod truth;
