//! Which probes to run, as one text.

use std::fmt;
use std::str::FromStr;

use sterna_units::{ParseError, Span};

/// What a probe sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Datagrams to an echo; each is lost or comes back.
    #[default]
    Udp,
    /// Messages on one long connection: nothing is lost as long as it holds, but all wait for what was lost.
    Tcp,
    /// What `ping` sends; the machine's kernel answers, not a program.
    Icmp,
    /// Pictures at a constant rate, as a viewer sees them; its interval is the time between two of them.
    Playout,
}

/// One probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What it sends.
    pub kind: Kind,
    /// Time between two messages, 1 ms to 1 s.
    pub interval: Span,
}

/// The probes of a run, written `kind=udp,interval=1ms;kind=icmp`; also `default` and `none`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Probes {
    /// What the engine finds useful: UDP every 10 ms where there is a network, else none.
    #[default]
    Default,
    /// These, at most `MOST_PROBES`; nothing is probed without any.
    These(Vec<Probe>),
}

/// Why a text names no probes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// A field that no probe has.
    #[error(
        "Unknown probe field `{0}`; a probe has `kind` and `interval`, as in kind=udp,interval=1ms"
    )]
    Field(String),
    /// A field twice.
    #[error("Probe field `{0}` stands twice; separate two probes by `;`")]
    Twice(&'static str),
    /// A kind that there is not.
    #[error("Unknown kind of probe `{0}`; known are {list}", list = Kind::NAMES.join(", "))]
    Kind(String),
    /// No duration.
    #[error(transparent)]
    Interval(#[from] ParseError),
    /// Too often or too seldom.
    #[error("A probe cannot send every {0}; its interval is 1ms to 1s")]
    Range(Span),
    /// More than anybody needs.
    #[error("{0} probes are too many; at most {MOST_PROBES} run at once")]
    TooMany(usize),
}

/// How many probes may run at once.
pub const MOST_PROBES: usize = 8;

const SHORTEST: Span = Span::from_millis(1);
const LONGEST: Span = Span::from_secs(1);
const DEFAULT_INTERVAL: Span = Span::from_millis(10);
/// 25 pictures a second.
const DEFAULT_FRAME_INTERVAL: Span = Span::from_millis(40);

impl Kind {
    /// All kinds, as they are written.
    pub const NAMES: [&str; 4] = ["udp", "tcp", "icmp", "playout"];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Udp => "udp",
            Kind::Tcp => "tcp",
            Kind::Icmp => "icmp",
            Kind::Playout => "playout",
        }
    }
}

impl Default for Probe {
    fn default() -> Probe {
        Probe { kind: Kind::Udp, interval: DEFAULT_INTERVAL }
    }
}

impl Probe {
    /// Time between two messages.
    pub fn interval_ns(&self) -> u64 {
        self.interval.0.as_nanos() as u64
    }
}

impl Probes {
    /// The probes, where `default` stands for these.
    pub fn or(&self, default: &[Probe]) -> Vec<Probe> {
        match self {
            Probes::Default => default.to_vec(),
            Probes::These(probes) => probes.clone(),
        }
    }

    /// Whether some were asked for by name.
    pub fn are_asked_for(&self) -> bool {
        matches!(self, Probes::These(probes) if !probes.is_empty())
    }
}

impl FromStr for Kind {
    type Err = ProbeError;

    fn from_str(text: &str) -> Result<Kind, ProbeError> {
        let kinds = [Kind::Udp, Kind::Tcp, Kind::Icmp, Kind::Playout];
        let found = kinds.into_iter().find(|it| it.as_str() == text);
        found.ok_or_else(|| ProbeError::Kind(text.to_owned()))
    }
}

impl FromStr for Probe {
    type Err = ProbeError;

