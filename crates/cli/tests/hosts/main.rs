//! `sterna host --listen` and runs that go there: the real binary, over real sockets.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking, also in their helpers")]
#![allow(clippy::print_stderr, reason = "a test that skips says why, also in its helpers")]

#[path = "../run/harness.rs"]
#[allow(dead_code, reason = "these tests use a part of it")]
mod harness;

mod attacks;
mod daemon;
mod encryption;
mod faults;
mod foreign_text;
mod namespaces;
mod network;
mod ssh;
#[path = "../sshd/mod.rs"]
#[allow(dead_code, reason = "these tests use a part of it")]
mod sshd;
mod visitors;
mod waits;
