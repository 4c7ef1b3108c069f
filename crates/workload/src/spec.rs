//! What a workload is: plain values with one compact text form, shared by the command line, scenario files,
//! the guest agent and the control connection.

use std::fmt;
use std::str::FromStr;

use sterna_sys::PAGE_BYTES;
use sterna_units::{Bytes, Rate};
use thiserror::Error;

/// In which order pages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// Each worker walks its pages from first to last, over and over.
    Sequential,
    /// Each worker draws its pages uniformly, with repeats.
    Random,
}

/// What a write does to its page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Adds one to the page's stamp word, so that the word tells how often the page was written.
    Counter,
}

/// How fast pages are written, by all workers together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pace {
    /// As fast as the machine can.
    Unlimited,
    /// A touch rate: each page written counts as 4 KiB, repeats included.
    BytesPerSecond(Rate),
}

/// A complete workload.
///
/// The text form is `memory=64MiB workers=2 pattern=random method=counter rate=32MiB/s seed=1 latency=on`.
/// `Display` writes every field in this order.
/// `FromStr` takes the fields in any order; `memory` is required, the others default to [`Spec::of`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Spec {
    /// The memory that is written; pages start at the beginning of the region.
    pub memory: Bytes,
    /// How many threads write, each with pages of its own.
    pub workers: u32,
    /// In which order pages are written.
    pub pattern: Pattern,
    /// What a write does to its page.
    pub method: Method,
    /// How fast, all workers together.
    pub pace: Pace,
    /// Decides the page order and the content of memory.
    pub seed: u64,
    /// Whether each write is timed.
    pub latency: bool,
}

/// A word that is not one of those known in its place.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("Unknown {what} `{found}`; {}", way_out(.nearest, .known))]
pub struct UnknownName {
    /// What was being named, for example `pattern`.
    pub what: &'static str,
    /// The text as it was given.
    pub found: String,
    /// The known name closest to it, when one is close enough to be meant.
    pub nearest: Option<&'static str>,
    /// All names that are known.
    pub known: &'static [&'static str],
}

/// Why a text is not a workload.
#[derive(Debug, Error)]
pub enum SpecError {
    /// A field or a name within a field is not known.
    #[error(transparent)]
    Unknown(#[from] UnknownName),
    /// A word is not of the form `field=value`.
    #[error("`{0}` is not of the form field=value, as in memory=64MiB")]
    NotAField(String),
    /// The same field is given twice.
    #[error("Field `{0}` is given twice; leave one")]
    Twice(&'static str),
    /// The one field without a default is absent.
    #[error("Field `memory` is missing; give a size such as memory=64MiB")]
    NoMemory,
    /// A value cannot be read.
    #[error("{field} cannot be `{value}`")]
    Value {
        /// The field.
        field: &'static str,
        /// The value as it was given.
        value: String,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A value is readable but out of range.
    #[error("{field} cannot be `{value}`; {way_out}")]
    Range {
        /// The field.
        field: &'static str,
        /// The value as it was given.
        value: String,
        /// What would be accepted.
        way_out: &'static str,
    },
}

const FIELDS: &[&str] = &["memory", "workers", "pattern", "method", "rate", "seed", "latency"];

impl Pattern {
    /// Every pattern, in the order in which they are documented.
    pub const ALL: &[Pattern] = &[Pattern::Sequential, Pattern::Random];
    const NAMES: &[&str] = &["sequential", "random"];
}

impl Method {
    /// Every method, in the order in which they are documented.
    pub const ALL: &[Method] = &[Method::Counter];
    const NAMES: &[&str] = &["counter"];
}

impl Spec {
    /// The default workload on `memory`: one worker, random pages, counter, 32 MiB/s, seed 1, writes timed.
    pub fn of(memory: Bytes) -> Spec {
        Spec {
            memory,
            workers: 1,
            pattern: Pattern::Random,
            method: Method::Counter,
            pace: Pace::BytesPerSecond(Rate::from_bytes_per_second(32 << 20)),
            seed: 1,
            latency: true,
        }
    }

    /// How many whole 4 KiB pages are written.
    pub fn pages(&self) -> usize {
        usize::try_from(self.memory.0 / PAGE_BYTES as u64).unwrap_or(usize::MAX)
    }
}

impl FromStr for Spec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Spec, SpecError> {
        let mut given: Vec<&'static str> = Vec::new();
        let mut spec = Spec::of(Bytes(0));
        for word in text.split_whitespace() {
            let (name, value) =
                word.split_once('=').ok_or_else(|| SpecError::NotAField(word.to_owned()))?;
            let field = known_name("workload field", name, FIELDS)?;
            if given.contains(&field) {
                return Err(SpecError::Twice(field));
            }
            given.push(field);
            set_field(&mut spec, field, value)?;
        }
        if given.contains(&"memory") { Ok(spec) } else { Err(SpecError::NoMemory) }
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spec { memory, workers, pattern, method, pace, seed, latency } = self;
        let latency = if *latency { "on" } else { "off" };
        write!(
            f,
            "memory={memory} workers={workers} pattern={pattern} method={method} rate={pace} seed={seed} latency={latency}"
        )
    }
}

impl FromStr for Pattern {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Pattern, UnknownName> {
        by_name("pattern", text, Pattern::NAMES, Pattern::ALL)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Pattern::Sequential => "sequential",
            Pattern::Random => "random",
        })
    }
}

