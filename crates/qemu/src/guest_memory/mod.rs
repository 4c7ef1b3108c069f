//! The memory of a guest, read from outside the QEMU that runs it, while it runs.
//!
//! QEMU's monitor says where the guest's memory lies in QEMU's own (`gpa2hva`, since 2.10), and the kernel lets who started a process read its memory.
//! A look costs microseconds, and nothing of QEMU's main thread, which `pmemsave` takes for a tenth of a second at times.
//!
//! A page that is not there is never read: on a destination in post-copy it would be asked for, and the reader would wait for it like a processor of the guest.
//! Therefore the kernel's table of pages is looked at first.

mod marker_page;
#[cfg(test)]
mod tests;
mod whole;

pub(crate) use marker_page::MarkerPage;
pub(crate) use whole::{Compared, WholeMemory};

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use serde_json::json;

use crate::process::QemuProcess;
use crate::qmp::QmpError;

/// Bytes of a page of memory.
pub(crate) const PAGE_BYTES: usize = 4096;

/// What the kernel's table says of a page that has content, in memory or swapped out; `pagemap` in its documentation.
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;

/// Bytes of an entry of that table.
const ENTRY_BYTES: u64 = 8;

/// The memory of one QEMU's guest.
#[derive(Debug)]
pub(crate) struct GuestMemory {
    pid: u32,
    memory: File,
    pagemap: File,
}

/// Why a guest's memory cannot be read from outside.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GuestMemoryError {
    /// QEMU runs on another machine.
    #[error("its QEMU runs on another machine")]
    Remote,
    /// The kernel's refusal.
    #[error("/proc/{pid}/{file} cannot be opened: {source}")]
    Refused {
        /// QEMU's process.
        pid: u32,
        /// What was opened.
        file: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// QEMU does not say where the memory lies.
    #[error("QEMU does not say where the guest's memory lies: {0}")]
    Unlocated(String),
    /// Reading failed.
    #[error("The guest's memory cannot be read: {0}")]
    Unread(#[from] io::Error),
}

impl GuestMemory {
    /// Opens the memory of a QEMU of this machine.
    pub fn open(qemu: &QemuProcess) -> Result<GuestMemory, GuestMemoryError> {
        GuestMemory::of_process(qemu.local_pid().ok_or(GuestMemoryError::Remote)?)
    }

    fn of_process(pid: u32) -> Result<GuestMemory, GuestMemoryError> {
        let open =
            |file| {
                File::open(format!("/proc/{pid}/{file}"))
                    .map_err(|source| GuestMemoryError::Refused { pid, file, source })
            };
        Ok(GuestMemory { pid, memory: open("mem")?, pagemap: open("pagemap")? })
    }

    /// QEMU's process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Reads as many bytes as `page` has, which lie within one page; `None` where the page has no content yet.
    pub fn read(&self, at: HostAddress, page: &mut [u8]) -> io::Result<Option<()>> {
        let mut entry = [0; ENTRY_BYTES as usize];
        self.entries(at, &mut entry)?;
        if !has_content(u64::from_ne_bytes(entry)) {
            return Ok(None);
        }
        self.read_present(at, page).map(Some)
    }

    /// Reads pages that are known to have content.
    fn read_present(&self, at: HostAddress, pages: &mut [u8]) -> io::Result<()> {
        self.memory.read_exact_at(pages, at.0)
    }

    /// Writes, for a defect on purpose.
    fn write(&self, at: HostAddress, bytes: &[u8]) -> io::Result<()> {
        let memory = File::options().write(true).open(format!("/proc/{}/mem", self.pid))?;
        memory.write_all_at(bytes, at.0)
    }

    fn entries(&self, at: HostAddress, entries: &mut [u8]) -> io::Result<()> {
        self.pagemap.read_exact_at(entries, at.0 / PAGE_BYTES as u64 * ENTRY_BYTES)
    }
}

/// Whether an entry of the kernel's table is that of a page with content.
fn has_content(entry: u64) -> bool {
    entry & (PRESENT | SWAPPED) != 0
}

/// An address in the memory of a QEMU's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HostAddress(pub u64);

impl HostAddress {
    /// Where a QEMU has this address of its guest.
    pub fn of(qemu: &mut QemuProcess, guest_address: u64) -> Result<HostAddress, GuestMemoryError> {
        let line = json!({ "command-line": format!("gpa2hva {guest_address:#x}") });
        let answer = qemu
            .try_execute("human-monitor-command", line)
            .map_err(|error: QmpError| GuestMemoryError::Unlocated(error.text()))?;
        let text = answer.as_str().unwrap_or_default().trim();
        parse(text).ok_or_else(|| GuestMemoryError::Unlocated(text.to_owned()))
    }
}

/// The last word of `Host virtual address for 0x0 (ram) is 0x7f5d2be00000`.
fn parse(text: &str) -> Option<HostAddress> {
    let (_, digits) = text.trim_end().rsplit_once(" is 0x")?;
    u64::from_str_radix(digits, 16).ok().filter(|it| *it > 0).map(HostAddress)
}
