//! `sterna stream`: what to try, over which connections, and what to tell of it.

mod values;

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use sterna_emulator::stream::{DEFAULT_PORT, Family};
use sterna_report::stream::{StreamDirection, StreamMode};
use sterna_units::{Bytes, Rate, Size, Span};
use sterna_wire::control::Endpoint;

pub use values::Dirty;

use super::run::{Format, format, format_arg, tls_dir_arg, token_file_arg};
use values::{TimeOrMode, chain};

/// As long as a bare run lasts.
const DEFAULT_DURATION: Span = Span::from_secs(10);

/// As large as iperf3's.
const DEFAULT_BLOCK: Bytes = Bytes(128 << 10);

/// What `sterna stream` was told.
pub enum StreamCommand {
    /// Listen for clients.
    Serve(ServeCommand),
    /// Try the way to a server.
    Client(Box<ClientCommand>),
}

/// What `sterna stream serve` was told.
pub struct ServeCommand {
    /// Where to listen.
    pub listen: Endpoint,
    /// A file with the secret that clients have to know.
    pub token_file: Option<PathBuf>,
    /// Certificates.
    pub tls_directory: Option<PathBuf>,
    /// Most memory for a trial.
    pub memory: Size,
    /// Whether to end after one trial.
    pub once: bool,
}

/// What a client was told, not yet checked.
pub struct ClientCommand {
    /// Where the server is.
    pub server: Endpoint,
    /// What travels.
    pub mode: StreamMode,
    /// Whether requests have a connection of their own.
    pub preempt: bool,
    /// Which way pages travel.
    pub direction: StreamDirection,
    /// Connections for bulk.
    pub channels: u16,
    /// Bytes that are sent at once.
    pub block: Bytes,
    /// Memory of each source.
    pub memory: Option<Size>,
    /// What dirties it.
    pub dirty: Option<Dirty>,
    /// Whether pages are put into memory where they arrive.
    pub place: bool,
    /// Virtual processors that wait for pages.
    pub vcpus: u16,
    /// Pages asked for ahead.
    pub prefetch: u16,
    /// The limit.
    pub bandwidth: Option<Rate>,
    /// How long; None without an end.
    pub duration: Option<Span>,
    /// How much.
    pub bytes: Option<Bytes>,
    /// Whether pages are sent from where they are.
    pub zero_copy: bool,
    /// Whether pages are encrypted.
    pub tls: bool,
    /// Certificates.
    pub tls_directory: Option<PathBuf>,
    /// A file with the server's secret.
    pub token_file: Option<PathBuf>,
    /// How content is compressed.
    pub compression: String,
    /// How hard.
    pub level: Option<u8>,
    /// The family of addresses.
    pub family: Option<Family>,
    /// Our own address.
    pub bind: Option<IpAddr>,
    /// Congestion control.
    pub congestion: Option<String>,
    /// Class of service.
    pub dscp: Option<u8>,
    /// The buffer for sending.
    pub send_buffer: Option<Bytes>,
    /// The buffer for receiving.
    pub receive_buffer: Option<Bytes>,
    /// Time between two lines.
    pub interval: Span,
    /// How the result is printed.
    pub format: Format,
    /// Print events as they happen, as NDJSON.
    pub json_stream: bool,
    /// Where the report goes.
    pub report: Option<PathBuf>,
}

/// The subcommand.
pub fn command() -> Command {
    let client = Command::new("stream")
        .args_override_self(true)
        .args_conflicts_with_subcommands(true)
        .about("Try what a link carries of a migration: bulk pages, page requests, or both")
        .long_about(format!(
            "Try what a link carries of a migration: bulk pages, page requests, or both.\n\n\
             `sterna stream serve` listens at one end, `sterna stream SERVER` goes there from the other. \
             Pages travel as in a migration: in blocks over one connection or several, in the clear or encrypted, compressed, limited, from real memory that is dirtied meanwhile. \
             Requests are those of a guest in post-copy: each virtual processor waits for one page, and wants the next when it has come. \
             At the end stands what that means for migrations.\n\n\
             SERVER is HOST, HOST:PORT, an address of IPv6 in brackets before a port, or the path of a Unix socket, which has a slash in it; the port is {DEFAULT_PORT} unless another is given. \
             A server that other machines can reach takes certificates and a token, as `sterna host` does.",
        ))
        .after_help(
            "Exit codes: 0 done, be it by a signal under --duration unlimited; 1 nothing could be tried; 2 usage; \
             3 it broke, and what was seen until then is reported; 130 a signal came before it was over.",
        )
        .subcommand(serve_command());
    let groups = [target_args(), what_args(), wire_args(), telling_args(), iperf_args()];
    groups.into_iter().flatten().fold(client, Command::arg)
}

