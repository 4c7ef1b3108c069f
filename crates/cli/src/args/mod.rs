//! The command line: one tree, from which help, completions and the manual are made. Parsing touches nothing of the world.

mod batch;
mod compare;
mod dirty;
mod foresight;
mod host;
#[cfg(feature = "kubevirt")]
pub mod kubevirt;
mod machines;
mod probe;
mod qemu;
mod report;
mod run;
mod stream;
mod watch;

use std::ffi::OsString;
#[cfg(feature = "kubevirt")]
use std::path::Path;
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command, value_parser};
use clap_complete::Shell;

pub use batch::BatchOptions;
pub use compare::{CompareFormat, CompareOptions, FailOn};
pub use dirty::{Buckets, DirtyOptions, Telling};
pub use foresight::{AdviseOptions, DiagnoseOptions, Known, ReproduceOptions};
pub use host::{CertsCommand, HostCommand};
pub use machines::Machines;
pub use probe::{
    DEFAULT_BUFFER, DEFAULT_FRAME_BYTES, DEFAULT_TIMEOUT, FRAME_BYTES, FRAME_RATES, Looking,
    ProbeCommand, ProbeFormat, ProbeTelling, RECORD_SIZES, SIZES, is_record_size,
};
pub use report::{ReportForm, ReportOptions};
pub use run::{EngineKind, Format, ProgressKind, RunOptions};
pub use stream::{ClientCommand, ServeCommand, StreamCommand, dirty_text};
pub use watch::{WatchOptions, WatchTarget};

use sterna_report::Document;

use crate::output::{ColorChoice, Output};

/// What the user asked for.
pub struct Invocation {
    /// How to speak.
    pub output: Output,
    /// What to do.
    pub action: Action,
}

/// One subcommand with its options.
pub enum Action {
    /// Migrate.
    Run(Box<RunOptions>),
    /// Run a suite.
    Batch(Box<BatchOptions>),
    /// Compare runs.
    Compare(Box<CompareOptions>),
    /// List the standard suites, or show the one of this name.
    Suites(Option<String>),
    /// Show reports.
    Report(ReportOptions),
    /// Make a scenario that shows the same migration.
    Reproduce(ReproduceOptions),
    /// Predict.
    Predict(Box<Known>),
    /// Advise.
    Advise(Box<AdviseOptions>),
    /// Diagnose.
    Diagnose(DiagnoseOptions),
    /// Dirty memory.
    Dirty(Box<DirtyOptions>),
    /// Watch a migration of others.
    Watch(Box<WatchOptions>),
    /// Look at a machine from outside.
    Probe(Box<ProbeCommand>),
    /// Try a link.
    Stream(StreamCommand),
    /// Be one side of a migration.
    Host(HostCommand),
    /// Make certificates.
    Certs(CertsCommand),
    /// Look after a QEMU for a run on another machine.
    KeepQemu,
    /// Migrate on a cluster.
    #[cfg(feature = "kubevirt")]
    Kubevirt(Box<kubevirt::KubevirtCommand>),
    /// Say what this machine can do.
    Doctor {
        /// As text or JSON.
        format: Format,
        /// The QEMUs that a run would start for its source and its destination.
        qemus: [PathBuf; 2],
    },
    /// Print the schema of a document.
    Schema(Document),
    /// Print a completion script.
    Completions(Shell),
    /// Print or write the manual.
    Man {
        /// Where the pages go; `None` prints the main one.
        directory: Option<PathBuf>,
    },
}

/// Reads the process's arguments; on a mistake, or for help, it does not return.
pub fn parse() -> Invocation {
    let matches = command().get_matches_from(arguments(std::env::args_os()));
    let color = matches.get_one::<ColorChoice>("color").copied().unwrap_or_default();
    let output = Output::new(color, matches.get_flag("quiet"));
    Invocation { output, action: action(&matches) }
}

