//! The kernel interface of userfaultfd and PAGEMAP_SCAN: numbers, sizes, and the one function that
//! calls ioctl.

use std::{
    ffi::c_int,
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

pub(super) use linux_raw_sys::general::{
    PAGE_IS_WRITTEN, PM_SCAN_CHECK_WPASYNC, PM_SCAN_WP_MATCHING, UFFD_API, UFFD_EVENT_PAGEFAULT,
    UFFD_FEATURE_MISSING_HUGETLBFS, UFFD_FEATURE_PAGEFAULT_FLAG_WP, UFFD_FEATURE_THREAD_ID,
    UFFD_FEATURE_WP_ASYNC, UFFD_FEATURE_WP_HUGETLBFS_SHMEM, UFFD_FEATURE_WP_UNPOPULATED,
    UFFD_PAGEFAULT_FLAG_WRITE, UFFD_USER_MODE_ONLY, UFFDIO_REGISTER_MODE_MISSING,
    UFFDIO_REGISTER_MODE_WP, page_region, pm_scan_arg, uffdio_api, uffdio_copy, uffdio_range,
    uffdio_register, uffdio_writeprotect, uffdio_zeropage,
};
use linux_raw_sys::{general::uffd_msg, ioctl};

/// An ioctl whose argument is a `T` that the kernel reads and may write.
pub(super) struct Request<T> {
    number: u32,
    argument: std::marker::PhantomData<fn(T)>,
}

pub(super) const API: Request<uffdio_api> = read_write(UFFDIO, 0x3F);
pub(super) const REGISTER: Request<uffdio_register> = read_write(UFFDIO, 0x00);
pub(super) const WAKE: Request<uffdio_range> = read_only(UFFDIO, 0x02);
pub(super) const COPY: Request<uffdio_copy> = read_write(UFFDIO, 0x03);
pub(super) const ZEROPAGE: Request<uffdio_zeropage> = read_write(UFFDIO, 0x04);
pub(super) const WRITEPROTECT: Request<uffdio_writeprotect> = read_write(UFFDIO, 0x06);
pub(super) const PAGEMAP_SCAN: Request<pm_scan_arg> = read_write(b'f', 16);

const UFFDIO: u8 = 0xAA;

// Two ways to the same number: computed from type, command and size above, and as bindgen read it
// from the headers.
const _: () = assert!(API.number == ioctl::UFFDIO_API);
const _: () = assert!(REGISTER.number == ioctl::UFFDIO_REGISTER);
const _: () = assert!(WAKE.number == ioctl::UFFDIO_WAKE);
const _: () = assert!(COPY.number == ioctl::UFFDIO_COPY);
const _: () = assert!(ZEROPAGE.number == ioctl::UFFDIO_ZEROPAGE);
const _: () = assert!(WRITEPROTECT.number == ioctl::UFFDIO_WRITEPROTECT);
// Not in the bindings; the number that `strace` shows.
const _: () = assert!(PAGEMAP_SCAN.number == 0xC060_6610);

const _: () = assert!(size_of::<page_region>() == 24 && align_of::<page_region>() == 8);
const _: () = assert!(size_of::<pm_scan_arg>() == 96);
const _: () = assert!(size_of::<uffd_msg>() == MESSAGE_BYTES);

/// Calls ioctl; interruptions are given back like other errors, since some requests report progress
/// then.
///
/// # Safety
/// Whatever memory the fields of `argument` refer to must be valid for what the request does with
/// it.
pub(super) unsafe fn call<T>(
    fd: BorrowedFd<'_>,
    request: &Request<T>,
    argument: &mut T,
) -> io::Result<c_int> {
    // SAFETY: the type of the request says what the kernel reads and writes at this address; the
    // caller answers for what the fields refer to.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), request.number as _, &raw mut *argument) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(done) }
}

/// Size of one message read from a userfaultfd.
pub(super) const MESSAGE_BYTES: usize = 32;

/// A message, decoded as far as page faults need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) event: u8,
    pub(super) flags: u64,
    pub(super) address: u64,
    pub(super) thread_id: u32,
}

/// Layout: event, 7 bytes of padding, flags, address, thread id, padding.
pub(super) fn decode(message: &[u8; MESSAGE_BYTES]) -> Message {
    let word = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&message[at..at + 8]);
        u64::from_ne_bytes(bytes)
    };
    let mut thread_id = [0; 4];
    thread_id.copy_from_slice(&message[24..28]);
    Message {
        event: message[0],
        flags: word(8),
        address: word(16),
        thread_id: u32::from_ne_bytes(thread_id),
    }
}

const fn read_write<T>(kind: u8, command: u8) -> Request<T> {
    request(3, kind, command)
}

const fn read_only<T>(kind: u8, command: u8) -> Request<T> {
    request(2, kind, command)
}

/// The generic encoding, which x86-64, arm64 and riscv64 share: direction, size, type, command.
const fn request<T>(direction: u32, kind: u8, command: u8) -> Request<T> {
    let size = size_of::<T>() as u32;
    let number = direction << 30 | size << 16 | (kind as u32) << 8 | command as u32;
    Request { number, argument: std::marker::PhantomData }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_decode() {
        let mut bytes = [0; MESSAGE_BYTES];
        bytes[0] = 0x12;
        bytes[8..16].copy_from_slice(&3_u64.to_ne_bytes());
        bytes[16..24].copy_from_slice(&0x7000_1234_5000_u64.to_ne_bytes());
        bytes[24..28].copy_from_slice(&77_u32.to_ne_bytes());
        let expected = Message { event: 0x12, flags: 3, address: 0x7000_1234_5000, thread_id: 77 };
        assert_eq!(decode(&bytes), expected);
    }
}
