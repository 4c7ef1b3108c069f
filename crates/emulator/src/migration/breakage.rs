//! Defects committed on purpose.
//!
//! A claim of the tool counts only when a test has seen it fail.
//! So the hosts can be told to lose a page, to skip a synchronisation, to resume late or to die at the worst moment, and the tests check that the report says so.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use sterna_units::Span;
use sterna_wire::control::Side;

/// A defect, and the side that commits it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breakage {
    /// Who.
    pub side: Side,
    /// What.
    pub defect: Defect,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// One pending page is forgotten at the stop.
    LosePage,
    /// One page is announced for after the switch to post-copy, and never sent.
    WithholdPage,
    /// One page sent after the switch to post-copy has another content than the guest left there.
    WrongPage,
    /// The destination says of one page that it has it when a lost connection was made anew, and has zeros.
    ClaimPage,
    /// The synchronisation at the stop is left out.
    SkipFinalSync,
    /// The destination runs the guest this much later than it could.
    LateResume(Duration),
    /// The process kills itself at a moment.
    Die(Moment),
    /// The connection is cut at a moment.
    Disconnect(Moment),
    /// The process stops reacting at a moment.
    Hang(Moment),
    /// The source sends a damaged frame in pass 1.
    CorruptFrame,
    /// The difference of one page is forgotten after the stop.
    LoseDifference,
    /// The guest is held back on, after a migration that was given up.
    KeepThrottle,
    /// The source damages the first packet on a parallel connection.
    CorruptPacket,
    /// The source cuts the first parallel connection at a moment.
    CutChannel(Moment),
    /// The source leaves the synchronisation of parallel connections out, but for the last.
    SkipChannelSync,
    /// The destination holds back the first packet of the first parallel connection.
    LatePacket(Duration),
    /// The destination waits only this long for a source that sends nothing in post-copy.
    Impatient(Duration),
    /// The destination flips this many bits of what has arrived, between READY and the resumption.
    FlipBits(FlippedBits),
    /// The destination's workers do not check pages before they write them for the first time.
    SkipFirstChecks,
    /// The source damages the device state that it sends.
    WrongDevice,
    /// The source lets its guest run on after GO.
    RunOn,
    /// The source waits this long between READY and GO.
    LateGo(Duration),
    /// The host behaves as on a kernel without asynchronous write protection.
    NoWpAsync,
}

/// Which bits a destination flips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlippedBits {
    /// How many, each of them another one.
    pub count: u32,
    /// Where; `None` is everywhere.
    pub part: Option<MemoryPart>,
}

/// A part of guest memory, by how it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryPart {
    /// What the workers write.
    Workload,
    /// What was filled and then left alone.
    Ballast,
    /// What was never touched.
    Zero,
}

/// A moment of a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// While the pass with this number is under way.
    Pass(u32),
    /// After the destination has said READY, before the source says GO.
    Ready,
    /// After GO was received, before the guest runs.
    Go,
    /// After the first pages of a post-copy.
    Postcopy,
    /// While a connection that was lost in post-copy is made anew.
    Recovery,
}

/// More would only take longer.
const MOST_FLIPPED_BITS: u32 = 1_000_000;

/// Text that names no defect.
#[derive(Debug, thiserror::Error)]
#[error(
    "Unknown defect `{0}`; write SIDE:DEFECT, for example source:lose-page, source:skip-final-sync, destination:late-resume=500ms, destination:die=pass2, source:disconnect=pass1, destination:hang=ready, source:corrupt-frame"
)]
pub struct UnknownDefect(String);

impl FromStr for Breakage {
    type Err = UnknownDefect;

