//! The userfaultfd of a region.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    io::Errno,
    mm::UserfaultfdFlags,
};

use super::{TrackingError, abi};
use crate::{PAGE_BYTES, region::Region};

/// What this kernel's userfaultfd can do, as the handshake says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features {
    /// Write-protection faults can be resolved by the kernel itself, which only notes the write.
    pub wp_async: bool,
    /// The same for reserved huge pages.
    pub wp_hugetlb: bool,
    /// Missing pages of reserved huge pages can be served; for 4 KiB pages every userfaultfd can.
    pub missing_hugetlb: bool,
    /// Faults name the thread that faulted.
    pub thread_id: bool,
}

/// The kinds of faults a region can be registered for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// First access to a page that does not exist: the thread waits until the page is placed.
    Missing,
    /// First write to a page after it was armed: noted by the kernel, without waiting.
    WriteProtect,
}

/// One access that waits for its page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// First 4 KiB page of what must be placed (a whole huge page where the region has such).
    pub page: usize,
    /// Whether the access is a write.
    pub is_write: bool,
    /// The thread that waits; None where the kernel does not tell.
    pub thread_id: Option<u32>,
}

/// Whether placing a page changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// The page holds the new content.
    Now,
    /// The page existed, and was left as it is: normal when two ways lead to the same page.
    AlreadyPresent,
}

/// The one userfaultfd of a region, from [`Region::uffd`].
///
/// The kernel lets a single descriptor care for a range (a second gets EBUSY), and a migration
/// needs two things of it: write tracking while a guest is copied away, and missing-page faults
/// once post-copy has begun. So it belongs to the region, for as long as that lives, and gains
/// modes by registering again; it never loses one.
///
/// It is opened for user-mode faults only, which any process may do. The price: the kernel itself,
/// in `recv` or `write`, does not wait for a missing page but fails with EFAULT. Receive into a
/// buffer of your own, and place pages with [`Uffd::copy_pages`].
///
/// A thread that waits holds a reference to its region, so the descriptor is never closed under it.
/// Unregistering would let it go on with zeros; therefore there is no such function, and a process
/// that cannot get its pages must end.
#[derive(Debug)]
pub struct Uffd {
    fd: OwnedFd,
    features: Features,
    start: u64,
    bytes: u64,
    page_bytes: u64,
    modes: Mutex<u64>,
    /// Set while a tracker is attached.
    pub(super) is_tracked: AtomicBool,
}

/// The place in a region where its descriptor comes to be.
#[derive(Debug, Default)]
pub(crate) struct UffdSlot {
    uffd: OnceLock<Uffd>,
    opening: Mutex<()>,
}

impl Region {
    /// The region's userfaultfd, opened at the first call; nothing is registered yet.
    ///
    /// # Errors
    /// The kernel has no such thing, or forbids it here.
    pub fn uffd(&self) -> Result<&Uffd, TrackingError> {
        let slot = self.uffd_slot();
        let _one_at_a_time = slot.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(uffd) = slot.uffd.get() {
            return Ok(uffd);
        }
        let uffd = Uffd::open(self)?;
        Ok(slot.uffd.get_or_init(|| uffd))
    }
}

impl Uffd {
    /// What the kernel offers.
    #[must_use]
    pub fn features(&self) -> Features {
        self.features
    }

    /// Adds a kind of faults to those the region is registered for.
    ///
    /// Pages that exist never cause missing faults: register an empty region, or discard it
    /// afterwards, and with small pages only (`HugePages::None`), since the kernel fills 2 MiB at
    /// once where it may.
    ///
    /// # Errors
    /// A mode that the kernel does not have, or not for the region's kind of page.
    pub fn register(&self, mode: Mode) -> Result<(), TrackingError> {
        let is_huge = self.page_bytes != PAGE_BYTES as u64;
        if mode == Mode::WriteProtect
            && (!self.features.wp_async || is_huge && !self.features.wp_hugetlb)
        {
            return Err(TrackingError::NoAsyncWriteProtect { page_bytes: self.page_bytes });
        }
        let mut modes = self.modes.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = *modes | mode.bit();
        if wanted == *modes {
            return Ok(());
        }
        let mut argument =
            abi::uffdio_register { range: self.whole_range(), mode: wanted, ioctls: 0 };
        // SAFETY: the range is that of the region that owns this descriptor. Registering changes no
        // content, and what faults do from then on (wait, or note the write) is invisible to the
        // memory model.
        let done = unsafe { abi::call(self.as_fd(), &abi::REGISTER, &mut argument) };
        done.map_err(|source| TrackingError::Register {
            bytes: self.bytes,
            mode: mode.name(),
            source,
        })?;
        *modes = wanted;
        Ok(())
    }

