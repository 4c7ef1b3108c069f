//! The loops that look at every page: the test for zero, and the encoding of differences.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use anyhow::{Context as _, Result};
use sterna_sys::region::{HugePages, Region, RegionOptions};
use sterna_sys::{PAGE_BYTES, cpu};
use sterna_wire::stream::{Delta, DeltaEncoder, PageContent};

use super::samples::Samples;
use super::table::Table;
use super::{Options, target};

/// The part of the speed of plain reading that the test for zero must reach.
const LEAST_READ_SHARE: f64 = 0.8;

/// What must be compared and encoded each second.
const LEAST_ENCODED_BYTES_PER_SECOND: f64 = 2e9;

/// Memory looked at: more than caches hold.
const BYTES: u64 = 256 << 20;

/// Bytes of a page that differ: 5 %.
const CHANGED_BYTES: usize = PAGE_BYTES / 20;

/// Pages that are encoded, each with a former content of its own: more than caches hold, as in a migration.
const ENCODED_PAGES: usize = 8192;

/// How the changed bytes of a page lie.
const LAYOUTS: [(&str, usize); 3] =
    [("single bytes", 1), ("words of 8 bytes", 8), ("one stretch", CHANGED_BYTES)];

/// Measures in this process.
pub fn run(options: &Options) -> Result<()> {
    zero_test(options)?;
    encoding(options);
    Ok(())
}

fn zero_test(options: &Options) -> Result<()> {
    let settings = RegionOptions { bytes: BYTES, huge_pages: HugePages::None, locked: false };
    let mut region = Arc::new(Region::new(&settings)?);
    region.prealloc(cpu::online(), &AtomicU64::new(0))?;
    let (mut tested, mut read) = (Samples::default(), Samples::default());
    for _ in 0..options.pairs {
        tested.push(rate(BYTES, || {
            assert!((0..region.pages()).all(|page| region.is_zero(page)), "nobody wrote to it");
        }));
        let memory = region.exclusive().context("The region has another user")?;
        read.push(rate(BYTES, || {
            black_box(sum(memory));
        }));
    }
    let shares = tested.ratios(&read);
    let mut table = Table::new(format!("Zero pages, {} pairs", options.pairs));
    table.row("plain reading (GB/s)", &read.scaled(1e-9), 2);
    table.row("test for zero (GB/s)", &tested.scaled(1e-9), 2);
    table.row("test / reading, by pair", &shares, 3);
    table.print();
    target(
        "Test for zero, median of the pairs",
        &format!("{:.2} x reading", shares.median()),
        &format!(">= {LEAST_READ_SHARE}"),
        shares.median() >= LEAST_READ_SHARE,
    );
    Ok(())
}

/// As fast as one thread can read: independent sums, which the compiler makes wide.
fn sum(memory: &[u8]) -> u64 {
    let mut sums = [0u64; 16];
    for chunk in memory.as_chunks::<128>().0 {
        for (sum, word) in sums.iter_mut().zip(chunk.as_chunks::<8>().0) {
            *sum = sum.wrapping_add(u64::from_le_bytes(*word));
        }
    }
    sums.into_iter().fold(0, u64::wrapping_add)
}

fn encoding(options: &Options) {
    let old: Vec<PageContent> = (0..ENCODED_PAGES as u64).map(random_page).collect();
    let mut table = Table::new(format!(
        "xbzrle of pages with {CHANGED_BYTES} changed bytes (5 %), {} times",
        options.pairs
    ));
    let mut slowest = f64::INFINITY;
    for (name, stretch) in LAYOUTS {
        let new: Vec<PageContent> =
            (0..).zip(&old).map(|it| changed(it.0, it.1, stretch)).collect();
        let rates: Samples = (0..options.pairs).map(|_| encoding_rate(&old, &new)).collect();
        table.row(format!("{name} (GB/s of pages)"), &rates.scaled(1e-9), 2);
        slowest = slowest.min(rates.median());
    }
    table.print();
    target(
        "xbzrle, median of the slowest kind",
        &format!("{:.2} GB/s", slowest * 1e-9),
        &format!(">= {:.0} GB/s", LEAST_ENCODED_BYTES_PER_SECOND * 1e-9),
        slowest >= LEAST_ENCODED_BYTES_PER_SECOND,
    );
}

fn encoding_rate(old: &[PageContent], new: &[PageContent]) -> f64 {
    let mut encoder = DeltaEncoder::default();
    rate((old.len() * PAGE_BYTES) as u64, || {
        for (old, new) in old.iter().zip(new) {
            let delta = encoder.encode(old, new);
            assert!(matches!(black_box(delta), Delta::Changed(_)), "5 % is a difference that fits");
        }
    })
}

fn rate(bytes: u64, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    bytes as f64 / start.elapsed().as_secs_f64()
}

fn random_page(seed: u64) -> PageContent {
    let mut page = [0; PAGE_BYTES];
    let mut random = Random(seed);
    page.as_chunks_mut::<8>().0.iter_mut().for_each(|it| *it = random.next().to_le_bytes());
    page
}

/// Changes stretches of `stretch` bytes, spread evenly with some jitter.
fn changed(seed: u64, old: &PageContent, stretch: usize) -> PageContent {
    let mut page = *old;
    let mut random = Random(!seed);
    let count = CHANGED_BYTES / stretch;
    let distance = PAGE_BYTES / count;
    for at in 0..count {
        let jitter = random.next() as usize % (distance - stretch).max(1);
        let start = at * distance + jitter;
        page[start..start + stretch].iter_mut().for_each(|it| *it = !*it);
    }
    page
}

/// Splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_bytes_change_as_are_said() {
        let old = random_page(1);
        for (name, stretch) in LAYOUTS {
            let new = changed(1, &old, stretch);
            let differing = old.iter().zip(&new).filter(|(old, new)| old != new).count();
            assert!(differing.abs_diff(CHANGED_BYTES) < stretch.min(8), "{name}: {differing}");
        }
    }
}
