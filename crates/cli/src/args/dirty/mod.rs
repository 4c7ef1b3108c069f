//! `sterna dirty`: what to write, how fast, for how long, and what to tell of it.

mod peers;
mod values;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use sterna_scenario::IdSet;
use sterna_sys::region::HugePages;
use sterna_units::{Size, Span};
use sterna_workload::{Method, Pace, Pattern};

pub use values::Buckets;
pub(super) use values::chain;

use super::run::{Format, ProgressKind, format, format_arg};

/// Everything `sterna dirty` was told, not yet checked against the machine.
pub struct DirtyOptions {
    /// Memory of all workers together; a share is one of the memory that is available.
    pub memory: Size,
    /// How many threads; 0 is one for each processor.
    pub workers: u32,
    /// In which order pages are written.
    pub pattern: Pattern,
    /// What a write does.
    pub method: Method,
    /// How fast, all workers together.
    pub pace: Pace,
    /// Whether what a stall kept back is made up for.
    pub catch_up: bool,
    /// Decides order and content.
    pub seed: u64,
    /// Phases: a file, or the text itself.
    pub phases: Option<String>,
    /// Whether phases begin anew after the last.
    pub repeat: bool,
    /// How long; None until a signal comes.
    pub duration: Option<Span>,
    /// The kind of page; None is the one that suits the rest.
    pub huge_pages: Option<HugePages>,
    /// Whether memory is locked.
    pub locked: bool,
    /// Where memory comes from.
    pub numa_nodes: Option<IdSet>,
    /// Where workers run.
    pub cpus: Option<IdSet>,
    /// Whether pages are given back after each round.
    pub remap: bool,
    /// Whether pages are checked before each write.
    pub verify: bool,
    /// Whether all pages are checked at the end.
    pub verify_final: bool,
    /// What is told, and where.
    pub telling: Telling,
    /// A defect to commit on purpose.
    pub breakage: Option<String>,
    /// How flags of other tools were understood.
    pub notes: Vec<String>,
}

/// What is told, and where.
pub struct Telling {
    /// Time between two lines.
    pub interval: Span,
    /// Whether each write is timed.
    pub latency: bool,
    /// Buckets in which the final distribution is printed too.
    pub buckets: Option<Buckets>,
    /// Where single long writes are noted.
    pub stalls: Option<PathBuf>,
    /// What a long write is.
    pub stalls_over: Span,
    /// Where histograms are noted for HdrHistogram's tools.
    pub histogram: Option<PathBuf>,
    /// Whether a sample of the memory is compressed at the end.
    pub compressibility: bool,
    /// Whether a rate that was not reached is a failure.
    pub strict_rate: bool,
    /// Names and values that stand in JSON and metrics.
    pub labels: Vec<(String, String)>,
    /// Where metrics are served.
    pub metrics: Option<SocketAddr>,
    /// How the result is printed.
    pub format: Format,
    /// Print events as they happen, as NDJSON.
    pub json_stream: bool,
    /// Where the report goes.
    pub report: Option<PathBuf>,
    /// How preparing memory is shown.
    pub progress: ProgressKind,
}

/// The subcommand.
pub fn command() -> Command {
    Command::new("dirty")
        .args_override_self(true)
        .about("Dirty memory in a known way, and report how fast it went")
        .long_about(
            "Dirty memory in a known way, and report how fast it went.\n\n\
             The touch rate counts every page written as 4 KiB; the dirty rate counts a page once in each interval. \
             Without --duration it goes on until SIGINT or SIGTERM. SIGUSR2 prints a summary at once; \
             a time in which the process was stopped shows as a stall.",
        )
        .after_help(
            "Exit codes: 0 done, be it by a signal when no --duration was given; 1 tool error; 2 usage; \
             4 corrupt memory, or under --strict-rate a rate that was not reached; 5 not supported here; \
             130 a signal came before --duration was over.",
        )
        .args(what_args())
        .args(memory_args())
        .args(telling_args())
        .args(peers::args())
        .arg(
            Arg::new("x-break")
                .long("x-break")
                .value_name("DEFECT")
                .hide(true)
                .help("Commit a defect on purpose: flip-bit=PAGE"),
        )
}

