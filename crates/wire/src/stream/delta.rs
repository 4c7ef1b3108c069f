//! What changed in a page, in QEMU's xbzrle encoding.
//!
//! A page is told as pairs: how many bytes are as before, how many are not, and then those, as they are now.
//! Both numbers are ULEB128 of at most two bytes; equal bytes at the end are left out.
//!
//! ```text
//!  1 200 bytes as before   3 changed     the rest as before
//!  [0xb0 0x09]             [0x03] a b c
//! ```

use sterna_sys::{DiffMap, diff_map};

use super::PAGE_BYTES;

/// Bytes of one page.
pub type PageContent = [u8; PAGE_BYTES];

/// What a page has become since its former content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delta<'a> {
    /// Not a byte has changed: nothing needs to be sent.
    Unchanged,
    /// The encoded difference, at most a page long.
    Changed(&'a [u8]),
    /// The difference would be longer than the page: send the page.
    Overflow,
}

/// Why bytes are no difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeltaError {
    /// It ends in the middle of a pair.
    #[error("it ends within a pair at byte {at}")]
    Truncated {
        /// Where the pair begins.
        at: usize,
    },
    /// A number that takes more than two bytes, or more than it needs.
    #[error("the number at byte {at} is not written as it should be")]
    Number {
        /// Where the number begins.
        at: usize,
    },
    /// A pair that says nothing.
    #[error("the pair at byte {at} has an empty run")]
    EmptyRun {
        /// Where the pair begins.
        at: usize,
    },
    /// A run that goes beyond the end of the page.
    #[error("the pair at byte {at} goes beyond the end of the page")]
    Outside {
        /// Where the pair begins.
        at: usize,
    },
}

/// Encodes differences into a buffer of its own, which is used again and again.
#[derive(Debug)]
pub struct DeltaEncoder {
    /// Longer than a page by [`SLACK`], so that short runs are copied as a whole piece.
    buffer: Box<[u8; PAGE_BYTES + SLACK]>,
}

/// Runs of at most so many bytes are copied by one wide move, which may write beyond what counts.
const SLACK: usize = 16;

impl Default for DeltaEncoder {
    fn default() -> DeltaEncoder {
        DeltaEncoder { buffer: Box::new([0; PAGE_BYTES + SLACK]) }
    }
}

impl DeltaEncoder {
    /// What `new` is, told by `old`.
    pub fn encode(&mut self, old: &PageContent, new: &PageContent) -> Delta<'_> {
        let map = diff_map(old, new);
        let mut output = Output { buffer: &mut self.buffer, length: 0 };
        let mut told = 0;
        let mut start = None;
        for (word, changes) in edges(&map) {
            let mut changes = changes;
            while changes != 0 {
                let at = word * 64 + changes.trailing_zeros() as usize;
                changes &= changes - 1;
                let Some(first) = start.take() else {
                    start = Some(at);
                    continue;
                };
                if !output.pair(first - told, first..at, new) {
                    return Delta::Overflow;
                }
                told = at;
            }
        }
        // A run that reaches the end of the page has no edge there.
        if let Some(first) = start
            && !output.pair(first - told, first..PAGE_BYTES, new)
        {
            return Delta::Overflow;
        }
        match output.length {
            0 => Delta::Unchanged,
            length => Delta::Changed(&self.buffer[..length]),
        }
    }
}

/// For each word of a map, where a run of equal or of changed bytes begins in it.
fn edges(map: &DiffMap) -> impl Iterator<Item = (usize, u64)> {
    let mut carried = 0;
    map.iter().enumerate().map(move |(word, bits)| {
        let edges = bits ^ (bits << 1 | carried);
        carried = bits >> 63;
        (word, edges)
    })
}

struct Output<'a> {
    buffer: &'a mut [u8; PAGE_BYTES + SLACK],
    length: usize,
}

impl Output<'_> {
    /// Appends a pair; false when it does not fit. QEMU asks for room for two bytes before it writes a number, and so must this, or the two would not call the same pages an overflow.
    #[inline]
    fn pair(&mut self, equal: usize, changed: std::ops::Range<usize>, new: &PageContent) -> bool {
        self.number(equal) && self.number(changed.len()) && self.bytes(changed, new)
    }

    #[inline]
    fn number(&mut self, number: usize) -> bool {
        if self.length + 2 > PAGE_BYTES {
            return false;
        }
        if number < 0x80 {
            self.buffer[self.length] = number as u8;
            self.length += 1;
        } else {
            self.buffer[self.length] = number as u8 | 0x80;
            self.buffer[self.length + 1] = (number >> 7) as u8;
            self.length += 2;
        }
        true
    }

    #[inline]
    fn bytes(&mut self, changed: std::ops::Range<usize>, new: &PageContent) -> bool {
        let (from, count) = (changed.start, changed.len());
        let end = self.length + count;
        if end > PAGE_BYTES {
            return false;
        }
        match new.get(from..from + SLACK).filter(|_| count <= SLACK) {
            Some(piece) => self.buffer[self.length..self.length + SLACK].copy_from_slice(piece),
            None => self.buffer[self.length..end].copy_from_slice(&new[changed]),
        }
        self.length = end;
        true
    }
}

/// Makes `page` what it has become; it is as the sender's former content until then.
///
/// # Errors
/// Bytes that no encoder writes. The page may then be changed in part.
pub fn apply_delta(delta: &[u8], page: &mut PageContent) -> Result<(), DeltaError> {
    let (mut at, mut place) = (0, 0);
    while at < delta.len() {
        let pair = at;
        let equal = number(delta, &mut at)?;
        let changed = number(delta, &mut at)?;
        // Only a page that differs in its first byte begins with no equal bytes.
        if changed == 0 || (equal == 0 && pair > 0) {
            return Err(DeltaError::EmptyRun { at: pair });
        }
        let start = place + equal;
        let Some(to) = page.get_mut(start..start + changed) else {
            return Err(DeltaError::Outside { at: pair });
        };
        let Some(from) = delta.get(at..at + changed) else {
            return Err(DeltaError::Truncated { at: pair });
        };
        to.copy_from_slice(from);
        at += changed;
        place = start + changed;
    }
    Ok(())
}

