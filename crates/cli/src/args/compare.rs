//! The command line of `sterna compare`.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, ValueEnum, value_parser};
use sterna_report::comparison::{Metric, Rules};

/// What `sterna compare` is asked for.
pub struct CompareOptions {
    /// Reports, or directories of them; the first is the reference unless there is a baseline.
    pub inputs: Vec<PathBuf>,
    /// Where baselines are kept.
    pub store: PathBuf,
    /// The baseline that is the reference.
    pub name: Option<String>,
    /// The baseline that the candidate becomes.
    pub save_as: Option<String>,
    /// What ends with exit code 4.
    pub fail_on: Option<FailOn>,
    /// Whether runs of the model may stand beside measured ones.
    pub allows_model: bool,
    /// How to judge.
    pub rules: Rules,
    /// How the result is printed.
    pub format: CompareFormat,
    /// Where it goes instead of standard output.
    pub output: Option<PathBuf>,
}

/// What is a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// Something regressed.
    Regressed,
    /// Something regressed, or nothing can be said of it.
    Unsure,
}

/// How a comparison is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum CompareFormat {
    /// For a terminal.
    #[default]
    Text,
    /// For programs.
    Json,
    /// For a comment or a job's summary.
    Markdown,
    /// A page for a browser, with the runs over each other; it needs no network.
    Html,
}

/// The subcommand.
pub fn command() -> Command {
    Command::new("compare")
        .about("Say with statistics whether one set of runs is worse than another")
        .long_about(about())
        .after_help(
            "Exit codes: 0 compared; 4 memory fared worse, or --fail-on found what it looks for; \
             1 the tool itself failed; 2 usage, or a file that cannot be read.",
        )
        .arg(
            Arg::new("inputs")
                .value_name("PATH")
                .num_args(0..)
                .value_parser(value_parser!(PathBuf))
                .help("Reports, directories of them, or batches, `-` for stdin; the first is the reference, unless --name gives one"),
        )
        .args(store_args())
        .arg(
            Arg::new("name")
                .long("name")
                .value_name("NAME")
                .help("Compare with the baseline of this name"),
        )
        .arg(
            Arg::new("fail-on")
                .long("fail-on")
                .value_name("WHAT")
                .value_parser(value_parser!(FailOn))
                .help("End with exit code 4 when something regressed, or when nothing can be said"),
        )
        .arg(
            Arg::new("allow-model")
                .long("allow-model")
                .action(ArgAction::SetTrue)
                .help("Compare runs of the engine `model`, which were computed, with runs that were measured"),
        )
        .arg(
            Arg::new("threshold")
                .long("threshold")
                .value_name("METRIC=SHARE")
                .action(ArgAction::Append)
                .value_parser(threshold)
                .help("What difference of a metric is noise, as in downtime=10% [default: 5%]"),
        )
        .arg(
            Arg::new("alpha")
                .long("alpha")
                .value_name("ERROR")
                .value_parser(alpha)
                .default_value("0.01")
                .help("The share of false alarms that is allowed, for all metrics of a scenario together"),
        )
        .arg(
            Arg::new("format")
                .long("format")
                .value_name("FORMAT")
                .value_parser(value_parser!(CompareFormat))
                .default_value("text")
                .help("How the result is printed"),
        )
        .arg(
            Arg::new("output")
                .long("output")
                .short('o')
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Write the result to this file instead of standard output"),
        )
}

/// `--baseline` and `--save-as`, the same wherever there are any.
pub fn store_args() -> [Arg; 2] {
    [
        Arg::new("baseline")
            .long("baseline")
            .value_name("DIR")
            .value_parser(value_parser!(PathBuf))
            .default_value("sterna-baselines")
            .help("Directory in which baselines are kept"),
        Arg::new("save-as")
            .long("save-as")
            .value_name("NAME")
            .help("Keep the new reports as the baseline of this name, in place of an older one"),
    ]
}

/// What was given.
pub fn options(matches: &ArgMatches) -> CompareOptions {
    let text = |id: &str| matches.get_one::<String>(id).cloned();
    let thresholds = matches.get_many::<(String, f64)>("threshold");
    CompareOptions {
        inputs: matches.get_many::<PathBuf>("inputs").into_iter().flatten().cloned().collect(),
        store: store(matches),
        name: text("name"),
        save_as: text("save-as"),
        fail_on: matches.get_one::<FailOn>("fail-on").copied(),
        allows_model: matches.get_flag("allow-model"),
        rules: Rules {
            alpha: matches.get_one::<f64>("alpha").copied().unwrap_or(0.01),
            thresholds: thresholds.into_iter().flatten().cloned().collect(),
            ..Rules::default()
        },
        format: matches.get_one::<CompareFormat>("format").copied().unwrap_or_default(),
        output: matches.get_one::<PathBuf>("output").cloned(),
    }
}

/// The directory of baselines.
pub fn store(matches: &ArgMatches) -> PathBuf {
    matches.get_one::<PathBuf>("baseline").cloned().unwrap_or_default()
}

fn about() -> String {
    let metrics: Vec<String> =
        Metric::ALL.iter().map(|it| format!("  {:<17} {}", it.name, it.about)).collect();
    format!(
        "Say with statistics whether one set of runs is worse than another.\n\n\
         Runs are matched by their scenario. For each metric the result is improved, regressed, no change, \
         too noisy to say, or too few repeats to say: a test on ranks must rule out chance, with the error \
         shared between all tests of a scenario, and the difference must be larger than noise. Regressed is also \
         a part of the runs that became worse. Numbers are compared among runs of the same outcome.\n\n\
         Results of guestperf, iperf3 and mig_mon, and what QEMU and libvirt say of a migration (query-migrate, \
         info migrate, domjobinfo, a virt-launcher's log), are read as well; what a file is shows its content.\n\nMetrics:\n{}",
        metrics.join("\n")
    )
}

/// `downtime=10%`
fn threshold(text: &str) -> Result<(String, f64), String> {
    let (name, share) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` has no `=`; write METRIC=SHARE, as in downtime=10%"))?;
    if Metric::named(name).is_none() {
        let known: Vec<&str> = Metric::ALL.iter().map(|it| it.name).collect();
        return Err(format!("There is no metric `{name}`; known are {}", known.join(", ")));
    }
    let number = share.strip_suffix('%').and_then(|it| it.trim().parse::<f64>().ok());
    match number.filter(|it| (0.0..=1000.0).contains(it)) {
        Some(percent) => Ok((name.to_owned(), percent / 100.0)),
        None => {
            Err(format!("`{share}` is no share; write a percentage from 0% to 1000%, as in 10%"))
        }
    }
}

fn alpha(text: &str) -> Result<f64, String> {
    let value = text.parse::<f64>().ok().filter(|it| *it > 0.0 && *it < 1.0);
    value.ok_or_else(|| {
        format!("`{text}` is no error rate; write a number between 0 and 1, as in 0.01")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_names_a_metric_and_a_share() {
        assert_eq!(threshold("downtime=10%"), Ok(("downtime".to_owned(), 0.1)));
        for (text, expected) in [
            ("downtime", "has no `=`"),
            ("uptime=1%", "There is no metric `uptime`; known are total-time, downtime"),
            ("downtime=10", "is no share"),
            ("downtime=-1%", "is no share"),
        ] {
            assert!(threshold(text).unwrap_err().contains(expected), "{text}");
        }
        assert!(alpha("0").is_err() && alpha("nan").is_err() && alpha("0.05") == Ok(0.05));
    }
}
