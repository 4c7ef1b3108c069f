//! Benchmarks: medians of interleaved pairs with their spread, never a single figure.
//!
//! What is compared runs next to each other and in turn first, so that a busy machine slows both
//! down; the conditions are told before and after. Nothing here fails because a figure is bad: a
//! figure depends on the machine, and a person has to look at it.

mod against_qemu;
mod conditions;
mod costs;
mod dirty;
mod fault_service;
mod first_pass;
mod first_writes;
mod foresight;
pub mod guest_cost;
mod kernels;
mod limits;
mod samples;
mod stream;
mod sync;
mod table;
pub mod walker;
mod ways;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use sterna_units::Bytes;

use crate::flight::Flights;
use crate::process::exit_code;
use crate::release;

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// What is measured
    what: What,
    /// Pairs measured next to each other; below 7 a median says little
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// Memory of the guest, or to dirty [default: 1GiB for the emulator and stream, 2000MiB for dirty]
    #[arg(long)]
    memory: Option<Bytes>,
    /// Only this part
    #[arg(long)]
    only: Option<Part>,
    /// A release build of sterna; without it one is made
    #[arg(long)]
    sterna: Option<PathBuf>,
    /// Only show that all of it works, with little of everything and without peers; the figures are worth nothing then (dirty and stream only)
    #[arg(long)]
    short: bool,
    /// How many random scenarios are run by both (foresight only)
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..))]
    scenarios: u32,
    /// The seed of the first of them; each has the next (foresight only)
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// Migrations between two processes
    Emulator,
    /// The program that dirties memory
    Dirty,
    /// The program that tries links
    Stream,
    /// The model against the emulator, in random scenarios
    Foresight,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Throughput of the first pass, and memory that the hosts need
    FirstPass,
    /// The first pass by one connection or several
    Ways,
    /// The first pass against that of a real QEMU
    Qemu,
    /// Whether max-bandwidth holds for one connection and for several
    Limits,
    /// Time of a synchronisation
    Sync,
    /// What watching costs the guest
    GuestCost,
    /// How long a guest in post-copy waits for a page
    FaultService,
    /// What checking pages before their first write adds to a switchover
    FirstWrites,
    /// The loops that look at every page
    Kernels,
    /// Pages per second, against mig_mon and stress-ng, and of two workers against one
    Peers,
    /// Whole pages against memset
    Memset,
    /// How evenly pages come at a rate
    Pacing,
    /// What timing each write costs
    Recording,
    /// Calls of the kernel in the hot loop
    Syscalls,
    /// Bulk against iperf3 and mig_mon
    Bulk,
    /// Page requests against mig_mon and sockperf
    Requests,
    /// Page requests beside bulk on a link of 1 Gbit/s, with a connection of their own and without
    Preempt,
}

impl Options {
    /// Memory of the emulated guest.
    fn guest_memory(&self) -> Bytes {
        self.memory.unwrap_or(Bytes(1 << 30))
    }
}

/// Measures, in a release build of this program: what runs in its own process counts, too.
pub fn run(options: &Options) -> Result<ExitCode> {
    let sterna = match &options.sterna {
        Some(sterna) => sterna.clone(),
        None => release::sterna()?,
    };
    // The short form does not measure, and both engines of `foresight` run in programs of their own.
    let measures_itself = !options.short && options.what != What::Foresight;
    if cfg!(debug_assertions) && measures_itself {
        let status = Command::new(release::xtask()?)
            .args(std::env::args_os().skip(1))
            .arg("--sterna")
            .arg(sterna)
            .status();
        return Ok(exit_code(status.context("Cannot start the release build of xtask")?));
    }
    conditions::tell("Before");
    match options.what {
        What::Emulator => emulator(options, sterna)?,
        What::Dirty => dirty::run(options, sterna)?,
        What::Stream => stream::run(options, sterna)?,
        What::Foresight => foresight::run(sterna, options.seed, options.scenarios)?,
    }
    println!();
    conditions::tell("After");
    Ok(ExitCode::SUCCESS)
}

fn emulator(options: &Options, sterna: PathBuf) -> Result<()> {
    let flights = Flights::of(sterna)?;
    let wants = |part| options.only.is_none_or(|it| it == part);
    if wants(Part::FirstPass) {
        first_pass::run(options, &flights)?;
    }
    if wants(Part::Ways) {
        ways::run(options, &flights)?;
    }
    if wants(Part::Qemu) {
        against_qemu::run(options, &flights)?;
    }
    if wants(Part::Limits) {
        limits::run(options, &flights)?;
    }
    if wants(Part::Sync) {
        sync::run(options)?;
    }
    if wants(Part::GuestCost) {
        guest_cost::run(options, &flights)?;
    }
    if wants(Part::FaultService) {
        fault_service::run(options, &flights)?;
    }
    if wants(Part::FirstWrites) {
        first_writes::run(options, &flights)?;
    }
    if wants(Part::Kernels) {
        kernels::run(options)?;
    }
    Ok(())
}

/// Says whether a figure reaches its target.
fn target(what: &str, found: &str, wanted: &str, is_met: bool) {
    let word = if is_met { "met" } else { "MISSED" };
    println!("{what}: {found}, target {wanted}: {word}");
}
