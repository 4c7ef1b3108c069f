//! Builds the agent as a static program of its own and leaves it where the library embeds it.
//!
//! The agent runs in a guest that has no libraries, while Sterna itself is built as everybody's cargo builds it. So it is
//! a build within the build: same target, its own profile, flags and target directory (the outer one is locked).
//! Where there is no static libc this is no error: an empty file says that there is no agent, a warning says why, and
//! whoever needs one is told again when they do.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a build script speaks to cargo that way")]

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the agent is made of, beside the manifest of the workspace.
const CRATES: &[&str] = &["sys", "units", "workload", "probe", "wire", "guest"];

/// Set by an outer cargo or by those who run it, and wrong for the inner one.
///
/// The wrapper is clippy, which would only check; the flags are those of the outer build, and beat ours.
const OUTER: &[&str] = &[
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_MAKEFLAGS",
    "CARGO_TARGET_DIR",
    "MAKEFLAGS",
    "MFLAGS",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
];

/// A static program without relocation is smaller, and nobody attacks a guest that exists for seconds.
/// Nor does anybody look up frames in a program that aborts and has no symbols; the table for that packs badly.
const FLAGS: &[&str] = &[
    "-Ctarget-feature=+crt-static",
    "-Crelocation-model=static",
    "-Clink-arg=-Wl,--build-id=none",
    "-Clink-arg=-Wl,--no-eh-frame-hdr",
];

fn main() -> Result<(), Box<dyn Error>> {
    let crates = Path::new(&env::var("CARGO_MANIFEST_DIR")?).with_file_name("");
    let root = crates.join("..");
    watch(&crates, &root);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let program = match build(&root, &out) {
        Ok(program) => program,
        Err(reason) => {
            println!("cargo::warning=No guest agent is built in: {reason}");
            Vec::new()
        }
    };
    fs::write(out.join("sterna-guest"), program)?;
    Ok(())
}

fn watch(crates: &Path, root: &Path) {
    for name in CRATES {
        println!("cargo::rerun-if-changed={}", crates.join(name).join("src").display());
        println!("cargo::rerun-if-changed={}", crates.join(name).join("Cargo.toml").display());
    }
    println!("cargo::rerun-if-changed={}", root.join("Cargo.toml").display());
    println!("cargo::rerun-if-changed={}", root.join("Cargo.lock").display());
    println!("cargo::rerun-if-changed=build.rs");
}

fn build(root: &Path, out: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    let target = env::var("TARGET")?;
    let directory = out.join("target");
    let mut cargo = Command::new(env::var("CARGO")?);
    cargo.args(["build", "--package", "sterna-guest", "--bin", "sterna-guest"]);
    cargo.args(["--profile", "agent", "--target", &target]);
    cargo.arg("--manifest-path").arg(root.join("Cargo.toml"));
    cargo.arg("--target-dir").arg(&directory);
    for name in OUTER {
        cargo.env_remove(name);
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1F"));
    let output = cargo.output()?;
    if !output.status.success() {
        let words = last_lines(&String::from_utf8_lossy(&output.stderr));
        return Err(format!("cargo ended with {}: {words}", output.status).into());
    }
    let program = directory.join(target).join("agent").join("sterna-guest");
    Ok(fs::read(without_frames(&program, out))?)
}

/// The program without the table of its frames, a tenth of it: nothing reads that in a program that aborts.
///
/// No flag of a compiler leaves it out, since the standard library brings its own. `objcopy` comes with the linker; a
/// program whose table stays is as good, and only larger.
fn without_frames(program: &Path, out: &Path) -> PathBuf {
    let smaller = out.join("without-frames");
    let mut objcopy = Command::new("objcopy");
    objcopy.args(["--remove-section", ".eh_frame"]).arg(program).arg(&smaller);
    let is_done = objcopy.output().is_ok_and(|it| it.status.success());
    if is_done { smaller } else { program.to_owned() }
}

/// A warning is one line.
fn last_lines(text: &str) -> String {
    let lines: Vec<&str> =
        text.lines().map(str::trim).filter(|it| !it.is_empty()).rev().take(12).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}
