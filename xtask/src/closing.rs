//! Runs a test runner and keeps its closing lines back, so that they can be printed last.
//!
//! The report of skipped tests belongs after the tests, but the output of a check must end with
//! the runner's own verdict: that is where one looks, and where scripts look. So every line is
//! echoed as it comes until the verdict begins; the verdict is held until the caller prints it.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context as _, Result};

use crate::process::{cargo, shown};
use crate::skips::{self, CargoOutput};

/// Which program runs the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runner {
    /// cargo-nextest: one process per test, limits on time, a summary at the end on stderr.
    Nextest,
    /// Plain `cargo test`, for machines without nextest: one result line per test binary on stdout.
    Cargo,
}

/// How the runner ended: its status, what was skipped, and the lines that it closed with.
pub struct Ending {
    pub status: ExitStatus,
    /// `test: reason` for every test that found no ground to run on.
    pub skips: Vec<String>,
    lines: Vec<Vec<u8>>,
    runner: Runner,
}

/// Runs the tests, echoing everything but the closing lines.
pub fn run(command: &mut Command, runner: Runner) -> Result<Ending> {
    let name = shown(command);
    match runner {
        Runner::Nextest => command.stderr(Stdio::piped()),
        Runner::Cargo => command.stdout(Stdio::piped()),
    };
    let mut child = command.spawn().with_context(|| format!("Cannot start {name}"))?;
    let output: Box<dyn Read> = match runner {
        Runner::Nextest => Box::new(child.stderr.take().context("No stderr to read from")?),
        Runner::Cargo => Box::new(child.stdout.take().context("No stdout to read from")?),
    };
    let mut seen = CargoOutput::default();
    let lines = echo_until_closing(output, runner, |line| {
        seen.see(&String::from_utf8_lossy(line));
        runner.echo(line);
    })?;
    let status = child.wait().with_context(|| format!("Cannot wait for {name}"))?;
    let skips = match runner {
        // Without a report nothing was run, for example because a test does not compile.
        Runner::Nextest => std::fs::read_to_string(skips::nextest_report())
            .map_or_else(|_| Vec::new(), |xml| skips::in_nextest_report(&xml)),
        Runner::Cargo => seen.skips(),
    };
    Ok(Ending { status, skips, lines, runner })
}

impl Ending {
    /// Prints the closing lines after some text of ours, both to the stream of the closing lines,
    /// so that they stay in this order however the streams are read.
    pub fn print_after(&self, text: &str) {
        self.runner.echo(text.as_bytes());
        for line in &self.lines {
            self.runner.echo(line);
        }
    }
}

impl Runner {
    /// The command that runs every test of the workspace, whether or not an earlier one failed.
    pub fn command(self) -> Command {
        match self {
            // Its stderr is a pipe to us, so it must be told what our own stderr is.
            Runner::Nextest => {
                let colour = if std::io::IsTerminal::is_terminal(&std::io::stderr()) {
                    "--color=always"
                } else {
                    "--color=never"
                };
                let mut run = cargo(&["nextest", "run", "--workspace", "--no-fail-fast"]);
                run.args(["--profile", "ci", colour]);
                run
            }
            Runner::Cargo => {
                cargo(&["test", "--workspace", "--no-fail-fast", "--", "--show-output"])
            }
        }
    }

    fn begins_closing(self, line: &str) -> bool {
        match self {
            Runner::Nextest => line.trim_start().starts_with("Summary ["),
            Runner::Cargo => line.starts_with("test result:"),
        }
    }

    /// Whether a line shows that what was held is not the end after all.
    fn goes_on(self, line: &str) -> bool {
        match self {
            // What follows the summary is the list of failed tests, which is part of it.
            Runner::Nextest => false,
            // Each test binary has a result line; only the last one closes.
            Runner::Cargo => !line.trim().is_empty(),
        }
    }

    /// A reader that has gone away (a closed pipe) must not turn the tests' verdict into a panic.
    fn echo(self, line: &[u8]) {
        let _ = match self {
            Runner::Nextest => std::io::stderr().write_all(line),
            Runner::Cargo => std::io::stdout().write_all(line),
        };
    }
}

/// Lines are bytes, for a test may print anything.
fn echo_until_closing(
    output: impl Read,
    runner: Runner,
    mut echo: impl FnMut(&[u8]),
) -> Result<Vec<Vec<u8>>> {
    let mut output = BufReader::new(output);
    let mut held: Vec<Vec<u8>> = Vec::new();
    loop {
        let mut line = Vec::new();
        if output.read_until(b'\n', &mut line).context("Cannot read the test runner's output")? == 0
        {
            return Ok(held);
        }
        let text = without_colours(&String::from_utf8_lossy(&line));
        if !held.is_empty() && runner.goes_on(&text) {
            held.drain(..).for_each(|it| echo(&it));
        }
        if !held.is_empty() || runner.begins_closing(&text) {
            held.push(line);
        } else {
            echo(&line);
        }
    }
}

/// The text without ANSI colour sequences (`ESC [ … m`).
fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        rest = after.split_once('m').map_or("", |(_, it)| it);
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(runner: Runner, output: &str, echoed: &str, held: &str) {
        let mut seen = Vec::new();
        let rest = echo_until_closing(output.as_bytes(), runner, |it| seen.extend(it)).unwrap();
        assert_eq!(String::from_utf8(seen).unwrap(), echoed);
        assert_eq!(String::from_utf8(rest.concat()).unwrap(), held);
    }

    #[test]
    fn nextest_is_held_from_its_summary_on() {
        check(
            Runner::Nextest,
            "   PASS [ 0.1s] a b\n  Summary [ 0.2s] 2 tests run\n   FAIL c d\nerror: failed\n",
            "   PASS [ 0.1s] a b\n",
            "  Summary [ 0.2s] 2 tests run\n   FAIL c d\nerror: failed\n",
        );
        let coloured = "\x1b[32;1m     Summary\x1b[0m [   0.2s] 2 tests run\n";
        check(Runner::Nextest, coloured, "", coloured);
    }

    #[test]
    fn a_build_error_is_echoed_at_once() {
        check(Runner::Nextest, "error: could not compile", "error: could not compile", "");
    }

    #[test]
    fn cargo_is_held_from_the_last_result_on() {
        check(
            Runner::Cargo,
            "a\ntest result: ok. 1 passed\n\nb\ntest result: ok. 2 passed\n\n",
            "a\ntest result: ok. 1 passed\n\nb\n",
            "test result: ok. 2 passed\n\n",
        );
    }

    #[test]
    fn the_runner_s_failure_is_ours() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo '  Summary [ 1s] 1 test run' >&2; exit 100"]);
        let ending = run(&mut command, Runner::Nextest).unwrap();
        assert_eq!(ending.status.code(), Some(100));
        assert_eq!(ending.lines, [b"  Summary [ 1s] 1 test run\n"]);
    }
}
