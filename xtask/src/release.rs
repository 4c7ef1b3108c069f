//! Building programs in release form and finding them.

use std::path::{Path, PathBuf};
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

/// Runs a build and asks cargo itself where the binary is, since the target folder may be anywhere.
pub fn executable(build: &mut Command) -> Result<PathBuf> {
    let name = shown(build);
    let output =
        build.stderr(Stdio::inherit()).output().with_context(|| format!("Cannot start {name}"))?;
    ensure!(output.status.success(), "{name} ended with {}", output.status);
    let messages = String::from_utf8(output.stdout).context("cargo's messages are no text")?;
    match executables(&messages)?.as_slice() {
        [binary] => Ok(Path::new(binary).to_owned()),
        other => bail!("{name} made {} executables where one was expected", other.len()),
    }
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
