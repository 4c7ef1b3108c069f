//! Guest memory: one anonymous mapping that many threads read and write at the same time.

mod discard;
mod error;
mod huge;
mod map;
mod prealloc;
mod receive;
mod send;

use std::{
    ops::Range,
    slice,
    sync::{Arc, atomic::AtomicU64},
};

pub use self::error::RegionError;
use self::map::Mapping;
pub use crate::kernel::crc::crc32c;
use crate::{
    PAGE_BYTES, WORDS_PER_PAGE,
    kernel::{crc, page, summed},
    tracking::UffdSlot,
};

/// The kind of page that backs a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HugePages {
    /// 4 KiB pages only; transparent huge pages are turned off.
    None,
    /// 4 KiB pages that the kernel joins to 2 MiB where it can.
    Thp,
    /// Reserved huge pages of 2 MiB.
    Size2MiB,
    /// Reserved huge pages of 1 GiB.
    Size1GiB,
}

/// What to map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionOptions {
    /// Size; a positive multiple of the page size of `huge_pages`.
    pub bytes: u64,
    /// The kind of page.
    pub huge_pages: HugePages,
    /// Keep every page in memory once it exists (mlock on fault); needs RLIMIT_MEMLOCK.
    pub locked: bool,
}

/// Memory shared between threads, as words that are read and written atomically.
///
/// # Why the page kernels are assembly
///
/// A migration copies pages while workers write them, on purpose: what was torn is dirty, and is
/// sent again. To Rust this is a data race unless both sides are atomic, and a race is undefined
/// behaviour whatever is done with the torn copy. The naive answer, `ptr::copy_nonoverlapping`, is
/// such a race; a volatile loop is one as well. Word-wise relaxed atomics are sound, but the
/// compiler does not join them to vectors, which costs half the speed or more on the hottest loop
/// of the project.
///
/// So a worker uses `AtomicU64` through [`Region::words`], and whole pages are moved by inline
/// assembly. To the compiler an `asm!` block is a call of foreign code that may access all memory
/// whose address it got; it cannot assume anything about the values, and it cannot merge, split or
/// repeat the block. What the processor does then is defined by the architecture: a copy may mix
/// old and new parts of a page, never anything else. (Words come out whole on the machines we know,
/// and a test watches that, but nothing depends on it.) Where there is no assembly, on other
/// architectures, the same loops are written with relaxed atomics.
///
/// No `&[u8]` or `&mut [u8]` over live memory ever exists; [`Region::exclusive`] gives one only
/// when no other handle to the region is left.
#[derive(Debug)]
pub struct Region {
    /// Before the descriptor: unmapping first spares the kernel a walk over the marks of a tracker.
    mapping: Mapping,
    huge_pages: HugePages,
    uffd: UffdSlot,
}

impl Region {
    /// Maps memory; pages come to exist when touched, or by [`Region::prealloc`].
    ///
    /// # Errors
    /// A size that does not fit the page size, too few reserved huge pages, or a limit of the
    /// process.
    pub fn new(options: &RegionOptions) -> Result<Region, RegionError> {
        let mapping = Mapping::new(options)?;
        Ok(Region { mapping, huge_pages: options.huge_pages, uffd: UffdSlot::default() })
    }

