//! What can go wrong with a region, and the way out of it.

use std::io;

/// Why a region could not be made or prepared.
#[derive(Debug, thiserror::Error)]
pub enum RegionError {
    /// The size does not fit the kind of page.
    #[error(
        "Region size {bytes} is not a positive multiple of its page size {page_bytes}: round it up"
    )]
    Size {
        /// The size that was asked for.
        bytes: u64,
        /// The page size it must be a multiple of.
        page_bytes: u64,
    },
    /// The address space or the commit limit does not allow the mapping.
    #[error("Cannot map {bytes} bytes of memory: use less memory or raise RLIMIT_AS (`ulimit -v`)")]
    Map {
        /// The size that was asked for.
        bytes: u64,
        /// What mmap answered.
        #[source]
        source: io::Error,
    },
    /// Fewer huge pages are free than the region needs.
    #[error(
        "Cannot reserve {needed_pages} huge pages of {page_kib} KiB ({} free): write at least {needed_pages} to {sysctl}, or use other pages",
        known(*free_pages)
    )]
    HugePages {
        /// Huge pages the region needs.
        needed_pages: u64,
        /// Size of one of them in KiB.
        page_kib: u64,
        /// Free ones at the time of the error; None where the kernel does not know this size.
        free_pages: Option<u64>,
        /// The file that sets their number.
        sysctl: String,
        /// What mmap answered.
        #[source]
        source: io::Error,
    },
    /// The kernel refused advice that the kind of page depends on.
    #[error(
        "Cannot set up {what} for a region of {bytes} bytes: use huge-pages = \"none\" or \"2MiB\" instead"
    )]
    Advise {
        /// The property that was refused.
        what: &'static str,
        /// The size of the region.
        bytes: u64,
        /// What madvise answered.
        #[source]
        source: io::Error,
    },
    /// The region cannot be locked into memory.
    #[error(
        "Cannot lock {bytes} bytes: RLIMIT_MEMLOCK is {}; raise it (`ulimit -l`, LimitMEMLOCK=) or leave memory unlocked",
        limit(*limit_bytes)
    )]
    Lock {
        /// The size that was asked for.
        bytes: u64,
        /// The soft limit; None if unlimited.
        limit_bytes: Option<u64>,
        /// What mlock2 answered.
        #[source]
        source: io::Error,
    },
    /// The kernel could not back a part of the region with memory.
    #[error(
        "Cannot populate {length_bytes} bytes at offset {offset_bytes}: use less memory or free some"
    )]
    Populate {
        /// Where the part starts, from the start of the region.
        offset_bytes: u64,
        /// Its length.
        length_bytes: u64,
        /// What madvise answered.
        #[source]
        source: io::Error,
    },
    /// A populating thread could not be started.
    #[error(
        "Cannot start a thread to populate memory: use fewer threads or raise RLIMIT_NPROC (`ulimit -u`)"
    )]
    Thread(#[source] io::Error),
}

fn known(number: Option<u64>) -> String {
    number.map_or_else(|| "an unknown number".to_owned(), |it| it.to_string())
}

fn limit(limit_bytes: Option<u64>) -> String {
    limit_bytes.map_or_else(|| "unlimited".to_owned(), |it| format!("{it} bytes"))
}
