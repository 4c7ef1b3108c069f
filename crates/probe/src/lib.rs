//! What an observer sees of a machine from outside: messages that are sent on a schedule and come back, or do not.
//!
//! The parts know nothing of sockets: whoever has a way to send and to hear uses them, be it a station on a switch or a program on another machine.
//!
//! - [`Probes`]: what to send and how often, as a text that files and command lines share.
//! - [`Message`] is what travels; [`Responder`] the other end, which sends it back.
//! - [`Log`] notes what left and what came, and finds the [`Outage`]s.
//! - [`Schedule`] says when the next message is due, whatever became of those before.
//! - [`playout`]: a stream of pictures and its viewer. [`disk`]: records that prove that none was lost. [`metrics`]: pages of metrics.
//! - [`ClockTrack`], [`OneWay`]: what can be known of another machine's clock, and how far it may be off.
//!
//! With sockets: [`serve`] is the responder as a program has it, [`watch`] every probe at work, [`http`] as much of HTTP as a probe asks with; [`serve::pages`] the server of every page.
//! The feature `client` is what an observer needs; a responder does without.
#![forbid(unsafe_code)]

#[cfg(feature = "client")]
mod clock_track;
pub mod disk;
mod echo;
#[cfg(feature = "client")]
pub mod http;
#[cfg(feature = "client")]
mod log;
mod message;
#[cfg(feature = "client")]
pub mod metrics;
#[cfg(feature = "client")]
pub mod noise;
#[cfg(feature = "client")]
mod one_way;
pub mod playout;
mod reading;
mod responder;
#[cfg(feature = "client")]
mod schedule;
pub mod serve;
mod spec;
#[cfg(feature = "client")]
mod target;
mod timed;
#[cfg(feature = "client")]
pub mod watch;

#[cfg(feature = "client")]
pub use clock_track::{ClockTrack, Clocks, Drift, Jump};
#[cfg(feature = "client")]
pub use log::{Direction, Log, Losses, Outage, RoundTrip, Seen};
pub use message::{MESSAGE_BYTES, Message, Moment, PROTOCOL_VERSION};
#[cfg(feature = "client")]
pub use one_way::{Delay, Delays, OneWay};
#[cfg(feature = "client")]
pub use playout::{Freeze, Player};
pub use responder::{Answer, Responder};
#[cfg(feature = "client")]
pub use schedule::Schedule;
pub use spec::{Kind, Probe, ProbeError, Probes};
#[cfg(feature = "client")]
pub use target::{DEFAULT_PORT, Target, TargetError};
