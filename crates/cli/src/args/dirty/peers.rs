//! The flags of other dirtiers, with their meanings: mig_mon's `mm_dirty` and stress-ng's `--vm`.
//!
//! They say in other words what our own flags say, and exclude these.
//! Only here do bare numbers count: MiB and MiB/s after `-m` and `-r`, bytes after `--vm-bytes`.

use std::num::NonZeroU64;

use clap::{Arg, ArgAction, ArgMatches, value_parser};
use sterna_units::{Bytes, Rate, Size, Span};
use sterna_workload::{Method, Pace};

use super::get;
use super::values::{chain, duration};

/// What was said in these words.
#[derive(Default)]
pub struct Given {
    pub memory: Option<Size>,
    pub workers: Option<u32>,
    pub method: Option<Method>,
    pub pace: Option<Pace>,
    /// `Some(None)` is without an end.
    pub duration: Option<Option<Span>>,
    pub latency: bool,
    pub locked: bool,
    /// How flags were understood where another tool means something else by them.
    pub notes: Vec<String>,
}

const MIG_MON: &str = "As mig_mon mm_dirty (-p and -P are above)";
const STRESS_NG: &str = "As stress-ng --vm and --memrate, and as the classic stress";

/// Flags that only stress-ng and the classic stress have; beside them `-m` is theirs, too.
const ONLY_STRESS: [&str; 17] = [
    "vm",
    "vm-bytes",
    "vm-method",
    "vm-keep",
    "vm-populate",
    "vm-locked",
    "vm-stride",
    "classic",
    "timeout",
    "memrate",
    "memrate-bytes",
    "memrate-wr-mbs",
    "metrics-brief",
    "metrics",
    "oom-avoid",
    "verbose",
    "aggressive",
];

/// stress-ng's methods that write as one of ours does; most others hardly dirty, or check more than they write.
const VM_METHODS: &[(&str, Method)] = &[
    ("write64", Method::Write64),
    ("write64ds", Method::Write64),
    ("write64nt", Method::Write64Nt),
    ("write1024v", Method::Write1024),
    ("rand-set", Method::FillRandom),
    ("zero-one", Method::Zero),
    ("inc-nybble", Method::Counter),
    ("incdec", Method::Counter),
    ("flip", Method::XorRandom),
];

impl Given {
    /// What these flags say, or which of them contradict each other.
    pub fn of(matches: &ArgMatches) -> Result<Given, String> {
        let is_given =
            |id: &str| matches.value_source(id) == Some(clap::parser::ValueSource::CommandLine);
        let is_stress = ONLY_STRESS.iter().any(|it| is_given(it));
        let mut given = Given {
            workers: get(matches, "vm").or_else(|| get(matches, "memrate")),
            method: get(matches, "vm-method"),
            pace: get(matches, "mig-mon-rate"),
            duration: get(matches, "timeout"),
            latency: matches.get_flag("mig-mon-latency"),
            locked: matches.get_flag("vm-locked"),
            ..Given::default()
        };
        match get::<Amount>(matches, "mig-mon-memory") {
            Some(amount) if is_stress => given.take_workers(&amount, is_given("mig-mon-rate"))?,
            Some(amount) => given.memory = Some(amount.size),
            None => {}
        }
        given.take_memory(matches);
        given.take_memrate(matches);
        Ok(given)
    }

    /// `-m 4` beside flags of stress-ng: four workers there, 4 MiB in mig_mon.
    fn take_workers(&mut self, amount: &Amount, has_rate: bool) -> Result<(), String> {
        let text = &amount.text;
        let way_out = "write --vm N for workers, or --memory SIZE for memory";
        if has_rate {
            return Err(format!(
                "-m {text} means memory beside -r, which mig_mon has, and workers beside the flags of stress-ng: {way_out}"
            ));
        }
        if self.workers.is_some() {
            return Err(format!(
                "-m {text} and --vm both say how many workers there are: {way_out}"
            ));
        }
        let workers = text.parse().map_err(|_| {
            format!("-m {text} beside flags of stress-ng would be a number of workers: {way_out}")
        })?;
        self.workers = Some(workers);
        self.notes.push(format!(
            "-m {text} is {text} workers, as in stress-ng, whose flags stand beside it; write --memory {text}MiB for memory"
        ));
        Ok(())
    }

