//! Which pages were written since the last look.

use std::{
    fs::File,
    io,
    os::fd::AsFd,
    sync::{Arc, atomic::Ordering},
};

use super::{Mode, TrackingError, Uffd, abi};
use crate::{PAGE_BYTES, clock, region::Region};

/// Runs that one call of the kernel reports at most; bounds both the buffer and how long the call
/// keeps the region's page tables from changing.
const RUNS_PER_CALL: usize = 8192;

/// Finds the pages of a region that were written, with write protection that the kernel resolves by
/// itself.
///
/// # How it works
///
/// An armed page is mapped read-only with a mark. The first write to it faults; the kernel sees the
/// mark, removes it, lets the write through and tells nobody (asynchronous mode). PAGEMAP_SCAN then
/// lists the pages without a mark, and arms each in the moment it is listed. So a write is before
/// the listing, and is in the memory that the caller copies *afterwards*; or it is after, faults,
/// and is in the next list. Copy only what was listed, and only after it was listed, and nothing is
/// lost, with writers running all the time.
///
/// What it costs the writer is real, and is what a hypervisor's dirty log costs a guest in kind:
/// about a microsecond for the first write to each page after each sync. Until the first
/// [`WpTracker::sync`] nothing is armed and writes run at full speed.
///
/// Pages are 4 KiB also where the kernel joined them to huge ones (it splits them at the first
/// write), but reserved huge pages are tracked as a whole: see [`WpTracker::page_bytes`].
#[derive(Debug)]
pub struct WpTracker {
    region: Arc<Region>,
    pagemap: File,
    buffer: Vec<abi::page_region>,
    state: State,
}

/// What the marks in the page tables are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No page has one.
    Disarmed,
    /// Pages without one were written since the last sync.
    Armed,
    /// Some have one, but a sync failed midway: they must be set anew before they say anything.
    Unknown,
}

/// What one sync saw and cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SyncStats {
    /// Pages (of 4 KiB) reported as dirty.
    pub pages: usize,
    /// Runs of adjacent pages they were reported in.
    pub runs: usize,
    /// Calls of the kernel that it took.
    pub calls: usize,
    /// Time spent, with the time that the caller's own function took.
    pub elapsed_ns: u64,
}

impl WpTracker {
    /// Prepares to track `region`; nothing is protected yet, and writers run at full speed.
    ///
    /// # Errors
    /// Something is missing in this kernel or forbidden here, or another tracker is attached.
    pub fn attach(region: &Arc<Region>) -> Result<WpTracker, TrackingError> {
        let uffd = region.uffd()?;
        let pagemap = File::open("/proc/self/pagemap").map_err(TrackingError::Pagemap)?;
        uffd.register(Mode::WriteProtect)?;
        check_scan(&pagemap)?;
        uffd.begin_tracking()?;
        let empty = abi::page_region { start: 0, end: 0, categories: 0 };
        Ok(WpTracker {
            region: Arc::clone(region),
            pagemap,
            buffer: vec![empty; RUNS_PER_CALL],
            state: State::Disarmed,
        })
    }

    /// Reports the pages written since the last sync, as runs (first page, count) in ascending
    /// order, and arms them again. The first call, and the first after [`WpTracker::disarm`], arms
    /// the whole region and reports all of it.
    ///
    /// `on_dirty` is called while later pages are still to be looked at, and may copy the pages it
    /// is given at once.
    ///
    /// # Errors
    /// The kernel failed midway. What it had listed and re-armed until then is lost, so count every
    /// page as dirty; the next sync starts anew and reports everything.
    pub fn sync(
        &mut self,
        on_dirty: &mut dyn FnMut(usize, usize),
    ) -> Result<SyncStats, TrackingError> {
        let start_ns = clock::monotonic_ns();
        // Unless all goes well.
        let state = std::mem::replace(&mut self.state, State::Unknown);
        let mut stats = match state {
            State::Armed => self.scan(on_dirty)?,
            State::Disarmed | State::Unknown => self.arm(on_dirty)?,
        };
        self.state = State::Armed;
        stats.elapsed_ns = clock::monotonic_ns() - start_ns;
        Ok(stats)
    }

