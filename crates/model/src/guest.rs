//! The guest that moves: its memory, what it holds, and how it is written.

use crate::dirty::DirtyProcess;

/// A guest, as far as a migration depends on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Guest {
    /// Virtual processors, each of which is a writer.
    pub vcpus: u32,
    /// Memory in the order of addresses, as the scan of a migration meets it, and who writes it.
    pub dirty: DirtyProcess,
}

/// What pages hold, as far as their way over a link depends on it. Shares are of the 4096 bytes of a page.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Content {
    /// The part of pages that are zero; the rest has content.
    pub zero_share: f64,
    /// What a page with content takes after compression by zlib.
    pub zlib_share: f64,
    /// What a page with content takes after compression by zstd.
    pub zstd_share: f64,
    /// What the difference to an earlier copy takes; 1 or more where a page changes as a whole.
    pub delta_share: f64,
}

impl Content {
    /// Pages of zeros.
    pub const ZERO: Content =
        Content { zero_share: 1.0, zlib_share: 1.0, zstd_share: 1.0, delta_share: 1.0 };

    /// Pages that neither shrink nor repeat.
    pub const INCOMPRESSIBLE: Content = Content { zero_share: 0.0, ..Content::ZERO };
}

impl Guest {
    /// All of its memory.
    pub fn memory_bytes(&self) -> u64 {
        self.dirty.bytes()
    }

    /// Memory that is not zero at first.
    pub fn content_bytes(&self) -> u64 {
        let regions = self.dirty.regions.iter();
        regions.map(|it| (it.bytes as f64 * (1.0 - it.content.zero_share)) as u64).sum()
    }
}
