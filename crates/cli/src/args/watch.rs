//! `sterna watch`: whose migration, by which way, and what is shown of it.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use sterna_probe::{DEFAULT_PORT, Probe, Probes, Target};
use sterna_units::Span;
use sterna_watch::libvirt::Domain;

use super::run::{Format, ProgressKind, format, format_arg, progress_arg};

/// How long to wait for a migration, unless the flag says otherwise.
const DEFAULT_TIMEOUT: &str = "1h";

/// What `sterna watch` is asked for.
pub struct WatchOptions {
    /// Where to look.
    pub target: WatchTarget,
    /// How long to wait for a migration to begin.
    pub timeout: Span,
    /// How the result is printed.
    pub format: Format,
    /// Where the report goes.
    pub report: Option<PathBuf>,
    /// After how many migrations the watch ends, where it is not the first.
    pub repeat: Option<u64>,
    /// Where the last migration is served as metrics.
    pub listen: Option<SocketAddr>,
    /// How progress is shown.
    pub progress: ProgressKind,
    /// What looks at the guest from the network.
    pub probes: Vec<Probe>,
    /// Where the guest answers; given whenever there are probes.
    pub probe_target: Option<Target>,
}

/// Where to look.
#[derive(Clone)]
pub enum WatchTarget {
    /// QEMU's own monitor.
    Qmp {
        /// The source's socket.
        source: PathBuf,
        /// The destination's.
        destination: Option<PathBuf>,
        /// Whether the sockets stay free for others.
        is_shared: bool,
        /// Whether the capability `events` may be set.
        may_change: bool,
    },
    /// A domain of libvirt.
    Libvirt(Domain),
}

/// The subcommand.
pub fn command() -> Command {
    Command::new("watch")
        .about("Watch a migration that others begin, and report it like a run")
        .long_about(
            "Watch a migration that others begin, and report it like a run.\n\n\
             Nothing is begun, decided or changed: the guest belongs to others, and goes on whatever becomes of the watch. \
             The report is that of `sterna run` with `engine.control` = observed; what cannot be seen from outside is null in it, and a warning says why.",
        )
        .after_help("Exit codes: those of `sterna run`, by the end that was seen; 1 nothing could be watched, or no migration began in time; 130 interrupted, or the end was not seen.")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommand(telling(qmp()))
        .subcommand(telling(libvirt()))
}

fn qmp() -> Command {
    let socket = |name: &'static str| Arg::new(name).value_parser(value_parser!(PathBuf));
    Command::new("qmp")
        .about("Watch a QEMU by its monitor's socket")
        .long_about(
            "Watch a QEMU by its monitor's socket.\n\n\
             A monitor serves one client at a time. By itself Sterna holds the connection and hears every event, to the millisecond, so the socket must be one that no other program needs (-qmp unix:PATH,server=on,wait=off, given a second time). \
             With --shared it connects twice a second, asks and leaves, so that the socket stays free; then the stop is not seen, the downtime is QEMU's own figure, and passes are lower bounds.",
        )
        .arg(socket("source").value_name("SOCKET").required(true).help("The socket of the QEMU that has the guest"))
        .arg(
            socket("destination")
                .long("destination-qmp")
                .value_name("SOCKET")
                .help("The socket of the QEMU that the guest goes to: without it the resumption is not seen"),
        )
        .arg(
            Arg::new("shared")
                .long("shared")
                .action(ArgAction::SetTrue)
                .conflicts_with("may-change")
                .help("Connect, ask and leave, twice a second: for a socket that others need, as Proxmox does"),
        )
        .arg(
            Arg::new("may-change")
                .long("may-change")
                .action(ArgAction::SetTrue)
                .help("Set QEMU's capability `events` before the migration, which makes it tell each pass, and take it back afterwards; nothing else is ever set"),
        )
}

