//! What an observer sees of a machine from outside: messages that are sent on a schedule and come back, or do not.
//!
//! Nothing here opens a socket: whoever has a way to send and to hear uses these parts, be it a station on a switch or a program on another machine.
//!
//! - [`Probes`]: what to send and how often, as a text that files and command lines share.
//! - [`Message`] is what travels; [`Responder`] the other end, which sends it back.
//! - [`Log`] notes what left and what came, and finds the [`Outage`]s.
//! - [`Schedule`] says when the next message is due, whatever became of those before.
#![forbid(unsafe_code)]

#[cfg(feature = "client")]
mod log;
mod message;
mod responder;
#[cfg(feature = "client")]
mod schedule;
mod spec;

#[cfg(feature = "client")]
pub use log::{Direction, Log, Outage, RoundTrip, Seen};
pub use message::{MESSAGE_BYTES, Message};
pub use responder::Responder;
#[cfg(feature = "client")]
pub use schedule::Schedule;
pub use spec::{Kind, Probe, ProbeError, Probes};
