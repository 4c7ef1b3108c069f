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
    pending: PageSet,
    cursor: usize,
    served: Served,
}

impl Backlog {
    /// All of `pending`, to be scanned from page `cursor` on.
    pub fn new(pending: PageSet, cursor: usize) -> Backlog {
        Backlog { inner: Mutex::new(Inner { pending, cursor, served: Served::default() }) }
    }

    /// Pages that nobody has taken yet.
    pub fn len(&self) -> usize {
        self.lock().pending.len()
    }

    /// Whether every page was taken.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the next pages of the scan, at most `most`.
    pub fn take_next(&self, most: usize, on_page: &mut dyn FnMut(usize)) {
        let inner = &mut *self.lock();
        for _ in 0..most {
            let Some(page) = inner.pending.next_from(inner.cursor) else { return };
            inner.pending.remove(page);
            inner.cursor = page + 1;
            inner.served.pages_by_background += 1;
            on_page(page);
        }
    }

    /// Takes those of the pages asked for that were not taken before: the others are on their way.
    pub fn take_requested(&self, runs: &[PageRun], on_page: &mut dyn FnMut(usize)) {
        let inner = &mut *self.lock();
        for page in runs.iter().flat_map(|it| it.first..it.first + u64::from(it.count)) {
            let page = page as usize;
            inner.served.requests += 1;
            if inner.pending.contains(page) {
                inner.pending.remove(page);
                inner.cursor = page + 1;
                inner.served.pages_by_request += 1;
                on_page(page);
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn backlog(pages: std::ops::Range<usize>) -> Backlog {
        let mut pending = PageSet::new(100);
        pending.insert_range(pages);
        Backlog::new(pending, 0)
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
