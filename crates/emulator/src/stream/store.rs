//! The memory of a source, and what dirties it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use sterna_sys::region::{HugePages, Region, RegionError, RegionOptions};
use sterna_sys::{PAGE_BYTES, cpu};
use sterna_workload::{Crew, CrewError, CrewOptions, CrewState, fill};

use super::plan::Plan;

/// The name of threads that dirty memory, which is not part of what moving pages costs.
const DIRTY_THREAD: &str = "dirty";

/// Decides the content of memory.
const SEED: u64 = 1;

/// Why there is no memory.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The kernel does not give it.
    #[error("Memory for the trial cannot be had")]
    Region(#[from] RegionError),
    /// Nobody dirties it.
    #[error("The memory cannot be dirtied")]
    Crew(#[from] CrewError),
}

/// The memory of a source.
pub struct Store {
    /// Its pages.
    pub region: Arc<Region>,
    crew: Option<Crew>,
    /// The page at which the next block begins, for all lanes.
    next: AtomicUsize,
    block_pages: usize,
}

impl Store {
    /// Maps memory, fills it, and has it dirtied from [`Store::begin`] on.
    pub fn new(plan: &Plan) -> Result<Store, StoreError> {
        let region = memory(plan)?;
        fill(&region, 0..region.pages(), SEED, cpu::online());
        let crew = match &plan.dirty {
            None => None,
            Some(spec) => {
                let options = CrewOptions {
                    paused: true,
                    thread_name: DIRTY_THREAD,
                    ..CrewOptions::default()
                };
                Some(Crew::start(&region, spec, &CrewState::fresh(spec.workers), options)?)
            }
        };
        Ok(Store { region, crew, next: AtomicUsize::new(0), block_pages: plan.block_pages() })
    }

    /// Lets the workload write.
    pub fn begin(&self) {
        if let Some(crew) = &self.crew {
            crew.resume();
        }
    }

    /// Pages that were written, repeats included; `None` without a workload.
    pub fn touched_pages(&self) -> Option<u64> {
        self.crew.as_ref().map(|it| it.counts().iter().sum())
    }

    /// The next pages of the round, at most a block and at most `most`; all lanes take turns.
    pub fn next_block(&self, most: usize) -> (usize, usize) {
        let (pages, want) = (self.region.pages(), most.min(self.block_pages).max(1));
        let mut first = self.next.load(Ordering::Relaxed);
        loop {
            let count = want.min(pages - first);
            let next = (first + count) % pages;
            match self.next.compare_exchange_weak(first, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return (first, count),
                Err(found) => first = found,
            }
        }
    }
}

/// Memory of the size that the plan has, with all of its pages.
pub fn memory(plan: &Plan) -> Result<Arc<Region>, RegionError> {
    let bytes = (plan.pages() * PAGE_BYTES) as u64;
    let region = Region::new(&RegionOptions { bytes, huge_pages: HugePages::Thp, locked: false })?;
    region.prealloc(cpu::online(), &AtomicU64::new(0))?;
    Ok(Arc::new(region))
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::good;
    use super::*;
    use sterna_wire::trial::ask::Test;

    #[test]
    fn blocks_go_round_and_the_last_may_be_short() {
        let test = Test { memory_bytes: Some(20 << 12), block_bytes: 8 << 12, ..good() };
        let store = Store::new(&Plan::of(test, 1 << 30).unwrap()).unwrap();
        let blocks: Vec<_> = (0..4).map(|_| store.next_block(8)).collect();
        assert_eq!(blocks, [(0, 8), (8, 8), (16, 4), (0, 8)]);
        assert_eq!((store.next_block(1), store.next_block(8)), ((8, 1), (9, 8)));
        assert_eq!(store.touched_pages(), None);
        assert!((0..20).all(|page| !store.region.is_zero(page)));
    }

    #[test]
    fn memory_is_dirtied_from_the_beginning_on() {
        let dirty = Some("memory=64KiB rate=unlimited".to_owned());
        let test = Test { memory_bytes: Some(1 << 20), dirty, ..good() };
        let store = Store::new(&Plan::of(test, 1 << 30).unwrap()).unwrap();
        assert_eq!(store.touched_pages(), Some(0));
        store.begin();
        let start = std::time::Instant::now();
        while store.touched_pages() == Some(0) {
            assert!(start.elapsed().as_secs() < 10);
            std::thread::yield_now();
        }
    }
}
