//! The command lines of `sterna predict`, `sterna advise` and `sterna diagnose`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use sterna_advice::{Figures, Sampling, Target};
use sterna_report::foresight::Goal;
use sterna_units::{Bytes, Rate, Span};

use super::run::{Format, format, format_arg};

/// What is known, and how it is looked at.
pub struct Known {
    /// A report, of ours or of another program; `-` is stdin.
    pub file: Option<PathBuf>,
    /// Figures beside it, or instead of it.
    pub figures: Figures,
    /// A measurement of the link.
    pub link: Option<PathBuf>,
    /// Settings to change: field and value.
    pub what_if: Vec<(String, String)>,
    /// How much is simulated.
    pub sampling: Sampling,
    /// How the result is printed.
    pub format: Format,
}

/// What `sterna advise` is asked for.
pub struct AdviseOptions {
    /// What is known.
    pub known: Known,
    /// What has to be kept.
    pub goal: Goal,
    /// The system whose commands are printed.
    pub target: Target,
}

/// What `sterna diagnose` is asked for.
pub struct DiagnoseOptions {
    /// A report, of ours or of another program; `-` is stdin.
    pub file: PathBuf,
    /// How the result is printed.
    pub format: Format,
}

/// What `sterna reproduce` is asked for.
pub struct ReproduceOptions {
    /// A report, of ours or of another program; `-` is stdin.
    pub file: PathBuf,
    /// Where the scenario goes; stdout otherwise.
    pub output: Option<PathBuf>,
    /// The most memory that its guest has.
    pub most_bytes: u64,
    /// What the report does not say.
    pub figures: Figures,
}

const FIGURES: &str = "Figures";
const GOAL: &str = "Goal";

/// `sterna predict`.
pub fn predict_command() -> Command {
    let about = "Say how the migration of a guest would go, with each technique";
    known_args(Command::new("predict").about(about))
        .long_about(
            "Say how the migration of a guest would go, with each technique: whether it completes, how long it takes, \
             how long the guest is frozen, and what it costs.\n\n\
             It starts from the report of an earlier migration of the same guest (of `sterna run`, of QEMU's \
             query-migrate, of virsh domjobinfo and others), or from figures alone; then the intervals are wide, and it \
             says why. Every number is an interval: the middle nine tenths of simulated migrations.",
        )
        .after_help(
            "Examples:\n  \
             sterna predict report.json\n  \
             sterna predict report.json --what-if max-bandwidth=5Gbit/s --what-if downtime-limit=500ms\n  \
             sterna predict --memory 64GiB --dirty-rate 300MB/s --link-bandwidth 10Gbit/s\n  \
             virsh domjobinfo vm | sterna predict - --link-bandwidth 10Gbit/s\n  \
             sterna stream host-b -o link.json && sterna predict report.json --link link.json\n\n\
             Exit codes: 0 predicted; 2 usage, or a file that says too little.",
        )
}

/// `sterna advise`.
pub fn advise_command() -> Command {
    let about = "Say which settings keep a goal, and how to set them";
    known_args(Command::new("advise").about(about))
        .long_about(
            "Say which settings keep a goal, and how to set them.\n\n\
             Techniques and downtime limits are simulated many times with what is known of guest and link. The answer is \
             the simplest setting that keeps the goal with the confidence asked for, why, what it risks, and what would \
             change it; or that nothing does, with the nearest that can be kept.",
        )
        .after_help(
            "Examples:\n  \
             sterna advise report.json --max-downtime 300ms --max-time 5min\n  \
             sterna advise report.json --max-downtime 100ms --no-postcopy --for qemu\n  \
             sterna advise report.json --max-time 2min --for libvirt --domain vm --destination-uri qemu+ssh://b/system\n  \
             sterna advise --memory 64GiB --dirty-rate 300MB/s --link-bandwidth 10Gbit/s --max-downtime 1s\n\n\
             Exit codes: 0 settings that keep the goal; 3 nothing keeps it; 2 usage, or a file that says too little.",
        )
        .args([
            quantity::<Span>("max-downtime", "TIME", GOAL, "The longest downtime"),
            quantity::<Span>("max-time", "TIME", GOAL, "The longest total time"),
            quantity::<Span>("max-lost-work", "TIME", GOAL, "The most work that the guest may lose, in seconds of the whole guest"),
        ])
        .arg(
            Arg::new("confidence")
                .long("confidence")
                .value_name("SHARE")
                .value_parser(value_parser!(f64))
                .default_value("0.9")
                .help_heading(GOAL)
                .help("The share of migrations that has to keep all of these"),
        )
        .args([
            forbid("no-postcopy", "Do without post-copy, where a lost link costs the guest"),
            forbid("no-throttle", "Do not slow the guest down"),
            forbid("no-pause", "Do not pause the guest until its memory is through"),
        ])
        .arg(
            Arg::new("for")
                .long("for")
                .value_name("SYSTEM")
                .value_parser(SYSTEMS)
                .default_value("scenario")
                .help("The system whose commands are printed"),
        )
        .arg(
            Arg::new("domain")
                .long("domain")
                .value_name("NAME")
                .default_value("DOMAIN")
                .help("The guest, for libvirt"),
        )
        .arg(
            Arg::new("destination-uri")
                .long("destination-uri")
                .value_name("URI")
                .default_value("qemu+ssh://DESTINATION/system")
                .help("Where it goes, for libvirt"),
        )
}

