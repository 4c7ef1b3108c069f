//! Everything Sterna asks of the kernel and of the processor directly, and every `unsafe` line of
//! the project.
//!
//! Nothing here decides anything: no policy, no printing, no threads beyond the ones a call starts
//! and joins. What leaves this crate is safe to use in any order from any thread; where a caller
//! could still hurt itself (a tracker attached twice, a page index out of range) it gets an error
//! or a panic, never undefined behaviour.
//!
//! - [`region`]: guest memory, shared between threads as `&[AtomicU64]`, with kernels that work on
//!   whole pages.
//! - [`tracking`]: which pages were written, by userfaultfd write protection and PAGEMAP_SCAN;
//!   missing-page faults.
//! - [`clock`]: the cycle counter, calibrated.
//! - [`cpu`], [`numa`]: where threads run and where memory lives.
//! - [`datagram`]: datagrams with the kernel's stamp of their arrival; ARP.
//! - [`nameless`]: files that are gone with the processes that hold them.
//! - [`process`]: children that die with their parent, and what a process costs.
//! - [`diff_map`]: where two copies of a page differ.
//! - [`page_write`]: whole pages written as programs write them.
//! - [`interface`]: addresses of network interfaces.
//! - [`run_directory`]: private directories of a run, and the removal of those that killed runs left.
//! - [`shared`]: words that several processes share.
//! - [`socket`]: the few socket options that `std` does not offer.

pub mod clock;
pub mod cpu;
pub mod datagram;
pub mod interface;
mod kernel;
pub mod nameless;
pub mod numa;
pub mod process;
pub mod region;
pub mod run_directory;
pub mod shared;
pub mod socket;
pub mod tracking;

pub use kernel::crc::crc32c;
pub use kernel::diff::{DiffMap, diff_map};

/// Whole pages written in the ways in which programs write memory.
pub mod page_write {
    pub use crate::kernel::write::{
        PageWords, PlainWords, WideUnit, mix_in, mixed_past_cache, prefetch, repeat,
        repeat_past_cache, repeat_wide, settle,
    };
}

/// Bytes in one page, the unit in which everything in Sterna counts guest memory.
pub const PAGE_BYTES: usize = 4096;

/// 64-bit words in one page.
pub const WORDS_PER_PAGE: usize = PAGE_BYTES / size_of::<u64>();