/// The arguments as the tree knows them: `help run` and `version` are words for flags, and as a plug-in of kubectl, which
/// calls `kubectl-sterna …`, everything is about KubeVirt.
fn arguments(given: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut all: Vec<OsString> = given.collect();
    if all.get(1).is_some_and(|it| it == "help") {
        all.remove(1);
        all.push("--help".into());
    } else if all.len() == 2 && all[1] == "version" {
        all[1] = "--version".into();
    }
    #[cfg(feature = "kubevirt")]
    if all.first().and_then(|it| Path::new(it).file_name()).is_some_and(|it| it == "kubectl-sterna")
    {
        all.insert(1, "kubevirt".into());
    }
    all
}

/// The whole tree.
pub fn command() -> Command {
    let command = tree();
    #[cfg(feature = "kubevirt")]
    let command = command.subcommand(kubevirt::command());
    command
}

fn tree() -> Command {
    Command::new("sterna")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Test, measure and predict live migration of virtual machines")
        .long_about(
            "Test, measure and predict live migration of virtual machines.\n\n\
             Will it complete, how long does it take, how long is the guest frozen, what does the guest feel, and which settings should be used?",
        )
        .after_help(
            "Exit codes: 0 completed; 1 tool error, or a run that failed before a migration began; 2 usage; 3 cancelled, failed or lost; 4 corrupt memory; 5 not supported here; 130 interrupted.",
        )
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .arg(
            Arg::new("color")
                .long("color")
                .global(true)
                .value_name("WHEN")
                .value_parser(value_parser!(ColorChoice))
                .default_value("auto")
                .help("When to use colours; auto heeds NO_COLOR and whether the output is a terminal"),
        )
        .arg(
            Arg::new("quiet")
                .long("quiet")
                .short('q')
                .global(true)
                .action(clap::ArgAction::SetTrue)
                .help("No progress and no warnings; errors and results only"),
        )
        .subcommand(run::command())
        .subcommand(watch::command())
        .subcommand(batch::command())
        .subcommand(compare::command())
        .subcommand(batch::suites_command())
        .subcommand(report::command())
        .subcommand(foresight::reproduce_command())
        .subcommand(foresight::predict_command())
        .subcommand(foresight::advise_command())
        .subcommand(foresight::diagnose_command())
        .subcommand(dirty::command())
        .subcommand(probe::command())
        .subcommand(stream::command())
        .subcommand(
            Command::new("doctor")
                .about("Say what this machine offers for migration tests, what is missing, and how to get it")
                .long_about(
                    "Say what this machine offers for migration tests, what is missing, and how to get it.\n\n\
                     Features are tried with the calls that a run would make; nothing is changed. \
                     Each finding is ok, limited or missing; what is not ok comes with its consequence and the way to get it. \
                     The names of findings are the same in text and JSON, and stay the same.",
                )
                .after_help(
                    "Exit codes: 0 a bare `sterna run` works here, be it with the cooperative tracker; 5 it does not. \
                     Whatever else is missing does not change the exit code.",
                )
                .arg(run::format_arg())
                .args(qemu::program_args()),
        )
        .subcommand(
            Command::new("schema").about("Print the JSON Schema of a document").arg(
                Arg::new("document")
                    .required(true)
                    .value_parser(Document::ALL.map(Document::as_str))
                    .help("Which: the report of a run, the report of `sterna dirty`, each line of its --json-stream, the findings of `sterna doctor`, a comparison, what repeats of a run say, the report of `sterna probe`, each line of its --format ndjson, the report of `sterna stream`, each line of its --json-stream, a prediction, or advice"),
            ),
        )
        .subcommand(
            Command::new("completions").about("Print a completion script for a shell").arg(
                Arg::new("shell").required(true).value_parser(value_parser!(Shell)),
            ),
        )
        .subcommand(
            Command::new("man").about("Print the manual page, or write all pages to a directory").arg(
                Arg::new("directory")
                    .long("out")
                    .value_name("DIR")
                    .value_parser(value_parser!(PathBuf))
                    .help("Write one page for each subcommand to this directory"),
            ),
        )
        .subcommand(host::command())
        .subcommand(host::certs_command())
        .subcommand(
            Command::new(sterna_qemu::keeper::SUBCOMMAND)
                .about("Look after a QEMU for a run on another machine; started by `sterna run`")
                .hide(true),
        )
}