fn number(delta: &[u8], at: &mut usize) -> Result<usize, DeltaError> {
    let begin = *at;
    let byte = |at: usize| delta.get(at).copied().ok_or(DeltaError::Truncated { at: begin });
    let low = byte(begin)?;
    if low < 0x80 {
        *at += 1;
        return Ok(usize::from(low));
    }
    let high = byte(begin + 1)?;
    if high == 0 || high >= 0x80 {
        return Err(DeltaError::Number { at: begin });
    }
    *at += 2;
    Ok(usize::from(low & 0x7f) | usize::from(high) << 7)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn page(changes: &[(usize, u8)]) -> Box<PageContent> {
        let mut page = Box::new([0; PAGE_BYTES]);
        for (at, byte) in changes {
            page[*at] = *byte;
        }
        page
    }

    #[test]
    fn differences_have_golden_bytes() {
        #[track_caller]
        fn check(changes: &[(usize, u8)], golden: &[u8]) {
            let old = page(&[]);
            let mut encoder = DeltaEncoder::default();
            assert_eq!(encoder.encode(&old, &page(changes)), Delta::Changed(golden));
        }
        check(&[(0, 5)], &[0, 1, 5]);
        check(&[(3, 5), (4, 6), (6, 7)], &[3, 2, 5, 6, 1, 1, 7]);
        check(&[(127, 1)], &[0x7f, 1, 1]);
        check(&[(128, 1)], &[0x80, 1, 1, 1]);
        check(&[(1200, 1), (1201, 2), (1202, 3)], &[0xb0, 9, 3, 1, 2, 3]);
        check(&[(4095, 9)], &[0xff, 0x1f, 1, 9]);
        check(&[(63, 1), (64, 2)], &[63, 2, 1, 2]);
    }

    #[test]
    fn equal_pages_say_nothing_and_quite_different_ones_overflow() {
        let (old, mut encoder) = (page(&[]), DeltaEncoder::default());
        assert_eq!(encoder.encode(&old, &old), Delta::Unchanged);
        assert_eq!(encoder.encode(&old, &[1; PAGE_BYTES]), Delta::Overflow);
        let every_second: Vec<(usize, u8)> = (0..PAGE_BYTES).step_by(2).map(|at| (at, 1)).collect();
        assert_eq!(encoder.encode(&old, &page(&every_second)), Delta::Overflow);
        // The longest run that still fits beside its numbers.
        let mut long = page(&[]);
        long[1..4094].fill(1);
        assert!(matches!(encoder.encode(&old, &long), Delta::Changed(it) if it.len() == 4096));
        long[4094] = 1;
        assert_eq!(encoder.encode(&old, &long), Delta::Overflow);
    }

    #[test]
    fn lies_are_refused() {
        #[track_caller]
        fn check(delta: &[u8], expected: DeltaError) {
            assert_eq!(apply_delta(delta, &mut page(&[])), Err(expected));
        }
        check(&[1], DeltaError::Truncated { at: 1 });
        check(&[0x80], DeltaError::Truncated { at: 0 });
        check(&[1, 2, 9], DeltaError::Truncated { at: 0 });
        check(&[1, 0], DeltaError::EmptyRun { at: 0 });
        check(&[1, 1, 9, 0, 1, 9], DeltaError::EmptyRun { at: 3 });
        check(&[0x80, 0, 1, 1], DeltaError::Number { at: 0 });
        check(&[0x80, 0x80, 1, 1], DeltaError::Number { at: 0 });
        check(&[0x80, 0x20, 1, 1], DeltaError::Outside { at: 0 });
        check(&[0xff, 0x1f, 2, 1, 1], DeltaError::Outside { at: 0 });
        check(&[0xff, 0x7f, 0xff, 0x7f], DeltaError::Outside { at: 0 });
    }

    fn some_page() -> impl Strategy<Value = Box<PageContent>> {
        (any::<u64>(), any::<bool>()).prop_map(|(seed, is_empty)| {
            let mut state = seed | 1;
            let mut page = page(&[]);
            for byte in page.iter_mut().filter(|_| !is_empty) {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = (state >> 56) as u8;
            }
            page
        })
    }

    proptest! {
        #[test]
        fn what_is_applied_is_what_was_encoded(
            old in some_page(),
            changes in prop::collection::vec((0..PAGE_BYTES, 1usize..200, any::<u8>()), 0..60),
        ) {
            let mut new = old.clone();
            for (at, count, byte) in changes {
                new[at..PAGE_BYTES.min(at + count)].fill(byte);
            }
            let mut encoder = DeltaEncoder::default();
            let mut page = old.clone();
            match encoder.encode(&old, &new) {
                Delta::Unchanged => prop_assert_eq!(&old, &new),
                Delta::Changed(delta) => {
                    prop_assert!(delta.len() <= PAGE_BYTES);
                    prop_assert_eq!(apply_delta(delta, &mut page), Ok(()));
                    prop_assert_eq!(page, new);
                }
                Delta::Overflow => {
                    let differing = old.iter().zip(new.iter()).filter(|(a, b)| a != b).count();
                    prop_assert!(differing > 1000);
                }
            }
        }

        #[test]
        fn any_bytes_are_applied_or_refused(delta: Vec<u8>) {
            let _ = apply_delta(&delta, &mut page(&[]));
        }
    }
}
