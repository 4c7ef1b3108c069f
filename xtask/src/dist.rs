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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::root;

    #[test]
    fn the_container_file_copies_what_is_built_here() {
        let text = std::fs::read_to_string(root().join("Containerfile")).unwrap();
        let word = |first: &str, number: usize| {
            let line = text.lines().find(|it| it.split_whitespace().next() == Some(first));
            line.unwrap().split_whitespace().nth(number).unwrap().to_owned()
        };
        let (name, target) =
            word("ARG", 1).split_once('=').map(|it| (it.0.to_owned(), it.1.to_owned())).unwrap();
        let host = host_target().unwrap();
        let (_, rest) = target.split_once('-').unwrap();
        assert!(host.ends_with(rest), "{target} is of no kind that is built on {host}");
        // The place that cargo gives a release for an explicit target.
        assert_eq!(word("COPY", 2), format!("target/${{{name}}}/release/sterna"));
        assert_eq!(word("ENTRYPOINT", 1), format!("[\"{}\"]", word("COPY", 3)));
    }
}
