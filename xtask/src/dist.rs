//! The static release: one file that runs on any Linux of the same architecture.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::ci::appended;
use crate::elf;
use crate::process::{cargo, shown};

/// Builds `sterna` with the C library linked in, checks that, and prints the path and the size.
pub fn run() -> Result<()> {
    // An explicit target keeps the flags away from build scripts and procedural macros, which
    // cannot be linked statically.
    let target = host_target()?;
    let mut build = cargo(&["build", "--release", "--package", "sterna-cli", "--bin", "sterna"]);
    build.args(["--target", &target, "--message-format", "json-render-diagnostics"]);
    build.env("RUSTFLAGS", appended("RUSTFLAGS", "-C target-feature=+crt-static"));
    let binary = executable(&mut build)?;

    let bytes =
        std::fs::read(&binary).with_context(|| format!("Cannot read {}", binary.display()))?;
    ensure!(
        !elf::wants_interpreter(&bytes)?,
        "{} asks for a dynamic loader; install the C library's static files (Debian: libc6-dev)",
        binary.display()
    );
    println!("{} is static: {} bytes", binary.display(), bytes.len());
    Ok(())
}

fn host_target() -> Result<String> {
    let output = Command::new("rustc")
        .args(["--print", "host-tuple"])
        .stdin(Stdio::null())
        .output()
        .context("Cannot start rustc")?;
    ensure!(output.status.success(), "rustc --print host-tuple ended with {}", output.status);
    Ok(String::from_utf8(output.stdout).context("rustc's answer is no text")?.trim().to_owned())
}

/// Runs a build and asks cargo itself where the binary is, since the target folder may be anywhere.
fn executable(build: &mut Command) -> Result<PathBuf> {
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