    /// Takes the protection away, so that writers run at full speed again; what was written since
    /// the last sync is forgotten.
    ///
    /// # Errors
    /// The kernel could not change its page tables.
    pub fn disarm(&mut self) -> Result<(), TrackingError> {
        if self.state != State::Disarmed {
            self.uffd()?.end_write_protection()?;
            self.state = State::Disarmed;
        }
        Ok(())
    }

    /// The granularity of tracking: one write makes this much dirty.
    #[must_use]
    pub fn page_bytes(&self) -> u64 {
        self.region.page_bytes()
    }

    fn uffd(&self) -> Result<&Uffd, TrackingError> {
        self.region.uffd()
    }

    /// A scan that lists nothing arms all the same, and in less than half of the time that a
    /// request for write protection takes: that one looks up what the kernel knows of each page.
    fn arm(&mut self, on_dirty: &mut dyn FnMut(usize, usize)) -> Result<SyncStats, TrackingError> {
        let mut calls = 0;
        walk(&self.region, &self.pagemap, &mut [], &mut |_| calls += 1)?;
        // Only now: a page written after it was armed counts for the next sync.
        on_dirty(0, self.region.pages());
        Ok(SyncStats { pages: self.region.pages(), runs: 1, calls, elapsed_ns: 0 })
    }

    fn scan(&mut self, on_dirty: &mut dyn FnMut(usize, usize)) -> Result<SyncStats, TrackingError> {
        let mut runs = Runs { on_dirty, pending: None, stats: SyncStats::default() };
        let start = self.region.words().as_ptr().addr() as u64;
        walk(&self.region, &self.pagemap, &mut self.buffer, &mut |listed| {
            runs.stats.calls += 1;
            for run in listed {
                let pages = (run.end - run.start) / PAGE_BYTES as u64;
                runs.add(((run.start - start) / PAGE_BYTES as u64) as usize, pages as usize);
            }
        })?;
        Ok(runs.finish())
    }
}

impl Drop for WpTracker {
    fn drop(&mut self) {
        // At worst writers go on paying for faults that nobody looks at.
        let _ = self.disarm();
        if let Ok(uffd) = self.uffd() {
            uffd.is_tracked.store(false, Ordering::Release);
        }
    }
}

/// Joins adjacent runs, which the kernel cuts at the ends of its own and of our buffer.
struct Runs<'a> {
    on_dirty: &'a mut dyn FnMut(usize, usize),
    pending: Option<(usize, usize)>,
    stats: SyncStats,
}

impl Runs<'_> {
    fn add(&mut self, first: usize, count: usize) {
        match &mut self.pending {
            Some((start, length)) if *start + *length == first => *length += count,
            _ => {
                self.report();
                self.pending = Some((first, count));
            }
        }
    }

    fn report(&mut self) {
        if let Some((first, count)) = self.pending.take() {
            self.stats.runs += 1;
            self.stats.pages += count;
            (self.on_dirty)(first, count);
        }
    }

    fn finish(mut self) -> SyncStats {
        self.report();
        self.stats
    }
}

/// Goes over the region, once for each time that `buffer` is full; once without a buffer.
fn walk(
    region: &Region,
    pagemap: &File,
    buffer: &mut [abi::page_region],
    on_listed: &mut dyn FnMut(&[abi::page_region]),
) -> Result<(), TrackingError> {
    let start = region.words().as_ptr().addr() as u64;
    let end = start + region.bytes();
    let mut at = start;
    while at < end {
        let listed = scan_once(pagemap, at, end, buffer);
        let (count, walk_end) =
            listed.map_err(|source| TrackingError::Scan { offset_bytes: at - start, source })?;
        on_listed(&buffer[..count]);
        at = walk_end;
    }
    Ok(())
}