    fn take_memory(&mut self, matches: &ArgMatches) {
        let Some(size) = get::<Size>(matches, "vm-bytes") else { return };
        let workers = u64::from(self.workers.unwrap_or(1).max(1));
        let is_classic = matches.get_flag("classic") || matches.contains_id("vm-stride");
        self.memory = Some(match size {
            Size::Bytes(each) if is_classic => Size::Bytes(Bytes(each.0.saturating_mul(workers))),
            size => size,
        });
        if let (Size::Bytes(bytes), false, true) = (size, is_classic, workers > 1) {
            self.notes.push(format!(
                "--vm-bytes {bytes} is the total of {workers} workers, as in stress-ng; the classic stress counts it for each worker, which --classic does"
            ));
        }
    }

    /// Each instance of `--memrate` has memory and a rate of its own.
    fn take_memrate(&mut self, matches: &ArgMatches) {
        let instances = u64::from(get::<u32>(matches, "memrate").unwrap_or(1).max(1));
        if let Some(Size::Bytes(each)) = get(matches, "memrate-bytes") {
            self.memory = Some(Size::Bytes(Bytes(each.0.saturating_mul(instances))));
        }
        if let Some(each) = get::<u64>(matches, "memrate-wr-mbs") {
            let bytes = each.saturating_mul(1 << 20).saturating_mul(instances);
            self.pace = Some(Pace::BytesPerSecond(Rate::from_bytes_per_second(bytes)));
            self.method = self.method.or(Some(Method::Write64));
        }
        if matches.contains_id("memrate-rd-mbs") {
            self.notes
                .push("--memrate-rd-mbs is not taken: memory is written here, not read".to_owned());
        }
    }
}

/// A value of `-m`: what it is as memory, and its text.
#[derive(Clone)]
struct Amount {
    size: Size,
    text: String,
}

fn amount(text: &str) -> Result<Amount, String> {
    Ok(Amount { size: mib(text)?, text: text.to_owned() })
}

/// Their flags.
pub fn args() -> Vec<Arg> {
    let mut args = mig_mon();
    args.extend(stress_ng());
    args
}

fn mig_mon() -> Vec<Arg> {
    let args = [
        Arg::new("mig-mon-memory")
            .short('m')
            .value_name("MIB")
            .value_parser(amount)
            .conflicts_with("memory")
            .help("As --memory, but a bare number is MiB; beside flags of stress-ng, as --vm"),
        Arg::new("mig-mon-rate")
            .short('r')
            .value_name("MIB/S")
            .value_parser(mib_per_second)
            .conflicts_with("rate")
            .help("As --rate, but a bare number is MiB/s"),
        Arg::new("mig-mon-latency")
            .short('L')
            .action(ArgAction::SetTrue)
            .help("As --latency --latency-buckets mig_mon"),
    ];
    args.into_iter().map(|it| it.help_heading(MIG_MON)).collect()
}

fn stress_ng() -> Vec<Arg> {
    let long = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let nothing = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    let args = [
        long("vm", "N", "As --workers; 0 is one for each processor")
            .value_parser(value_parser!(u32))
            .conflicts_with("workers"),
        long(
            "vm-bytes",
            "SIZE",
            "As --memory: a total; a bare number is bytes, letters are powers of 1024",
        )
        .value_parser(vm_bytes)
        .conflicts_with("memory"),
        long("vm-method", "METHOD", "As --method, also with stress-ng's names")
            .value_parser(vm_method)
            .conflicts_with("method"),
        nothing("vm-keep", "Keep the memory, as is the rule here; --remap does not")
            .conflicts_with("remap"),
        nothing("vm-populate", "Touch the memory before, as is the rule here"),
        nothing("vm-locked", "As --locked"),
        nothing("classic", "Count --vm-bytes for each worker, as the classic stress does"),
        long("vm-stride", "BYTES", "Taken from lines of the classic stress, and implies --classic; every page is written here")
            .value_parser(vm_bytes),
        long("memrate", "N", "As --workers").value_parser(value_parser!(u32)).conflicts_with_all(["workers", "vm"]),
        long("memrate-bytes", "SIZE", "Memory of each instance of --memrate")
            .value_parser(vm_bytes)
            .conflicts_with_all(["memory", "vm-bytes"]),
        long("memrate-wr-mbs", "MIB/S", "As --rate, for each instance of --memrate; a bare number is MiB/s")
            .value_parser(value_parser!(u64).range(1..))
            .conflicts_with_all(["rate", "mig-mon-rate"]),
        long("memrate-rd-mbs", "MIB/S", "Taken and not used: memory is only written here")
            .value_parser(value_parser!(u64)),
        nothing("metrics", "Taken and not needed: the summary has them"),
        nothing("metrics-brief", "Taken and not needed: the summary has them"),
        nothing("times", "Taken and not needed: the summary has them"),
        nothing("oom-avoid", "Taken and not needed: memory that is not available is refused"),
        nothing("verbose", "Taken and not needed").short('v'),
        nothing("aggressive", "Taken and not needed: writes are as fast as --rate allows"),
        nothing("no-rand-seed", "Taken and not needed: --seed decides"),
        long("timeout", "TIME", "As --duration; a bare number is seconds, 0 goes on until a signal")
            .short('t')
            .value_parser(timeout)
            .conflicts_with("duration"),
    ];
    args.into_iter().map(|it| it.help_heading(STRESS_NG)).collect()
}

