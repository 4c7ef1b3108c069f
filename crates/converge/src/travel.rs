//! How many bytes pending pages will take on the wire.

use sterna_sys::PAGE_BYTES;

/// A pass in which fewer pages were taken teaches nothing.
const LEAST_PAGES: u64 = 64;

/// Learns from each pass how many bytes a page takes as it travels: nothing much for one of zeros, its difference, its compressed form.
///
/// The first pass is no teacher: memory that is idle may be empty, and the pages that stay pending are those that are written.
/// After it the larger share of the last pass and of the one under way counts, so that a change for the worse is believed at once, and one for the better when it has lasted a pass.
#[derive(Clone, Debug, Default)]
pub struct Travel {
    pass: u32,
    now: Amounts,
    last_share: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Amounts {
    pages: u64,
    wire_bytes: u64,
}

impl Travel {
    /// Pages were taken, and this is what they took.
    pub fn count(&mut self, pages: u64, wire_bytes: u64) {
        self.now.pages += pages;
        self.now.wire_bytes += wire_bytes;
    }

    /// A synchronisation ended a pass.
    pub fn next_pass(&mut self) {
        if self.pass > 0 {
            self.last_share = self.now.share().or(self.last_share);
        }
        self.pass += 1;
        self.now = Amounts::default();
    }

    /// Bytes on the wire for each raw byte of a page; 1 before anything was learnt.
    pub fn share(&self) -> f64 {
        let now = self.now.share().filter(|_| self.pass > 0);
        match (self.last_share, now) {
            (Some(last), Some(now)) => last.max(now),
            (last, now) => last.or(now).unwrap_or(1.0),
        }
    }

    /// What so many raw bytes will take.
    pub fn travelling(&self, raw_bytes: u64) -> u64 {
        (raw_bytes as f64 * self.share()).ceil() as u64
    }
}

impl Amounts {
    fn share(&self) -> Option<f64> {
        (self.pages >= LEAST_PAGES)
            .then(|| self.wire_bytes as f64 / (self.pages * PAGE_BYTES as u64) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-9
    }

    #[test]
    fn the_first_pass_teaches_nothing() {
        let mut it = Travel::default();
        it.count(100_000, 1);
        assert!(near(it.share(), 1.0));
        it.next_pass();
        assert!(near(it.share(), 1.0));
        it.count(63, 1);
        assert!(near(it.share(), 1.0), "too few to learn from");
        it.count(37, 100 * 4096 / 4 - 1);
        assert!(near(it.share(), 0.25));
        assert_eq!(it.travelling(4096), 1024);
    }

    #[test]
    fn the_worse_of_two_passes_is_believed() {
        let mut it = Travel::default();
        it.next_pass();
        it.count(100, 100 * 4096 / 2);
        it.next_pass();
        assert!(near(it.share(), 0.5));
        it.count(100, 100 * 4096 / 8);
        assert!(near(it.share(), 0.5));
        it.next_pass();
        assert!(near(it.share(), 0.125));
        it.count(100, 100 * 4096);
        assert!(near(it.share(), 1.0));
        // A pass in which nothing was sent changes nothing.
        it.next_pass();
        it.next_pass();
        assert!(near(it.share(), 1.0));
    }
}
