//! What a workload is: plain values with one compact text form, shared by the command line, scenario files,
//! the guest agent and the control connection.

mod error;
mod method;
mod number;
mod pace;
mod pattern;
mod phase;
mod text;

use std::fmt;
use std::str::FromStr;

use sterna_sys::PAGE_BYTES;
use sterna_units::{Bytes, Rate};

pub use error::{SpecError, UnknownName};
pub use method::{Method, Ratio};
pub use pace::Pace;
pub use pattern::{HotSet, Pattern, Skew};
pub use phase::{Phase, PhaseError, PhaseRate, Phases};

use text::{by_name, known_name, out_of_range, parsed};

/// A complete workload.
///
/// The text form is `memory=64MiB workers=2 pattern=random method=counter rate=32MiB/s seed=1 latency=on`.
/// `Display` writes these fields in this order, and after them `catch-up=on`, `phases=…` and `repeat=on` where they are
/// not at their defaults.
/// `FromStr` takes the fields in any order; `memory` is required, the others default to [`Spec::of`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
    /// Whether writes that a stall or a pause kept back are made up for in a burst; otherwise they never happen.
    pub catch_up: bool,
    /// What to do instead at certain times.
    pub phases: Phases,
}

const FIELDS: &[&str] = &[
    "memory", "workers", "pattern", "method", "rate", "seed", "latency", "catch-up", "phases",
    "repeat",
];

