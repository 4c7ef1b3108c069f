//! From options to what will really be done on this machine.

use anyhow::{Result, anyhow};
use sterna_emulator::available_bytes;
use sterna_scenario::{Builder, IdSet, Origin};
use sterna_sys::PAGE_BYTES;
use sterna_sys::numa;
use sterna_sys::region::{HugePages, RegionOptions};
use sterna_units::{Bytes, Size, human_bytes};
use sterna_workload::partition::partition;
use sterna_workload::{CrewOptions, Pace, Pattern, Phases, Spec};

use crate::args::DirtyOptions;
use crate::usage;

/// More threads than this do not fit into the areas of memory that a kernel lets a process have.
const MOST_WORKERS: u32 = 4096;

/// What will be done.
pub struct Plan {
    /// The workload.
    pub spec: Spec,
    /// The memory it needs.
    pub region: RegionOptions,
    /// Nodes that the memory comes from.
    pub numa_nodes: Option<Vec<usize>>,
    /// How the crew is run.
    pub crew: CrewOptions,
    /// The page that a defect hits.
    pub broken_page: Option<usize>,
}

impl Plan {
    /// Resolves options; shares of memory become bytes.
    ///
    /// # Errors
    /// The options do not fit each other or this machine.
    pub fn of(options: &DirtyOptions) -> Result<Plan> {
        let huge_pages = huge_pages(options);
        let memory = memory(options.memory, huge_pages)?;
        if options.workers > MOST_WORKERS {
            return Err(usage(anyhow!(
                "{} workers are more than the {MOST_WORKERS} that are allowed; a few for each processor dirty as much",
                options.workers
            )));
        }
        let spec = Spec {
            memory,
            workers: workers(options.workers),
            pattern: options.pattern,
            method: options.method,
            pace: options.pace,
            seed: options.seed,
            latency: options.telling.latency,
            catch_up: options.catch_up,
            phases: phases(options, memory)?,
        };
        if spec.pages() < spec.workers as usize {
            return Err(usage(anyhow!(
                "{} workers cannot share {} pages of memory; use at least {} bytes of memory, or fewer workers",
                spec.workers,
                spec.pages(),
                u64::from(spec.workers) * PAGE_BYTES as u64
            )));
        }
        if options.remap {
            check_remap(options, &spec, huge_pages)?;
        }
        let broken_page =
            options.breakage.as_deref().map(|it| broken_page(it, &spec)).transpose()?;
        Ok(Plan {
            region: RegionOptions { bytes: memory.0, huge_pages, locked: options.locked },
            numa_nodes: options.numa_nodes.as_ref().map(nodes).transpose()?,
            crew: crew(options),
            broken_page,
            spec,
        })
    }

    /// The touch rate that was asked for, in pages per second; None if none was, or if it changes.
    pub fn asked_pages_per_second(&self, full_speed: Option<u64>) -> Option<f64> {
        if !self.spec.phases.is_empty() || self.spec.pattern == Pattern::Once {
            return None;
        }
        match self.spec.pace {
            Pace::Unlimited | Pace::Idle => None,
            Pace::BytesPerSecond(rate) => Some(rate.bytes_per_second_f64() / PAGE_BYTES as f64),
            Pace::PagesPerSecond(pages) => Some(pages.get() as f64),
            Pace::ShareOfUnlimited(share) => {
                Some(full_speed? as f64 * f64::from(share.hundredths()) / 10_000.0)
            }
        }
    }
}

fn workers(asked: u32) -> u32 {
    match asked {
        0 => u32::try_from(sterna_sys::cpu::online()).unwrap_or(1).max(1),
        asked => asked,
    }
}

/// Large pages unless another kind is asked for: with small ones, random writes wait for page tables, which is seldom
/// what is to be tested, and guests mostly have large ones, too.
///
/// Pages that are given back are to fault one by one, and not once for 512 of them.
fn huge_pages(options: &DirtyOptions) -> HugePages {
    let fitting = if options.remap { HugePages::None } else { HugePages::Thp };
    options.huge_pages.unwrap_or(fitting)
}

/// Whole pages of the kind asked for, and no more than there is.
fn memory(asked: Size, huge_pages: HugePages) -> Result<Bytes> {
    let available = available_bytes();
    let bytes = match (asked, available) {
        (Size::Bytes(bytes), _) => bytes.0,
        (Size::Percent(share), Some(available)) => share.of(Bytes(available)).0,
        (Size::Percent(_), None) => {
            return Err(usage(anyhow!(
                "The available memory is not known here, so {asked} of it is not either; give bytes, such as 2GiB"
            )));
        }
    };
    let page = huge_pages.page_bytes();
    if bytes < page {
        return Err(usage(anyhow!(
            "Memory of {asked} has no whole page; use at least {}",
            Bytes(page)
        )));
    }
    let is_pooled = matches!(huge_pages, HugePages::Size2MiB | HugePages::Size1GiB);
    // Reserved huge pages are not part of what is available.
    let is_too_much = |available: &u64| !is_pooled && bytes > fitting(*available);
    if let Some(available) = available.filter(is_too_much) {
        return Err(usage(anyhow!(
            "Memory of {} is too much where {} are available to page tables and all other programs as well; {} fits",
            human_bytes(bytes as f64),
            human_bytes(available as f64),
            Bytes(fitting(available))
        )));
    }
    Ok(Bytes(bytes - bytes % page))
}

