//! `sterna run`: its flags are the scenario's settings, made from the same table as everything else about them.

use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, ValueEnum, value_parser};
use sterna_qemu::QemuOptions;
use sterna_scenario::{Kind, Setting, Table, settings, tables};

use super::compare::{store, store_args};
use super::{machines, qemu};

/// Everything `sterna run` was told, not yet checked against the world.
pub struct RunOptions {
    /// The scenario file.
    pub file: Option<PathBuf>,
    /// Settings given as flags: path, value, flag.
    pub settings: Vec<(&'static str, String, String)>,
    /// How written pages are found.
    pub tracker: String,
    /// Print the scenario instead of running it.
    pub print_scenario: bool,
    /// How the result is printed.
    pub format: Format,
    /// Where the report goes.
    pub report: Option<PathBuf>,
    /// How often it is run.
    pub repeat: u32,
    /// Where baselines are kept.
    pub store: PathBuf,
    /// The baseline that the reports become.
    pub save_as: Option<String>,
    /// Print events as they happen, as NDJSON.
    pub json_stream: bool,
    /// How progress is shown.
    pub progress: ProgressKind,
    /// Certificates for encrypted connections.
    pub tls_directory: Option<PathBuf>,
    /// A defect to commit on purpose.
    pub breakage: Option<String>,
    /// What runs and moves the guest.
    pub engine: EngineKind,
    /// Where both sides run.
    pub machines: machines::Machines,
    /// What the engine QEMU needs to know.
    pub qemu: QemuOptions,
    /// A flag for other engines than this one, and which these are.
    pub misplaced: Option<(String, &'static str)>,
    /// Which cluster the engine KubeVirt goes to.
    #[cfg(feature = "kubevirt")]
    pub place: super::kubevirt::PlaceArgs,
}

/// What runs and moves the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum EngineKind {
    /// Memory and a workload of our own; needs nothing installed.
    #[default]
    Emulator,
    /// Two QEMU processes with a real guest.
    Qemu,
    /// No guest at all: a model of the emulator in simulated time, within milliseconds.
    Model,
    /// A virtual machine on a KubeVirt cluster.
    #[cfg(feature = "kubevirt")]
    Kubevirt,
}

impl EngineKind {
    /// The word for it on the command line.
    pub fn name(self) -> &'static str {
        match self {
            EngineKind::Emulator => "emulator",
            EngineKind::Qemu => "qemu",
            EngineKind::Model => "model",
            #[cfg(feature = "kubevirt")]
            EngineKind::Kubevirt => "kubevirt",
        }
    }
}

/// How a result is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// How progress is shown on standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ProgressKind {
    /// A live line on a terminal, otherwise nothing.
    #[default]
    Auto,
    /// One line per second.
    Plain,
    /// Nothing.
    None,
}

