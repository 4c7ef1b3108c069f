//! Making all pages of a region exist before they are needed.

use std::{
    io,
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    thread,
};

use rustix::{
    io::Errno,
    mm::{self, Advice},
};

use super::{Region, RegionError};
use crate::{PAGE_BYTES, kernel::page};

/// Large enough that system calls cost nothing, small enough that progress moves several times a
/// second.
const STEP_PAGES: usize = (16 << 20) / PAGE_BYTES;

impl Region {
    /// Makes every page exist, using `threads` threads (at least one); content is not changed, also
    /// if others write.
    ///
    /// `progress` grows by the bytes populated, and can be read by another thread meanwhile.
    ///
    /// # Errors
    /// The kernel has too little memory (or too few huge pages), or no more threads can be started.
    pub fn prealloc(&self, threads: usize, progress: &AtomicU64) -> Result<(), RegionError> {
        let work = Work {
            region: self,
            next: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            progress,
        };
        thread::scope(|scope| {
            let helpers: Vec<_> = (1..threads)
                .map(|_| {
                    thread::Builder::new()
                        .name("prealloc".into())
                        .spawn_scoped(scope, || work.run())
                })
                .collect();
            let mut result = work.run();
            for helper in helpers {
                let joined = match helper {
                    Ok(handle) => {
                        handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                    }
                    Err(source) => Err(RegionError::Thread(source)),
                };
                result = result.and(joined);
            }
            result
        })
    }
}

struct Work<'a> {
    region: &'a Region,
    next: AtomicUsize,
    stop: AtomicBool,
    progress: &'a AtomicU64,
}

impl Work<'_> {
    /// Takes step after step until none is left, or until any thread has failed.
    fn run(&self) -> Result<(), RegionError> {
        while !self.stop.load(Relaxed) {
            // A step ends at a multiple of every page size below 1 GiB; a larger page is populated
            // by its first step.
            let first = self.next.fetch_add(STEP_PAGES, Relaxed);
            let Some(left) = self.region.pages().checked_sub(first).filter(|it| *it > 0) else {
                break;
            };
            let pages = left.min(STEP_PAGES);
            self.region.populate(first, pages).inspect_err(|_| self.stop.store(true, Relaxed))?;
            self.progress.fetch_add((pages * PAGE_BYTES) as u64, Relaxed);
        }
        Ok(())
    }
}

impl Region {
    fn populate(&self, first: usize, pages: usize) -> Result<(), RegionError> {
        match self.populate_by_advice(first, pages) {
            // Kernels before 5.14 do not know the advice.
            Err(Errno::INVAL) => self.touch(first, pages),
            Err(source) => {
                return Err(RegionError::Populate {
                    offset_bytes: (first * PAGE_BYTES) as u64,
                    length_bytes: (pages * PAGE_BYTES) as u64,
                    source: io::Error::from(source),
                });
            }
            Ok(()) => {}
        }
        Ok(())
    }

    fn populate_by_advice(&self, first: usize, pages: usize) -> Result<(), Errno> {
        let words = self.range(first, pages);
        let start = words.as_ptr().cast_mut().cast();
        loop {
            // SAFETY: the range lies within the mapping, and populating does not change content.
            match unsafe { mm::madvise(start, size_of_val(words), Advice::LinuxPopulateWrite) } {
                Err(Errno::INTR | Errno::AGAIN) => {}
                done => return done,
            }
        }
    }

    fn touch(&self, first: usize, pages: usize) {
        for index in first..first + pages {
            page::touch(&self.page(index)[0]);
        }
    }
}
