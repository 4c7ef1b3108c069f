//! What the source has still to send after the switch.

use std::sync::{Mutex, MutexGuard, PoisonError};

use sterna_wire::control::Served;
use sterna_wire::stream::PageRun;

use crate::migration::page_set::PageSet;

/// The pages that the destination lacks, for the thread that scans them and the one that is asked for some.
///
/// Whoever takes a page sends it; nobody else can take it again, so no page travels twice.
/// The scan goes round, and jumps behind each page that was asked for: a guest that touched one will likely touch its neighbours.
#[derive(Debug)]
pub struct Backlog {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// All that the destination was told to wait for.
    announced: PageSet,
    pending: PageSet,
    cursor: usize,
    /// Pages that can only be there or missing together.
    unit: usize,
    served: Served,
}

impl Backlog {
    /// All of `pending`, to be scanned from page `cursor` on, and taken in units of `unit` pages.
    pub fn new(pending: PageSet, cursor: usize, unit: usize) -> Backlog {
        let (announced, served) = (pending.clone(), Served::default());
        Backlog { inner: Mutex::new(Inner { announced, pending, cursor, unit, served }) }
    }

    /// Pages that nobody has taken yet.
    pub fn len(&self) -> usize {
        self.lock().pending.len()
    }

    /// Whether every page was taken.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the next pages of the scan, at most `most` where no unit is larger.
    pub fn take_next(&self, most: usize, on_page: &mut dyn FnMut(usize)) {
        let inner = &mut *self.lock();
        for _ in 0..most.div_ceil(inner.unit) {
            let Some(page) = inner.pending.next_from(inner.cursor) else { return };
            inner.served.pages_by_background += inner.take_unit(page, on_page);
        }
    }

    /// Takes those of the pages asked for that were not taken before: the others are on their way.
    pub fn take_requested(&self, runs: &[PageRun], on_page: &mut dyn FnMut(usize)) {
        let inner = &mut *self.lock();
        for page in runs.iter().flat_map(|it| it.first..it.first + u64::from(it.count)) {
            let page = page as usize;
            inner.served.requests += 1;
            if inner.pending.contains(page) {
                inner.served.pages_by_request += inner.take_unit(page, on_page);
            }
        }
    }

    /// Begins anew with what is still missing, since nobody knows what became of pages under way on a lost connection.
    ///
    /// # Errors
    /// A page is missing that the destination was never told to wait for; nothing is changed then.
    pub fn restart(&self, missing: PageSet, paused_ns: u64) -> Result<(), usize> {
        let inner = &mut *self.lock();
        if let Some(page) = missing.without(&inner.announced).next_from(0) {
            return Err(page);
        }
        inner.served.pages_sent_again += missing.without(&inner.pending).len() as u64;
        inner.served.recoveries += 1;
        inner.served.paused_ns += paused_ns;
        inner.pending = missing;
        Ok(())
    }

    /// Counts bytes that were sent.
    pub fn count_bytes(&self, bytes: u64) {
        self.lock().served.wire_bytes += bytes;
    }

    /// What was sent so far.
    pub fn served(&self) -> Served {
        self.lock().served.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Takes a page and all that must come with it; returns how many they are.
    fn take_unit(&mut self, page: usize, on_page: &mut dyn FnMut(usize)) -> u64 {
        let first = page / self.unit * self.unit;
        let end = self.pending.pages().min(first + self.unit);
        let before = self.pending.len();
        for page in first..end {
            if self.pending.contains(page) {
                self.pending.remove(page);
                on_page(page);
            }
        }
        self.cursor = end;
        (before - self.pending.len()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backlog(pages: std::ops::Range<usize>) -> Backlog {
        let mut pending = PageSet::new(100);
        pending.insert_range(pages);
        Backlog::new(pending, 0, 1)
    }

    fn next(backlog: &Backlog, most: usize) -> Vec<usize> {
        let mut pages = Vec::new();
        backlog.take_next(most, &mut |page| pages.push(page));
        pages
    }

    fn requested(backlog: &Backlog, runs: &[PageRun]) -> Vec<usize> {
        let mut pages = Vec::new();
        backlog.take_requested(runs, &mut |page| pages.push(page));
        pages
    }

    #[test]
    fn the_scan_goes_on_behind_a_page_that_was_asked_for() {
        let backlog = backlog(10..20);
        assert_eq!(next(&backlog, 2), [10, 11]);
        assert_eq!(requested(&backlog, &[PageRun { first: 16, count: 1 }]), [16]);
        assert_eq!(next(&backlog, 4), [17, 18, 19, 12]);
        assert_eq!(backlog.len(), 3);
    }

    #[test]
    fn what_holds_together_is_taken_together() {
        let mut pending = PageSet::new(24);
        pending.insert_range(0..24);
        let backlog = Backlog::new(pending, 0, 8);
        assert_eq!(next(&backlog, 1), (0..8).collect::<Vec<_>>());
        let run = PageRun { first: 17, count: 1 };
        assert_eq!(requested(&backlog, &[run]), (16..24).collect::<Vec<_>>());
        assert_eq!(next(&backlog, 100), (8..16).collect::<Vec<_>>());
        let served = backlog.served();
        assert_eq!((served.pages_by_request, served.pages_by_background), (8, 16));
    }

    #[test]
    fn what_was_lost_on_the_way_is_sent_again() {
        let backlog = backlog(10..20);
        assert_eq!(next(&backlog, 4), [10, 11, 12, 13]);
        let mut missing = PageSet::new(100);
        missing.insert_range(12..20);
        backlog.restart(missing.clone(), 7).unwrap();
        assert_eq!(next(&backlog, 9), [14, 15, 16, 17, 18, 19, 12, 13]);
        let served = backlog.served();
        assert_eq!((served.recoveries, served.pages_sent_again, served.paused_ns), (1, 2, 7));
        missing.insert(20);
        assert_eq!(backlog.restart(missing, 7), Err(20));
        assert!(backlog.is_empty());
    }

    #[test]
    fn no_page_is_sent_twice() {
        let backlog = backlog(10..14);
        assert_eq!(next(&backlog, 1), [10]);
        let run = PageRun { first: 8, count: 5 };
        assert_eq!(requested(&backlog, &[run]), [11, 12]);
        assert!(requested(&backlog, &[run]).is_empty());
        assert_eq!(next(&backlog, 9), [13]);
        assert!(backlog.is_empty());
        let served = backlog.served();
        assert_eq!(
            (served.requests, served.pages_by_request, served.pages_by_background),
            (10, 2, 2)
        );
    }
}