    /// Number of 4 KiB pages.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.mapping.bytes() / PAGE_BYTES
    }

    /// Size in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.mapping.bytes() as u64
    }

    /// Size of the pages the mapping asked for: 4 KiB, 2 MiB or 1 GiB; 4 KiB for transparent huge
    /// pages.
    #[must_use]
    pub fn page_bytes(&self) -> u64 {
        self.huge_pages.page_bytes()
    }

    /// The kind of page the region was made with.
    #[must_use]
    pub fn huge_pages(&self) -> HugePages {
        self.huge_pages
    }

    /// All words of the region.
    #[must_use]
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is page-aligned, of this length, initialised (zero until written) and
        // lives as long as `self`; everybody writes it through atomics, assembly or the kernel, and
        // `exclusive` needs `&mut`.
        unsafe {
            slice::from_raw_parts(
                self.mapping.start().as_ptr().cast(),
                self.mapping.bytes() / size_of::<u64>(),
            )
        }
    }

    /// The 512 words of one page; panics if there is no such page, as slices do.
    #[must_use]
    pub fn page(&self, index: usize) -> &[AtomicU64] {
        self.range(index, 1)
    }

    /// Copies a page to `to` (4096 bytes) and says whether what was copied is all zero, in one pass
    /// over the memory.
    ///
    /// Panics if there is no such page, or if `to` is not one page long.
    pub fn copy_out(&self, page: usize, to: &mut [u8]) -> bool {
        assert_eq!(to.len(), PAGE_BYTES, "copy_out takes one page");
        let from = self.page(page);
        // SAFETY: both are one page long, and `to` is borrowed exclusively.
        unsafe { page::copy_out(from.as_ptr(), to.as_mut_ptr()) }
    }

    /// As [`Region::copy_out`], and gives the CRC-32C of the copy, continuing from `seed` (0 to
    /// start); all in the same pass.
    pub fn copy_out_summed(&self, page: usize, to: &mut [u8], seed: u32) -> (bool, u32) {
        assert_eq!(to.len(), PAGE_BYTES, "copy_out_summed takes one page");
        let from = self.page(page);
        // SAFETY: both are one page long, and `to` is borrowed exclusively.
        unsafe { summed::copy_out(from.as_ptr(), to.as_mut_ptr(), seed) }
    }

    /// Copies `pages` pages from `first` on to `to`; panics if the range or the length of `to` is
    /// wrong.
    pub fn copy_out_run(&self, first: usize, pages: usize, to: &mut [u8]) {
        assert_eq!(to.len(), pages * PAGE_BYTES, "copy_out_run fills its buffer");
        let from = self.range(first, pages);
        // SAFETY: both have the length of `to`, which is borrowed exclusively.
        unsafe { page::copy_out_run(from.as_ptr(), to.as_mut_ptr(), to.len()) }
    }

    /// Overwrites a page, or a run of pages from `page` on, with `from`; panics if `from` is not
    /// whole pages or does not fit.
    pub fn copy_in(&self, page: usize, from: &[u8]) {
        assert!(from.len().is_multiple_of(PAGE_BYTES), "copy_in takes whole pages");
        let to = self.range(page, from.len() / PAGE_BYTES);
        // SAFETY: both have the length of `from`.
        unsafe { page::copy_in(from.as_ptr(), to.as_ptr(), from.len()) }
    }

    /// Makes a page zero; one that is zero already is only read, so that a page never touched gets
    /// no memory.
    pub fn zero(&self, page: usize) {
        if !self.is_zero(page) {
            // SAFETY: `self.page` is one whole page.
            unsafe { page::clear(self.page(page).as_ptr()) }
        }
    }

    /// Whether all bytes of a page are zero now; reading a page never touched gives it no memory.
    #[must_use]
    pub fn is_zero(&self, page: usize) -> bool {
        // SAFETY: `self.page` is one whole page.
        unsafe { page::is_zero(self.page(page).as_ptr()) }
    }

    /// CRC-32C over pages that may be written meanwhile, continuing from `seed` (0 to start).
    #[must_use]
    pub fn crc32c(&self, first: usize, pages: usize, seed: u32) -> u32 {
        crc::crc32c_of_words(seed, self.range(first, pages))
    }

    /// The memory as plain bytes, if this is the only handle to the region; None otherwise.
    pub fn exclusive(self: &mut Arc<Region>) -> Option<&mut [u8]> {
        let region = Arc::get_mut(self)?;
        let start = region.mapping.start().as_ptr();
        // SAFETY: `&mut Region` means that no other borrow exists, in this or another thread, and
        // the borrow of the result keeps it so.
        Some(unsafe { slice::from_raw_parts_mut(start, region.mapping.bytes()) })
    }

    pub(crate) fn uffd_slot(&self) -> &UffdSlot {
        &self.uffd
    }

    pub(crate) fn range(&self, first: usize, pages: usize) -> &[AtomicU64] {
        &self.words()[word_range(first, pages)]
    }
}

/// Saturates instead of overflowing, so that the slice index panics with the true reason.
fn word_range(first: usize, pages: usize) -> Range<usize> {
    let start = first.saturating_mul(WORDS_PER_PAGE);
    start..start.saturating_add(pages.saturating_mul(WORDS_PER_PAGE))
}
