//! Flights with a scripted engine in simulated time: every ending that a flight can have, without a kernel feature and without waiting.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod any_script;
mod completion;
mod errors;
mod flown;
mod interrupts;
mod limits;
mod lost_link;
mod postcopy;
mod scripted;
mod silence;
