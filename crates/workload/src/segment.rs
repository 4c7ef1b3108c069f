//! A spec as one worker sees it: what to do without phases, and in each phase.

use crate::mix::{GOLDEN, mix};
use crate::order::AnyOrder;
use crate::partition::partition;
use crate::spec::{Pattern, Spec};

/// One way in which a worker writes, with a position of its own.
///
/// Segment 0 is the spec without phases, and segment n is phase n, counted from 1.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) order: AnyOrder,
    /// How many of the worker's first pages are written.
    pub(crate) pages: usize,
    /// How many writes there are in all; None without end.
    pub(crate) limit: Option<u64>,
}

/// The segments of `worker`, which must have at least one page.
pub(crate) fn segments(spec: &Spec, worker: u32) -> Vec<Segment> {
    let pages = partition(spec, worker).len();
    let mut segments = vec![segment(spec, worker, 0, spec.pattern, pages)];
    for (number, phase) in (1..).zip(spec.phases.all()) {
        let pattern = phase.pattern.unwrap_or(spec.pattern);
        let pages = phase.pages(pages, spec.memory);
        segments.push(segment(spec, worker, number, pattern, pages));
    }
    segments
}

fn segment(spec: &Spec, worker: u32, number: u64, pattern: Pattern, pages: usize) -> Segment {
    // Otherwise two phases of the same kind would write the same pages in the same order.
    let seed = if number == 0 {
        spec.seed
    } else {
        mix(spec.seed.wrapping_add(number.wrapping_mul(GOLDEN)))
    };
    let limit = (pattern == Pattern::Once).then_some(pages as u64);
    Segment { order: AnyOrder::new(pattern, seed, worker, pages), pages, limit }
}
