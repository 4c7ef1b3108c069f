//! `sterna probe`: what to look at, how, and what to tell of it.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, ValueEnum, value_parser};
use sterna_probe::http::Url;
use sterna_probe::watch::Task;
use sterna_probe::{DEFAULT_PORT, Target, disk, playout};
use sterna_units::Span;

use super::dirty::chain;

/// What `sterna probe` was told.
pub enum ProbeCommand {
    /// Be the other end.
    Serve {
        /// Where.
        listen: String,
        /// Where records of others are written.
        disk: Option<PathBuf>,
        /// Whether datagrams of other programs are echoed.
        echo: bool,
    },
    /// Look at one thing.
    One {
        /// What.
        task: Task,
        /// How.
        looking: Looking,
        /// What is told.
        telling: ProbeTelling,
    },
    /// Look at many.
    All {
        /// Whom.
        host: String,
        /// A file that says at what.
        config: PathBuf,
        /// What is told.
        telling: ProbeTelling,
    },
    /// Check a file of records.
    Verify {
        /// Which.
        path: PathBuf,
        /// The number of the last record that was acknowledged, or a file with the numbers of all.
        acknowledged: Option<String>,
        /// How the result is printed.
        format: ProbeFormat,
    },
}

/// How to look at one thing.
#[derive(Clone, Debug, Default)]
pub struct Looking {
    /// Its name in reports.
    pub name: Option<String>,
    /// Time between two messages.
    pub interval: Option<Span>,
    /// Whether a name is resolved again and again.
    pub follow: bool,
}

/// What is told of a run, and where.
pub struct ProbeTelling {
    /// How long; None until a signal comes.
    pub duration: Option<Span>,
    /// How long the first answer may take.
    pub patience: Span,
    /// The outage beyond which the run fails.
    pub max_outage: Option<Span>,
    /// How the result is printed.
    pub format: ProbeFormat,
    /// Where the report goes.
    pub report: Option<PathBuf>,
    /// Where outages go as mig_mon writes them.
    pub spikes: Option<PathBuf>,
}

/// How a result is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ProbeFormat {
    /// For people.
    #[default]
    Text,
    /// For programs, one document at the end.
    Json,
    /// For programs, each outage when it is over and the document at the end, one a line.
    Ndjson,
    /// For monitors.
    #[value(name = "openmetrics")]
    OpenMetrics,
}

/// How long the first answer may take, unless told otherwise.
pub const DEFAULT_PATIENCE: Span = Span::from_secs(5);

/// How long a request may take, unless told otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// What a player holds back, unless told otherwise.
pub const DEFAULT_BUFFER: Duration = playout::BUFFER;

/// Bytes of a frame, unless told otherwise: 25 of them a second are a quarter of a Mbit/s.
pub const DEFAULT_FRAME_BYTES: usize = 1200;

/// Bytes of a message of udp and icmp.
pub const SIZES: RangeInclusive<u64> = 48..=65_000;

/// Pictures a second.
pub const FRAME_RATES: RangeInclusive<u64> = 1..=1000;

/// Bytes of a picture.
pub const FRAME_BYTES: RangeInclusive<u64> =
    playout::SMALLEST_FRAME_BYTES as u64..=playout::LARGEST_FRAME_BYTES as u64;

/// What is said of a record of another size.
pub const RECORD_SIZES: &str = "A record has a multiple of 64 bytes, from 64 to 1048576";

