//! The command line of `sterna batch` and `sterna suites`.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::run::EngineKind;

/// What `sterna batch` is asked for.
pub struct BatchOptions {
    /// A standard suite's name, or a file.
    pub suite: String,
    /// The engines, each of which runs all.
    pub engines: Vec<EngineKind>,
    /// Where the reports go.
    pub directory: PathBuf,
    /// Which runs; all without it.
    pub filter: Option<String>,
    /// How often each run is made.
    pub repeat: u32,
    /// Whether the directory's batch is to be finished.
    pub resume: bool,
    /// Whether the first failure ends all.
    pub fail_fast: bool,
    /// Whether the runs are made in an order of their own.
    pub shuffle: bool,
    /// How many runs are made at the same time.
    pub concurrent: usize,
    /// Longest time of one run, in seconds.
    pub timeout_seconds: Option<u64>,
    /// Arguments for each `sterna run`.
    pub run_arguments: Vec<String>,
}

/// The subcommand `batch`.
pub fn command() -> Command {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    Command::new("batch")
        .about("Run all scenarios of a suite, one after the other, and show them as tables")
        .long_about(
            "Run all scenarios of a suite, one after the other, and show them as tables.\n\n\
             SUITE is the name of a standard suite (`sterna suites` lists them) or a TOML file. \
             Each run is a `sterna run` of its own, and its report is written when it ends. \
             A run that fails does not keep the others from running.",
        )
        .after_help("The exit code is that of the worst run: 4 corrupt, then 1, 2, 3, 5 and 0; 130 when interrupted.")
        .arg(Arg::new("suite").value_name("SUITE").required(true).help("A standard suite, or a file"))
        .arg(
            Arg::new("engine")
                .long("engine")
                .value_name("ENGINE")
                .value_parser(value_parser!(EngineKind))
                .action(ArgAction::Append)
                .default_value("emulator")
                .help("What runs and moves the guests; may be given more than once"),
        )
        .arg(
            Arg::new("output")
                .long("output")
                .short('o')
                .value_name("DIR")
                .value_parser(value_parser!(PathBuf))
                .required(true)
                .help("Directory for the reports and the manifest"),
        )
        .arg(
            Arg::new("filter")
                .long("filter")
                .value_name("GLOB")
                .help("Only runs whose name, or group/name, matches, as in 'postcopy*' or 'pause-iters/*'"),
        )
        .arg(
            Arg::new("repeat")
                .long("repeat")
                .value_name("N")
                .value_parser(value_parser!(u32).range(1..=10_000))
                .default_value("1")
                .help("How often each run is made"),
        )
        .arg(flag("resume", "Go on with the batch in the directory: runs that have ended are kept"))
        .arg(flag("fail-fast", "End after the first run that does not complete"))
        .arg(
            flag("keep-going", "Go on after runs that do not complete, as it is without --fail-fast")
                .conflicts_with("fail-fast"),
        )
        .arg(flag("shuffle", "Make the runs in a random order, so that whatever changes over time meets all alike"))
        .arg(
            Arg::new("concurrent")
                .long("concurrent")
                .value_name("N")
                .value_parser(value_parser!(u32).range(1..=64))
                .default_value("1")
                .help("Make N runs at the same time: for finding out what completes, not for measuring, since they disturb each other"),
        )
        .arg(
            Arg::new("timeout")
                .long("timeout")
                .value_name("SECONDS")
                .value_parser(value_parser!(u64).range(1..=30 * 86_400))
                .help("Interrupt a run that takes longer than this"),
        )
        .arg(
            Arg::new("arguments")
                .value_name("ARGS")
                .last(true)
                .num_args(0..)
                .help("Arguments for each `sterna run`, behind `--`; they win over the suite"),
        )
}

/// The subcommand `suites`.
pub fn suites_command() -> Command {
    Command::new("suites")
        .about("List the standard suites, or show one as TOML to copy and change")
        .arg(
            Arg::new("show")
                .value_name("show NAME")
                .num_args(0..=2)
                .help("`show NAME`, or only NAME: the suite to show; without it all are listed"),
        )
}

/// The suite to show: `suites NAME` or `suites show NAME`.
pub fn suite_to_show(matches: &ArgMatches) -> Option<String> {
    let words: Vec<&String> = matches.get_many::<String>("show").into_iter().flatten().collect();
    match words[..] {
        [] => None,
        [name] if name != "show" => Some(name.clone()),
        [show, name] if show == "show" => Some(name.clone()),
        [show] => command_error(
            show,
            "names no suite; write `sterna suites show NAME`, or nothing for a list",
        ),
        _ => command_error(words[0], "takes no second suite; write `sterna suites show NAME`"),
    }
}

fn command_error(word: &str, problem: &str) -> ! {
    let kind = clap::error::ErrorKind::WrongNumberOfValues;
    suites_command().error(kind, format!("`{word}` {problem}")).exit()
}

/// What the arguments say.
pub fn options(matches: &ArgMatches) -> BatchOptions {
    let strings = |name: &str| matches.get_many::<String>(name).into_iter().flatten().cloned();
    BatchOptions {
        suite: matches.get_one::<String>("suite").cloned().unwrap_or_default(),
        engines: matches.get_many::<EngineKind>("engine").into_iter().flatten().copied().collect(),
        directory: matches.get_one::<PathBuf>("output").cloned().unwrap_or_default(),
        filter: matches.get_one::<String>("filter").cloned(),
        repeat: matches.get_one::<u32>("repeat").copied().unwrap_or(1),
        resume: matches.get_flag("resume"),
        fail_fast: matches.get_flag("fail-fast"),
        shuffle: matches.get_flag("shuffle"),
        concurrent: matches.get_one::<u32>("concurrent").map_or(1, |it| *it as usize),
        timeout_seconds: matches.get_one::<u64>("timeout").copied(),
        run_arguments: strings("arguments").collect(),
    }
}