/// What was given.
pub fn options(matches: &ArgMatches) -> DirtyOptions {
    let peers = peers::Given::of(matches).unwrap_or_else(|text| refuse(text));
    DirtyOptions {
        memory: peers.memory.or_else(|| get(matches, "memory")).unwrap_or(values::DEFAULT_MEMORY),
        workers: peers.workers.or_else(|| get(matches, "workers")).unwrap_or(1),
        pattern: get(matches, "pattern").unwrap_or(Pattern::Sequential),
        method: peers.method.or_else(|| get(matches, "method")).unwrap_or(Method::Touch),
        pace: peers.pace.or_else(|| get(matches, "rate")).unwrap_or(Pace::Unlimited),
        catch_up: matches.get_flag("catch-up"),
        seed: get(matches, "seed").unwrap_or(1),
        phases: get(matches, "phases"),
        repeat: matches.get_flag("repeat"),
        duration: peers.duration.unwrap_or_else(|| get(matches, "duration")),
        huge_pages: get(matches, "huge-pages"),
        locked: matches.get_flag("locked") || peers.locked,
        numa_nodes: get(matches, "numa-node"),
        cpus: get(matches, "cpus"),
        remap: matches.get_flag("remap"),
        verify: matches.get_flag("verify"),
        verify_final: matches.get_flag("verify-final"),
        telling: telling(matches, peers.latency),
        breakage: get(matches, "x-break"),
        notes: peers.notes,
    }
}

/// Flags that contradict each other end as clap's own mistakes do.
fn refuse(text: String) -> ! {
    command().bin_name("sterna dirty").error(ErrorKind::ArgumentConflict, text).exit()
}

fn telling(matches: &ArgMatches, mig_mon_latency: bool) -> Telling {
    let stalls: Vec<String> = matches.get_many("stalls").into_iter().flatten().cloned().collect();
    let (over, file) = values::stalls(&stalls);
    if stalls.len() != usize::from(over.is_some()) + usize::from(file.is_some())
        || over.is_some() && file.is_none()
    {
        let text =
            format!("--stalls {}: it takes one FILE, and at most one '>TIME'", stalls.join(" "));
        command().bin_name("sterna dirty").error(ErrorKind::ValueValidation, text).exit();
    }
    let histogram = get(matches, "histogram");
    let buckets = get(matches, "latency-buckets").or(mig_mon_latency.then_some(Buckets::MigMon));
    let needs_times = file.is_some() || histogram.is_some() || buckets.is_some();
    Telling {
        interval: get(matches, "interval").unwrap_or(Span::from_secs(1)),
        latency: matches.get_flag("latency") || needs_times,
        buckets,
        stalls: file,
        stalls_over: over.or_else(|| get(matches, "stalls-over")).unwrap_or(Span::from_millis(1)),
        histogram,
        compressibility: matches.get_flag("compressibility"),
        strict_rate: matches.get_flag("strict-rate"),
        labels: matches.get_many("label").into_iter().flatten().cloned().collect(),
        metrics: get(matches, "metrics-listen"),
        format: format(matches),
        json_stream: matches.get_flag("json-stream"),
        report: get(matches, "output"),
        progress: get(matches, "progress").unwrap_or_default(),
    }
}

