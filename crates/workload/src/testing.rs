//! What several tests of this crate need.

use sterna_sys::PAGE_BYTES;
use sterna_sys::region::{HugePages, Region, RegionOptions};

/// Fresh memory of `pages` pages.
pub(crate) fn region(pages: usize) -> Region {
    let bytes = (pages * PAGE_BYTES) as u64;
    Region::new(&RegionOptions { bytes, huge_pages: HugePages::None, locked: false }).unwrap()
}
