//! A way to look at a guest that belongs to others.

use std::time::Duration;

use serde_json::Value;
use sterna_qemu::qmp::Event;

use crate::{Settings, WatchError};

/// How a migration is looked at: what can be asked, and what is heard.
///
/// Nothing here can begin, change or end a migration.
pub trait Way {
    /// What is known of both sides before anything happens.
    ///
    /// # Errors
    /// There is nothing that can be watched.
    fn place(&mut self) -> Result<Place, WatchError>;

    /// How often it may look.
    fn pace(&self) -> Pace;

    /// Looks once. Never waits long for a side that does not answer.
    fn look(&mut self, wish: Wish) -> Look;

    /// What those who steer the migration say of it beside QEMU, for the report.
    fn claims(&mut self) -> Vec<(&'static str, Value)> {
        Vec::new()
    }

    /// Ends the looking, and takes back what `--may-change` changed.
    fn leave(&mut self) {}
}

/// What is asked beyond how the migration stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Parameters and capabilities.
    pub settings: bool,
    /// Whether the guest runs on the destination.
    pub destination: bool,
}

/// How often to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// While nothing migrates.
    pub idle: Duration,
    /// While something does.
    pub busy: Duration,
}

/// What is known of both sides.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Place {
    /// The way's name in reports.
    pub way: &'static str,
    /// The guest's own name, or that of its socket.
    pub guest: String,
    /// Where one looks: names and values for the report.
    pub facts: Vec<(&'static str, Value)>,
    /// The source's version, in its words.
    pub source_version: Option<String>,
    /// The destination's version, in its words.
    pub destination_version: Option<String>,
    /// Whether the guest's processors run, by `query-status`; unknown where it was not said.
    pub run_state: Option<String>,
    /// Whether events of the source are heard: the stop of its processors above all.
    pub hears_source: bool,
    /// Whether events of the destination are heard: the resumption.
    pub hears_destination: bool,
    /// Whether there is a destination that can be asked at all.
    pub asks_destination: bool,
    /// Whether the stamps of the source's events are of this machine's clock.
    pub source_clock_is_ours: bool,
    /// Whether those of the destination are.
    pub destination_clock_is_ours: bool,
    /// How far a stamp of this machine's clock may be off.
    pub event_uncertainty_ns: u64,
}

/// What was seen and heard at one look.
#[derive(Clone, Debug)]
pub struct Look {
    /// Events of the source since the last look.
    pub source_events: Vec<Event>,
    /// Events of the destination since the last look.
    pub destination_events: Vec<Event>,
    /// The source's answer.
    pub source: Heard,
    /// What the migration is asked to keep to, where it was wished for and said.
    pub settings: Option<Settings>,
    /// What the destination says, where it was wished for.
    pub destination: Destination,
}

/// What a question came to.
#[derive(Clone, Debug)]
pub enum Heard {
    /// It was answered.
    Answer(Answer),
    /// Not within the patience; it may be answered the next time. Why, as far as that is known.
    Silence(String),
    /// There is nothing any more that could answer.
    Gone(String),
}

/// An answer to `query-migrate`.
#[derive(Clone, Debug)]
pub struct Answer {
    /// When it was made, on the pilot's clock.
    pub at_ns: u64,
    /// What it says.
    pub query: Value,
}

/// What the destination says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Destination {
    /// It was not asked, or does not answer now.
    #[default]
    Unknown,
    /// The guest is still on its way.
    Incoming,
    /// The guest is there, and runs or is paused as it was.
    Arrived,
    /// It has ended.
    Gone(String),
}
