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
pub struct Given {
    pub memory: Option<Size>,
    pub workers: Option<u32>,
    pub method: Option<Method>,
    pub pace: Option<Pace>,
    pub duration: Option<Span>,
    pub latency: bool,
    pub locked: bool,
}

const MIG_MON: &str = "As mig_mon mm_dirty (-p and -P are above)";
const STRESS_NG: &str = "As stress-ng --vm";

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
    /// What these flags say.
    pub fn of(matches: &ArgMatches) -> Given {
        Given {
            memory: get(matches, "mig-mon-memory").or_else(|| get(matches, "vm-bytes")),
            workers: get(matches, "vm"),
            method: get(matches, "vm-method"),
            pace: get(matches, "mig-mon-rate"),
            duration: get(matches, "timeout"),
            latency: matches.get_flag("mig-mon-latency"),
            locked: matches.get_flag("vm-locked"),
        }
    }
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
            .value_parser(mib)
            .conflicts_with_all(["memory", "vm-bytes"])
            .help("As --memory, but a bare number is MiB"),
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
        long("timeout", "TIME", "As --duration; a bare number is seconds")
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
    let theirs = VM_METHODS.iter().find(|(name, _)| *name == text);
    theirs.map_or_else(|| chain(text), |(_, method)| Ok(*method))
}

fn timeout(text: &str) -> Result<Span, String> {
    match bare(text) {
        Some(seconds) => chain(&format!("{seconds}s")),
        None => duration(text),
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
    }

    #[test]
    fn percents_are_left_to_the_machine() {
        assert!(matches!(vm_bytes("75%"), Ok(Size::Percent(_))));
    }
}
