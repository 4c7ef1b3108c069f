//! The command line of `sterna report`.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use sterna_render::CsvTable;

/// What `sterna report` is asked for.
pub struct ReportOptions {
    /// As what the reports are shown.
    pub form: ReportForm,
    /// Reports, directories of reports, directories of batches; `-` is stdin.
    pub inputs: Vec<PathBuf>,
    /// Where it goes: a file, a directory, or `-` for stdout.
    pub output: Option<PathBuf>,
    /// Which table of values.
    pub table: Option<CsvTable>,
}

/// As what reports are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportForm {
    /// Text for a terminal.
    Summary,
    /// Pages for a browser.
    Html,
    /// For a comment below a change.
    Markdown,
    /// For a spreadsheet, or a script.
    Csv,
    /// For a system that keeps numbers over time.
    OpenMetrics,
    /// For a system that runs tests.
    JUnit,
}

/// Each form with its name and its help.
const FORMS: [(ReportForm, &str, &str, &str); 6] = [
    (
        ReportForm::Summary,
        "summary",
        "Show reports as text",
        "One report as `sterna run` printed it; of several, a line for each.",
    ),
    (
        ReportForm::Html,
        "html",
        "Make pages for a browser, which need no network",
        "One report becomes one file that holds everything, beside the report unless -o says otherwise. \
         A batch's directory becomes a directory of pages with an index; its script is a file that they share. \
         With -o FILE.html several reports, or a batch, become one page on which they lie over each other.",
    ),
    (
        ReportForm::Markdown,
        "markdown",
        "Make Markdown for a comment below a change",
        "One report becomes a table of its headline numbers, several a table with a row for each; reasons and warnings follow.",
    ),
    (
        ReportForm::Csv,
        "csv",
        "Make comma-separated values",
        "A row for each run, or with --table for each line of one of its series; with -o DIR/ all tables, each a file. \
         Columns are named as the report's fields (`sterna schema report` defines them), and what is not known is empty.",
    ),
    (
        ReportForm::OpenMetrics,
        "openmetrics",
        "Make OpenMetrics text",
        "Each number of the summary is a gauge in its base unit; what is not known has no sample.",
    ),
    (
        ReportForm::JUnit,
        "junit",
        "Make JUnit XML",
        "Each run is a test: cancelled, failed and lost ones and corrupt memory are failures, \
         interrupted runs and those without a report are errors, unsupported ones were skipped.",
    ),
];

/// The subcommand.
pub fn command() -> Command {
    let mut command = Command::new("report")
        .about("Show reports as text, pages, Markdown, CSV, OpenMetrics or JUnit")
        .long_about(
            "Show reports as text, pages, Markdown, CSV, OpenMetrics or JUnit.\n\n\
             REPORT is a file that `sterna run` wrote, a batch's directory, any directory with reports, or - for stdin. \
             `summary` and `html` take reports of `sterna dirty`, `probe` and `stream`, too, alone or several over one time axis. \
             Nothing is measured anew.",
        )
        .after_help("Exit codes: 0 done, whatever the verdicts are; 4 done, and a report tells of corrupt memory; 1 the result could not be written; 2 a report could not be read (of a batch, the others are shown), or the arguments are wrong.")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true);
    for (kind, name, about, more) in FORMS {
        let form = form(name, about, more);
        command = command.subcommand(match kind {
            ReportForm::Csv => form.arg(table_arg()),
            _ => form,
        });
    }
    command
}

fn form(name: &'static str, about: &'static str, more: &str) -> Command {
    Command::new(name)
        .about(about)
        .long_about(format!("{about}.\n\n{more}"))
        .arg(
            Arg::new("inputs")
                .value_name("REPORT")
                .value_parser(value_parser!(PathBuf))
                .action(ArgAction::Append)
                .num_args(1..)
                .required(true)
                .help("Reports, directories of reports or of batches; - is stdin"),
        )
        .arg(
            Arg::new("output")
                .long("output")
                .short('o')
                .value_name("PATH")
                .value_parser(value_parser!(PathBuf))
                .help("File or directory for the result; - is stdout. A file that is there is replaced, but never a report"),
        )
}

fn table_arg() -> Arg {
    Arg::new("table")
        .long("table")
        .value_name("TABLE")
        .value_parser(CsvTable::ALL.map(CsvTable::as_str))
        .help("Which rows; summary unless -o names a directory, which gets all tables")
}

/// The table that was asked for; no other form of report has one.
fn table(matches: &ArgMatches) -> Option<CsvTable> {
    let name = matches.try_get_one::<String>("table").ok().flatten()?;
    CsvTable::ALL.into_iter().find(|it| it.as_str() == name)
}

/// What the arguments say.
pub fn options(matches: &ArgMatches) -> ReportOptions {
    let (name, matches) = matches.subcommand().unwrap_or(("summary", matches));
    let form = FORMS.iter().find(|it| it.1 == name).map_or(ReportForm::Summary, |it| it.0);
    ReportOptions {
        form,
        inputs: matches.get_many::<PathBuf>("inputs").into_iter().flatten().cloned().collect(),
        output: matches.get_one::<PathBuf>("output").cloned(),
        table: table(matches),
    }
}
