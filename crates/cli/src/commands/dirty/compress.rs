//! How well the memory compresses, as a migration with compression would find it.

use anyhow::{Context, Result};
use sterna_sys::PAGE_BYTES;
use sterna_sys::region::Region;

/// What QEMU takes when nothing is said.
const LEVEL: i32 = 1;

/// 4 MiB, spread evenly.
const SAMPLE_PAGES: usize = 1024;

/// How many times smaller zstd makes a sample of the pages, each on its own.
///
/// Below 1 for content that does not compress, because the frame around it takes some bytes.
///
/// # Errors
/// The compressor has no memory.
pub fn ratio(region: &Region) -> Result<f64> {
    let mut compressor = zstd::bulk::Compressor::new(LEVEL).context("Cannot start zstd")?;
    let pages = region.pages().min(SAMPLE_PAGES);
    let mut page = [0; PAGE_BYTES];
    let mut compressed = 0;
    for sample in 0..pages {
        region.copy_out(sample * region.pages() / pages, &mut page);
        compressed += compressor.compress(&page).context("Cannot compress a page")?.len();
    }
    Ok((pages * PAGE_BYTES) as f64 / compressed.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sterna_sys::region::{HugePages, RegionOptions};

    #[test]
    fn zeros_compress_and_random_bytes_do_not() {
        let options = RegionOptions { bytes: 1 << 20, huge_pages: HugePages::None, locked: false };
        let region = Region::new(&options).unwrap();
        assert!(ratio(&region).unwrap() > 100.0);
        sterna_workload::fill(&region, 0..256, 1, 1);
        let random = ratio(&region).unwrap();
        assert!((0.98..1.0).contains(&random), "{random}");
    }
}
