//! `sterna dirty` against other dirtiers, against `memset`, and against what it promises.

mod memset;
mod pacing;
mod peers;
mod recording;
mod runs;
mod speed;
mod syscalls;

use std::path::PathBuf;

use anyhow::Result;
use sterna_units::Bytes;

use super::{Options, Part};
use runs::Sterna;

/// How much is measured.
pub struct Bench {
    sterna: Sterna,
    pairs: u32,
    memory: Bytes,
    /// Seconds of one measurement.
    seconds: f64,
    /// Memory of the measurement that shall leave every cache far behind.
    large: Bytes,
    is_short: bool,
}

impl Bench {
    fn of(options: &Options, sterna: PathBuf) -> Bench {
        let memory =
            |full| options.memory.unwrap_or(if options.short { Bytes(64 << 20) } else { full });
        Bench {
            sterna: Sterna::of(sterna),
            pairs: if options.short { 1 } else { options.pairs },
            memory: memory(Bytes(2000 << 20)),
            seconds: if options.short { 0.2 } else { 2.0 },
            large: if options.short { memory(Bytes(0)) } else { Bytes(8000 << 20) },
            is_short: options.short,
        }
    }
}

/// Measures what was asked for.
///
/// # Errors
/// A program could not be run, or said what it should not have said.
pub fn run(options: &Options, sterna: PathBuf) -> Result<()> {
    let bench = Bench::of(options, sterna);
    let wants = |part| options.only.is_none_or(|it| it == part);
    if wants(Part::Peers) {
        speed::run(&bench)?;
    }
    if wants(Part::Memset) {
        memset::run(&bench)?;
    }
    if wants(Part::Pacing) {
        pacing::run(&bench)?;
    }
    if wants(Part::Recording) {
        recording::run(&bench)?;
    }
    if wants(Part::Syscalls) {
        syscalls::run(&bench)?;
    }
    Ok(())
}