impl FromStr for Method {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Method, UnknownName> {
        by_name("method", text, Method::NAMES, Method::ALL)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Method::Counter => "counter",
        })
    }
}

impl FromStr for Pace {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Pace, SpecError> {
        if text == "unlimited" {
            return Ok(Pace::Unlimited);
        }
        let rate: Rate = parsed("rate", text)?;
        if rate.bits_per_second() == 0 {
            let way_out = "give a rate such as 32MiB/s, or `unlimited`";
            return Err(SpecError::Range { field: "rate", value: text.to_owned(), way_out });
        }
        Ok(Pace::BytesPerSecond(rate))
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pace::Unlimited => f.write_str("unlimited"),
            Pace::BytesPerSecond(rate) => write!(f, "{rate}"),
        }
    }
}

fn set_field(spec: &mut Spec, field: &'static str, value: &str) -> Result<(), SpecError> {
    match field {
        "memory" => spec.memory = parsed(field, value)?,
        "workers" => spec.workers = workers(value)?,
        "pattern" => spec.pattern = value.parse()?,
        "method" => spec.method = value.parse()?,
        "rate" => spec.pace = value.parse()?,
        "seed" => spec.seed = parsed(field, value)?,
        _ => spec.latency = by_name("latency setting", value, &["on", "off"], &[true, false])?,
    }
    Ok(())
}

fn workers(value: &str) -> Result<u32, SpecError> {
    match parsed("workers", value)? {
        0 => Err(SpecError::Range {
            field: "workers",
            value: value.to_owned(),
            way_out: "at least one worker is needed",
        }),
        count => Ok(count),
    }
}

fn parsed<T>(field: &'static str, value: &str) -> Result<T, SpecError>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    value.parse().map_err(|source: T::Err| SpecError::Value {
        field,
        value: value.to_owned(),
        source: Box::new(source),
    })
}

fn by_name<T: Copy>(
    what: &'static str,
    text: &str,
    known: &'static [&'static str],
    values: &[T],
) -> Result<T, UnknownName> {
    let found = known.iter().zip(values).find(|(name, _)| **name == text);
    found.map(|(_, value)| *value).ok_or_else(|| unknown(what, text, known))
}

fn known_name(
    what: &'static str,
    text: &str,
    known: &'static [&'static str],
) -> Result<&'static str, UnknownName> {
    known.iter().find(|name| **name == text).copied().ok_or_else(|| unknown(what, text, known))
}

fn unknown(what: &'static str, text: &str, known: &'static [&'static str]) -> UnknownName {
    /// Below this similarity a suggestion is more likely to be a guess than a help.
    const CLOSE_ENOUGH: f64 = 0.7;
    let lower = text.to_lowercase();
    let nearest = known
        .iter()
        .map(|name| (strsim::jaro_winkler(&lower, name), *name))
        .filter(|(similarity, _)| *similarity >= CLOSE_ENOUGH)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name);
    UnknownName { what, found: text.to_owned(), nearest, known }
}

