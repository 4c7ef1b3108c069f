//! A defect of the tests: memory that changes between READY and the resumption, when no stream is there to notice.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

use super::Load;
use crate::migration::breakage::{Defect, FlippedBits, MemoryPart};

const BITS_PER_PAGE: u64 = sterna_wire::stream::PAGE_BYTES as u64 * 8;

/// Bits that are drawn in vain before the defect gives up: in post-copy most pages may not have arrived.
const TRIES_PER_BIT: u64 = 64;

impl Load<'_> {
    /// Flips the bits that a defect asks for, the same ones in each run.
    pub(super) fn flip_bits(&mut self) {
        let asked = self.defects.iter().find_map(|it| match it {
            Defect::FlipBits(bits) => Some(*bits),
            _ => None,
        });
        let Some(FlippedBits { count, part }) = asked else { return };
        let pages = self.pages_of(part);
        let bits = (pages.end - pages.start) as u64 * BITS_PER_PAGE;
        let mut flipped = HashSet::new();
        let mut drawn = 0;
        while flipped.len() < (count as usize).min(bits as usize)
            && drawn < u64::from(count) * TRIES_PER_BIT
        {
            let bit = spread(drawn) % bits;
            drawn += 1;
            let page = pages.start + (bit / BITS_PER_PAGE) as usize;
            if self.has_arrived(page) && flipped.insert(bit) {
                let bit = bit % BITS_PER_PAGE;
                let word = &self.guest.region.page(page)[(bit / 64) as usize];
                word.fetch_xor(1 << (bit % 64), Relaxed);
            }
        }
        self.progress.note("defect", format!("On purpose: {} bits are flipped", flipped.len()));
    }

    fn pages_of(&self, part: Option<MemoryPart>) -> Range<usize> {
        let layout = &self.guest.layout;
        let filled = layout.filled().end;
        match part {
            None => 0..layout.total_pages,
            Some(MemoryPart::Workload) => 0..layout.workload_pages,
            Some(MemoryPart::Ballast) => layout.workload_pages..filled,
            Some(MemoryPart::Zero) => filled..layout.total_pages,
        }
    }

    /// In post-copy nothing but what was sent may be looked at yet: a page that is missing would be waited for, and a
    /// page of zeros is missing as well.
    fn has_arrived(&self, page: usize) -> bool {
        let Some(lacking) = &self.lacking else { return true };
        !lacking.has(page) && self.filled_and_kept(page)
    }

    /// Pages that were sent with content whatever the workload has done to the rest.
    fn filled_and_kept(&self, page: usize) -> bool {
        let layout = &self.guest.layout;
        let is_kept = self.guest.spec.method != sterna_workload::Method::Zero;
        let first = if is_kept { 0 } else { layout.workload_pages };
        (first..layout.filled().end).contains(&page)
    }
}

/// Spreads numbers over all 64 bits (the finaliser of SplitMix64).
fn spread(number: u64) -> u64 {
    let x = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}