    fn from_str(text: &str) -> Result<Breakage, UnknownDefect> {
        parse(text).ok_or_else(|| UnknownDefect(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Breakage> {
    let (side, defect) = text.split_once(':')?;
    let side = match side {
        "source" => Side::Source,
        "destination" => Side::Destination,
        _ => return None,
    };
    let defect = match defect.split_once('=').unwrap_or((defect, "")) {
        ("lose-page", "") => Defect::LosePage,
        ("withhold-page", "") => Defect::WithholdPage,
        ("wrong-page", "") => Defect::WrongPage,
        ("claim-page", "") => Defect::ClaimPage,
        ("skip-final-sync", "") => Defect::SkipFinalSync,
        ("corrupt-frame", "") => Defect::CorruptFrame,
        ("corrupt-packet", "") => Defect::CorruptPacket,
        ("cut-channel", moment) => Defect::CutChannel(parse_moment(moment)?),
        ("skip-channel-sync", "") => Defect::SkipChannelSync,
        ("late-packet", delay) => Defect::LatePacket(delay.parse::<Span>().ok()?.0),
        ("no-wp-async", "") => Defect::NoWpAsync,
        ("lose-difference", "") => Defect::LoseDifference,
        ("keep-throttle", "") => Defect::KeepThrottle,
        ("impatient", wait) => Defect::Impatient(wait.parse::<Span>().ok()?.0),
        ("late-go", delay) => Defect::LateGo(delay.parse::<Span>().ok()?.0),
        ("late-resume", delay) => Defect::LateResume(delay.parse::<Span>().ok()?.0),
        ("flip-bits", bits) => Defect::FlipBits(parse_bits(bits)?),
        ("skip-first-checks", "") => Defect::SkipFirstChecks,
        ("wrong-device", "") => Defect::WrongDevice,
        ("run-on", "") => Defect::RunOn,
        ("die", moment) => Defect::Die(parse_moment(moment)?),
        ("disconnect", moment) => Defect::Disconnect(parse_moment(moment)?),
        ("hang", moment) => Defect::Hang(parse_moment(moment)?),
        _ => return None,
    };
    Some(Breakage { side, defect })
}

/// `1000`, or `1000@ballast`.
fn parse_bits(text: &str) -> Option<FlippedBits> {
    let (count, part) =
        text.split_once('@').map_or((text, None), |(count, part)| (count, Some(part)));
    let part = match part {
        None => None,
        Some(part) => Some(MemoryPart::ALL.into_iter().find(|it| it.name() == part)?),
    };
    let count = count.parse().ok().filter(|count| (1..=MOST_FLIPPED_BITS).contains(count))?;
    Some(FlippedBits { count, part })
}

fn parse_moment(text: &str) -> Option<Moment> {
    match text {
        "ready" => Some(Moment::Ready),
        "go" => Some(Moment::Go),
        "postcopy" => Some(Moment::Postcopy),
        "recovery" => Some(Moment::Recovery),
        pass => pass.strip_prefix("pass")?.parse().ok().map(Moment::Pass),
    }
}

impl fmt::Display for Breakage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.side {
            Side::Source => "source",
            Side::Destination => "destination",
        };
        match self.defect {
            Defect::LosePage => write!(f, "{side}:lose-page"),
            Defect::WithholdPage => write!(f, "{side}:withhold-page"),
            Defect::WrongPage => write!(f, "{side}:wrong-page"),
            Defect::ClaimPage => write!(f, "{side}:claim-page"),
            Defect::SkipFinalSync => write!(f, "{side}:skip-final-sync"),
            Defect::CorruptFrame => write!(f, "{side}:corrupt-frame"),
            Defect::CorruptPacket => write!(f, "{side}:corrupt-packet"),
            Defect::CutChannel(moment) => write!(f, "{side}:cut-channel={moment}"),
            Defect::SkipChannelSync => write!(f, "{side}:skip-channel-sync"),
            Defect::LatePacket(delay) => write!(f, "{side}:late-packet={}", Span(delay)),
            Defect::NoWpAsync => write!(f, "{side}:no-wp-async"),
            Defect::LoseDifference => write!(f, "{side}:lose-difference"),
            Defect::KeepThrottle => write!(f, "{side}:keep-throttle"),
            Defect::Impatient(wait) => write!(f, "{side}:impatient={}", Span(wait)),
            Defect::FlipBits(bits) => write!(f, "{side}:flip-bits={bits}"),
            Defect::SkipFirstChecks => write!(f, "{side}:skip-first-checks"),
            Defect::WrongDevice => write!(f, "{side}:wrong-device"),
            Defect::RunOn => write!(f, "{side}:run-on"),
            Defect::LateGo(delay) => write!(f, "{side}:late-go={}", Span(delay)),
            Defect::LateResume(delay) => write!(f, "{side}:late-resume={}", Span(delay)),
            Defect::Die(moment) => write!(f, "{side}:die={moment}"),
            Defect::Disconnect(moment) => write!(f, "{side}:disconnect={moment}"),
            Defect::Hang(moment) => write!(f, "{side}:hang={moment}"),
        }
    }
}

impl MemoryPart {
    const ALL: [MemoryPart; 3] = [MemoryPart::Workload, MemoryPart::Ballast, MemoryPart::Zero];

    fn name(self) -> &'static str {
        match self {
            MemoryPart::Workload => "workload",
            MemoryPart::Ballast => "ballast",
            MemoryPart::Zero => "zero",
        }
    }
}

impl fmt::Display for FlippedBits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.count)?;
        self.part.map_or(Ok(()), |part| write!(f, "@{}", part.name()))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Moment::Pass(number) => write!(f, "pass{number}"),
            Moment::Ready => write!(f, "ready"),
            Moment::Go => write!(f, "go"),
            Moment::Postcopy => write!(f, "postcopy"),
            Moment::Recovery => write!(f, "recovery"),
        }
    }
}

/// The defects of one side in a comma-separated list.
pub fn defects_of(list: &str, side: Side) -> Result<Vec<Defect>, UnknownDefect> {
    let all: Result<Vec<Breakage>, UnknownDefect> = list.split(',').map(str::parse).collect();
    Ok(all?.into_iter().filter(|it| it.side == side).map(|it| it.defect).collect())
}

/// Commits those of `defects` that are due at `moment`; `cut` ends the connection.
pub fn strike(defects: &[Defect], moment: Moment, cut: impl Fn()) {
    for defect in defects {
        match defect {
            Defect::Die(due) if *due == moment => std::process::abort(),
            Defect::Disconnect(due) if *due == moment => cut(),
            Defect::Hang(due) if *due == moment => loop {
                std::thread::sleep(Duration::from_secs(3600));
            },
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defects_round_trip_through_text() {
        for text in [
            "source:lose-page",
            "source:skip-final-sync",
            "source:corrupt-frame",
            "destination:late-resume=500ms",
            "destination:die=pass2",
            "source:disconnect=ready",
            "destination:hang=go",
            "source:hang=postcopy",
            "source:withhold-page",
            "source:wrong-page",
            "destination:claim-page",
            "destination:die=recovery",
            "source:late-go=1s",
            "destination:impatient=1s",
            "source:no-wp-async",
            "source:lose-difference",
            "source:keep-throttle",
            "source:corrupt-packet",
            "source:cut-channel=pass2",
            "source:skip-channel-sync",
            "destination:late-packet=300ms",
            "destination:flip-bits=1000",
            "destination:flip-bits=7@zero",
            "source:wrong-device",
            "source:run-on",
            "destination:skip-first-checks",
        ] {
            assert_eq!(text.parse::<Breakage>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "source",
            "source:",
            "source:die",
            "pilot:lose-page",
            "source:die=passx",
            "destination:flip-bits=0",
            "destination:flip-bits=9@disk",
        ] {
            assert!(text.parse::<Breakage>().is_err(), "{text}");
        }
    }
}
