//! `sterna stream` and its server, as users start them.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]
#![allow(clippy::print_stderr, reason = "a test that skips says why, also in its helpers")]

mod harness;
mod hostile;
mod interrupts;
mod links;
#[path = "../hosts/namespaces.rs"]
mod namespaces;
mod output;
mod refusals;
mod trials;