/// The subcommand.
pub fn command() -> Command {
    Command::new("probe")
        .about("See a machine's downtime as its clients do")
        .long_about(
            "See a machine's downtime as its clients do.\n\n\
             Messages are sent on a schedule that waits for no answer, and every silence is told with its start, its length, what was lost in it, and on which way. \
             `sterna probe serve` is the other end of udp, tcp, playout and clock; the others need nothing there. \
             Without --duration it goes on until SIGINT or SIGTERM.",
        )
        .after_help(
            "Exit codes: 0 done, be it by a signal when no --duration was given; 1 nobody answered, or tool error; 2 usage; \
             4 an outage longer than --max-outage, or a record that is missing, torn or out of order; 5 not supported here; \
             130 a signal came before --duration was over.",
        )
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommand(serve_command())
        .subcommand(
            looking("udp", "Datagrams to an echo: what is lost on which way, doubled, overtaken", "10ms")
                .arg(target_arg())
                .arg(follow_arg())
                .arg(size_arg()),
        )
        .subcommand(
            looking("icmp", "What `ping` sends; the other machine's kernel answers", "1s")
                .arg(host_arg())
                .arg(follow_arg())
                .arg(size_arg()),
        )
        .subcommand(
            looking("tcp", "Messages on one long connection, and how long it takes to establish a new one when it breaks", "10ms")
                .arg(target_arg())
                .arg(follow_arg()),
        )
        .subcommand(
            looking("arp", "Ask the link who has an IPv4 address: whether its owner's place is known", "100ms")
                .arg(host_arg())
                .arg(value("interface", "NAME", "The interface to ask on [default: the one that leads there]")),
        )
        .subcommand(
            looking("http", "Requests for a page, each on a connection of its own", "100ms")
                .arg(url_arg("http://HOST[:PORT]/PATH"))
                .arg(timeout_arg()),
        )
        .subcommand(
            looking("playout", "A stream of pictures, as a viewer sees it: when the picture stands still, and for how long", "1 s / frames per second")
                .arg(target_arg())
                .args(playout_args()),
        )
        .subcommand(disk_command())
        .subcommand(
            looking("clock", "The other machine's clocks against ours: jumps, drift, and whether they ever run backwards", "100ms")
                .arg(target_arg())
                .arg(follow_arg()),
        )
        .subcommand(
            looking("metrics", "A page of metrics: gaps, duplicates, resets, changed labels", "1s")
                .arg(url_arg("http://HOST:PORT/metrics"))
                .arg(timeout_arg()),
        )
        .subcommand(
            Command::new("all")
                .about("Many probes at once, with one timeline")
                .long_about(
                    "Many probes at once, with one timeline.\n\n\
                     The file has a [[probe]] table for each: kind, and what the flags of that kind are called, such as interval = \"1ms\" or port = 7. \
                     What has no target of its own looks at HOST.",
                )
                .arg(host_arg())
                .arg(
                    value("config", "FILE", "The probes, in TOML")
                        .required(true)
                        .value_parser(value_parser!(PathBuf)),
                )
                .args(telling_args()),
        )
}

/// What was given.
pub fn options(matches: &ArgMatches) -> ProbeCommand {
    let (kind, matches) = match matches.subcommand() {
        Some((kind, matches)) => (kind, matches),
        None => ("", matches),
    };
    match kind {
        "serve" => ProbeCommand::Serve {
            listen: get(matches, "listen").unwrap_or_default(),
            disk: get(matches, "disk"),
            echo: matches.get_flag("echo"),
        },
        "all" => ProbeCommand::All {
            host: get::<Target>(matches, "host").map(|it| it.host).unwrap_or_default(),
            config: get(matches, "config").unwrap_or_default(),
            telling: telling(matches),
        },
        "disk" if matches.get_flag("verify") => ProbeCommand::Verify {
            path: get(matches, "file").unwrap_or_default(),
            acknowledged: get(matches, "acknowledged"),
            format: get(matches, "format").unwrap_or_default(),
        },
        _ => ProbeCommand::One {
            task: task(kind, matches),
            looking: Looking {
                name: get(matches, "name"),
                interval: get(matches, "interval").or_else(|| frame_interval(matches)),
                follow: matches.try_get_one::<bool>("follow").ok().flatten().is_some_and(|it| *it),
            },
            telling: telling(matches),
        },
    }
}

fn task(kind: &str, matches: &ArgMatches) -> Task {
    let target = || get::<Target>(matches, "target").or_else(|| get(matches, "host"));
    let target = || target().unwrap_or(Target { host: String::new(), port: 0 });
    let no_url = || Url { host: String::new(), port: 0, path: String::new() };
    let url = || get::<Url>(matches, "url").unwrap_or_else(no_url);
    let timeout = || get::<Span>(matches, "timeout").map_or(DEFAULT_TIMEOUT, |it| it.0);
    let size = || get::<u64>(matches, "size").map(|it| it as usize);
    match kind {
        "icmp" => Task::Icmp { target: target(), size: size() },
        "tcp" => Task::Tcp { target: target() },
        "arp" => Task::Arp { target: target(), interface: get(matches, "interface") },
        "http" => Task::Http { url: url(), timeout: timeout() },
        "metrics" => Task::Metrics { url: url(), timeout: timeout() },
        "clock" => Task::Clock { target: target() },
        "playout" => Task::Playout {
            target: target(),
            frame_bytes: get::<u64>(matches, "frame-bytes")
                .map_or(DEFAULT_FRAME_BYTES, |it| it as usize),
            buffer: get::<Span>(matches, "buffer").map_or(DEFAULT_BUFFER, |it| it.0),
        },
        "disk" => {
            let record_bytes = get::<u64>(matches, "record-bytes");
            let record_bytes = record_bytes.map_or(disk::DEFAULT_RECORD_BYTES, |it| it as usize);
            match get(matches, "remote") {
                Some(target) => Task::RemoteDisk { target, record_bytes },
                None => Task::Disk {
                    path: get(matches, "file").unwrap_or_default(),
                    record_bytes,
                    acknowledged: get(matches, "acknowledged").map(|it: String| it.into()),
                },
            }
        }
        _ => Task::Udp { target: target(), size: size() },
    }
}

