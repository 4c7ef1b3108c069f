//! What goes wrong on purpose.

use std::fmt;
use std::str::FromStr;

use sterna_units::{Bytes, ParseError, Span};
use sterna_workload::UnknownName;
use thiserror::Error;

use super::FaultChannel;
use crate::choice::{by_name, choice};

/// One thing that goes wrong on purpose, once.
///
/// The text form is `at-pass=2,side=destination,channel=multifd-1,action=stall,for=500ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// When.
    pub moment: FaultMoment,
    /// Where.
    pub side: FaultSide,
    /// On which connection; a side that dies has none left.
    pub channel: FaultChannel,
    /// What.
    pub action: FaultAction,
}

/// When something goes wrong. It happens at the first opportunity from then on: between two frames of the stream, or two polls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultMoment {
    /// Once this pass is under way, counted from 1.
    Pass(u32),
    /// Once so many bytes have travelled, as the side counts them.
    Bytes(Bytes),
    /// So long after the migration began.
    Time(Span),
    /// So long after the guest went on at the destination in post-copy.
    Postcopy(Span),
}

choice! {
    /// The side at which something goes wrong.
    FaultSide ("side") {
        /// Where the guest runs first.
        #[default]
        Source = "source",
        /// Where it shall run.
        Destination = "destination",
    }
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultAction {
    /// The connection is cut.
    Drop,
    /// The side takes no part in the migration for a time; `None` for ever. Its guest runs on.
    Stall(Option<Span>),
    /// A bit of the next thing that the side sends is turned around on the way.
    Corrupt,
    /// From now on the side waits so long before each frame.
    Delay(Span),
    /// The side's process dies.
    Kill,
}

/// What goes wrong in a run, in the order in which it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

/// A text that describes no fault.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FaultError {
    /// A word that is not known in its place.
    #[error(transparent)]
    Unknown(#[from] UnknownName),
    /// A size or a time that cannot be read.
    #[error(transparent)]
    Quantity(#[from] ParseError),
    /// Not of the form `field=value`.
    #[error("`{0}` is not of the form field=value, as in at-pass=2")]
    NotAField(String),
    /// A number of a pass that is none.
    #[error("`{0}` is not the number of a pass; they count from 1")]
    Pass(String),
    /// Not exactly one moment.
    #[error(
        "Fault {0} needs exactly one of at-pass, at-bytes, at and at-postcopy, to say when it strikes"
    )]
    Moment(usize),
    /// No connection that any migration has.
    #[error("`{0}` is no channel; they are main, multifd-0, multifd-1, ..., and preempt")]
    Channel(String),
    /// A connection where it is of no account.
    #[error("Fault {0} kills a whole side, with all its connections; leave out `channel`")]
    KilledChannel(usize),
    /// No action.
    #[error("Fault {0} needs an action: drop, stall, corrupt, delay or kill")]
    NoAction(usize),
    /// A length where there is none, or none where one is needed.
    #[error("Fault {number} is a {action}; {way_out}")]
    Length {
        /// The fault, counted from 1.
        number: usize,
        /// What it does.
        action: String,
        /// What to write.
        way_out: &'static str,
    },
    /// Twice the same field.
    #[error("Fault {number} has `{field}` twice; leave one")]
    Twice {
        /// The fault, counted from 1.
        number: usize,
        /// The field.
        field: &'static str,
    },
    /// More than travel well.
    #[error("There are {0} faults, but at most {MOST} can be had")]
    TooMany(usize),
}

/// Most faults of a run.
const MOST: usize = 64;

const FIELDS: &[&str] =
    &["at-pass", "at-bytes", "at", "at-postcopy", "side", "channel", "action", "for"];
const ACTIONS: &[&str] = &["drop", "stall", "corrupt", "delay", "kill"];

/// One field, read.
#[derive(Clone, Copy)]
enum Field {
    Moment(FaultMoment),
    Side(FaultSide),
    Channel(FaultChannel),
    Action(FaultAction),
    For(Span),
}

impl Faults {
    /// Those of one side.
    pub fn of(&self, side: FaultSide) -> impl Iterator<Item = &Fault> {
        self.0.iter().filter(move |fault| fault.side == side)
    }

