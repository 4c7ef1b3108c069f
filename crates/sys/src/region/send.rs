//! Sending guest memory from where it is.

use std::{
    io, mem,
    os::fd::{AsRawFd, BorrowedFd},
};

use super::{Region, receive::MAX_PARTS};
use crate::PAGE_BYTES;

impl Region {
    /// One `sendmsg` straight from pages: `runs` are (first page, count), taken as one long buffer
    /// of which the first `skip_bytes` bytes are sent already. Gives the bytes that were taken.
    ///
    /// With `zero_copy` (`MSG_ZEROCOPY`; see [`set_zero_copy`](crate::socket::set_zero_copy)) the
    /// kernel may read the pages until it says so by
    /// [`reap_zero_copy`](crate::socket::reap_zero_copy), and what is written to them meanwhile may
    /// or may not be sent. At most 1024 runs are used by one call. Panics if a run lies outside of
    /// the region.
    ///
    /// # Errors
    /// What `sendmsg` answers, but interruptions, which are retried; `ENOBUFS` when too many
    /// zero-copy sends are under way or too much memory would be pinned; nothing left to send is
    /// `InvalidInput`.
    pub fn send_pages(
        &self,
        socket: BorrowedFd<'_>,
        runs: &[(usize, usize)],
        skip_bytes: usize,
        zero_copy: bool,
    ) -> io::Result<usize> {
        let mut parts = self.parts(runs, skip_bytes);
        if parts.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "No page is left to send"));
        }
        let flags = libc::MSG_NOSIGNAL | if zero_copy { libc::MSG_ZEROCOPY } else { 0 };
        // SAFETY: each part lies within the mapping, which lives as long as `self`. The kernel
        // only reads it, like a thread that loads atomically; with zero copy it holds references of
        // its own to the physical pages, so that even unmapping does no harm.
        unsafe { send_parts(socket, &mut parts, flags) }
    }

    /// As [`Region::send_pages`] without zero copy, for runs of pages each of which has bytes in
    /// front of it: `skip_bytes` counts through all of them. At most 512 are used by one call.
    ///
    /// # Errors
    /// As there.
    pub fn send_fronted(
        &self,
        socket: BorrowedFd<'_>,
        pieces: &[(&[u8], (usize, usize))],
        mut skip_bytes: usize,
    ) -> io::Result<usize> {
        let mut parts = Vec::with_capacity(2 * pieces.len().min(MAX_PARTS / 2));
        for (front, run) in &pieces[..pieces.len().min(MAX_PARTS / 2)] {
            if let Some(rest) = front.get(skip_bytes..).filter(|it| !it.is_empty()) {
                let start = rest.as_ptr().cast_mut().cast();
                parts.push(libc::iovec { iov_base: start, iov_len: rest.len() });
            }
            skip_bytes = skip_bytes.saturating_sub(front.len());
            parts.extend(self.parts(&[*run], skip_bytes));
            skip_bytes = skip_bytes.saturating_sub(run.1 * PAGE_BYTES);
        }
        if parts.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "Nothing is left to send"));
        }
        // SAFETY: as in `send_pages`; the other parts lie within the fronts, which are borrowed until
        // the kernel has copied them.
        unsafe { send_parts(socket, &mut parts, libc::MSG_NOSIGNAL) }
    }
}

/// One `sendmsg` of all parts, again when it was interrupted.
///
/// # Safety
/// Each part is memory that may be read until this returns.
unsafe fn send_parts(
    socket: BorrowedFd<'_>,
    parts: &mut [libc::iovec],
    flags: libc::c_int,
) -> io::Result<usize> {
    // SAFETY: a message header of zero bytes is a valid one without address, parts and control.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = parts.as_mut_ptr();
    message.msg_iovlen = parts.len() as _;
    loop {
        // SAFETY: the header names the parts, of which the caller vouches for.
        let count = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, flags) };
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