fn serve_command() -> Command {
    Command::new("serve")
        .about("Listen for `sterna stream`, one client after another")
        .long_about(
            "Listen for `sterna stream`, one client after another, until it is interrupted or terminated.\n\n\
             The address to give to clients is printed on standard output, and everything else on standard error. \
             What other machines can reach takes certificates and a token; see `sterna certs`. \
             A token comes from --token-file or STERNA_HOST_TOKEN, never from the command line, which everybody on the machine can read. \
             Without either, one is made and printed; a loopback address, or a Unix socket, needs none.",
        )
        .arg(
            value("listen", "ADDRESS", format!("Where to listen: HOST:PORT, PORT on loopback alone, or the PATH of a Unix socket; port 0 takes any [default: 127.0.0.1:{DEFAULT_PORT}]"))
                .value_parser(values::listen),
        )
        .arg(
            value("port", "PORT", "As --listen PORT")
                .short('p')
                .value_parser(value_parser!(u16))
                .conflicts_with("listen"),
        )
        .arg(token_file_arg().help("A file that holds the secret which clients have to know"))
        .arg(tls_dir_arg().help("Certificates, as `sterna certs` makes them; what is said is then encrypted, and pages where the client asks for it"))
        .arg(
            value("max-memory", "SIZE", "Most memory that a trial may take here: bytes, or a share of the available memory [default: 50%]")
                .value_parser(chain::<Size>),
        )
        .arg(
            flag("once", "End after one trial").short('1').alias("one-off"),
        )
}

/// What was given.
pub fn options(matches: &ArgMatches) -> StreamCommand {
    match matches.subcommand() {
        Some(("serve", matches)) => StreamCommand::Serve(serve(matches)),
        _ => StreamCommand::Client(Box::new(client(matches))),
    }
}

fn serve(matches: &ArgMatches) -> ServeCommand {
    let port: u16 = get(matches, "port").unwrap_or(DEFAULT_PORT);
    ServeCommand {
        listen: get(matches, "listen")
            .unwrap_or_else(|| Endpoint::Tcp(format!("127.0.0.1:{port}"))),
        token_file: get(matches, "token-file"),
        tls_directory: get(matches, "tls-dir"),
        memory: get(matches, "max-memory").unwrap_or_else(values::half),
        once: matches.get_flag("once"),
    }
}

