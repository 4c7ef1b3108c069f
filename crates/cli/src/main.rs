//! The `sterna` binary: parse, then typed options, then run. All printing is here.
#![forbid(unsafe_code)]

mod args;
mod commands;
mod live;
mod machine;
mod output;
mod progress;

use std::process::ExitCode;

fn main() -> ExitCode {
    let invocation = args::parse();
    let output = invocation.output;
    match commands::run(invocation) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let code = error.downcast_ref::<UsageError>().map_or(1, |_| 2);
            #[cfg(feature = "kubevirt")]
            let code = commands::kubevirt::exit_code(&error).unwrap_or(code);
            output.error(&format!("{error:#}"));
            ExitCode::from(code)
        }
    }
}

/// A mistake in what the user asked for: exit code 2, as clap gives for its own.
#[derive(Debug)]
struct UsageError(anyhow::Error);

impl std::fmt::Display for UsageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl std::error::Error for UsageError {}

/// Marks an error as the user's.
fn usage(error: impl Into<anyhow::Error>) -> anyhow::Error {
    UsageError(error.into()).into()
}