fn get<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, id: &str) -> Option<T> {
    matches.get_one::<T>(id).cloned()
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

fn value(name: &'static str, of: &'static str, help: impl Into<clap::builder::StyledStr>) -> Arg {
    Arg::new(name).long(name).value_name(of).help(help)
}

fn what_args() -> Vec<Arg> {
    let patterns = format!(
        "In which order pages are written: {} [default: sequential]",
        Pattern::NAMES.join(", ")
    );
    let methods =
        format!("What a write does to its page: {} [default: touch]", Method::NAMES.join(", "));
    vec![
        value("workers", "N", "Threads, each with a part of the memory; 0 is one for each processor [default: 1]")
            .value_parser(chain::<u32>),
        value("pattern", "PATTERN", patterns).short('p').value_parser(chain::<Pattern>),
        value("method", "METHOD", methods).value_parser(chain::<Method>),
        value("rate", "RATE", "Touch rate of all workers: unlimited, bytes/s (500MB/s), pages/s (5000pages/s), or a share of the unlimited rate found at start (25%) [default: unlimited]")
            .value_parser(chain::<Pace>),
        flag("catch-up", "Make up for what a stall or a pause kept back, in a burst; otherwise it is forgiven"),
        value("phases", "FILE", "Other patterns, rates and working sets at certain times: a TOML file with [[workload.phase]] tables as in a scenario, or the text itself (for=4s,rate=10MB/s;for=1s)"),
        flag("repeat", "Begin again after the last phase").requires("phases"),
        value("seed", "N", "Decides the order of pages and the content of memory [default: 1]").value_parser(value_parser!(u64)),
        value("duration", "TIME", "How long; without it, until SIGINT or SIGTERM").value_parser(values::duration),
        flag("verify", "Check each page just before it is written again; costs a read of the page, and 8 bytes of memory for each"),
        flag("verify-final", "Check every byte at the end, against what replaying the seed gives"),
    ]
}

fn memory_args() -> Vec<Arg> {
    const HEADING: &str = "Memory";
    let args = vec![
        value("memory", "SIZE", "Memory of all workers in total: bytes (2GiB) or a share of the available memory (75%) [default: 512MiB]")
            .value_parser(chain::<Size>),
        value("huge-pages", "KIND", "The kind of page: none (4 KiB), thp (2 MiB where the kernel can join pages), 2MiB or 1GiB (reserved) [default: thp; with --remap none]")
            .short('P')
            .value_parser(values::huge_pages),
        flag("locked", "Keep all of it in RAM (mlock)"),
        value("numa-node", "LIST", "Take it from these memory nodes, such as 0 or 0-1").value_parser(chain::<IdSet>),
        value("cpus", "LIST", "Run workers on these processors only, such as 0-3").value_parser(chain::<IdSet>),
        flag("remap", "Give all pages back after each round, so that each write of the next meets a page fault")
            .conflicts_with("locked"),
    ];
    args.into_iter().map(|it| it.help_heading(HEADING)).collect()
}

fn telling_args() -> Vec<Arg> {
    const HEADING: &str = "Output";
    let args = vec![
        value("interval", "TIME", "Time between two lines [default: 1s]").value_parser(values::interval),
        flag("latency", "Time each write"),
        value("latency-buckets", "KIND", "Print the final distribution in these buckets too; implies --latency")
            .value_parser(value_parser!(Buckets)),
        value("stalls", "FILE", "Note each long write in this file (CSV); implies --latency. `--stalls '>1ms' FILE` also says what is long")
            .num_args(1..=2)
            .value_names([">TIME", "FILE"])
            .value_parser(values::stalls_value),
        value("stalls-over", "TIME", "What a long write is [default: 1ms]").value_parser(values::threshold).requires("stalls"),
        value("histogram", "FILE", "Write a log of histograms, one for each interval, that HdrHistogram's tools read; implies --latency")
            .value_parser(value_parser!(PathBuf)),
        flag("compressibility", "Compress a sample of the memory with zstd at the end, and print the ratio"),
        flag("strict-rate", "Exit with 4 if less than 99 % of the rate was reached"),
        value("label", "NAME=VALUE", "Stands in JSON and metrics; may be repeated")
            .action(ArgAction::Append)
            .value_parser(values::label),
        value("metrics-listen", "ADDR", "Serve OpenMetrics over HTTP at /metrics: a port on the loopback address, or an address and a port")
            .value_parser(values::listen),
        format_arg(),
        value("output", "FILE", "Write the report to this file as JSON, also when it is interrupted")
            .short('o')
            .value_parser(value_parser!(PathBuf)),
        flag("json-stream", "Print events as they happen, one JSON object a line; the last one is the report")
            .conflicts_with("format"),
        value("progress", "HOW", "How preparing the memory is shown on standard error")
            .value_parser(value_parser!(ProgressKind))
            .default_value("auto"),
    ];
    args.into_iter().map(|it| it.help_heading(HEADING)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_in_the_document_is_understood() {
        let document = include_str!("../../../../../docs/coming-from.md");
        let commands = document.lines().filter_map(|it| it.strip_prefix("$ sterna "));
        let commands = commands.filter(|it| it.starts_with("dirty "));
        let mut count = 0;
        for line in commands {
            let matches = command().try_get_matches_from(line.split_whitespace());
            let options = options(&matches.unwrap_or_else(|error| panic!("{line}: {error}")));
            assert_eq!(options.telling.progress, ProgressKind::Auto, "{line}");
            count += 1;
        }
        assert_eq!(count, 3);
    }

    #[test]
    fn every_method_of_the_document_is_known() {
        let document = include_str!("../../../../../docs/coming-from.md");
        let rows = document.lines().filter_map(|it| it.strip_prefix("| `--vm-method "));
        for row in rows.filter(|it| !it.contains("| refused")) {
            let name = row.split(['`', ',']).next().unwrap_or_default();
            let given = ["dirty", "--vm-method", name];
            assert!(command().try_get_matches_from(given).is_ok(), "{name}");
        }
    }
}