    /// Takes the next fault that nobody has taken yet, without waiting; None if there is none.
    ///
    /// # Errors
    /// The descriptor is not registered for anything, or its process is ending.
    pub fn read_fault(&self) -> io::Result<Option<Fault>> {
        loop {
            let mut bytes = [0; abi::MESSAGE_BYTES];
            match rustix::io::read(&self.fd, &mut bytes) {
                Ok(abi::MESSAGE_BYTES) => {}
                Ok(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            let message = abi::decode(&bytes);
            // No other event was asked for in the handshake.
            if u32::from(message.event) == abi::UFFD_EVENT_PAGEFAULT {
                return Ok(Some(self.fault(message)));
            }
        }
    }

    /// Waits until there may be a fault to read; false after `timeout` (None: for ever).
    ///
    /// # Errors
    /// What `poll` answers.
    pub fn wait_fault(&self, timeout: Option<Duration>) -> io::Result<bool> {
        let timeout = timeout.map(Timespec::try_from).transpose();
        let timeout = timeout.map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Places one page of the region's own page size, and wakes who waits for it.
    ///
    /// # Errors
    /// As [`Uffd::copy_pages`].
    pub fn copy_page(&self, page: usize, from: &[u8]) -> io::Result<Placed> {
        if from.len() as u64 != self.page_bytes {
            return Err(invalid("A page is placed as a whole, in the region's own page size"));
        }
        Ok(self.copy_pages(page, from)?.into())
    }

    /// Places pages from `first` on, and wakes who waits for them; those that exist are left as
    /// they are. Gives the number of 4 KiB pages that were placed.
    ///
    /// # Errors
    /// A range that is outside of the region or not made of its own pages (`InvalidInput`), or
    /// memory is used up.
    pub fn copy_pages(&self, first: usize, from: &[u8]) -> io::Result<usize> {
        let range = self.range(first, from.len() as u64)?;
        // The kernel reads through this number, so the compiler must know that the bytes can be reached by it.
        let source = from.as_ptr().expose_provenance() as u64;
        let mut placed_bytes = 0;
        let mut at = 0;
        while at < range.len {
            let mut argument = abi::uffdio_copy {
                dst: range.start + at,
                src: source + at,
                len: range.len - at,
                mode: 0,
                copy: 0,
            };
            // SAFETY: the source is what is left of `from`, and the destination lies in the region
            // that owns this descriptor. The kernel only fills pages that do not exist, which
            // nobody can have read yet.
            let done = unsafe { abi::call(self.as_fd(), &abi::COPY, &mut argument) };
            let step = self.outcome(done, argument.copy, argument.dst, argument.len)?;
            placed_bytes += step.placed_bytes;
            at += step.advance_bytes;
        }
        Ok((placed_bytes / PAGE_BYTES as u64) as usize)
    }

    /// Makes one page of the region's own page size exist as zeros, and wakes who waits for it.
    ///
    /// # Errors
    /// As [`Uffd::copy_pages`].
    pub fn zero_page(&self, page: usize) -> io::Result<Placed> {
        let range = self.range(page, self.page_bytes)?;
        if self.page_bytes != PAGE_BYTES as u64 {
            // There is no shared zero page of this size.
            return self.copy_page(page, &vec![0; self.page_bytes as usize]);
        }
        loop {
            let mut argument = abi::uffdio_zeropage { range, mode: 0, zeropage: 0 };
            // SAFETY: the range lies in the region that owns this descriptor, and only missing
            // pages are filled.
            let done = unsafe { abi::call(self.as_fd(), &abi::ZEROPAGE, &mut argument) };
            let step = self.outcome(done, argument.zeropage, range.start, range.len)?;
            if step.advance_bytes > 0 {
                return Ok(((step.placed_bytes / PAGE_BYTES as u64) as usize).into());
            }
        }
    }

    /// Lets threads that wait for these pages try again.
    ///
    /// # Errors
    /// A range outside of the region, or not made of its own pages.
    pub fn wake(&self, first: usize, pages: usize) -> io::Result<()> {
        let range = self.range(first, pages as u64 * PAGE_BYTES as u64)?;
        self.wake_range(range)
    }

    fn open(region: &Region) -> Result<Uffd, TrackingError> {
        // A descriptor shakes hands once, naming the features it wants, and an unknown one is an
        // error. So one is asked what there is, and another is opened to be used.
        let offered = handshake(open_fd()?.as_fd(), 0)?;
        let wanted = offered & u64::from(WANTED);
        let fd = open_fd()?;
        handshake(fd.as_fd(), wanted)?;
        let has = |bits: u32| wanted & u64::from(bits) == u64::from(bits);
        let words = region.words();
        Ok(Uffd {
            fd,
            features: Features {
                wp_async: has(NEEDED_TO_TRACK),
                wp_hugetlb: has(NEEDED_TO_TRACK | abi::UFFD_FEATURE_WP_HUGETLBFS_SHMEM),
                missing_hugetlb: has(abi::UFFD_FEATURE_MISSING_HUGETLBFS),
                thread_id: has(abi::UFFD_FEATURE_THREAD_ID),
            },
            // Placing a page writes to the region through this number.
            start: words.as_ptr().expose_provenance() as u64,
            bytes: size_of_val(words) as u64,
            page_bytes: region.page_bytes(),
            modes: Mutex::new(0),
            is_tracked: AtomicBool::new(false),
        })
    }

    /// Makes the whole region writable without faults.
    pub(super) fn end_write_protection(&self) -> Result<(), TrackingError> {
        let mut argument = abi::uffdio_writeprotect { range: self.whole_range(), mode: 0 };
        loop {
            // SAFETY: the range is that of the region, and protection changes no content.
            match unsafe { abi::call(self.as_fd(), &abi::WRITEPROTECT, &mut argument) } {
                Err(error) if is_transient(&error) => {}
                Err(source) => return Err(TrackingError::Protect { bytes: self.bytes, source }),
                Ok(_) => return Ok(()),
            }
        }
    }

    /// Gives the mark of being tracked to the caller, if nobody has it.
    pub(super) fn begin_tracking(&self) -> Result<(), TrackingError> {
        if self.is_tracked.swap(true, Ordering::Acquire) {
            return Err(TrackingError::AlreadyTracked);
        }
        Ok(())
    }

    fn whole_range(&self) -> abi::uffdio_range {
        abi::uffdio_range { start: self.start, len: self.bytes }
    }

    /// Checks that `bytes` from a page on lie in the region and are made of its own pages.
    fn range(&self, first: usize, bytes: u64) -> io::Result<abi::uffdio_range> {
        let offset = (first as u64).saturating_mul(PAGE_BYTES as u64);
        if offset.saturating_add(bytes) > self.bytes || bytes == 0 {
            return Err(invalid("Pages lie outside of the region, or there are none"));
        }
        if !offset.is_multiple_of(self.page_bytes) || !bytes.is_multiple_of(self.page_bytes) {
            return Err(invalid("Pages are not whole pages of the region's own page size"));
        }
        Ok(abi::uffdio_range { start: self.start + offset, len: bytes })
    }

    fn fault(&self, message: abi::Message) -> Fault {
        let offset = message.address.saturating_sub(self.start);
        let offset = offset - offset % self.page_bytes;
        Fault {
            page: (offset / PAGE_BYTES as u64) as usize,
            is_write: message.flags & u64::from(abi::UFFD_PAGEFAULT_FLAG_WRITE) != 0,
            thread_id: self.features.thread_id.then_some(message.thread_id),
        }
    }

    /// Reads what a placing ioctl did to `length` bytes at `start`; `done_bytes` is the kernel's
    /// answer in its argument.
    fn outcome(
        &self,
        result: io::Result<i32>,
        done_bytes: i64,
        start: u64,
        length: u64,
    ) -> io::Result<Step> {
        let done_bytes = u64::try_from(done_bytes).unwrap_or(0).min(length);
        match result {
            Ok(_) => Ok(Step { placed_bytes: length, advance_bytes: length }),
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {
                // Whoever placed it has woken the waiters; a second wake-up costs next to nothing
                // and cannot harm.
                self.wake_range(abi::uffdio_range { start, len: self.page_bytes })?;
                Ok(Step { placed_bytes: 0, advance_bytes: self.page_bytes })
            }
            // The kernel stopped midway: the next try goes on there.
            Err(error) if is_transient(&error) => {
                Ok(Step { placed_bytes: done_bytes, advance_bytes: done_bytes })
            }
            Err(error) => Err(error),
        }
    }

    fn wake_range(&self, mut range: abi::uffdio_range) -> io::Result<()> {
        // SAFETY: waking lets waiting threads repeat their access, nothing more.
        unsafe { abi::call(self.as_fd(), &abi::WAKE, &mut range) }.map(drop)
    }
}

impl AsFd for Uffd {
    /// To poll for faults beside other descriptors.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<usize> for Placed {
    /// From a number of pages that were placed.
    fn from(pages: usize) -> Placed {
        if pages == 0 { Placed::AlreadyPresent } else { Placed::Now }
    }
}

impl Mode {
    fn bit(self) -> u64 {
        u64::from(match self {
            Mode::Missing => abi::UFFDIO_REGISTER_MODE_MISSING,
            Mode::WriteProtect => abi::UFFDIO_REGISTER_MODE_WP,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Mode::Missing => "missing-page",
            Mode::WriteProtect => "write-protection",
        }
    }
}

/// How far one call of a placing ioctl came.
struct Step {
    placed_bytes: u64,
    advance_bytes: u64,
}

/// Without the unpopulated kind, a page that does not exist yet would be armed in vain.
const NEEDED_TO_TRACK: u32 = abi::UFFD_FEATURE_PAGEFAULT_FLAG_WP
    | abi::UFFD_FEATURE_WP_ASYNC
    | abi::UFFD_FEATURE_WP_UNPOPULATED;

const WANTED: u32 = NEEDED_TO_TRACK
    | abi::UFFD_FEATURE_WP_HUGETLBFS_SHMEM
    | abi::UFFD_FEATURE_MISSING_HUGETLBFS
    | abi::UFFD_FEATURE_THREAD_ID;

fn open_fd() -> Result<OwnedFd, TrackingError> {
    open_fd_with(UserfaultfdFlags::from_bits_retain(abi::UFFD_USER_MODE_ONLY))
}

/// Opens and closes a descriptor that would serve faults of the kernel too.
pub(super) fn try_kernel_faults() -> Result<(), TrackingError> {
    open_fd_with(UserfaultfdFlags::empty()).map(drop)
}

fn open_fd_with(flags: UserfaultfdFlags) -> Result<OwnedFd, TrackingError> {
    let flags = flags | UserfaultfdFlags::CLOEXEC | UserfaultfdFlags::NONBLOCK;
    // SAFETY: a descriptor that is registered for nothing affects nothing.
    unsafe { rustix::mm::userfaultfd(flags) }.map_err(|error| match error {
        Errno::NOSYS => TrackingError::NoUserfaultfd,
        Errno::INVAL => TrackingError::NoUserModeOnly,
        Errno::PERM | Errno::ACCESS => TrackingError::Forbidden(error.into()),
        _ => TrackingError::Open(error.into()),
    })
}

/// Asks for `features`, and gives all that the kernel offers.
fn handshake(fd: BorrowedFd<'_>, features: u64) -> Result<u64, TrackingError> {
    let mut argument = abi::uffdio_api { api: u64::from(abi::UFFD_API), features, ioctls: 0 };
    // SAFETY: the argument refers to no memory.
    unsafe { abi::call(fd, &abi::API, &mut argument) }.map_err(TrackingError::Handshake)?;
    Ok(argument.features)
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR))
}

fn invalid(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}