/// The subcommand.
pub fn command() -> Command {
    let command = Command::new("run")
        .args_override_self(true)
        .about("Migrate a guest live, verify its memory, and report what was seen")
        .long_about(
            "Migrate a guest live, verify its memory, and report what was seen.\n\n\
             The scenario comes from its defaults, FILE, STERNA_* variables and flags, each winning over the one before. \
             `--print-scenario` shows all of it.",
        )
        .arg(
            Arg::new("file")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Scenario in TOML; `-` reads standard input"),
        )
        .arg(
            Arg::new("print-scenario")
                .long("print-scenario")
                .action(ArgAction::SetTrue)
                .help("Print the scenario with all of its values as TOML, and do nothing else"),
        )
        .arg(
            Arg::new("engine")
                .long("engine")
                .value_name("ENGINE")
                .value_parser(value_parser!(EngineKind))
                .env("STERNA_ENGINE")
                .hide_env_values(true)
                .default_value("emulator")
                .help("What runs and moves the guest"),
        )
        .arg(
            Arg::new("tracker")
                .long("tracker")
                .value_name("NAME")
                .value_parser(["auto", "wp-async", "cooperative"])
                .env("STERNA_TRACKER")
                .hide_env_values(true)
                .default_value("auto")
                .help("How written pages are found: by the kernel (wp-async), or by the workload itself (cooperative)"),
        )
        .arg(format_arg())
        .arg(
            Arg::new("output")
                .long("output")
                .short('o')
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Write the report to this file as JSON, also when the run fails or is interrupted; with --repeat, a directory for all reports"),
        )
        .arg(
            Arg::new("repeat")
                .long("repeat")
                .value_name("N")
                .value_parser(value_parser!(u32).range(1..=10_000))
                .default_value("1")
                .help("Run it N times, and show medians with their 95 % intervals"),
        )
        .args(store_args())
        .arg(
            Arg::new("json-stream")
                .long("json-stream")
                .action(ArgAction::SetTrue)
                .conflicts_with("format")
                .help("Print events as they happen, one JSON object a line; the last one is the report"),
        )
        .arg(progress_arg())
        .arg(tls_dir_arg().help(
            "Certificates for encrypted connections, as `sterna certs` makes them [default: made for the run, where both sides are here]",
        ))
        .arg(
            Arg::new("x-break")
                .long("x-break")
                .value_name("DEFECT")
                .hide(true)
                .help("Commit a defect on purpose, to see that the report tells"),
        );
    let command = machines::args().into_iter().fold(command, Command::arg);
    let command = qemu::args().into_iter().fold(command, Command::arg);
    #[cfg(feature = "kubevirt")]
    let command = super::kubevirt::with_place(command);
    let command = settings().iter().fold(command, |command, it| command.arg(setting_arg(it)));
    optional_tables().fold(command, |command, it| command.arg(table_arg(it)))
}

/// `--tls-dir`, the same wherever there is one.
pub fn tls_dir_arg() -> Arg {
    Arg::new("tls-dir")
        .long("tls-dir")
        .value_name("DIR")
        .value_parser(value_parser!(PathBuf))
        .env("STERNA_TLS_DIR")
        .hide_env_values(true)
}

/// `--token-file`, the same wherever there is one.
pub fn token_file_arg() -> Arg {
    Arg::new("token-file")
        .long("token-file")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
}

/// `--format`, the same wherever there is one.
pub fn format_arg() -> Arg {
    Arg::new("format")
        .long("format")
        .value_name("FORMAT")
        .value_parser(value_parser!(Format))
        .default_value("text")
        .help("How the result is printed")
}

/// The format that was chosen.
pub fn format(matches: &ArgMatches) -> Format {
    matches.get_one::<Format>("format").copied().unwrap_or_default()
}

/// What was given.
pub fn options(matches: &ArgMatches) -> RunOptions {
    let text = |id: &str| matches.get_one::<String>(id).cloned();
    let paths = settings().iter().map(|it| (it.path(), it.flag()));
    let paths = paths.chain(optional_tables().map(|it| (it.path(), it.flag())));
    // What was repeated is one list.
    let setting = |id: &str| {
        let texts: Vec<&str> = matches.get_many::<String>(id)?.map(String::as_str).collect();
        Some(texts.join(";"))
    };
    RunOptions {
        file: matches.get_one::<PathBuf>("file").cloned(),
        settings: paths.filter_map(|(path, flag)| Some((path, setting(path)?, flag))).collect(),
        tracker: text("tracker").unwrap_or_else(|| "auto".to_owned()),
        print_scenario: matches.get_flag("print-scenario"),
        format: format(matches),
        report: matches.get_one::<PathBuf>("output").cloned(),
        repeat: matches.get_one::<u32>("repeat").copied().unwrap_or(1),
        store: store(matches),
        save_as: text("save-as"),
        json_stream: matches.get_flag("json-stream"),
        progress: matches.get_one::<ProgressKind>("progress").copied().unwrap_or_default(),
        engine: matches.get_one::<EngineKind>("engine").copied().unwrap_or_default(),
        machines: machines::options(matches),
        qemu: QemuOptions { breakage: text("x-break"), ..qemu::options(matches) },
        misplaced: misplaced(matches),
        #[cfg(feature = "kubevirt")]
        place: super::kubevirt::place(matches),
        tls_directory: matches.get_one::<PathBuf>("tls-dir").cloned(),
        breakage: text("x-break"),
    }
}