    /// Whether a field of a fault could be read, for the sake of its place in a file.
    pub(crate) fn check_field(text: &str) -> Result<(), FaultError> {
        field(text).map(drop)
    }
}

impl FromStr for Faults {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Faults, FaultError> {
        let texts: Vec<&str> = text.split(';').filter(|it| !it.trim().is_empty()).collect();
        if texts.len() > MOST {
            return Err(FaultError::TooMany(texts.len()));
        }
        (1..)
            .zip(texts)
            .map(|(number, text)| fault(number, text))
            .collect::<Result<_, _>>()
            .map(Faults)
    }
}

fn fault(number: usize, text: &str) -> Result<Fault, FaultError> {
    let (mut moment, mut side, mut action, mut length) = (None, None, None, None);
    let mut channel = None;
    for word in text.split(',') {
        let (field_name, is_second) = match field(word)? {
            // A second moment is one too many, whichever it is.
            Field::Moment(it) if moment.replace(it).is_some() => {
                return Err(FaultError::Moment(number));
            }
            Field::Moment(_) => continue,
            Field::Side(it) => ("side", side.replace(it).is_some()),
            Field::Channel(it) => ("channel", channel.replace(it).is_some()),
            Field::Action(it) => ("action", action.replace(it).is_some()),
            Field::For(it) => ("for", length.replace(it).is_some()),
        };
        if is_second {
            return Err(FaultError::Twice { number, field: field_name });
        }
    }
    if channel.is_some() && action == Some(FaultAction::Kill) {
        return Err(FaultError::KilledChannel(number));
    }
    Ok(Fault {
        moment: moment.ok_or(FaultError::Moment(number))?,
        side: side.unwrap_or_default(),
        channel: channel.unwrap_or_default(),
        action: with_length(action.ok_or(FaultError::NoAction(number))?, length, number)?,
    })
}

fn with_length(
    action: FaultAction,
    length: Option<Span>,
    number: usize,
) -> Result<FaultAction, FaultError> {
    let refuse =
        |way_out| Err(FaultError::Length { number, action: action.name().to_owned(), way_out });
    match (action, length) {
        (FaultAction::Stall(_), length) => Ok(FaultAction::Stall(length)),
        (FaultAction::Delay(_), Some(length)) => Ok(FaultAction::Delay(length)),
        (FaultAction::Delay(_), None) => refuse("say how long each frame waits, as in for=20ms"),
        (_, Some(_)) => refuse("it takes no `for`; leave it out"),
        (action, None) => Ok(action),
    }
}

fn field(text: &str) -> Result<Field, FaultError> {
    let (name, value) =
        text.split_once('=').ok_or_else(|| FaultError::NotAField(text.trim().to_owned()))?;
    let (name, value) = (name.trim(), value.trim());
    let name = by_name("field of a fault", name, FIELDS, FIELDS)?;
    Ok(match name {
        "at-pass" => Field::Moment(FaultMoment::Pass(pass(value)?)),
        "at-bytes" => Field::Moment(FaultMoment::Bytes(value.parse()?)),
        "at" => Field::Moment(FaultMoment::Time(value.parse()?)),
        "at-postcopy" => Field::Moment(FaultMoment::Postcopy(value.parse()?)),
        "side" => Field::Side(value.parse()?),
        "channel" => Field::Channel(value.parse()?),
        "for" => Field::For(value.parse()?),
        _ => Field::Action(action(value)?),
    })
}

fn pass(text: &str) -> Result<u32, FaultError> {
    let number = text.parse().ok().filter(|it| *it > 0);
    number.ok_or_else(|| FaultError::Pass(text.to_owned()))
}

/// The action by its word; its length comes from another field.
fn action(text: &str) -> Result<FaultAction, FaultError> {
    use FaultAction::{Corrupt, Delay, Drop, Kill, Stall};
    let actions = [Drop, Stall(None), Corrupt, Delay(Span::default()), Kill];
    Ok(by_name("action of a fault", text, ACTIONS, &actions)?)
}

