//! `sterna watch` with real QEMUs that migrate without Sterna, where there is a QEMU; each test says what it lacks when it skips.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking, also in their helpers")]
#![allow(clippy::print_stderr, reason = "a test that skips says why, also in its helpers")]

mod endings;
mod held;
mod libvirt;
mod pair;
mod probes;
mod refusals;
mod several;
mod shared;
mod two_libvirts;
mod undisturbed;
mod watcher;