/// Variables are set once for all engines, so only what stands on the command line can be in the wrong place.
fn misplaced(matches: &ArgMatches) -> Option<(String, &'static str)> {
    let engine = matches.get_one::<EngineKind>("engine").copied().unwrap_or_default();
    let of = |args: Vec<Arg>, engines: &'static str| {
        args.into_iter().map(move |it| (it.get_id().to_string(), engines))
    };
    let both = "the emulator and QEMU";
    let mut foreign: Vec<(String, &'static str)> = Vec::new();
    if engine != EngineKind::Qemu {
        foreign.extend(of(qemu::args(), "QEMU (--engine qemu)"));
    }
    if engine != EngineKind::Emulator {
        foreign.push(("tracker".to_owned(), "the emulator"));
    }
    let has_machines = matches!(engine, EngineKind::Emulator | EngineKind::Qemu);
    if !has_machines {
        foreign.extend(of(machines::args(), both));
        foreign.push(("tls-dir".to_owned(), both));
    }
    #[cfg(feature = "kubevirt")]
    if engine != EngineKind::Kubevirt {
        foreign.extend(of(super::kubevirt::place_args(), "KubeVirt (--engine kubevirt)"));
    }
    let is_given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    foreign.into_iter().find(|it| is_given(&it.0)).map(|(id, engines)| (format!("--{id}"), engines))
}

/// How progress is shown.
pub fn progress_arg() -> Arg {
    Arg::new("progress")
        .long("progress")
        .value_name("HOW")
        .value_parser(value_parser!(ProgressKind))
        .default_value("auto")
        .help("How progress is shown on standard error")
}

fn optional_tables() -> impl Iterator<Item = &'static Table> {
    tables().iter().filter(|it| it.is_optional())
}

fn setting_arg(setting: &'static Setting) -> Arg {
    let default = match setting.default_text() {
        Some(default) => format!(" [default: {default}]"),
        None => String::new(),
    };
    let help = format!("{}{default}", setting.about());
    let arg =
        flag(setting.path(), setting.flag(), help, heading(setting.table()), setting.variable());
    match setting.kind() {
        Kind::Boolean => switch(arg, "true", "true|false"),
        _ if setting.is_list() => {
            arg.value_name("VALUE").action(ArgAction::Append).allow_hyphen_values(true)
        }
        _ => arg.value_name("VALUE").allow_hyphen_values(true),
    }
}

fn table_arg(table: &'static Table) -> Arg {
    let help = table.about().to_owned();
    let arg = flag(table.path(), table.flag(), help, heading(table.path()), table.variable());
    switch(arg, "on", "on|off")
}

/// A flag that may stand alone: `--locked` and `--locked=true` are the same.
fn switch(arg: Arg, alone: &'static str, values: &'static str) -> Arg {
    arg.num_args(0..=1).require_equals(true).default_missing_value(alone).value_name(values)
}

fn flag(id: &'static str, flag: String, help: String, heading: String, variable: String) -> Arg {
    let long_help = format!("{help}\n\nScenario field {id}; variable {variable}");
    let name = flag.trim_start_matches('-').to_owned();
    Arg::new(id).long(name).help(help).long_help(long_help).help_heading(heading)
}

/// Flags stand in help under the first part of their table's name.
fn heading(table: &str) -> String {
    let word = table.split('.').next().unwrap_or_default();
    match word {
        "" => "Scenario".to_owned(),
        word => format!("Scenario [{word}]"),
    }
}
