//! All memory of one side compared with that of the other, while the guest runs on neither.

use std::io;
use std::time::Instant;

use serde_json::{Value, json};
use sterna_pilot::EngineError;
use sterna_report::{CorruptPage, IntegrityDetail, Side, Word};

use super::{ENTRY_BYTES, GuestMemory, GuestMemoryError, HostAddress, PAGE_BYTES, has_content};
use crate::process::{QemuProcess, side_name};

/// Pages that are read and compared at a time.
const RUN_PAGES: usize = 256;

/// Wrong pages that are shown; more are counted.
const SHOWN: usize = 16;

/// All memory of the guest on one side.
#[derive(Debug)]
pub(crate) struct WholeMemory {
    memory: GuestMemory,
    start: HostAddress,
    pages: u64,
}

/// What a comparison found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Compared {
    pages: u64,
    differing: u64,
    first: Vec<CorruptPage>,
    seconds: f64,
}

impl WholeMemory {
    /// The memory of this side, of so many bytes.
    ///
    /// # Errors
    /// It cannot be read from outside, so a scenario that asks for it is refused.
    pub fn open(
        qemu: &mut QemuProcess,
        side: Side,
        bytes: u64,
    ) -> Result<WholeMemory, EngineError> {
        let refused = |error: GuestMemoryError| {
            EngineError::Unsupported(format!(
                "verify: the memory of the {} cannot be compared, since {error}; use \"workload\"",
                side_name(side)
            ))
        };
        let memory = GuestMemory::open(qemu).map_err(refused)?;
        let start = HostAddress::of(qemu, 0).map_err(refused)?;
        Ok(WholeMemory { memory, start, pages: bytes / PAGE_BYTES as u64 })
    }

    /// Compares each page with that of the other side. A page that was never written is one of zeros.
    pub fn compare(&self, other: &WholeMemory) -> io::Result<Compared> {
        let began = Instant::now();
        let mut found =
            Compared { pages: self.pages, differing: 0, first: Vec::new(), seconds: 0.0 };
        let mut runs = [vec![0; RUN_PAGES * PAGE_BYTES], vec![0; RUN_PAGES * PAGE_BYTES]];
        let mut page = 0;
        while page < self.pages {
            let count = RUN_PAGES.min((self.pages - page) as usize);
            let [ours, theirs] = &mut runs;
            self.read(page, &mut ours[..count * PAGE_BYTES])?;
            other.read(page, &mut theirs[..count * PAGE_BYTES])?;
            found.add(page, &ours[..count * PAGE_BYTES], &theirs[..count * PAGE_BYTES]);
            page += count as u64;
        }
        found.seconds = began.elapsed().as_secs_f64();
        Ok(found)
    }

    /// Turns one bit around, in the middle of memory; once more, and it is as before. That is a defect on purpose.
    pub fn flip_bit(&self) -> io::Result<()> {
        let at = self.address(self.pages / 2);
        let mut byte = [0];
        self.memory.read(at, &mut byte)?;
        self.memory.write(at, &[byte[0] ^ 0x10])
    }

    fn address(&self, page: u64) -> HostAddress {
        HostAddress(self.start.0 + page * PAGE_BYTES as u64)
    }

    /// Reads whole pages from this one on.
    fn read(&self, first: u64, to: &mut [u8]) -> io::Result<()> {
        let count = to.len() / PAGE_BYTES;
        let mut entries = vec![0; count * ENTRY_BYTES as usize];
        self.memory.entries(self.address(first), &mut entries)?;
        let (entries, _) = entries.as_chunks::<{ ENTRY_BYTES as usize }>();
        let is_there: Vec<bool> =
            entries.iter().map(|it| has_content(u64::from_ne_bytes(*it))).collect();
        let mut page = 0;
        for stretch in is_there.chunk_by(|one, next| one == next) {
            let to = &mut to[page * PAGE_BYTES..(page + stretch.len()) * PAGE_BYTES];
            if stretch[0] {
                self.memory.read_present(self.address(first + page as u64), to)?;
            } else {
                to.fill(0);
            }
            page += stretch.len();
        }
        Ok(())
    }
}

