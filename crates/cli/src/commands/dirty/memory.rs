//! Getting the memory, and filling it, with progress.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use sterna_pilot::{Notice, Progress};
use sterna_sys::PAGE_BYTES;
use sterna_sys::cpu;
use sterna_sys::numa;
use sterna_sys::region::{HugePages, Region, RegionError, RegionOptions};
use sterna_workload::fill;

use super::plan::Plan;
use crate::progress::Watcher;

/// Between two looks at how far it has come.
const TICK: Duration = Duration::from_millis(100);

/// Maps the plan's memory, lets every page exist, and fills it, so that the first writes meet no faults.
///
/// Pages that are given back after each round are left to come by faults from the beginning.
///
/// # Errors
/// There is too little memory of the kind, or it may not be bound or locked.
pub fn prepare(plan: &Plan, remap: bool, watcher: &mut dyn Watcher) -> Result<Arc<Region>> {
    let region = map(&plan.region)?;
    if let Some(nodes) = &plan.numa_nodes {
        numa::bind(&region, nodes)
            .with_context(|| format!("Cannot take memory from nodes {nodes:?}"))?;
    }
    if !remap {
        populate(&region, watcher)?;
        fill_all(&region, plan, watcher)?;
    }
    Ok(Arc::new(region))
}

/// A kernel without transparent huge pages gives small ones, with which all works, only slower.
fn map(options: &RegionOptions) -> Result<Region, RegionError> {
    match Region::new(options) {
        Err(RegionError::Advise { .. }) if options.huge_pages == HugePages::Thp => {
            Region::new(&RegionOptions { huge_pages: HugePages::None, ..options.clone() })
        }
        other => other,
    }
}

fn populate(region: &Region, watcher: &mut dyn Watcher) -> Result<()> {
    let done = AtomicU64::new(0);
    let populated = watched(
        || region.prealloc(cpu::online(), &done),
        || notice("prefault", done.load(Relaxed), region.bytes()),
        watcher,
    )?;
    populated.map_err(|error: RegionError| error.into())
}

/// Step by step, because filling itself does not tell how far it is.
fn fill_all(region: &Region, plan: &Plan, watcher: &mut dyn Watcher) -> Result<()> {
    const STEP_PAGES: usize = (64 << 20) / PAGE_BYTES;
    let pages = plan.spec.pages();
    let done = AtomicU64::new(0);
    let work = || {
        for first in (0..pages).step_by(STEP_PAGES) {
            let last = (first + STEP_PAGES).min(pages);
            fill(region, first..last, plan.spec.seed, cpu::online());
            done.store(last as u64, Relaxed);
        }
    };
    watched(work, || notice("fill", done.load(Relaxed), pages as u64), watcher)
}

fn notice(what: &str, done: u64, total: u64) -> Notice {
    Notice::Progress(Progress { what: what.to_owned(), done, total })
}

/// Does `work` on another thread and tells of it meanwhile.
fn watched<T: Send>(
    work: impl FnOnce() -> T + Send,
    progress: impl Fn() -> Notice,
    watcher: &mut dyn Watcher,
) -> Result<T> {
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let watching = thread::current();
        let is_done = &is_done;
        let worker = scope.spawn(move || {
            let result = work();
            is_done.store(true, Relaxed);
            watching.unpark();
            result
        });
        while !is_done.load(Relaxed) && !worker.is_finished() {
            thread::park_timeout(TICK);
            watcher.notice(None, &progress());
        }
        worker.join().map_err(|_| anyhow!("A thread that prepares memory has died"))
    })
}