fn libvirt() -> Command {
    let text = |name: &'static str, value: &'static str| Arg::new(name).value_name(value);
    Command::new("libvirt")
        .about("Watch a domain of libvirt, by virsh")
        .long_about(
            "Watch a domain of libvirt, by virsh.\n\n\
             libvirt tells the events of its QEMUs, so nothing is changed to hear the stop, the resumption and each pass. \
             Amounts are asked of QEMU twice a second while it migrates (virsh qemu-monitor-command), which libvirt notes in the domain's status as `custom monitor control commands issued`.",
        )
        .arg(text("domain", "DOMAIN").required(true).help("Name, id or UUID of the domain"))
        .arg(
            text("connect", "URI")
                .long("connect")
                .short('c')
                .help("Where the domain is, as virsh -c takes it [default: virsh's own]"),
        )
        .arg(
            text("destination-uri", "URI")
                .long("destination")
                .help("Where the domain goes: without it the resumption is not seen"),
        )
        .arg(
            Arg::new("virsh")
                .long("virsh")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .default_value("virsh")
                .help("The program that speaks with libvirt"),
        )
}

/// What all ways have in common.
fn telling(command: Command) -> Command {
    command
        .args_override_self(true)
        .arg(
            Arg::new("timeout")
                .long("timeout")
                .value_name("TIME")
                .value_parser(value_parser!(Span))
                .default_value(DEFAULT_TIMEOUT)
                .help("How long to wait for a migration to begin"),
        )
        .arg(format_arg())
        .arg(
            Arg::new("output")
                .long("output")
                .short('o')
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Write the report to this file as JSON; with --repeat or --listen a directory, with one numbered file for each migration"),
        )
        .arg(
            Arg::new("repeat")
                .long("repeat")
                .value_name("COUNT")
                .value_parser(value_parser!(u64).range(1..))
                .help("Watch this many migrations, one after the other, with a report for each"),
        )
        .arg(
            Arg::new("listen")
                .long("listen")
                .value_name("ADDRESS:PORT")
                .value_parser(value_parser!(SocketAddr))
                .help("Serve the last migration as OpenMetrics at /metrics, and go on to the next until a signal comes: most migrations are too short to be scraped while they run"),
        )
        .args(probe_args())
        .arg(progress_arg())
}

fn probe_args() -> [Arg; 2] {
    [
        Arg::new("probes")
            .long("probes")
            .value_name("PROBES")
            .value_parser(value_parser!(Probes))
            .requires("probe-address")
            .help("Look at the guest from the network meanwhile, for example kind=udp,interval=1ms;kind=icmp [default: kind=udp,interval=10ms where --probe-address is given]"),
        Arg::new("probe-address")
            .long("probe-address")
            .value_name("HOST[:PORT]")
            .value_parser(target)
            .help("Where the guest answers probes: udp, tcp and playout need `sterna probe serve` in it (port 12323), icmp needs nothing"),
    ]
}

fn target(text: &str) -> Result<Target, sterna_probe::TargetError> {
    Target::parse(text, DEFAULT_PORT)
}

/// What the arguments say.
pub fn options(matches: &ArgMatches) -> WatchOptions {
    let (way, matches) = matches.subcommand().unwrap_or(("qmp", matches));
    let path = |id: &str| matches.get_one::<PathBuf>(id).cloned();
    let text = |id: &str| matches.get_one::<String>(id).cloned();
    let target = match way {
        "libvirt" => WatchTarget::Libvirt(Domain {
            name: text("domain").unwrap_or_default(),
            uri: text("connect"),
            destination: text("destination-uri"),
            virsh: path("virsh").unwrap_or_else(|| "virsh".into()),
        }),
        _ => WatchTarget::Qmp {
            source: path("source").unwrap_or_default(),
            destination: path("destination"),
            is_shared: matches.get_flag("shared"),
            may_change: matches.get_flag("may-change"),
        },
    };
    let probe_target = matches.get_one::<Target>("probe-address").cloned();
    let probes = matches.get_one::<Probes>("probes").cloned().unwrap_or_default();
    WatchOptions {
        target,
        probes: if probe_target.is_some() { probes.or(&[Probe::default()]) } else { Vec::new() },
        probe_target,
        timeout: matches.get_one::<Span>("timeout").copied().unwrap_or(Span::from_secs(3600)),
        format: format(matches),
        report: path("output"),
        repeat: matches.get_one::<u64>("repeat").copied(),
        listen: matches.get_one::<SocketAddr>("listen").copied(),
        progress: matches.get_one::<ProgressKind>("progress").copied().unwrap_or_default(),
    }
}