/// A stream is told in pictures a second.
fn frame_interval(matches: &ArgMatches) -> Option<Span> {
    let frames = *matches.try_get_one::<u64>("frames-per-second").ok().flatten()?;
    Some(Span(Duration::from_nanos(1_000_000_000 / frames)))
}

fn telling(matches: &ArgMatches) -> ProbeTelling {
    ProbeTelling {
        duration: get(matches, "duration"),
        patience: get(matches, "patience").unwrap_or(DEFAULT_PATIENCE),
        max_outage: get(matches, "max-outage"),
        format: get(matches, "format").unwrap_or_default(),
        report: get(matches, "output"),
        spikes: get(matches, "spikes"),
    }
}

fn get<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, id: &str) -> Option<T> {
    matches.try_get_one::<T>(id).ok().flatten().cloned()
}

fn serve_command() -> Command {
    Command::new("serve")
        .about("Be the other end: echo datagrams and connections, tell the time, play pictures, write records")
        .long_about(
            "Be the other end: echo datagrams and connections on one port, tell the time, play pictures, write records.\n\n\
             The address is printed on standard output. It serves until it is interrupted or terminated, whoever and however many come. \
             What it does is open to everybody who reaches the port; it listens on loopback by default, and writes to disk only with --disk. \
             A datagram that is no question of a probe gets no answer, and no answer is longer than its question.",
        )
        .arg(
            value("listen", "ADDRESS", "Where: HOST:PORT, or PORT on loopback alone; port 0 takes any")
                .default_value("12323"),
        )
        .arg(Arg::new("echo").long("echo").action(ArgAction::SetTrue).help(
            "Also echo datagrams of other programs, such as mig_mon's client_rr: at most 1,000 a second for an address",
        ))
        .arg(
            value("disk", "DIRECTORY", "Write the records of `sterna probe disk --remote` to files there")
                .value_parser(value_parser!(PathBuf)),
        )
}

fn disk_command() -> Command {
    looking("disk", "Records that are written, made safe and acknowledged; and the proof that none was lost", "10ms")
        .long_about(
            "Records that are written, made safe and acknowledged; and the proof that none was lost.\n\n\
             Each record has a number and a checksum, and counts when fdatasync has returned. \
             The longest stall is from when a record was due until it was safe. \
             Afterwards, and after whatever crash, --verify says whether a record is missing, torn or out of order.",
        )
        .arg(
            Arg::new("file")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .required_unless_present("remote")
                .help("A file that is not there yet; with --verify, one that is"),
        )
        .arg(
            value("remote", "HOST:PORT", "Have them written by `sterna probe serve --disk` there, and acknowledged to here")
                .value_parser(target)
                .conflicts_with("file"),
        )
        .arg(follow_arg().requires("remote"))
        .arg(
            value("record-bytes", "BYTES", "Bytes of a record, a multiple of 64 [default: 4096]")
                .value_parser(record_bytes),
        )
        .arg(
            value("acknowledged", "FILE", "Append the number of each record that is safe to this file; with --verify, such a file, or the number of the last")
                .conflicts_with("remote"),
        )
        .arg(
            Arg::new("verify")
                .long("verify")
                .action(ArgAction::SetTrue)
                .conflicts_with("remote")
                .help("Check a file of records instead of writing one"),
        )
}

/// A subcommand that looks at one thing.
fn looking(kind: &'static str, about: &'static str, interval: &str) -> Command {
    let help = format!("Time between two messages [default: {interval}]");
    Command::new(kind)
        .about(about)
        .arg(value("interval", "TIME", help).value_parser(chain::<Span>))
        .arg(value("name", "NAME", "What it is called in reports [default: kind and target]"))
        .args(telling_args())
}

fn follow_arg() -> Arg {
    Arg::new("follow")
        .long("follow")
        .action(ArgAction::SetTrue)
        .help("Resolve the name twice a second, and go where it leads")
}