    fn from_str(text: &str) -> Result<Probe, ProbeError> {
        let (mut kind, mut interval) = (None, None);
        for field in text.split(',').map(str::trim).filter(|it| !it.is_empty()) {
            let twice = match field.split_once('=') {
                Some(("kind", value)) => kind.replace(value.parse()?).map(|_| "kind"),
                Some(("interval", value)) => {
                    interval.replace(value.parse::<Span>()?).map(|_| "interval")
                }
                _ => return Err(ProbeError::Field(field.to_owned())),
            };
            if let Some(name) = twice {
                return Err(ProbeError::Twice(name));
            }
        }
        let kind: Kind = kind.unwrap_or_default();
        let interval = interval.unwrap_or(match kind {
            Kind::Playout => DEFAULT_FRAME_INTERVAL,
            _ => DEFAULT_INTERVAL,
        });
        if interval < SHORTEST || interval > LONGEST {
            return Err(ProbeError::Range(interval));
        }
        Ok(Probe { kind, interval })
    }
}

impl FromStr for Probes {
    type Err = ProbeError;

    fn from_str(text: &str) -> Result<Probes, ProbeError> {
        match text.trim() {
            "default" => return Ok(Probes::Default),
            "none" => return Ok(Probes::These(Vec::new())),
            _ => {}
        }
        let probes = text.split(';').map(str::parse).collect::<Result<Vec<Probe>, _>>()?;
        match probes.len() {
            count if count > MOST_PROBES => Err(ProbeError::TooMany(count)),
            _ => Ok(Probes::These(probes)),
        }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kind={},interval={}", self.kind.as_str(), self.interval)
    }
}

impl fmt::Display for Probes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Probes::Default => f.pad("default"),
            Probes::These(probes) if probes.is_empty() => f.pad("none"),
            Probes::These(probes) => {
                let texts: Vec<String> = probes.iter().map(Probe::to_string).collect();
                f.pad(&texts.join(";"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_and_written_in_one_form() {
        let check = |text: &str, expected: &str| {
            let probes: Probes = text.parse().unwrap();
            assert_eq!(probes.to_string(), expected);
            assert_eq!(expected.parse::<Probes>().unwrap(), probes);
        };
        check("default", "default");
        check("none", "none");
        check("kind=icmp", "kind=icmp,interval=10ms");
        check(" interval=1ms ", "kind=udp,interval=1ms");
        check("kind=playout", "kind=playout,interval=40ms");
        check(
            "kind=udp,interval=1s; interval=5ms, kind=tcp",
            "kind=udp,interval=1s;kind=tcp,interval=5ms",
        );
    }

    #[test]
    fn mistakes_say_what_would_be_right() {
        let check = |text: &str, expected: &str| {
            assert_eq!(text.parse::<Probes>().unwrap_err().to_string(), expected);
        };
        check("kind=arp", "Unknown kind of probe `arp`; known are udp, tcp, icmp, playout");
        check("interval=0s", "A probe cannot send every 0s; its interval is 1ms to 1s");
        check("interval=999us", "A probe cannot send every 999µs; its interval is 1ms to 1s");
        check("interval=2s", "A probe cannot send every 2s; its interval is 1ms to 1s");
        check(
            "udp",
            "Unknown probe field `udp`; a probe has `kind` and `interval`, as in kind=udp,interval=1ms",
        );
        check("kind=udp,kind=tcp", "Probe field `kind` stands twice; separate two probes by `;`");
        check(&["kind=udp"; 9].join(";"), "9 probes are too many; at most 8 run at once");
        assert!("interval=10".parse::<Probes>().unwrap_err().to_string().contains("no unit"));
    }

    #[test]
    fn the_default_is_for_the_engine_to_say() {
        let all = [Probe::default()];
        assert_eq!(Probes::Default.or(&all), all);
        assert_eq!(Probes::These(Vec::new()).or(&all), []);
        let asked = |text: &str| text.parse::<Probes>().unwrap().are_asked_for();
        assert_eq!(["default", "none", "kind=udp"].map(asked), [false, false, true]);
    }
}