impl FaultAction {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            FaultAction::Drop => "drop",
            FaultAction::Stall(_) => "stall",
            FaultAction::Corrupt => "corrupt",
            FaultAction::Delay(_) => "delay",
            FaultAction::Kill => "kill",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.moment {
            FaultMoment::Pass(number) => write!(f, "at-pass={number}")?,
            FaultMoment::Bytes(bytes) => write!(f, "at-bytes={bytes}")?,
            FaultMoment::Time(span) => write!(f, "at={}", compact(span))?,
            FaultMoment::Postcopy(span) => write!(f, "at-postcopy={}", compact(span))?,
        }
        write!(f, ",side={}", self.side)?;
        if self.channel != FaultChannel::Main {
            write!(f, ",channel={}", self.channel)?;
        }
        write!(f, ",action={}", self.action.name())?;
        match self.action {
            FaultAction::Stall(Some(span)) | FaultAction::Delay(span) => {
                write!(f, ",for={}", compact(span))
            }
            _ => Ok(()),
        }
    }
}

/// Without the spaces between units, so that a list of faults is one word.
fn compact(span: Span) -> String {
    span.to_string().replace(' ', "")
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ";" };
            write!(f, "{separator}{fault}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_round_trip() {
        for text in [
            "at-pass=2,side=source,action=drop",
            "at-bytes=100MiB,side=destination,action=stall",
            "at=1s500ms,side=source,action=stall,for=2s",
            "at-postcopy=0s,side=destination,action=kill",
            "at-postcopy=1s,side=source,channel=preempt,action=delay,for=1ms",
            "at-pass=1,side=destination,channel=multifd-63,action=stall",
            "at=0s,side=source,action=delay,for=20ms;at-pass=1,side=source,action=corrupt",
        ] {
            assert_eq!(text.parse::<Faults>().unwrap().to_string(), text);
        }
        let spaced: Faults = " at-pass = 3 , action = drop ; ".parse().unwrap();
        assert_eq!(spaced.to_string(), "at-pass=3,side=source,action=drop");
        let main: Faults = "at-pass=3,channel=main,action=drop".parse().unwrap();
        assert_eq!(main, spaced, "the first connection is the default");
    }

    #[test]
    fn mistakes_say_what_to_write() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            assert_eq!(text.parse::<Faults>().unwrap_err().to_string(), expected);
        }
        check(
            "action=drop",
            "Fault 1 needs exactly one of at-pass, at-bytes, at and at-postcopy, to say when it strikes",
        );
        check(
            "at-pass=1,at=1s,action=drop",
            "Fault 1 needs exactly one of at-pass, at-bytes, at and at-postcopy, to say when it strikes",
        );
        check(
            "at-pass=1,action=drop;at=1s",
            "Fault 2 needs an action: drop, stall, corrupt, delay or kill",
        );
        check("at-pass=0,action=drop", "`0` is not the number of a pass; they count from 1");
        check(
            "at-pass=1,action=delay",
            "Fault 1 is a delay; say how long each frame waits, as in for=20ms",
        );
        check("at-pass=1,action=kill,for=1s", "Fault 1 is a kill; it takes no `for`; leave it out");
        check("at-pass=1,action=kill,action=drop", "Fault 1 has `action` twice; leave one");
        let channels = "is no channel; they are main, multifd-0, multifd-1, ..., and preempt";
        check("at-pass=1,channel=fast,action=drop", &format!("`fast` {channels}"));
        check("at-pass=1,channel=multifd-256,action=drop", &format!("`multifd-256` {channels}"));
        check(
            "at-pass=1,channel=main,action=kill",
            "Fault 1 kills a whole side, with all its connections; leave out `channel`",
        );
        check("drop", "`drop` is not of the form field=value, as in at-pass=2");
        check("at-pas=1,action=drop", "Unknown field of a fault `at-pas`; did you mean `at-pass`?");
        check("at-pass=1,action=kil", "Unknown action of a fault `kil`; did you mean `kill`?");
        check("at-pass=1,side=src,action=kill", "Unknown side `src`; did you mean `source`?");
        check(
            &"at-pass=1,action=drop;".repeat(65),
            "There are 65 faults, but at most 64 can be had",
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_what_is_read_round_trips(text in "[a-z=,;0-9-]{0,60}") {
            if let Ok(faults) = text.parse::<Faults>() {
                prop_assert_eq!(faults.to_string().parse::<Faults>().unwrap(), faults);
            }
        }
    }
}