impl Compared {
    /// Takes in a run of pages of both sides, the source's first.
    fn add(&mut self, first: u64, ours: &[u8], theirs: &[u8]) {
        if ours == theirs {
            return;
        }
        let (ours, _) = ours.as_chunks::<PAGE_BYTES>();
        let (theirs, _) = theirs.as_chunks::<PAGE_BYTES>();
        for (page, (expected, found)) in (first..).zip(ours.iter().zip(theirs)) {
            if let Some(wrong) = difference(page, expected, found) {
                self.differing += 1;
                if self.first.len() < SHOWN {
                    self.first.push(wrong);
                }
            }
        }
    }

    /// The outcome of the whole check: what the guest found in its own pages, or what this has found in all.
    pub fn beside(&self, by_guest: IntegrityDetail) -> IntegrityDetail {
        if by_guest.corrupt_pages > 0 {
            return by_guest;
        }
        IntegrityDetail {
            pages_checked: self.pages,
            corrupt_pages: self.differing,
            first: self.first.clone(),
            ..by_guest
        }
    }

    /// For the report.
    pub fn to_details(&self) -> Value {
        json!({
            "pages": self.pages,
            "differing_pages": self.differing,
            "seconds": self.seconds,
        })
    }
}

/// The first word in which two pages differ.
fn difference(page: u64, expected: &[u8], found: &[u8]) -> Option<CorruptPage> {
    let (expected, _) = expected.as_chunks::<8>();
    let (found, _) = found.as_chunks::<8>();
    let word = expected.iter().zip(found).position(|(one, other)| one != other)?;
    Some(CorruptPage {
        page,
        offset_bytes: word as u64 * 8,
        expected: Word(u64::from_le_bytes(expected[word])),
        found: Word(u64::from_le_bytes(found[word])),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use sterna_sys::region::{HugePages, Region, RegionOptions};

    use super::*;

    const PAGES: usize = RUN_PAGES + 44;

    /// Memory of this very process, as that of a guest.
    fn memory() -> (Arc<Region>, WholeMemory) {
        let bytes = (PAGES * PAGE_BYTES) as u64;
        let options = RegionOptions { bytes, huge_pages: HugePages::None, locked: false };
        let region = Arc::new(Region::new(&options).unwrap());
        let start = HostAddress(region.words().as_ptr() as u64);
        let memory = GuestMemory::of_process(std::process::id()).unwrap();
        (region, WholeMemory { memory, start, pages: PAGES as u64 })
    }

    fn store(region: &Region, page: usize, word: usize, value: u64) {
        region.page(page)[word].store(value, Ordering::Relaxed);
    }

    #[test]
    fn a_single_bit_anywhere_is_found() {
        let ((one, ours), (other, theirs)) = (memory(), memory());
        for page in [0, 7, RUN_PAGES, PAGES - 1] {
            store(&one, page, 3, 77);
            store(&other, page, 3, 77);
        }
        // One that was written with zeros is like one that was never written.
        store(&other, 9, 0, 0);
        assert_eq!(ours.compare(&theirs).unwrap().differing, 0);

        theirs.flip_bit().unwrap();
        store(&other, PAGES - 1, 511, 1);
        let found = ours.compare(&theirs).unwrap();
        let pages: Vec<u64> = found.first.iter().map(|it| it.page).collect();
        assert_eq!((found.pages, found.differing), (PAGES as u64, 2));
        assert_eq!(pages, [PAGES as u64 / 2, PAGES as u64 - 1]);
        assert_eq!(found.first[0].found, Word(0x10));
        assert_eq!((found.first[1].offset_bytes, found.first[1].expected), (4088, Word(0)));
        theirs.flip_bit().unwrap();
        store(&other, PAGES - 1, 511, 0);
        assert_eq!(ours.compare(&theirs).unwrap().differing, 0);
    }

    #[test]
    fn what_the_guest_found_wrong_comes_first() {
        let ((_one, ours), (other, theirs)) = (memory(), memory());
        store(&other, 1, 1, 1);
        let compared = ours.compare(&theirs).unwrap();
        let by_guest = |corrupt_pages| IntegrityDetail {
            side: Side::Destination,
            pages_checked: 10,
            corrupt_pages,
            first: Vec::new(),
            memory_pages: None,
            first_writes: None,
            writes_after_go: None,
        };
        assert_eq!(compared.beside(by_guest(3)), by_guest(3));
        let both = compared.beside(by_guest(0));
        assert_eq!((both.pages_checked, both.corrupt_pages), (PAGES as u64, 1));
        assert_eq!(both.first[0].page, 1);
    }
}
