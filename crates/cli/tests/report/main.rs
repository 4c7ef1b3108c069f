//! `sterna report`, as a user would start it, and its pages in a real browser.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking, also in their helpers")]
#![allow(clippy::print_stderr, reason = "a skipped test says why, also in its helpers")]

mod browser;
mod budgets;
mod comparison;
mod forms;
mod harness;
mod hostile;
mod instruments;
mod kept;
mod pages;
mod refusals;