fn mib(text: &str) -> Result<Size, String> {
    match bare(text) {
        Some(mib) => {
            let bytes = mib.get().checked_mul(1 << 20);
            bytes
                .map(|it| Size::Bytes(Bytes(it)))
                .ok_or_else(|| "Too large; use for example 2000 for 2000 MiB".to_owned())
        }
        None => vm_bytes(text),
    }
}

/// mig_mon's own texts also say `500M`.
fn mib_per_second(text: &str) -> Result<Pace, String> {
    let (number, unit) = match text.strip_suffix(['M', 'm']) {
        Some(number) => (number, 1 << 20),
        None => match text.strip_suffix(['G', 'g']) {
            Some(number) => (number, 1 << 30),
            None => (text, 1 << 20),
        },
    };
    match bare(number) {
        Some(count) => {
            let bytes = count
                .get()
                .checked_mul(unit)
                .ok_or("Too large; use for example 500 for 500 MiB/s")?;
            Ok(Pace::BytesPerSecond(Rate::from_bytes_per_second(bytes)))
        }
        None => chain(text),
    }
}

/// Letters may be small here.
fn vm_bytes(text: &str) -> Result<Size, String> {
    if let Some(bytes) = bare(text) {
        return Ok(Size::Bytes(Bytes(bytes.get())));
    }
    let number = text.trim_end_matches(|it: char| it.is_ascii_alphabetic());
    let unit = &text[number.len()..];
    if unit.len() == 1 {
        chain(&format!("{number}{}", unit.to_ascii_uppercase()))
    } else {
        chain(text)
    }
}

fn vm_method(text: &str) -> Result<Method, String> {
    if text == "all" {
        return Err("`all` turns through some seventy methods of stress-ng, most of which check more than they write; write64 dirties steadily".to_owned());
    }
    let theirs = VM_METHODS.iter().find(|(name, _)| *name == text);
    theirs.map_or_else(|| chain(text), |(_, method)| Ok(*method))
}

fn timeout(text: &str) -> Result<Option<Span>, String> {
    if chain::<Span>(text).is_ok_and(Span::is_zero) {
        return Ok(None);
    }
    match bare(text) {
        Some(seconds) => chain(&format!("{seconds}s")).map(Some),
        None => duration(text).map(Some),
    }
}

