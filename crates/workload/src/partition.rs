//! Which worker owns which pages.

use std::ops::Range;

use crate::order::AnyOrder;
use crate::spec::Spec;

/// The pages of `worker`: each page of the workload belongs to exactly one worker.
///
/// Slices are contiguous and differ by at most one page.
/// One writer for each page is what lets a write be a plain load and store without a lock prefix.
pub fn partition(spec: &Spec, worker: u32) -> Range<usize> {
    let bound = |worker: u32| {
        let bound = spec.pages() as u128 * u128::from(worker) / u128::from(spec.workers);
        bound as usize
    };
    bound(worker)..bound(worker + 1)
}

/// The page order of `worker`, relative to the start of its partition, which must not be empty.
pub fn order(spec: &Spec, worker: u32) -> AnyOrder {
    AnyOrder::new(spec.pattern, spec.seed, worker, partition(spec, worker).len())
}

/// Cuts `range` into at most `parts` pieces of nearly equal size, none empty.
pub(crate) fn pieces(range: Range<usize>, parts: usize) -> Vec<Range<usize>> {
    let parts = parts.clamp(1, range.len().max(1));
    let bound =
        |part: usize| range.start + (range.len() as u128 * part as u128 / parts as u128) as usize;
    (0..parts).map(|part| bound(part)..bound(part + 1)).filter(|piece| !piece.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sterna_units::Bytes;

    proptest! {
        #[test]
        fn each_page_has_exactly_one_owner(pages in 0u64..1 << 40, workers in 1u32..1000) {
            let spec = Spec { workers, ..Spec::of(Bytes(pages * 4096)) };
            let mut next = 0;
            for worker in 0..workers {
                let part = partition(&spec, worker);
                prop_assert_eq!(part.start, next);
                prop_assert!(part.len().abs_diff(pages as usize / workers as usize) <= 1);
                next = part.end;
            }
            prop_assert_eq!(next, pages as usize);
        }

        #[test]
        fn pieces_cover_the_range(start in 0usize..1000, len in 0usize..1000, parts in 0usize..70) {
            let cut = pieces(start..start + len, parts);
            prop_assert!(cut.len() <= parts.max(1));
            prop_assert_eq!(cut.iter().map(|piece| piece.len()).sum::<usize>(), len);
            prop_assert!(cut.windows(2).all(|pair| pair[0].end == pair[1].start));
        }
    }
}