/// `sterna reproduce`.
pub fn reproduce_command() -> Command {
    Command::new("reproduce")
        .about("Make a scenario that shows the same migration without the guest")
        .long_about(
            "Make a scenario that shows the same migration without the guest, from its report alone: writes, content, \
             link and settings.\n\n\
             A guest with more memory than --most-memory is made smaller together with its writes and its bandwidth, so \
             that every time stays. What the scenario keeps and what not is said on stderr and in its first lines.",
        )
        .after_help(
            "Examples:\n  \
             sterna reproduce report.json -o scenario.toml\n  \
             sterna run scenario.toml\n\n\
             Exit codes: 0 the scenario is there; 2 usage, or a file that says too little.",
        )
        .arg(
            Arg::new("file")
                .value_name("FILE")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("The report, or what another program printed; - is standard input"),
        )
        .arg(
            Arg::new("output")
                .long("output")
                .short('o')
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Where the scenario goes; standard output otherwise"),
        )
        .args([
            quantity::<Bytes>("memory", "SIZE", FIGURES, "Guest memory, where the report does not say it"),
            quantity::<Bytes>("most-memory", "SIZE", FIGURES, "The most memory that the scenario's guest has")
                .default_value("512MiB"),
        ])
}

/// What `sterna reproduce` is asked for.
pub fn reproduce_options(matches: &ArgMatches) -> ReproduceOptions {
    let bytes = |name: &str| matches.get_one::<Bytes>(name).map(|it| it.0);
    ReproduceOptions {
        file: matches.get_one::<PathBuf>("file").cloned().unwrap_or_default(),
        output: matches.get_one::<PathBuf>("output").cloned(),
        most_bytes: bytes("most-memory").unwrap_or(512 << 20),
        figures: Figures { memory_bytes: bytes("memory"), ..Figures::default() },
    }
}

/// `sterna diagnose`.
pub fn diagnose_command() -> Command {
    Command::new("diagnose")
        .about("Say what happened in a migration, why, and what to set")
        .long_about(
            "Say in a few lines what happened in a migration, why, and what to set.\n\n\
             It takes a report of `sterna run`, and what other programs print: QEMU's query-migrate or `info migrate`, \
             `virsh domjobinfo`, a virt-launcher log, guestperf.",
        )
        .after_help(
            "Examples:\n  \
             sterna diagnose report.json\n  \
             virsh domjobinfo vm | sterna diagnose -\n\n\
             Exit codes: 0 diagnosed; 2 usage, or a file that cannot be read.",
        )
        .arg(
            Arg::new("file")
                .value_name("FILE")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("The report, or what another program printed; - is standard input"),
        )
        .arg(format_arg())
}

/// What `sterna predict` is asked for.
pub fn predict_options(matches: &ArgMatches) -> Known {
    known(matches)
}

/// What `sterna advise` is asked for.
pub fn advise_options(matches: &ArgMatches) -> AdviseOptions {
    let seconds = |name: &str| matches.get_one::<Span>(name).map(|it| it.seconds());
    AdviseOptions {
        known: known(matches),
        goal: Goal {
            max_downtime_seconds: seconds("max-downtime"),
            max_time_seconds: seconds("max-time"),
            max_lost_work_seconds: seconds("max-lost-work"),
            confidence: matches.get_one::<f64>("confidence").copied().unwrap_or(0.9),
            allows_postcopy: !matches.get_flag("no-postcopy"),
            allows_throttle: !matches.get_flag("no-throttle"),
            allows_pause: !matches.get_flag("no-pause"),
        },
        target: target(matches),
    }
}

/// What `sterna diagnose` is asked for.
pub fn diagnose_options(matches: &ArgMatches) -> DiagnoseOptions {
    DiagnoseOptions {
        file: matches.get_one::<PathBuf>("file").cloned().unwrap_or_default(),
        format: format(matches),
    }
}

