//! The static release: one file that runs on any Linux of the same architecture.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::ci::appended;
use crate::elf;
use crate::process::cargo;
use crate::release::executable;

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
