//! What can be missing for tracking, and the way out of it.

use std::io;

/// Why pages cannot be tracked, or page faults not be served.
#[derive(Debug, thiserror::Error)]
pub enum TrackingError {
    /// The system call does not exist.
    #[error(
        "Kernel has no userfaultfd: use one built with CONFIG_USERFAULTFD, or the cooperative tracker"
    )]
    NoUserfaultfd,
    /// The system call is forbidden; user-mode-only faults need no privilege, so it is not a matter
    /// of root.
    #[error(
        "The userfaultfd system call is forbidden: allow it in the seccomp profile of this container or service, or use the cooperative tracker"
    )]
    Forbidden(#[source] io::Error),
    /// A kernel that knows userfaultfd, but not for user-mode faults only (before Linux 5.11).
    #[error(
        "Kernel cannot limit userfaultfd to user mode: use Linux 5.11 or later, or the cooperative tracker"
    )]
    NoUserModeOnly,
    /// The descriptor could not be made for another reason.
    #[error("Cannot open a userfaultfd: check the limit on open files (`ulimit -n`)")]
    Open(#[source] io::Error),
    /// The kernel does not agree on the interface.
    #[error("Kernel refuses the userfaultfd handshake: use the cooperative tracker")]
    Handshake(#[source] io::Error),
    /// The kernel cannot resolve write-protection faults by itself.
    #[error(
        "Kernel has no asynchronous write protection{}: use Linux 6.7 or later on x86-64 or arm64, or the cooperative tracker",
        for_pages(*page_bytes)
    )]
    NoAsyncWriteProtect {
        /// Page size of the region that was to be tracked.
        page_bytes: u64,
    },
    /// The kernel knows no PAGEMAP_SCAN, or not all of it.
    #[error(
        "Kernel has no usable PAGEMAP_SCAN: use Linux 6.7 or later, or the cooperative tracker"
    )]
    NoPagemapScan(#[source] io::Error),
    /// `/proc/self/pagemap` cannot be opened.
    #[error(
        "Cannot open /proc/self/pagemap: mount /proc in this container, or use the cooperative tracker"
    )]
    Pagemap(#[source] io::Error),
    /// The region could not be registered.
    #[error(
        "Cannot register {bytes} bytes for {mode} faults: leave that mode out, or use 4 KiB pages"
    )]
    Register {
        /// Size of the region.
        bytes: u64,
        /// The kind of faults asked for.
        mode: &'static str,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// A tracker is attached to the region already; two would steal each other's dirty pages.
    #[error("Region is tracked already: drop its other tracker first")]
    AlreadyTracked,
    /// Write protection could not be taken away.
    #[error(
        "Cannot take away the write protection of {bytes} bytes: free some memory for page tables"
    )]
    Protect {
        /// Size of the region.
        bytes: u64,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// The scan stopped midway.
    #[error("Cannot scan for dirty pages at offset {offset_bytes}: count every page as dirty")]
    Scan {
        /// Where it stopped, from the start of the region.
        offset_bytes: u64,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// The kernel claims to track, but a trial shows that it does not.
    #[error("Kernel reports wrong dirty pages ({seen} of a trial): use the cooperative tracker")]
    Untrustworthy {
        /// What the trial saw instead.
        seen: String,
    },
}

fn for_pages(page_bytes: u64) -> String {
    if page_bytes == crate::PAGE_BYTES as u64 {
        return String::new();
    }
    format!(" for pages of {} KiB", page_bytes >> 10)
}
