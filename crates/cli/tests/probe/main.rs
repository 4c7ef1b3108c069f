//! `sterna probe` as its users run it.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking, also in their helpers")]
#![allow(clippy::print_stderr, reason = "a test that skips says why, also in its helpers")]

mod agents;
mod clocks;
mod crowds;
mod disks;
mod harness;
mod links;
mod many;
#[path = "../hosts/namespaces.rs"]
mod namespaces;
mod outages;
mod output;
mod pages;
mod playout;
mod refusals;
