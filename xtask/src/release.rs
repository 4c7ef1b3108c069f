//! Building programs in release form and finding them.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::process::{cargo, shown};

/// Builds `sterna` as users run it.
pub fn sterna() -> Result<PathBuf> {
    executable(&mut build("sterna-cli", "sterna"))
}

/// Builds this program itself: what it measures in its own process must be optimised, too.
pub fn xtask() -> Result<PathBuf> {
    executable(&mut build("xtask", "xtask"))
}

/// `sterna` as the tests run it, by the build that they need anyway: with all targets, since tests ask for more of some
/// libraries, and those would be compiled once more without.
pub fn sterna_of_tests() -> Result<PathBuf> {
    let mut build = cargo(&["build", "--quiet", "--workspace", "--all-targets"]);
    let all = made(build.args(["--message-format", "json-render-diagnostics"]))?;
    let ours = all.into_iter().find(|it| it.file_stem().is_some_and(|it| it == "sterna"));
    ours.context("The workspace makes no sterna")
}

/// Runs a build of one executable.
pub fn executable(build: &mut Command) -> Result<PathBuf> {
    match made(build)?.as_slice() {
        [binary] => Ok(binary.clone()),
        other => bail!("{} made {} executables, not one", shown(build), other.len()),
    }
}

/// Runs a build and asks cargo itself where the binaries are, since the target folder may be anywhere.
fn made(build: &mut Command) -> Result<Vec<PathBuf>> {
    let name = shown(build);
    let output =
        build.stderr(Stdio::inherit()).output().with_context(|| format!("Cannot start {name}"))?;
    ensure!(output.status.success(), "{name} ended with {}", output.status);
    let messages = String::from_utf8(output.stdout).context("cargo's messages are no text")?;
    Ok(executables(&messages)?.into_iter().map(PathBuf::from).collect())
}

fn build(package: &str, bin: &str) -> Command {
    let mut build = cargo(&["build", "--release", "--quiet", "--package", package, "--bin", bin]);
    build.args(["--message-format", "json-render-diagnostics"]);
    build
}

fn executables(messages: &str) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    for line in messages.lines().filter(|it| !it.trim().is_empty()) {
        let message: serde_json::Value =
            serde_json::from_str(line).with_context(|| format!("Not a cargo message: {line}"))?;
        if let Some(path) = message["executable"].as_str() {
            paths.push(path.to_owned());
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_artifacts_with_an_executable_count() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","executable":"/t/sterna"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
            "\n",
        );
        assert_eq!(executables(messages).unwrap(), ["/t/sterna"]);
        assert!(executables("Compiling").is_err());
    }
}