impl Spec {
    /// The default workload on `memory`: one worker, random pages, counter, 32 MiB/s, seed 1, writes timed, no phases.
    pub fn of(memory: Bytes) -> Spec {
        Spec {
            memory,
            workers: 1,
            pattern: Pattern::Random,
            method: Method::Counter,
            pace: Pace::BytesPerSecond(Rate::from_bytes_per_second(32 << 20)),
            seed: 1,
            latency: true,
            catch_up: false,
            phases: Phases::default(),
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
        let mut repeat = false;
        for word in text.split_whitespace() {
            let (name, value) =
                word.split_once('=').ok_or_else(|| SpecError::NotAField(word.to_owned()))?;
            let field = known_name("workload field", name, FIELDS)?;
            if given.contains(&field) {
                return Err(SpecError::Twice(field));
            }
            given.push(field);
            match field {
                "repeat" => repeat = switch(field, value)?,
                _ => set_field(&mut spec, field, value)?,
            }
        }
        if !given.contains(&"memory") {
            return Err(SpecError::NoMemory);
        }
        spec.phases.check_memory(spec.memory)?;
        spec.phases = spec.phases.repeated(repeat)?;
        Ok(spec)
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spec { memory, workers, pattern, method, pace, seed, latency, catch_up, phases } = self;
        let latency = if *latency { "on" } else { "off" };
        write!(
            f,
            "memory={memory} workers={workers} pattern={pattern} method={method} rate={pace} seed={seed} latency={latency}"
        )?;
        // Left out when unused, so that a peer of an earlier version understands what it can do.
        if *catch_up {
            f.write_str(" catch-up=on")?;
        }
        if !phases.is_empty() {
            write!(f, " phases={phases}")?;
        }
        if phases.repeat() {
            f.write_str(" repeat=on")?;
        }
        Ok(())
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
        "phases" => spec.phases = value.parse()?,
        "catch-up" => spec.catch_up = switch(field, value)?,
        _ => spec.latency = switch("latency setting", value)?,
    }
    Ok(())
}

fn switch(what: &'static str, value: &str) -> Result<bool, SpecError> {
    Ok(by_name(what, value, &["on", "off"], &[true, false])?)
}

fn workers(value: &str) -> Result<u32, SpecError> {
    match parsed("workers", value)? {
        0 => Err(out_of_range("workers", value, "at least one worker is needed")),
        count => Ok(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sterna_units::{Percent, Span};

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
        check("memory=1MiB pattern=qqq", "known are sequential, random, zipf(0.99), hot-set");
        check("memory=1MiB pattern=zipff(1)", "did you mean `zipf(0.99)`?");
        check("memory=1MiB pattern=zipf", "as in zipf(0.99)");
        check("memory=1MiB pattern=zipf(0)", "above 0");
        check("memory=1MiB pattern=zipf(0.12345)", "at most four digits");
        check("memory=1MiB pattern=hot-set(0%,90%)", "above 0 %");
        check("memory=1MiB pattern=hot-set(10%)", "as in hot-set(10%,90%)");
        check("memory=1MiB pattern=hot-set(10%,101%)", "share of hot-set cannot be `101%`");
        check("memory=1MiB pattern=stride(0)", "from 1 on");
        check(
            "memory=1MiB pattern=random(5)",
            "Unknown pattern `random(5)`; did you mean `random`?",
        );
        check("memory=1MiB method=compressible", "from 1 to 100");
        check("memory=1MiB method=compressible(0.5)", "from 1 to 100");
        check("memory=1MiB method=write46", "did you mean `write64`?");
        check("memory=1MiB rate=0%", "5000pages/s or 25%");
        check("memory=1MiB rate=0pages/s", "`unlimited`, or `idle` for no writes");
        check("memory=1MiB rate=-1pages/s", "rate cannot be `-1`: ");
        check("memory=1MiB repeat=on", "no phases to repeat");
        check("memory=1MiB phases=for=1s,memory=2MiB", "Phase 1 cannot have a working set of 2MiB");
        check("memory=1MiB method=Counter", "did you mean `counter`?");
        check("memory=1MiB workers=0", "at least one worker");
        check("memory=1MiB workers=-1", "workers cannot be `-1`: ");
        check("memory=lots", "memory cannot be `lots`: ");
        check("memory=1MiB rate=0B/s", "`unlimited`, or `idle` for no writes");
        check("memory=1MiB rate=500M", "rate cannot be `500M`: ");
        check("memory=1MiB latency=yes", "known are on, off");
    }

    #[test]
    fn every_name_is_that_of_its_value() {
        assert_eq!(Pattern::NAMES.len(), Pattern::ALL.len());
        assert_eq!(Method::NAMES.len(), Method::ALL.len());
        for (name, pattern) in Pattern::NAMES.iter().zip(Pattern::ALL) {
            assert_eq!((pattern.to_string(), name.parse().unwrap()), (name.to_string(), *pattern));
        }
        for (name, method) in Method::NAMES.iter().zip(Method::ALL) {
            assert_eq!((method.to_string(), name.parse().unwrap()), (name.to_string(), *method));
        }
    }

    #[test]
    fn parameters_are_kept_exactly() {
        let pattern = |text: &str| text.parse::<Pattern>().unwrap().to_string();
        for text in ["zipf(0.99)", "zipf(1)", "zipf(0.0001)", "zipf(10)", "stride(4294967295)"] {
            assert_eq!(pattern(text), text);
        }
        assert_eq!(pattern("zipf(1.500)"), "zipf(1.5)");
        assert_eq!(pattern("hot-set( 12.5% , 0% )"), "hot-set(12.5%,0%)");
        assert_eq!(
            "compressible(2.50)".parse::<Method>().unwrap().to_string(),
            "compressible(2.5)"
        );
    }

    #[test]
    fn fields_that_are_rare_are_printed_only_when_used() {
        let text = "memory=1MiB workers=1 pattern=random method=counter rate=32MiB/s seed=1 latency=on catch-up=on phases=at=0s,for=1s,rate=idle;at=1s,for=1m30s repeat=on";
        assert_eq!(text.parse::<Spec>().unwrap().to_string(), text);
    }

    fn any_pattern() -> impl Strategy<Value = Pattern> {
        let share = || (0u32..=10_000).prop_map(|it| Percent::from_hundredths(it).unwrap());
        prop_oneof![
            proptest::sample::select(Pattern::ALL),
            (1u32..=100_000).prop_map(|it| Pattern::Zipf(Skew::from_ten_thousandths(it).unwrap())),
            (share(), share()).prop_filter_map("no hot pages", |(pages, writes)| {
                HotSet::new(pages, writes).map(Pattern::HotSet)
            }),
            any::<std::num::NonZeroU32>().prop_map(Pattern::Stride),
        ]
    }

    fn any_method() -> impl Strategy<Value = Method> {
        prop_oneof![
            proptest::sample::select(Method::ALL),
            (100u32..=10_000)
                .prop_map(|it| Method::Compressible(Ratio::from_hundredths(it).unwrap())),
        ]
    }

    fn any_rate() -> impl Strategy<Value = Rate> {
        (1u64..1 << 40).prop_map(Rate::from_bytes_per_second)
    }

    fn any_pace() -> impl Strategy<Value = Pace> {
        prop_oneof![
            Just(Pace::Unlimited),
            Just(Pace::Idle),
            any_rate().prop_map(Pace::BytesPerSecond),
            any::<std::num::NonZeroU64>().prop_map(Pace::PagesPerSecond),
            (1u32..=10_000)
                .prop_map(|it| Pace::ShareOfUnlimited(Percent::from_hundredths(it).unwrap())),
        ]
    }

    fn any_phases() -> impl Strategy<Value = Phases> {
        let rate = prop_oneof![
            any_pace().prop_map(PhaseRate::Steady),
            (any_rate(), any_rate()).prop_map(|(from, to)| PhaseRate::Ramp { from, to }),
        ];
        let memory = (100u32..=10_000)
            .prop_map(|it| sterna_units::Size::from(Percent::from_hundredths(it).unwrap()));
        use proptest::option::of;
        let phase = (0u64..100, 1u64..1 << 60, of(any_pattern()), of(rate), of(memory));
        (proptest::collection::vec(phase, 0..4), any::<bool>()).prop_map(|(raw, repeat)| {
            let mut end = Span::default();
            let phases: Vec<Phase> = raw
                .into_iter()
                .map(|(gap, length, pattern, rate, memory)| {
                    let start = Span(end.0 + Span::from_millis(gap).0);
                    let length = Span(std::time::Duration::from_nanos(length));
                    let phase = Phase { start, length, pattern, rate, memory };
                    end = phase.end();
                    phase
                })
                .collect();
            let repeat = repeat && !phases.is_empty();
            Phases::new(phases, repeat).unwrap()
        })
    }

    fn any_spec() -> impl Strategy<Value = Spec> {
        let switches = (any::<bool>(), any::<bool>());
        let what = (any_pattern(), any_method(), any_pace(), any_phases());
        (1u64 << 20.., 1u32.., what, any::<u64>(), switches).prop_map(
            |(memory, workers, (pattern, method, pace, phases), seed, (latency, catch_up))| Spec {
                memory: Bytes(memory),
                workers,
                pattern,
                method,
                pace,
                seed,
                latency,
                catch_up,
                phases,
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