fn bare(text: &str) -> Option<NonZeroU64> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_numbers_mean_what_they_mean_there() {
        let check = |found: Result<Size, String>, expected: u64| {
            assert_eq!(found, Ok(Size::Bytes(Bytes(expected))));
        };
        check(mib("2000"), 2000 << 20);
        check(mib("500M"), 500 << 20);
        check(mib("10G"), 10 << 30);
        check(mib("2GiB"), 2 << 30);
        check(vm_bytes("256m"), 256 << 20);
        check(vm_bytes("1g"), 1 << 30);
        check(vm_bytes("4096"), 4096);
        assert!(mib("18446744073709551615").is_err());
        assert!(mib("lots").is_err());
    }

    #[test]
    fn rates_of_mig_mon_are_mib() {
        let check = |text: &str, expected: u64| {
            let rate = Rate::from_bytes_per_second(expected);
            assert_eq!(mib_per_second(text), Ok(Pace::BytesPerSecond(rate)), "{text}");
        };
        check("500", 500 << 20);
        check("100M", 100 << 20);
        check("1G", 1 << 30);
        check("500MB/s", 500_000_000);
        assert!(mib_per_second("0").is_err());
        assert!(mib_per_second("fast").is_err());
    }

    #[test]
    fn methods_have_both_names() {
        assert_eq!(vm_method("write1024v"), Ok(Method::Write1024));
        assert_eq!(vm_method("xor-random"), Ok(Method::XorRandom));
        assert!(vm_method("galpat-0").unwrap_err().contains("write64"));
        assert!(vm_method("all").unwrap_err().contains("some seventy methods"));
    }

    /// The memory, the workers and the notes of a line.
    fn read(line: &str) -> Result<Given, String> {
        let matches = super::super::command()
            .try_get_matches_from(line.split_whitespace())
            .map_err(|error| error.to_string())?;
        Given::of(&matches)
    }

    #[test]
    fn lines_of_stress_ng_and_of_the_classic_stress_mean_what_they_mean_there() {
        let mib = |count: u64| Some(Size::Bytes(Bytes(count << 20)));
        let table = [
            ("dirty -m 4", mib(4), None, None),
            ("dirty -m 4 -r 100", mib(4), None, None),
            ("dirty -m 4 --vm-keep", None, Some(4), Some("-m 4 is 4 workers")),
            ("dirty -m 4 -t 60", None, Some(4), Some("-m 4 is 4 workers")),
            (
                "dirty -m 4 --vm-bytes 1G --metrics-brief",
                mib(1024),
                Some(4),
                Some("total of 4 workers"),
            ),
            (
                "dirty --vm 2 --vm-bytes 256M --oom-avoid -v --aggressive",
                mib(256),
                Some(2),
                Some("--classic"),
            ),
            ("dirty --vm 1 --vm-bytes 256M --times", mib(256), Some(1), None),
            ("dirty --vm 2 --vm-bytes 256M --classic", mib(512), Some(2), None),
            ("dirty --vm 2 --vm-bytes 256M --vm-stride 4096 --vm-keep", mib(512), Some(2), None),
            (
                "dirty --vm 2 --vm-bytes 75% --vm-method write64",
                Some(Size::Percent(sterna_units::Percent::new(75).unwrap())),
                Some(2),
                None,
            ),
            ("dirty --memrate 2 --memrate-bytes 64M --memrate-wr-mbs 100", mib(128), Some(2), None),
            (
                "dirty --memrate 2 --memrate-rd-mbs 100",
                None,
                Some(2),
                Some("--memrate-rd-mbs is not taken"),
            ),
        ];
        for (line, memory, workers, note) in table {
            let given = read(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!((given.memory, given.workers), (memory, workers), "{line}");
            match note {
                Some(words) => assert!(
                    given.notes.iter().any(|it| it.contains(words)),
                    "{line}: {:?}",
                    given.notes
                ),
                None => assert!(given.notes.is_empty(), "{line}: {:?}", given.notes),
            }
        }
        let rate = read("dirty --memrate 2 --memrate-wr-mbs 100").unwrap().pace;
        assert_eq!(rate, Some(Pace::BytesPerSecond(Rate::from_bytes_per_second(200 << 20))));
        let refused = [
            ("dirty -m 4 -r 100 --vm-keep", "means memory beside -r"),
            ("dirty -m 4 --vm 2", "both say how many workers"),
            ("dirty -m 500M --vm-keep", "would be a number of workers"),
            ("dirty --vm 2 --vm-method all", "some seventy methods"),
        ];
        for (line, words) in refused {
            let error = read(line).err().unwrap_or_else(|| panic!("{line} is taken"));
            assert!(error.contains(words), "{line}: {error}");
        }
    }

    #[test]
    fn a_timeout_of_0_is_without_an_end() {
        for (line, expected) in [
            ("dirty -t 0", Some(None)),
            ("dirty -t 0s", Some(None)),
            ("dirty -t 60", Some(Some(Span::from_secs(60)))),
            ("dirty --timeout 2m", Some(Some(Span::from_secs(120)))),
            ("dirty", None),
        ] {
            assert_eq!(read(line).unwrap().duration, expected, "{line}");
        }
    }

    #[test]
    fn percents_are_left_to_the_machine() {
        assert!(matches!(vm_bytes("75%"), Ok(Size::Percent(_))));
    }
}
