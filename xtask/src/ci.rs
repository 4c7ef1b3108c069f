//! What must hold before a change is merged, cheapest check first, tests last.
//!
//! The tests come last so that the output ends with the test runner's own closing line, which is
//! what people and machines look for. See [`crate::closing`] for how that is kept true while the
//! skipped tests are still reported.

use std::ffi::OsString;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::Result;

use crate::closing::{self, Runner};
use crate::cloud_init;
use crate::hadolint;
use crate::libvirt;
use crate::machine;
use crate::process::{cargo, exit_code, root, shown, succeed, works};
use crate::qemu;
use crate::release;
use crate::skips;

/// How to run the checks.
#[derive(clap::Args)]
pub struct Options {
    /// Install and fetch nothing; missing system packages are listed
    #[arg(long)]
    no_install: bool,
}

/// Runs every check and stops at the first that fails; the exit code is the test runner's.
pub fn run(options: &Options) -> Result<ExitCode> {
    let began = Instant::now();
    heading(began, "machine");
    machine::prepare(!options.no_install)?;

    // They take minutes to build where they are not in the cache yet, so that goes on beside the rest.
    let servers = if options.no_install { None } else { Some(servers()?) };
    for mut step in steps() {
        heading(began, &shown(&step));
        succeed(&mut step)?;
    }
    heading(began, "cargo build --workspace --all-targets");
    for mut step in claims()? {
        heading(began, &shown(&step));
        succeed(&mut step)?;
    }
    if let Some(servers) = servers {
        heading(began, "QEMU, API servers, cloud-init and hadolint for tests");
        fetch(servers);
    }
    tests(began)
}

/// The chore that builds API servers, in the background.
fn servers() -> Result<Child> {
    let mut chore = Command::new(std::env::current_exe()?);
    chore.arg("kube-apiserver").current_dir(root()).stdin(Stdio::null()).stdout(Stdio::null());
    sterna_sys::process::die_with_parent(&mut chore);
    Ok(chore.spawn()?)
}

/// What comes into the user's cache, and not into the system.
fn fetch(mut servers: Child) {
    let built = servers.wait().map_err(Into::into).and_then(|it| {
        anyhow::ensure!(it.success(), "No API server could be built");
        Ok(())
    });
    for outcome in [qemu::run(), libvirt::run(), built, cloud_init::run(), hadolint::run()] {
        if let Err(error) = outcome {
            println!("What needs it skips: {error:#}");
        }
    }
}

fn steps() -> Vec<Command> {
    let mut doc = cargo(&["doc", "--workspace", "--no-deps"]);
    doc.env("RUSTDOCFLAGS", appended("RUSTDOCFLAGS", "-D warnings"));
    vec![
        cargo(&["fmt", "--all", "--check"]),
        fuzz_targets("fmt", &["--check"]),
        cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
        fuzz_targets("clippy", &["--no-default-features", "--", "-D", "warnings"]),
        doc,
    ]
}

/// The short forms of the long counts, with the program of the tests: they are run for their claims and not for their speed.
fn claims() -> Result<Vec<Command>> {
    let program = release::sterna_of_tests()?;
    let soak = |what| [&["xtask", "soak", what, "--short"], &["--program"][..]].concat();
    let all = ["migrations", "techniques", "downtime"].map(soak).into_iter();
    let all = all.chain([vec!["xtask", "bench", "dirty", "--short", "--sterna"]]);
    Ok(all
        .map(|it| {
            let mut step = cargo(&it);
            step.arg(&program);
            step
        })
        .collect())
}

/// The fuzz targets are a workspace of their own, because running them needs a nightly compiler.
/// Without the fuzzer's runtime any compiler can check them, so they cannot rot unnoticed.
fn fuzz_targets(command: &str, args: &[&str]) -> Command {
    let mut step = cargo(&[command, "--manifest-path", "fuzz/Cargo.toml"]);
    step.args(args);
    // What both workspaces use is compiled once.
    if std::env::var_os("CARGO_TARGET_DIR").is_none() {
        step.env("CARGO_TARGET_DIR", root().join("target"));
    }
    step
}

fn tests(began: Instant) -> Result<ExitCode> {
    skips::forget_nextest_report()?;
    let runner =
        if works(&mut cargo(&["nextest", "--version"])) { Runner::Nextest } else { Runner::Cargo };
    if runner == Runner::Nextest {
        // nextest does not run the examples in the documentation.
        let mut examples = cargo(&["test", "--workspace", "--doc", "--quiet"]);
        heading(began, &shown(&examples));
        succeed(&mut examples)?;
    }

    let mut tests = runner.command();
    heading(began, &shown(&tests));
    let mut ending = closing::run(&mut tests, runner)?;
    let skips = skips::summary(std::mem::take(&mut ending.skips));
    let seconds = began.elapsed().as_secs();
    ending.print_after(&format!("\n{skips}\nChecks took {seconds} s\n"));
    Ok(exit_code(ending.status))
}

fn heading(began: Instant, title: &str) {
    println!("\n==> {title} (at {} s)", began.elapsed().as_secs());
}

/// A flags variable with one more flag; what the caller has set stays in force.
pub fn appended(variable: &str, flag: &str) -> OsString {
    let mut flags = std::env::var_os(variable).unwrap_or_default();
    if !flags.is_empty() {
        flags.push(" ");
    }
    flags.push(flag);
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_denied_by_lints_and_docs() {
        let steps = steps();
        let all = steps.iter().map(shown).collect::<Vec<_>>().join("\n");
        assert!(all.contains("clippy --workspace --all-targets -- -D warnings"), "{all}");
        assert!(all.contains("fuzz/Cargo.toml --no-default-features -- -D warnings"), "{all}");
        let doc = steps.iter().find(|it| shown(it).contains(" doc ")).unwrap();
        let flags = doc.get_envs().find(|(name, _)| *name == "RUSTDOCFLAGS").unwrap().1.unwrap();
        assert!(flags.to_string_lossy().ends_with("-D warnings"));
    }

    #[test]
    fn a_flag_is_appended_to_what_is_there() {
        // A variable that every process has, so that the test need not change the environment.
        let path = std::env::var("PATH").unwrap();
        assert_eq!(appended("PATH", "-D warnings"), *format!("{path} -D warnings"));
        assert_eq!(appended("STERNA_XTASK_UNSET_VARIABLE", "-D warnings"), *"-D warnings");
    }
}