fn telling_args() -> Vec<Arg> {
    vec![
        value("duration", "TIME", "How long; without it, until SIGINT or SIGTERM")
            .value_parser(some_time),
        value("patience", "TIME", "How long the first answer may take [default: 5s]")
            .value_parser(some_time),
        value("max-outage", "TIME", "Exit with 4 when an outage was longer")
            .value_parser(some_time),
        value("format", "FORMAT", "How the result is printed")
            .value_parser(value_parser!(ProbeFormat))
            .default_value("text"),
        value(
            "output",
            "FILE",
            "Write the report to this file as JSON, also when it is interrupted",
        )
        .short('o')
        .value_parser(value_parser!(PathBuf)),
        value(
            "spikes",
            "FILE",
            "Write a line `seconds,milliseconds` for each outage, as mig_mon does",
        )
        .value_parser(value_parser!(PathBuf)),
    ]
}

fn playout_args() -> Vec<Arg> {
    vec![
        value("frames-per-second", "N", "Pictures a second, 1 to 1000")
            .value_parser(value_parser!(u64).range(FRAME_RATES))
            .default_value("25")
            .conflicts_with("interval"),
        value("frame-bytes", "BYTES", "Bytes of a picture [default: 1200]")
            .value_parser(value_parser!(u64).range(FRAME_BYTES)),
        value("buffer", "TIME", "What the player holds back against jitter [default: 100ms]")
            .value_parser(chain::<Span>),
    ]
}

fn value(name: &'static str, of: &'static str, help: impl Into<clap::builder::StyledStr>) -> Arg {
    Arg::new(name).long(name).value_name(of).help(help)
}

fn target_arg() -> Arg {
    Arg::new("target")
        .value_name("HOST[:PORT]")
        .required(true)
        .value_parser(target)
        .help("Where `sterna probe serve` listens; the port is 12323 unless it is given")
}

fn host_arg() -> Arg {
    Arg::new("host")
        .value_name("HOST")
        .required(true)
        .value_parser(host)
        .help("A name or an address")
}

fn url_arg(shape: &'static str) -> Arg {
    Arg::new("url").value_name("URL").required(true).value_parser(chain::<Url>).help(shape)
}

fn size_arg() -> Arg {
    value("size", "BYTES", "Bytes of each message, which then may not be cut in pieces on its way")
        .value_parser(value_parser!(u64).range(SIZES))
}

fn timeout_arg() -> Arg {
    value("timeout", "TIME", "How long a request may take [default: 5s]").value_parser(some_time)
}

fn target(text: &str) -> Result<Target, String> {
    Target::parse(text, DEFAULT_PORT).map_err(|error| error.to_string())
}

/// No port belongs to it; that of a link or of ICMP is nobody's.
fn host(text: &str) -> Result<Target, String> {
    let target = Target::parse(text, 1).map_err(|error| error.to_string())?;
    match target.port {
        1 => Ok(target),
        port => Err(format!("There are no ports here; leave :{port} out")),
    }
}

fn record_bytes(text: &str) -> Result<u64, String> {
    let bytes = text.parse().ok().filter(|it| is_record_size(*it));
    bytes.ok_or_else(|| RECORD_SIZES.to_owned())
}

/// Whether a record may have so many bytes.
pub fn is_record_size(bytes: u64) -> bool {
    (64..=disk::LARGEST_RECORD_BYTES as u64).contains(&bytes) && bytes.is_multiple_of(64)
}

/// A duration that is not nothing.
fn some_time(text: &str) -> Result<Span, String> {
    let span: Span = chain(text)?;
    match span.is_zero() {
        true => Err("Nothing can be seen in no time; use for example 10s".to_owned()),
        false => Ok(span),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_in_the_documents_is_understood() {
        let documents = [
            include_str!("../../../../docs/coming-from.md"),
            include_str!("../../../../docs/probes.md"),
            include_str!("../../../../README.md"),
        ];
        let lines = documents.iter().flat_map(|it| it.lines());
        let commands: Vec<&str> =
            lines.filter_map(|it| Some(it.split_once("$ ")?.1.trim())).collect();
        let commands = commands.iter().filter_map(|it| it.strip_prefix("sterna probe "));
        let mut count = 0;
        for line in commands {
            let words = std::iter::once("probe").chain(line.split_whitespace());
            let matches = command().try_get_matches_from(words);
            options(&matches.unwrap_or_else(|error| panic!("{line}: {error}")));
            count += 1;
        }
        assert!(count >= 5, "{count}");
    }
}
