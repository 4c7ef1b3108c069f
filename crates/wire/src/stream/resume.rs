//! A post-copy that goes on after its connection was lost: who comes back, and what is there already.

use super::{FrameError, Kind};

/// Most bytes of marks in one `Received` frame: 2 GiB of guest memory.
pub const MAX_MARK_BYTES: usize = 64 << 10;

const FIRST_BYTES: usize = 8;

/// Most bytes of a `Received` body.
pub(super) const MAX_RECEIVED_BYTES: usize = FIRST_BYTES + MAX_MARK_BYTES;

/// A part of what the destination has, one bit a page; page `first + 8 * i + b` is bit `b` of byte `i`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The page of the first bit.
    pub first: u64,
    /// Set for pages that are there; bits behind the guest's last page are not.
    pub marks: Vec<u8>,
}

/// The marks of a whole guest, put together from frames in the order of its pages.
#[derive(Clone, Debug)]
pub struct ReceivedMap {
    ram_pages: u64,
    marks: Vec<u8>,
}

impl Received {
    /// Cuts the marks of a whole guest into frames.
    pub fn frames(marks: &[u8]) -> impl Iterator<Item = Received> + '_ {
        marks.chunks(MAX_MARK_BYTES).zip(0..).map(|(chunk, index)| Received {
            first: index * (MAX_MARK_BYTES as u64 * 8),
            marks: chunk.to_vec(),
        })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        [&self.first.to_le_bytes(), self.marks.as_slice()].concat()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Received, FrameError> {
        match bytes.split_first_chunk::<FIRST_BYTES>() {
            Some((first, marks)) if !marks.is_empty() && marks.len() <= MAX_MARK_BYTES => {
                Ok(Received { first: u64::from_le_bytes(*first), marks: marks.to_vec() })
            }
            _ => Err(malformed(format!("{} bytes are no page and its marks", bytes.len()))),
        }
    }
}

impl ReceivedMap {
    /// Nothing is known yet of a guest of `ram_pages` pages.
    pub fn new(ram_pages: u64) -> ReceivedMap {
        ReceivedMap { ram_pages, marks: Vec::new() }
    }

    /// Whether all pages are told of.
    pub fn is_whole(&self) -> bool {
        self.marks.len() as u64 == self.ram_pages.div_ceil(8)
    }

    /// Takes the next part.
    pub fn add(&mut self, part: &Received) -> Result<(), FrameError> {
        let due = self.marks.len() as u64 * 8;
        if part.first != due {
            return Err(malformed(format!("it begins at page {}, due was {due}", part.first)));
        }
        let pages = due + part.marks.len() as u64 * 8;
        let spare = pages.saturating_sub(self.ram_pages);
        let is_beyond = |last: &u8| u32::from(*last) >> (8 - spare) != 0;
        if spare > 7 || part.marks.last().is_some_and(is_beyond) {
            let ram_pages = self.ram_pages;
            return Err(malformed(format!("it tells of pages behind the guest's {ram_pages}")));
        }
        self.marks.extend_from_slice(&part.marks);
        Ok(())
    }

    /// The marks as far as they are known.
    pub fn marks(&self) -> &[u8] {
        &self.marks
    }
}

fn malformed(detail: String) -> FrameError {
    FrameError::Malformed { kind: Kind::Received, detail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn received_has_golden_bytes() {
        let part = Received { first: 0x0102, marks: vec![0x81, 0xff] };
        let golden = [2, 1, 0, 0, 0, 0, 0, 0, 0x81, 0xff];
        assert_eq!(part.encode(), golden);
        assert_eq!(Received::decode(&golden), Ok(part));
    }

    #[test]
    fn maps_that_lie_are_refused() {
        #[track_caller]
        fn check(parts: &[(u64, &[u8])], expected: &str) {
            let mut map = ReceivedMap::new(20);
            let added: Result<(), FrameError> = parts.iter().try_for_each(|(first, marks)| {
                map.add(&Received { first: *first, marks: marks.to_vec() })
            });
            let error = added.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!map.is_whole());
        }
        check(&[(8, &[1])], "begins at page 8, due was 0");
        check(&[(0, &[1, 1]), (8, &[1])], "begins at page 8, due was 16");
        check(&[(0, &[1, 1]), (16, &[0x10])], "behind the guest's 20");
        check(&[(0, &[0, 0, 0, 0])], "behind the guest's 20");
        for short in [&[][..], &[0; 8]] {
            assert!(Received::decode(short).is_err());
        }
        assert!(Received::decode(&[0; MAX_RECEIVED_BYTES + 1]).is_err());
    }

    proptest! {
        #[test]
        fn a_map_is_the_same_behind_the_wire(
            ram_pages in 1u64..2_000_000,
            pages in prop::collection::vec(0usize..2_000_000, 0..50),
        ) {
            let mut marks = vec![0; ram_pages.div_ceil(8) as usize];
            let pages: Vec<usize> = pages.into_iter().map(|it| it % ram_pages as usize).collect();
            for page in &pages {
                marks[page / 8] |= 1 << (page % 8);
            }
            let mut map = ReceivedMap::new(ram_pages);
            for part in Received::frames(&marks) {
                prop_assert!(!map.is_whole());
                map.add(&Received::decode(&part.encode()).unwrap()).unwrap();
            }
            prop_assert!(map.is_whole());
            prop_assert_eq!(map.marks(), marks);
        }
    }
}