/// Leaves some for page tables and everybody else, without which the kernel would kill us or them; and is short to write.
fn fitting(available: u64) -> u64 {
    const UNIT: u64 = 1 << 20;
    (available / 20 * 19 / UNIT * UNIT).max(UNIT)
}

/// Phases as a scenario has them, from a file of that form or in their short text.
fn phases(options: &DirtyOptions, memory: Bytes) -> Result<Phases> {
    let Some(given) = &options.phases else { return Ok(Phases::default()) };
    let phases: Phases =
        if given.contains('=') { given.parse().map_err(usage)? } else { phases_of_file(given)? };
    phases.check_memory(memory).map_err(usage)?;
    let repeat = options.repeat || phases.repeat();
    phases.repeated(repeat).map_err(usage)
}

fn phases_of_file(path: &str) -> Result<Phases> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| usage(anyhow!("Cannot read phases from {path}: {error}")))?;
    let origin = || Origin::Flag("--phases".to_owned());
    // Working sets are shares of our memory, which the scenario does not know; none is too large for this.
    let builder = Builder::new().set("guest.memory", "256TiB", origin());
    let builder = builder.and_then(|it| it.set("workload.memory", "100%", origin()));
    let scenario =
        builder.and_then(|it| it.file(path, &text)).and_then(Builder::build).map_err(usage)?;
    let phases = scenario.workload.phases.clone().ok_or_else(|| {
        usage(anyhow!("File {path} has no phases; give tables [[workload.phase]] with for = \"30s\" and what differs"))
    })?;
    phases.repeated(scenario.workload.repeat).map_err(usage)
}

/// What is given back must be whole pages of the kind, and when it is checked, it must be known what came after that.
fn check_remap(options: &DirtyOptions, spec: &Spec, huge_pages: HugePages) -> Result<()> {
    if options.verify_final && !spec.phases.is_empty() {
        return Err(usage(anyhow!(
            "With --remap and --phases it is unknown at the end what pages must hold; use --verify, which checks on the way"
        )));
    }
    let page = huge_pages.page_bytes();
    let is_whole = |worker| {
        let part = partition(spec, worker);
        (part.start as u64 * PAGE_BYTES as u64).is_multiple_of(page)
    };
    if (0..spec.workers).all(is_whole) {
        return Ok(());
    }
    let unit = Bytes(page * u64::from(spec.workers));
    Err(usage(anyhow!(
        "With --remap each worker needs whole pages of {}; use a multiple of {unit} of memory",
        Bytes(page)
    )))
}

fn nodes(asked: &IdSet) -> Result<Vec<usize>> {
    let online: Vec<usize> = numa::nodes().iter().map(|it| it.id).collect();
    let asked: Vec<usize> = asked.iter().map(|it| it as usize).collect();
    match asked.iter().find(|it| !online.contains(it)) {
        Some(missing) => {
            Err(usage(anyhow!("Memory node {missing} does not exist; there are {online:?}")))
        }
        None => Ok(asked),
    }
}

fn crew(options: &DirtyOptions) -> CrewOptions {
    let telling = &options.telling;
    CrewOptions {
        // Released once all is ready to look.
        paused: true,
        cpus: options.cpus.as_ref().map(|it| it.iter().map(|cpu| cpu as usize).collect()),
        thread_name: super::look::THREADS,
        stall_threshold_ns: telling
            .stalls
            .is_some()
            .then(|| u64::try_from(telling.stalls_over.0.as_nanos()).unwrap_or(u64::MAX)),
        check: options.verify,
        remap: options.remap,
        ..CrewOptions::default()
    }
}

fn broken_page(defect: &str, spec: &Spec) -> Result<usize> {
    let page = defect.strip_prefix("flip-bit=").and_then(|it| it.parse().ok());
    page.filter(|page| *page < spec.pages())
        .ok_or_else(|| usage(anyhow!("Unknown defect `{defect}`; known is flip-bit=PAGE")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_that_fits_fits() {
        for available in [1 << 20, 123_456_789, 20_628 << 20, 1 << 45] {
            let fitting = fitting(available);
            assert!(fitting <= available.max(1 << 20), "{available}");
            assert!(fitting.is_multiple_of(1 << 20));
        }
    }

    #[test]
    fn sizes_become_whole_pages() {
        let check = |bytes: u64, huge_pages, expected: Option<u64>| {
            let found = memory(Size::Bytes(Bytes(bytes)), huge_pages).ok().map(|it| it.0);
            assert_eq!(found, expected, "{bytes}");
        };
        check(4096, HugePages::None, Some(4096));
        check(10_000, HugePages::None, Some(8192));
        check(4095, HugePages::None, None);
        check(0, HugePages::None, None);
        check((5 << 20) - 1, HugePages::Size2MiB, Some(4 << 20));
        check(u64::MAX, HugePages::None, None);
    }
}
