//! Why a crew cannot start.

use std::io;

use thiserror::Error;

/// Why a crew could not be started; nothing of it is left behind.
#[derive(Debug, Error)]
pub enum CrewError {
    /// A crew needs somebody to work.
    #[error("A workload with 0 workers dirties nothing; use at least 1")]
    NoWorkers,
    /// The workload is larger than the memory it is to run in.
    #[error(
        "Workload memory of {workload} pages exceeds the region of {region} pages; lower the workload's memory"
    )]
    TooLarge {
        /// Pages the workload wants.
        workload: usize,
        /// Pages there are.
        region: usize,
    },
    /// Some worker would have no page of its own.
    #[error(
        "{workers} workers cannot share {pages} pages; use at least one 4 KiB page for each worker"
    )]
    TooSmall {
        /// How many workers.
        workers: u32,
        /// Pages of the workload.
        pages: usize,
    },
    /// The state belongs to another workload.
    #[error(
        "The state has {found} numbers, but that of this workload has {expected}; it belongs to another"
    )]
    OtherState {
        /// Numbers in a state of the workload; without phases, one for each worker.
        expected: usize,
        /// Numbers in the state.
        found: usize,
    },
    /// What pages held that were given back before is not known.
    #[error(
        "Pages that are given back can be checked from the beginning only; start from a fresh state"
    )]
    CannotCheckRemapped,
    /// The kernel gave no thread.
    #[error("Worker {worker} cannot be started")]
    Spawn {
        /// The worker's number.
        worker: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refused the processors.
    #[error(
        "Worker {worker} cannot run on processors {cpus:?}; choose among those that are online and allowed"
    )]
    Pin {
        /// The worker's number.
        worker: u32,
        /// The processors asked for.
        cpus: Vec<usize>,
        /// What the kernel said.
        source: io::Error,
    },
}
