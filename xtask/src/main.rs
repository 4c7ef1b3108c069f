//! The chores of the workspace, written in Rust so that they need no second tool.
//!
//! `cargo xtask ci` is the one test command: `.ci/run` calls it, and so does a contributor before
//! pushing, so the two can never disagree about what "green" means.

#![forbid(unsafe_code)]
// A chore runner talks to the person who started it; libraries do not.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod apt;
mod bench;
mod ci;
mod closing;
mod cloud_init;
mod dist;
mod elf;
mod flight;
mod hadolint;
mod kube_apiserver;
mod libvirt;
mod machine;
mod pictures;
mod process;
mod qemu;
mod release;
mod skips;
mod soak;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "The chores of the workspace")]
struct Args {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Check everything: format, lints, docs, short soaks, tests
    Ci(ci::Options),
    /// Build the static release of `sterna` and prove that it is static
    Dist,
    /// Measure: medians of pairs, with their spread
    Bench(bench::Options),
    /// Many runs in a row, which must all end well
    Soak(soak::Options),
    /// One half of the plain walker, which the benchmark starts
    #[command(hide = true)]
    Walker(bench::walker::Options),
    /// Workers without anybody who watches them, which the benchmark starts
    #[command(hide = true)]
    Crew(bench::guest_cost::CrewOptionsArgs),
    /// Make the pictures of the README from real runs, with Chromium
    Pictures(pictures::Options),
    /// Fetch a newer QEMU than the distribution's into a cache, and print its program
    Qemu,
    /// Fetch libvirt's daemon and virsh into a cache, and print virsh
    Libvirt,
    /// Fetch cloud-init's checker of user data into a cache, and print its program
    CloudInit,
    /// Fetch a checker of container files into a cache, and print its program
    Hadolint,
    /// Build real Kubernetes API servers from Debian's packages into a cache, and print their programs
    KubeApiserver(kube_apiserver::Options),
}

fn main() -> ExitCode {
    let outcome = match Args::parse().chore {
        Chore::Ci(options) => ci::run(&options),
        Chore::Dist => dist::run().map(|()| ExitCode::SUCCESS),
        Chore::Bench(options) => bench::run(&options),
        Chore::Soak(options) => soak::run(&options),
        Chore::Walker(options) => bench::walker::run(&options).map(|()| ExitCode::SUCCESS),
        Chore::Crew(options) => bench::guest_cost::run_crew(&options).map(|()| ExitCode::SUCCESS),
        Chore::CloudInit => cloud_init::run().map(|()| ExitCode::SUCCESS),
        Chore::Hadolint => hadolint::run().map(|()| ExitCode::SUCCESS),
        Chore::KubeApiserver(options) => kube_apiserver::run(&options).map(|()| ExitCode::SUCCESS),
        Chore::Pictures(options) => pictures::run(&options).map(|()| ExitCode::SUCCESS),
        Chore::Libvirt => libvirt::run().map(|()| ExitCode::SUCCESS),
        Chore::Qemu => qemu::run().map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