fn action(matches: &ArgMatches) -> Action {
    match matches.subcommand() {
        Some(("run", matches)) => Action::Run(Box::new(run::options(matches))),
        Some(("batch", matches)) => Action::Batch(Box::new(batch::options(matches))),
        Some(("watch", matches)) => Action::Watch(Box::new(watch::options(matches))),
        Some(("compare", matches)) => Action::Compare(Box::new(compare::options(matches))),
        Some(("suites", matches)) => Action::Suites(batch::suite_to_show(matches)),
        Some(("report", matches)) => Action::Report(report::options(matches)),
        Some(("reproduce", matches)) => Action::Reproduce(foresight::reproduce_options(matches)),
        Some(("predict", matches)) => {
            Action::Predict(Box::new(foresight::predict_options(matches)))
        }
        Some(("advise", matches)) => Action::Advise(Box::new(foresight::advise_options(matches))),
        Some(("diagnose", matches)) => Action::Diagnose(foresight::diagnose_options(matches)),
        Some(("dirty", matches)) => Action::Dirty(Box::new(dirty::options(matches))),
        Some(("probe", matches)) => Action::Probe(Box::new(probe::options(matches))),
        Some(("stream", matches)) => Action::Stream(stream::options(matches)),
        Some(("host", matches)) => Action::Host(host::options(matches)),
        Some(("certs", matches)) => Action::Certs(host::certs_options(matches)),
        Some((sterna_qemu::keeper::SUBCOMMAND, _)) => Action::KeepQemu,
        Some(("doctor", matches)) => {
            Action::Doctor { format: run::format(matches), qemus: qemu::programs(matches) }
        }
        #[cfg(feature = "kubevirt")]
        Some(("kubevirt", matches)) => Action::Kubevirt(Box::new(kubevirt::options(matches))),
        Some(("completions", matches)) => {
            Action::Completions(matches.get_one::<Shell>("shell").copied().unwrap_or(Shell::Bash))
        }
        Some(("man", matches)) => {
            Action::Man { directory: matches.get_one::<PathBuf>("directory").cloned() }
        }
        _ => Action::Schema(document(matches)),
    }
}

/// The document whose schema is wanted; all others were refused by its parser.
fn document(matches: &ArgMatches) -> Document {
    let name = matches.subcommand_matches("schema").and_then(|it| it.get_one::<String>("document"));
    let named = Document::ALL.into_iter().find(|it| Some(it.as_str()) == name.map(String::as_str));
    named.unwrap_or(Document::Report)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tree_is_sound() {
        super::command().debug_assert();
    }

    #[test]
    #[cfg(feature = "kubevirt")]
    fn a_link_named_as_a_plug_in_is_all_about_kubevirt() {
        let check = |given: &[&str], expected: &[&str]| {
            let got = super::arguments(given.iter().map(Into::into));
            assert_eq!(got, expected);
        };
        check(
            &["/usr/bin/kubectl-sterna", "rbac"],
            &["/usr/bin/kubectl-sterna", "kubevirt", "rbac"],
        );
        check(&["sterna", "rbac"], &["sterna", "rbac"]);
        check(&[], &[]);
        check(
            &["kubectl-sterna", "help", "rbac"],
            &["kubectl-sterna", "kubevirt", "rbac", "--help"],
        );
    }

    #[test]
    fn help_and_version_are_words_for_their_flags() {
        let check = |given: &[&str], expected: &[&str]| {
            assert_eq!(super::arguments(given.iter().map(Into::into)), expected);
        };
        check(&["sterna", "help"], &["sterna", "--help"]);
        check(&["sterna", "help", "run"], &["sterna", "run", "--help"]);
        check(&["sterna", "help", "probe", "udp"], &["sterna", "probe", "udp", "--help"]);
        check(&["sterna", "version"], &["sterna", "--version"]);
        check(&["sterna", "run", "help"], &["sterna", "run", "help"]);
        check(&["sterna", "run", "version"], &["sterna", "run", "version"]);
    }
}