fn way_out(nearest: &Option<&'static str>, known: &[&'static str]) -> String {
    match nearest {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("known are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn error_chain(text: &str) -> String {
        let error = text.parse::<Spec>().expect_err("this text must be refused");
        let mut chain = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            chain = format!("{chain}: {cause}");
            source = cause.source();
        }
        chain
    }

    #[test]
    fn the_text_form_is_stable() {
        let text =
            "memory=64MiB workers=2 pattern=random method=counter rate=32MiB/s seed=1 latency=on";
        let spec: Spec = text.parse().unwrap();
        assert_eq!(spec.to_string(), text);
        assert_eq!(spec.pages(), 16384);
        let text = "memory=8KiB workers=1 pattern=sequential method=counter rate=unlimited seed=18446744073709551615 latency=off";
        assert_eq!(text.parse::<Spec>().unwrap().to_string(), text);
    }

    #[test]
    fn only_memory_is_required_and_order_is_free() {
        let spec: Spec = "latency=off  memory=1MiB".parse().unwrap();
        assert_eq!(spec, Spec { latency: false, ..Spec::of(Bytes(1 << 20)) });
    }

    #[test]
    fn mistakes_are_named_with_a_way_out() {
        let check = |text: &str, expected: &str| {
            let chain = error_chain(text);
            assert!(chain.contains(expected), "{text:?} gave {chain:?}, wanted {expected:?}");
        };
        check("", "Field `memory` is missing");
        check("memory=1MiB memory=2MiB", "Field `memory` is given twice");
        check("64MiB", "`64MiB` is not of the form field=value");
        check("memroy=1MiB", "Unknown workload field `memroy`; did you mean `memory`?");
        check("memory=1MiB pattern=randon", "Unknown pattern `randon`; did you mean `random`?");
        check("memory=1MiB pattern=qqq", "known are sequential, random");
        check("memory=1MiB method=Counter", "did you mean `counter`?");
        check("memory=1MiB workers=0", "at least one worker");
        check("memory=1MiB workers=-1", "workers cannot be `-1`: ");
        check("memory=lots", "memory cannot be `lots`: ");
        check("memory=1MiB rate=0B/s", "or `unlimited`");
        check("memory=1MiB rate=500M", "rate cannot be `500M`: ");
        check("memory=1MiB latency=yes", "known are on, off");
    }

    #[test]
    fn every_name_has_its_value() {
        assert_eq!(Pattern::NAMES.len(), Pattern::ALL.len());
        assert_eq!(Method::NAMES.len(), Method::ALL.len());
        for (name, pattern) in Pattern::NAMES.iter().zip(Pattern::ALL) {
            assert_eq!(pattern.to_string(), *name);
        }
        for (name, method) in Method::NAMES.iter().zip(Method::ALL) {
            assert_eq!(method.to_string(), *name);
        }
    }

    fn any_spec() -> impl Strategy<Value = Spec> {
        let pace = prop_oneof![
            Just(Pace::Unlimited),
            (1u64..1 << 40)
                .prop_map(|bytes| Pace::BytesPerSecond(Rate::from_bytes_per_second(bytes))),
        ];
        let pattern = proptest::sample::select(Pattern::ALL);
        let method = proptest::sample::select(Method::ALL);
        (any::<u64>(), 1u32.., pattern, method, pace, any::<u64>(), any::<bool>()).prop_map(
            |(memory, workers, pattern, method, pace, seed, latency)| Spec {
                memory: Bytes(memory),
                workers,
                pattern,
                method,
                pace,
                seed,
                latency,
            },
        )
    }

    proptest! {
        #[test]
        fn text_round_trips(spec in any_spec()) {
            prop_assert_eq!(spec.to_string().parse::<Spec>().unwrap(), spec);
        }

        #[test]
        fn no_text_panics(text in ".{0,80}") {
            let _ = text.parse::<Spec>();
        }
    }
}
