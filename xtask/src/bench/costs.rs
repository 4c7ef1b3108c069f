//! What a first pass does to each page besides sending it, measured one by one.

use std::sync::atomic::AtomicU64;
use std::time::Instant;

use sterna_sys::region::{HugePages, Region, RegionOptions};
use sterna_sys::{PAGE_BYTES, cpu, crc32c};
use sterna_workload::fill;

use super::Options;
use super::samples::Samples;

/// Memory looked at: more than caches hold.
const BYTES: u64 = 256 << 20;

/// Pages of a batch, as the sender has them.
const BATCH_PAGES: usize = 256;

/// Seconds for each GiB.
#[derive(Default)]
pub struct Costs {
    /// Copying pages out of memory, with the test for zero that comes along.
    pub copy: Samples,
    /// The checksum of a page just copied.
    pub checksum: Samples,
    /// The checksum of a batch just received, where it lies.
    pub checksum_in_memory: Samples,
}

impl Costs {
    /// Measures as many times as there are pairs.
    pub fn measure(options: &Options) -> Costs {
        let mut costs = Costs::default();
        let Ok(region) = filled() else { return costs };
        let mut staging = vec![0; BATCH_PAGES * PAGE_BYTES];
        for _ in 0..options.pairs {
            let copy = copy(&region, &mut staging, |_| {});
            let both = copy_and_checksum(&region, &mut staging);
            costs.copy.push(copy);
            costs.checksum.push((both - copy).max(0.0));
            costs.checksum_in_memory.push(checksum_in_memory(&region, &staging));
        }
        costs
    }
}

fn filled() -> Result<Region, sterna_sys::region::RegionError> {
    let options = RegionOptions { bytes: BYTES, huge_pages: HugePages::None, locked: false };
    let region = Region::new(&options)?;
    region.prealloc(cpu::online(), &AtomicU64::new(0))?;
    fill(&region, 0..region.pages(), 1, cpu::online());
    Ok(region)
}

fn copy(region: &Region, staging: &mut [u8], mut each: impl FnMut(&[u8])) -> f64 {
    let start = Instant::now();
    for page in 0..region.pages() {
        let at = page % BATCH_PAGES * PAGE_BYTES;
        let to = &mut staging[at..at + PAGE_BYTES];
        std::hint::black_box(region.copy_out(page, to));
        each(to);
    }
    for_each_gib(start.elapsed().as_secs_f64())
}

fn copy_and_checksum(region: &Region, staging: &mut [u8]) -> f64 {
    let mut sum = 0;
    let seconds = copy(region, staging, |copy| sum = crc32c(sum, copy));
    std::hint::black_box(sum);
    seconds
}

fn checksum_in_memory(region: &Region, staging: &[u8]) -> f64 {
    let mut seconds = 0.0;
    for first in (0..region.pages()).step_by(BATCH_PAGES) {
        region.copy_in(first, staging);
        let start = Instant::now();
        std::hint::black_box(region.crc32c(first, BATCH_PAGES, 0));
        seconds += start.elapsed().as_secs_f64();
    }
    for_each_gib(seconds)
}

fn for_each_gib(seconds: f64) -> f64 {
    seconds * f64::from(1 << 30) / BYTES as f64
}