fn client(matches: &ArgMatches) -> ClientCommand {
    let times: Vec<TimeOrMode> = matches.get_many("time").into_iter().flatten().cloned().collect();
    let port: Option<u16> = get(matches, "port");
    let server: Option<String> = get(matches, "server")
        .or_else(|| get(matches, "client"))
        .or_else(|| get(matches, "mig-mon-host"));
    let block = get(matches, "block").unwrap_or(DEFAULT_BLOCK);
    let blocks = get::<u64>(matches, "blockcount").map(|it| Bytes(it.saturating_mul(block.0)));
    let bytes: Option<Bytes> = get(matches, "bytes").or(blocks);
    let window: Option<Bytes> = get(matches, "window");
    let mode = get(matches, "mode").or_else(|| values::mode_of(&times)).unwrap_or_default();
    let duration = get::<Option<Span>>(matches, "duration")
        .or_else(|| values::duration_of(&times))
        .unwrap_or(if bytes.is_some() { None } else { Some(DEFAULT_DURATION) });
    let limit = get::<Option<Rate>>(matches, "bandwidth").flatten();
    let both = if matches.get_flag("bidir") { Some(StreamDirection::Both) } else { None };
    let reverse = if matches.get_flag("reverse") { Some(StreamDirection::Receive) } else { None };
    ClientCommand {
        server: values::server(&server.unwrap_or_default(), port.unwrap_or(DEFAULT_PORT)),
        mode,
        preempt: matches.get_flag("preempt"),
        direction: get(matches, "direction").or(both).or(reverse).unwrap_or_default(),
        channels: get(matches, "channels").unwrap_or(1),
        block,
        memory: get(matches, "memory"),
        dirty: get(matches, "dirty"),
        place: matches.get_flag("place"),
        vcpus: get(matches, "vcpus").unwrap_or(1),
        prefetch: get(matches, "prefetch").unwrap_or(0),
        bandwidth: limit,
        duration,
        bytes,
        zero_copy: matches.get_flag("zero-copy"),
        tls: matches.get_flag("tls"),
        tls_directory: get(matches, "tls-dir"),
        token_file: get(matches, "token-file"),
        compression: get(matches, "compression").unwrap_or_else(|| "none".to_owned()),
        level: get(matches, "compression-level"),
        family: match (matches.get_flag("ipv4"), matches.get_flag("ipv6")) {
            (true, _) => Some(Family::V4),
            (_, true) => Some(Family::V6),
            _ => None,
        },
        bind: get(matches, "bind"),
        congestion: get(matches, "congestion"),
        dscp: get(matches, "dscp"),
        send_buffer: get(matches, "send-buffer").or(window),
        receive_buffer: get(matches, "receive-buffer").or(window),
        interval: get(matches, "interval")
            .or_else(|| get(matches, "iperf-interval"))
            .unwrap_or(Span::from_secs(1)),
        format: if matches.get_flag("json") { Format::Json } else { format(matches) },
        json_stream: matches.get_flag("json-stream"),
        report: get(matches, "output"),
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

fn target_args() -> Vec<Arg> {
    vec![
        Arg::new("server")
            .value_name("SERVER")
            .value_parser(values::server_text)
            .required_unless_present_any(["client", "mig-mon-host"])
            .help("Where `sterna stream serve` listens: HOST[:PORT], [IPV6]:PORT, or the PATH of a Unix socket"),
        value("port", "PORT", "The server's port, where SERVER has none")
            .short('p')
            .value_parser(value_parser!(u16).range(1..)),
        flag("ipv4", "Use IPv4 only").short('4').conflicts_with("ipv6"),
        flag("ipv6", "Use IPv6 only").short('6'),
        value("bind", "ADDRESS", "Our own address, or the name of a network interface")
            .short('B')
            .value_parser(values::bind),
        token_file_arg().help("A file that holds the server's secret; STERNA_HOST_TOKEN may hold it, too"),
        tls_dir_arg().help("Certificates, as `sterna certs` makes them; what is said is then encrypted"),
    ]
}

fn what_args() -> Vec<Arg> {
    const HEADING: &str = "What travels";
    let args = vec![
        value("mode", "MODE", "precopy: bulk pages; postcopy: page requests; both: at once, on one connection unless --preempt [default: precopy]")
            .value_parser(values::mode),
        flag("preempt", "Give requests and their pages a connection of their own; with --mode both"),
        value("direction", "WAY", "send: pages go to the server; receive: they come from there; both [default: send]")
            .value_parser(values::direction),
        value("channels", "N", "Connections for bulk, each way [default: 1]")
            .short('P')
            .alias("parallel")
            .value_parser(value_parser!(u16)),
        value("block", "SIZE", "Bytes that are sent at once, a multiple of 4KiB [default: 128KiB]")
            .short('l')
            .alias("length")
            .value_parser(chain::<Bytes>),
        value("memory", "SIZE", "Send pages of real memory of that size, in turn: bytes, or a share of the available memory [default: one block, over and over]")
            .value_parser(chain::<Size>),
        value("dirty", "WORKLOAD", "Dirty that memory meanwhile: a rate such as 500MB/s, or a workload such as 'rate=500MB/s pattern=random workers=2'; needs --memory")
            .value_parser(values::dirty),
        flag("place", "Put pages into memory where they arrive; otherwise they are read and dropped, as other tools do"),
        value("vcpus", "N", "Virtual processors that each wait for a page [default: 1]").value_parser(value_parser!(u16)),
        value("prefetch", "N", "Pages asked for ahead of each that is waited for; they are answered later [default: 0]")
            .value_parser(value_parser!(u16)),
        value("bandwidth", "RATE", "Limit bulk, each way: 1Gbit/s, 100MB/s, or unlimited [default: unlimited]")
            .short('b')
            .alias("bitrate")
            .value_parser(values::bandwidth),
        value("duration", "TIME", "How long; unlimited goes on until a signal [default: 10s, or until all of --bytes]")
            .value_parser(values::duration),
        value("bytes", "SIZE", "How much bulk to send, each way").short('n').value_parser(chain::<Bytes>),
    ];
    args.into_iter().map(|it| it.help_heading(HEADING)).collect()
}

fn wire_args() -> Vec<Arg> {
    const HEADING: &str = "How it travels";
    let args = vec![
        flag("tls", "Encrypt pages, too; needs --tls-dir"),
        flag("zero-copy", "Let the kernel send pages from where they are (MSG_ZEROCOPY)")
            .short('Z')
            .alias("zerocopy"),
        value("compression", "METHOD", "none, zlib or zstd [default: none]")
            .value_parser(["none", "zlib", "zstd"]),
        value("compression-level", "N", "How hard the compressor tries [default: 1]")
            .value_parser(value_parser!(u8)),
        value(
            "congestion",
            "NAME",
            "Congestion control, such as cubic or bbr [default: the system's; reno on loopback]",
        )
        .short('C'),
        value("dscp", "CLASS", "Class of service: 0 to 63, or a name such as ef, af41, cs1")
            .value_parser(values::dscp),
        value("send-buffer", "SIZE", "The sockets' buffers for sending [default: the kernel's]")
            .value_parser(chain::<Bytes>),
        value(
            "receive-buffer",
            "SIZE",
            "The sockets' buffers for receiving [default: the kernel's]",
        )
        .value_parser(chain::<Bytes>),
    ];
    args.into_iter().map(|it| it.help_heading(HEADING)).collect()
}

fn telling_args() -> Vec<Arg> {
    const HEADING: &str = "Output";
    let args = vec![
        value("interval", "TIME", "Time between two lines [default: 1s]")
            .value_parser(values::interval),
        format_arg(),
        value(
            "output",
            "FILE",
            "Write the report to this file as JSON, also when it breaks or is interrupted",
        )
        .short('o')
        .value_parser(value_parser!(PathBuf)),
        flag(
            "json-stream",
            "Print events as they happen, one JSON object a line; the last one is the report",
        )
        .conflicts_with("format"),
    ];
    args.into_iter().map(|it| it.help_heading(HEADING)).collect()
}

fn iperf_args() -> Vec<Arg> {
    const HEADING: &str = "As iperf3 and mig_mon vm (-p -P -l -n -b -B -C -Z -4 -6 are above)";
    let args = vec![
        Arg::new("client")
            .short('c')
            .long("client")
            .value_name("HOST")
            .value_parser(values::server_text)
            .conflicts_with("server")
            .help("As SERVER"),
        Arg::new("mig-mon-host")
            .short('H')
            .value_name("HOST")
            .value_parser(values::server_text)
            .conflicts_with_all(["server", "client"])
            .help("As SERVER"),
        Arg::new("time")
            .short('t')
            .long("time")
            .value_name("SECONDS|TEST")
            .action(ArgAction::Append)
            .value_parser(values::time_or_mode)
            .help("A number of seconds, as --duration, 0 without an end; or precopy, postcopy or one after the other both, as --mode"),
        Arg::new("iperf-interval")
            .short('i')
            .value_name("SECONDS")
            .value_parser(values::iperf_interval)
            .conflicts_with("interval")
            .help("As --interval; a bare number is seconds"),
        flag("reverse", "As --direction receive").short('R').conflicts_with("direction"),
        flag("bidir", "As --direction both").conflicts_with_all(["direction", "reverse"]),
        value("window", "SIZE", "As --send-buffer and --receive-buffer").short('w').value_parser(chain::<Bytes>),
        flag("json", "As --format json").short('J').conflicts_with_all(["format", "json-stream"]),
        value("blockcount", "N", "As --bytes, in blocks of --block")
            .short('k')
            .value_parser(value_parser!(u64).range(1..))
            .conflicts_with("bytes"),
        flag("verbose", "Taken and not needed: the summary has all of it").short('V'),
        value("units", "LETTER", "Taken and not needed: units follow the size of a number")
            .short('f')
            .visible_alias("format-units")
            .value_parser(["k", "m", "g", "t", "K", "M", "G", "T"]),
        flag("no-delay", "Taken and not needed: it is the rule here").short('N'),
        flag("get-server-output", "Taken and not needed: both sides' numbers are in the summary"),
        value("omit", "SECONDS", "Not taken: every interval is in the report with its time")
            .short('O')
            .hide(true)
            .value_parser(explained("Nothing is left out here: every interval is in the report with its time, so leave out the first ones there")),
        value("udp", "", "Not taken: migrations use TCP")
            .short('u')
            .hide(true)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("udp")
            .value_parser(explained("Migrations use TCP; `sterna probe udp` looks at a link with datagrams")),
        value("set-mss", "SIZE", "Not taken: the kernel finds it")
            .short('M')
            .hide(true)
            .value_parser(explained("The segment size is the kernel's; set the MTU of the interface instead")),
        value("title", "TEXT", "Not taken: reports are distinguished by their file names")
            .short('T')
            .hide(true)
            .value_parser(explained("A report has no title; name its file with --output")),
        value("logfile", "FILE", "Not taken: redirect standard output")
            .hide(true)
            .value_parser(explained("Redirect standard output, or write a report with --output FILE")),
    ];
    args.into_iter().map(|it| it.help_heading(HEADING)).collect()
}

/// A flag of another tool that is answered with what to do instead.
fn explained(words: &'static str) -> impl Fn(&str) -> Result<String, &'static str> + Clone {
    move |_| Err(words)
}

/// The workload in its short text. A rate alone dirties all of the memory, in any order; what a workload leaves out is the same.
pub fn dirty_text(dirty: &Dirty, memory: Bytes) -> String {
    let text = match dirty {
        Dirty::Rate(pace) => format!("rate={pace} method=touch"),
        Dirty::Workload(text) => text.clone(),
    };
    let has = |name: &str| text.split_whitespace().any(|it| it.starts_with(name));
    let mut whole = text.clone();
    if !has("memory=") {
        whole = format!("memory={memory} {whole}");
    }
    if !has("latency=") {
        whole.push_str(" latency=off");
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(line: &str) -> Result<StreamCommand, clap::Error> {
        command().try_get_matches_from(line.split_whitespace()).map(|it| options(&it))
    }

    #[test]
    fn every_command_in_the_document_is_understood() {
        let document = include_str!("../../../../../docs/coming-from.md");
        let commands = document.lines().filter_map(|it| it.strip_prefix("$ sterna "));
        let commands: Vec<_> = commands.filter(|it| it.starts_with("stream")).collect();
        for line in &commands {
            given(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        assert!(commands.len() >= 4, "{commands:?}");
    }

    #[test]
    fn flags_of_others_mean_the_same() {
        #[track_caller]
        fn client(line: &str) -> ClientCommand {
            match given(line) {
                Ok(StreamCommand::Client(it)) => *it,
                Ok(StreamCommand::Serve(_)) => panic!("{line} serves"),
                Err(error) => panic!("{line}: {error}"),
            }
        }
        let iperf = client("stream -c box -p 5201 -P 4 -l 64K -t 5 -i 2 -b 1Gbit/s -R -w 1M -J");
        assert_eq!(iperf.server, Endpoint::Tcp("box:5201".to_owned()));
        assert_eq!((iperf.channels, iperf.block), (4, Bytes(64 << 10)));
        assert_eq!(iperf.duration, Some(Span::from_secs(5)));
        assert_eq!(iperf.interval, Span::from_secs(2));
        assert_eq!(iperf.direction, StreamDirection::Receive);
        assert_eq!(iperf.send_buffer, Some(Bytes(1 << 20)));
        assert_eq!(iperf.format, Format::Json);
        let mig_mon = client("stream -H 10.0.0.1 -t precopy -t postcopy");
        assert_eq!(mig_mon.mode, StreamMode::Both);
        assert_eq!(mig_mon.duration, Some(DEFAULT_DURATION));
        assert_eq!(client("stream box -t postcopy").mode, StreamMode::Postcopy);
        assert_eq!(client("stream box -n 1G").duration, None);
        assert_eq!(client("stream box -t 0").duration, None);
        let blocks = client("stream -c box -k 100 -l 64K -V -f m -N --get-server-output");
        assert_eq!((blocks.bytes, blocks.duration), (Some(Bytes(100 * (64 << 10))), None));
        assert_eq!(client("stream -c box -k 8").bytes, Some(Bytes(8 * (128 << 10))));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        #[track_caller]
        fn check(line: &str, expected: &str) {
            let error = given(line).err().unwrap_or_else(|| panic!("{line} is understood"));
            assert!(error.to_string().contains(expected), "{error}");
        }
        check("stream", "required");
        check("stream box --block lots", "--block");
        check("stream box -b 500", "must end in B/s or bit/s");
        check("stream box -4 -6", "cannot be used with");
        check("stream box --duration 0s", "no time");
        check("stream box --interval 1ms", "10ms");
        check("stream box --mode fast", "precopy, postcopy");
        check("stream box --dscp 64", "0 to 63");
        check("stream a:b:c", "brackets");
        check("stream -c box -O 3", "every interval is in the report");
        check("stream -c box -u", "Migrations use TCP");
        check("stream -c box -M 1400", "MTU of the interface");
        check("stream -c box -T run7", "name its file with --output");
        check("stream -c box -f x", "possible values");
        check("stream -c box -k 5 -n 1G", "cannot be used with");
        check("stream box:0", "port");
        check("stream box -R --direction send", "cannot be used with");
        check("stream serve --listen nonsense", "HOST:PORT");
    }
}
