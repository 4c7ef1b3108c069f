//! Making and unmaking the mapping behind a region.

use std::{ffi::c_void, io, ptr, ptr::NonNull};

use rustix::{
    mm::{self, Advice, MapFlags, MlockFlags, ProtFlags},
    param,
    process::{Resource, getrlimit},
};

use super::{HugePages, RegionError, RegionOptions};

/// An anonymous private mapping, unmapped when dropped.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and this type only keeps its
// address.
unsafe impl Send for Mapping {}
// SAFETY: as above; shared references give out the address only, what is done through it is argued
// there.
unsafe impl Sync for Mapping {}

const THP_BYTES: usize = 2 << 20;

impl Mapping {
    pub(super) fn new(options: &RegionOptions) -> Result<Mapping, RegionError> {
        let page_bytes = options.huge_pages.page_bytes();
        let too_big = |_| size_error(options, page_bytes);
        let bytes = usize::try_from(options.bytes).map_err(too_big)?;
        if bytes == 0 || !options.bytes.is_multiple_of(page_bytes) || bytes > isize::MAX as usize {
            return Err(size_error(options, page_bytes));
        }
        let mapping = match options.huge_pages {
            HugePages::None => anonymous(bytes, MapFlags::NORESERVE),
            HugePages::Thp => anonymous_aligned(bytes),
            // Without NORESERVE the kernel reserves huge pages now, so that a shortage is an error
            // here instead of a SIGBUS at the first touch.
            HugePages::Size2MiB => anonymous(bytes, MapFlags::HUGETLB | MapFlags::HUGE_2MB),
            HugePages::Size1GiB => anonymous(bytes, MapFlags::HUGETLB | MapFlags::HUGE_1GB),
        }
        .map_err(|source| map_error(options, source))?;
        mapping.advise_all(options.huge_pages)?;
        if options.locked {
            mapping.lock()?;
        }
        Ok(mapping)
    }

    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn advise_all(&self, huge_pages: HugePages) -> Result<(), RegionError> {
        // A fork for a child process would otherwise copy all page tables and write-protect the
        // guest's memory.
        let _ = self.advise(Advice::LinuxDontFork);
        match huge_pages {
            // A kernel without transparent huge pages answers EINVAL, and gives small pages anyway.
            HugePages::None => {
                let _ = self.advise(Advice::LinuxNoHugepage);
            }
            HugePages::Thp => {
                let bytes = self.bytes as u64;
                let what = "transparent huge pages";
                self.advise(Advice::LinuxHugepage).map_err(|source| RegionError::Advise {
                    what,
                    bytes,
                    source,
                })?;
            }
            HugePages::Size2MiB | HugePages::Size1GiB => {}
        }
        Ok(())
    }

    fn advise(&self, advice: Advice) -> io::Result<()> {
        // SAFETY: the range is exactly this mapping; the advices used here never change or drop its
        // content.
        Ok(unsafe { mm::madvise(self.start.as_ptr().cast(), self.bytes, advice) }?)
    }

    fn lock(&self) -> Result<(), RegionError> {
        // On fault: pages are locked as they come to exist, so locking does not populate, which is
        // prealloc's work. SAFETY: the range is exactly this mapping, and locking changes no
        // content.
        let done =
            unsafe { mm::mlock_with(self.start.as_ptr().cast(), self.bytes, MlockFlags::ONFAULT) };
        done.map_err(|source| RegionError::Lock {
            bytes: self.bytes as u64,
            limit_bytes: getrlimit(Resource::Memlock).current,
            source: source.into(),
        })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this value owns the whole range, and no borrow of it outlives the region that
        // holds this value. Unmapping a range of one's own cannot fail but for running out of map
        // areas, when it only leaks.
        let _ = unsafe { mm::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

impl HugePages {
    /// Size of the pages the mapping asks the kernel for; transparent huge pages are small pages,
    /// luckily joined.
    #[must_use]
    pub fn page_bytes(self) -> u64 {
        match self {
            HugePages::None | HugePages::Thp => crate::PAGE_BYTES as u64,
            HugePages::Size2MiB => 2 << 20,
            HugePages::Size1GiB => 1 << 30,
        }
    }
}

fn size_error(options: &RegionOptions, page_bytes: u64) -> RegionError {
    RegionError::Size { bytes: options.bytes, page_bytes }
}

fn map_error(options: &RegionOptions, source: io::Error) -> RegionError {
    let RegionOptions { bytes, huge_pages, .. } = *options;
    if matches!(huge_pages, HugePages::None | HugePages::Thp) {
        return RegionError::Map { bytes, source };
    }
    let page_kib = huge_pages.page_bytes() >> 10;
    let folder = format!("/sys/kernel/mm/hugepages/hugepages-{page_kib}kB");
    let free = std::fs::read_to_string(format!("{folder}/free_hugepages"));
    RegionError::HugePages {
        needed_pages: bytes / huge_pages.page_bytes(),
        page_kib,
        free_pages: free.ok().and_then(|it| it.trim().parse().ok()),
        sysctl: format!("{folder}/nr_hugepages"),
        source,
    }
}

fn anonymous(bytes: usize, extra: MapFlags) -> io::Result<Mapping> {
    // All counting in Sterna assumes 4 KiB; a kernel with larger base pages would break it
    // silently.
    if param::page_size() != crate::PAGE_BYTES {
        return Err(io::Error::other("Base pages of this kernel are not 4 KiB"));
    }
    // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
    let start = unsafe {
        mm::mmap_anonymous(
            ptr::null_mut(),
            bytes,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE | extra,
        )
    }?;
    let start = NonNull::new(start.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
    Ok(Mapping { start, bytes })
}

/// Maps with the alignment of a transparent huge page: takes more, and gives back what sticks out
/// on both sides.
fn anonymous_aligned(bytes: usize) -> io::Result<Mapping> {
    let wide_bytes = bytes.checked_add(THP_BYTES).ok_or(io::ErrorKind::OutOfMemory)?;
    let wide = std::mem::ManuallyDrop::new(anonymous(wide_bytes, MapFlags::NORESERVE)?);
    let front_bytes = wide.start.as_ptr().align_offset(THP_BYTES);
    let unmap = |offset: usize, bytes: usize| {
        if bytes > 0 {
            // SAFETY: both calls below name a part of `wide` that lies outside of the aligned range
            // kept, and `wide` is never dropped, so each byte is unmapped once.
            let _ = unsafe { mm::munmap(wide.start.as_ptr().add(offset).cast::<c_void>(), bytes) };
        }
    };
    unmap(0, front_bytes);
    unmap(front_bytes + bytes, THP_BYTES - front_bytes);
    // SAFETY: `front_bytes` is less than THP_BYTES, so the result lies within the mapping and is
    // not null.
    let start = unsafe { wide.start.add(front_bytes) };
    Ok(Mapping { start, bytes })
}
