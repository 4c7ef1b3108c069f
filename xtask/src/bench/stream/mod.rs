//! `sterna stream` against iperf3, mig_mon and sockperf, and against what it promises.

mod bulk;
mod link;
mod peers;
mod preempt;
mod requests;
mod runs;

use std::path::PathBuf;

use anyhow::Result;
use sterna_units::Bytes;

use super::{Options, Part};

/// How much is measured.
pub struct Bench {
    sterna: PathBuf,
    pairs: u32,
    memory: Bytes,
    /// Seconds of one measurement.
    seconds: f64,
    is_short: bool,
}

/// Measures what was asked for.
///
/// # Errors
/// A program could not be run, or said what it should not have said.
pub fn run(options: &Options, sterna: PathBuf) -> Result<()> {
    let memory = if options.short { Bytes(64 << 20) } else { Bytes(1 << 30) };
    let bench = Bench {
        sterna,
        pairs: if options.short { 1 } else { options.pairs },
        memory: options.memory.unwrap_or(memory),
        seconds: if options.short { 0.3 } else { 3.0 },
        is_short: options.short,
    };
    let wants = |part| options.only.is_none_or(|it| it == part);
    if wants(Part::Bulk) {
        bulk::run(&bench)?;
    }
    if wants(Part::Requests) {
        requests::run(&bench)?;
    }
    if wants(Part::Preempt) {
        preempt::run(&bench)?;
    }
    Ok(())
}

impl Bench {
    /// Whether a peer can be asked; what is missing is said.
    fn has(&self, program: &str) -> bool {
        let is_here = !self.is_short && crate::machine::on_path(program).is_some();
        if !is_here && !self.is_short {
            println!("{program} is not on the path; its figures are missing");
        }
        is_here
    }

    /// In turn each of so many things is first.
    fn order(&self, pair: u32, count: usize) -> impl Iterator<Item = usize> + use<> {
        let first = pair as usize % count;
        (0..count).map(move |it| (first + it) % count)
    }
}
