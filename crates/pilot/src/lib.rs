//! The flight: one readable policy over any engine and any clock.
//!
//! [`Hypervisor`] is the mechanism (boot, migrate, tell, act, verify), [`Pilot`] the policy (when to do what), [`Clock`] real or simulated.
//! The same pilot flies every engine, so that a prediction and a measurement differ in the mechanism alone.
//!
//! The result is always a [`report::Report`](sterna_report::Report), however the flight ended.
#![forbid(unsafe_code)]

mod assemble;
mod clock;
mod fleet;
mod flight;
mod hypervisor;
mod interrupt;
mod observer;
mod probe;
mod record;
mod thresholds;
mod warnings;

pub use assemble::{Identity, assemble, assemble_fleet, assemble_hops};
pub use clock::{Clock, RealClock, SimulatedClock};
pub use fleet::{Seat, fly_fleet};
pub use flight::Pilot;
pub use hypervisor::{
    ClockOffset, CpuPoint, EngineError, GapSpan, GuestPoint, Hypervisor, LatencyPair, Moments,
    PassRow, ProbeSeen, Progress, Samples, Settled, State, Status, Unsupported, WriteTimes,
};
pub use interrupt::Interrupt;
pub use observer::{Notice, Phase};
pub use probe::{Availability, Finding, Shortfall};
pub use record::{Record, RecordedEvent};
pub use sterna_converge::Action;
pub use thresholds::judge;
