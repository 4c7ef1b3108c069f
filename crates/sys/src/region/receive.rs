//! Reading from a socket straight into guest memory.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use super::Region;

/// Linux's IOV_MAX; a call with more parts is refused by the kernel.
pub(super) const MAX_PARTS: usize = 1024;

impl Region {
    /// One `readv` straight into pages: `runs` are (first page, count), taken as one long buffer of
    /// which the first `skip_bytes` bytes are already there. Gives the bytes read, 0 at the end of
    /// the stream.
    ///
    /// At most 1024 runs are used by one call; more are left to the next. Panics if a run lies
    /// outside of the region.
    ///
    /// # Errors
    /// What `readv` answers, but interruptions, which are retried; nothing left to read into is
    /// `InvalidInput`.
    pub fn recv_pages(
        &self,
        fd: BorrowedFd<'_>,
        runs: &[(usize, usize)],
        skip_bytes: usize,
    ) -> io::Result<usize> {
        let parts = self.parts(runs, skip_bytes);
        if parts.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "No page is left to receive"));
        }
        loop {
            // SAFETY: each part lies within the mapping, which lives as long as `self`. The kernel
            // writes it like a thread that stores atomically; no reference to plain bytes of it
            // exists (see `Region`).
            let count =
                unsafe { libc::readv(fd.as_raw_fd(), parts.as_ptr(), parts.len() as libc::c_int) };
            match usize::try_from(count) {
                Ok(count) => return Ok(count),
                Err(_) => {
                    let error = io::Error::last_os_error();
                    if error.kind() != io::ErrorKind::Interrupted {
                        return Err(error);
                    }
                }
            }
        }
    }

    pub(super) fn parts(&self, runs: &[(usize, usize)], mut skip_bytes: usize) -> Vec<libc::iovec> {
        let mut parts = Vec::with_capacity(runs.len().min(MAX_PARTS));
        for &(first, count) in runs {
            let words = self.range(first, count);
            let bytes = size_of_val(words);
            if skip_bytes >= bytes {
                skip_bytes -= bytes;
                continue;
            }
            let start = words.as_ptr().cast::<u8>().cast_mut().wrapping_add(skip_bytes);
            parts.push(libc::iovec { iov_base: start.cast(), iov_len: bytes - skip_bytes });
            skip_bytes = 0;
            if parts.len() == MAX_PARTS {
                break;
            }
        }
        parts
    }
}