/// Arms written pages from `start` to `end` and lists them, unless `buffer` is empty; gives the
/// number of runs and where the kernel stopped.
fn scan_once(
    pagemap: &File,
    start: u64,
    end: u64,
    buffer: &mut [abi::page_region],
) -> io::Result<(usize, u64)> {
    let written = u64::from(abi::PAGE_IS_WRITTEN);
    // The kernel takes a length of 0 only with no address.
    let vec = if buffer.is_empty() { 0 } else { buffer.as_mut_ptr().expose_provenance() as u64 };
    let mut argument = abi::pm_scan_arg {
        size: size_of::<abi::pm_scan_arg>() as u64,
        // Refuse, instead of protecting memory whose faults nobody would resolve.
        flags: u64::from(abi::PM_SCAN_WP_MATCHING | abi::PM_SCAN_CHECK_WPASYNC),
        start,
        end,
        walk_end: 0,
        vec,
        vec_len: buffer.len() as u64,
        max_pages: 0,
        category_inverted: 0,
        category_mask: written,
        category_anyof_mask: 0,
        return_mask: written,
    };
    // SAFETY: the kernel writes at most `vec_len` entries to the buffer, which is borrowed
    // exclusively. In the range it changes protection only, and only of memory registered in
    // asynchronous mode.
    let count = unsafe { abi::call(pagemap.as_fd(), &abi::PAGEMAP_SCAN, &mut argument) }?;
    let count = usize::try_from(count).map_err(|_| io::ErrorKind::InvalidData)?;
    // A walk that goes nowhere would be repeated for ever.
    if count > buffer.len() || argument.walk_end <= start || argument.walk_end > end {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok((count, argument.walk_end))
}

/// Scans nothing, to learn early whether the kernel knows the request.
fn check_scan(pagemap: &File) -> Result<(), TrackingError> {
    let mut argument = abi::pm_scan_arg {
        size: size_of::<abi::pm_scan_arg>() as u64,
        flags: 0,
        start: 0,
        end: 0,
        walk_end: 0,
        vec: 0,
        vec_len: 0,
        max_pages: 0,
        category_inverted: 0,
        category_mask: 0,
        category_anyof_mask: 0,
        return_mask: 0,
    };
    // SAFETY: an empty range and an empty buffer.
    let done = unsafe { abi::call(pagemap.as_fd(), &abi::PAGEMAP_SCAN, &mut argument) };
    done.map(drop).map_err(TrackingError::NoPagemapScan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::{HugePages, RegionOptions};

    #[test]
    fn adjacent_runs_are_joined() {
        let check = |parts: &[(usize, usize)], expected: &[(usize, usize)]| {
            let mut seen = Vec::new();
            let mut on_dirty = |first, count| seen.push((first, count));
            let mut runs =
                Runs { on_dirty: &mut on_dirty, pending: None, stats: SyncStats::default() };
            parts.iter().for_each(|&(first, count)| runs.add(first, count));
            let stats = runs.finish();
            assert_eq!(seen, expected, "{parts:?}");
            assert_eq!(stats.runs, expected.len());
            assert_eq!(stats.pages, parts.iter().map(|it| it.1).sum());
        };
        check(&[], &[]);
        check(&[(3, 1)], &[(3, 1)]);
        check(&[(0, 2), (2, 3), (6, 1), (7, 1)], &[(0, 5), (6, 2)]);
    }

    #[test]
    fn after_a_failed_scan_everything_counts_as_dirty() {
        let options = RegionOptions { bytes: 1 << 16, huge_pages: HugePages::None, locked: false };
        let region = Arc::new(Region::new(&options).unwrap());
        let Ok(mut tracker) = WpTracker::attach(&region) else {
            return eprintln!("skipped: this kernel cannot track");
        };
        let pages = |tracker: &mut WpTracker| tracker.sync(&mut |_, _| {}).map(|it| it.pages);
        assert_eq!(pages(&mut tracker).unwrap(), 16);
        let no_pagemap = File::open("/dev/null").unwrap();
        let pagemap = std::mem::replace(&mut tracker.pagemap, no_pagemap);
        let error = pages(&mut tracker).unwrap_err();
        assert!(matches!(error, TrackingError::Scan { offset_bytes: 0, .. }), "{error}");
        tracker.pagemap = pagemap;
        assert_eq!(pages(&mut tracker).unwrap(), 16);
        assert_eq!(pages(&mut tracker).unwrap(), 0);
        tracker.state = State::Unknown;
        tracker.disarm().unwrap();
        assert_eq!(tracker.state, State::Disarmed);
    }
}