#[cfg(feature = "kubevirt")]
const SYSTEMS: [&str; 4] = ["scenario", "qemu", "libvirt", "kubevirt"];
#[cfg(not(feature = "kubevirt"))]
const SYSTEMS: [&str; 3] = ["scenario", "qemu", "libvirt"];

fn target(matches: &ArgMatches) -> Target {
    let text = |name: &str| matches.get_one::<String>(name).cloned().unwrap_or_default();
    match text("for").as_str() {
        "qemu" => Target::Qemu,
        "libvirt" => {
            Target::Libvirt { domain: text("domain"), destination: text("destination-uri") }
        }
        #[cfg(feature = "kubevirt")]
        "kubevirt" => Target::Kubevirt,
        _ => Target::Scenario,
    }
}

fn known_args(command: Command) -> Command {
    command
        .arg(
            Arg::new("file")
                .value_name("REPORT")
                .value_parser(value_parser!(PathBuf))
                .help("The report of an earlier migration of this guest, of ours or of another program; - is standard input"),
        )
        .args([
            quantity::<Bytes>("memory", "SIZE", FIGURES, "Guest memory"),
            quantity::<Rate>("dirty-rate", "RATE", FIGURES, "Distinct memory that the guest writes within a second, as calc-dirty-rate says it"),
            quantity::<Rate>("link-bandwidth", "RATE", FIGURES, "What the link carries"),
            quantity::<Bytes>("working-set", "SIZE", FIGURES, "All memory that the guest ever writes, where that is known"),
        ])
        .arg(
            Arg::new("link")
                .long("link")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .conflicts_with("link-bandwidth")
                .help_heading(FIGURES)
                .help("A measurement of the link: what `sterna stream SERVER -o FILE` or `iperf3 -J` wrote"),
        )
        .arg(
            Arg::new("vcpus")
                .long("vcpus")
                .value_name("N")
                .value_parser(value_parser!(u32))
                .help_heading(FIGURES)
                .help("Virtual processors"),
        )
        .arg(
            Arg::new("what-if")
                .long("what-if")
                .value_name("SETTING=VALUE")
                .action(ArgAction::Append)
                .value_parser(what_if)
                .help("A setting of the migration to change, by its flag of `sterna run`, as in max-bandwidth=5Gbit/s"),
        )
        .arg(
            Arg::new("draws")
                .long("draws")
                .value_name("N")
                .value_parser(value_parser!(u32).range(20..=10_000))
                .default_value("200")
                .help("Simulated migrations for each technique, 20 to 10000"),
        )
        .arg(
            Arg::new("seed")
                .long("seed")
                .value_name("N")
                .value_parser(value_parser!(u64))
                .default_value("1")
                .help("Seed of what is drawn; the same seed gives the same answer"),
        )
        .arg(format_arg())
}

fn known(matches: &ArgMatches) -> Known {
    let bytes = |name: &str| matches.get_one::<Bytes>(name).map(|it| it.0);
    let rate = |name: &str| matches.get_one::<Rate>(name).map(|it| it.bytes_per_second());
    let usual = Sampling::default();
    Known {
        file: matches.get_one::<PathBuf>("file").cloned(),
        figures: Figures {
            memory_bytes: bytes("memory"),
            dirty_bytes_per_second: rate("dirty-rate"),
            link_bytes_per_second: rate("link-bandwidth"),
            working_set_bytes: bytes("working-set"),
            vcpus: matches.get_one::<u32>("vcpus").copied(),
        },
        link: matches.get_one::<PathBuf>("link").cloned(),
        what_if: matches
            .get_many::<(String, String)>("what-if")
            .map_or_else(Vec::new, |all| all.cloned().collect()),
        sampling: Sampling {
            draws: matches.get_one::<u32>("draws").copied().unwrap_or(usual.draws),
            seed: matches.get_one::<u64>("seed").copied().unwrap_or(usual.seed),
        },
        format: format(matches),
    }
}

fn what_if(text: &str) -> Result<(String, String), String> {
    let split =
        text.split_once('=').filter(|(setting, value)| !setting.is_empty() && !value.is_empty());
    let (setting, value) = split.ok_or("write it as SETTING=VALUE, as in max-bandwidth=5Gbit/s")?;
    Ok((setting.trim_start_matches('-').to_owned(), value.to_owned()))
}

fn quantity<T>(
    name: &'static str,
    value: &'static str,
    heading: &'static str,
    help: &'static str,
) -> Arg
where
    T: FromStr + Clone + Send + Sync + 'static,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let parse = |text: &str| text.parse::<T>();
    Arg::new(name).long(name).value_name(value).value_parser(parse).help_heading(heading).help(help)
}

fn forbid(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help_heading(GOAL).help(help)
}
