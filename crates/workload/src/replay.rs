//! How often each page was written, computed again from the seed and the number of writes.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::order::{AnyOrder, Order, Stride, with_order};
use crate::partition::partition;
use crate::segment::{Segment, segments};
use crate::spec::Spec;
use crate::state;

/// How often each page of the workload was written when the crew's state has the numbers `counts`, which without phases
/// are just the writes of each worker.
///
/// Orders that go round are computed, drawn ones drawn again at about 1 ns a write, spread over `threads` threads.
///
/// # Panics
/// When the numbers are not as many as the spec's state has, or a worker without pages has written.
pub fn page_writes(spec: &Spec, counts: &[u64], threads: usize) -> Vec<u64> {
    replay(spec, jobs(spec, counts, threads.max(1), |_, count| 0..count), threads)
}

/// The same without what was written before a worker's pages were last given back, which they are after each round of
/// as many writes as it has pages.
///
/// # Panics
/// As for [`page_writes`]; and when there are phases, between which the end of a round cannot be told from the numbers.
pub fn page_writes_since_remap(spec: &Spec, counts: &[u64], threads: usize) -> Vec<u64> {
    assert!(spec.phases.is_empty(), "rounds of phases cannot be derived from the numbers");
    let last_round = |pages: usize, count: u64| count - count % pages as u64..count;
    replay(spec, jobs(spec, counts, threads.max(1), last_round), threads)
}

fn replay(spec: &Spec, jobs: Vec<Job>, threads: usize) -> Vec<u64> {
    let next = AtomicUsize::new(0);
    let writes = Mutex::new(vec![0; spec.pages()]);
    let work = || {
        while let Some(job) = jobs.get(next.fetch_add(1, Relaxed)) {
            let tally = job.run();
            let mut writes = writes.lock().unwrap_or_else(PoisonError::into_inner);
            for (total, n) in writes[job.first_page..].iter_mut().zip(tally) {
                *total += n;
            }
        }
    };
    std::thread::scope(|scope| {
        (1..threads.min(jobs.len())).for_each(|_| drop(scope.spawn(work)));
        work();
    });
    writes.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// How many different pages were written between two states of the same crew.
///
/// Exact up to four million writes of each worker, which are replayed in a few ms; above that, pages that are drawn are
/// counted by expectation, which is within a small part of a percent when there are so many.
/// Nothing is asked of the workers, so knowing the distinct dirty rate costs them nothing.
///
/// # Panics
/// When the numbers are not as many as the spec's state has.
pub fn distinct_pages(spec: &Spec, earlier: &[u64], later: &[u64]) -> u64 {
    const REPLAYED: u64 = 4 << 20;
    let (earlier, later) = (expect_workers(spec, earlier), expect_workers(spec, later));
    let mut distinct = 0;
    for (worker, (then, now)) in (0u32..).zip(earlier.iter().zip(&later)) {
        if then.writes == now.writes {
            continue;
        }
        let ranges = then.writes.iter().zip(&now.writes).map(|(then, now)| *then..*now.max(then));
        let segments = segments(spec, worker);
        let active: Vec<(&Segment, Range<u64>)> =
            segments.iter().zip(ranges).filter(|(_, range)| !range.is_empty()).collect();
        let writes: u64 = active.iter().map(|(_, range)| range.end - range.start).sum();
        distinct += match &active[..] {
            [(segment, range)] if writes > REPLAYED || segment.order.round(0).is_some() => {
                segment.order.expected_distinct(range.end - range.start).round() as u64
            }
            _ => replayed_distinct(&active),
        };
    }
    distinct
}

fn replayed_distinct(active: &[(&Segment, Range<u64>)]) -> u64 {
    let pages = active.iter().map(|(segment, _)| segment.pages).max().unwrap_or(0);
    let mut is_reached = vec![0u64; pages.div_ceil(64)];
    for (segment, range) in active {
        // Going round once more reaches no further page.
        let rounds = segment.order.round(0).map(|_| segment.pages as u64);
        let count = (range.end - range.start).min(rounds.unwrap_or(u64::MAX));
        with_order!(&segment.order, order => {
            for page in order.walk(range.start).take(usize::try_from(count).unwrap_or(usize::MAX)) {
                is_reached[page / 64] |= 1 << (page % 64);
            }
        });
    }
    is_reached.iter().map(|bits| u64::from(bits.count_ones())).sum()
}

/// A range of one worker's writes in one segment.
struct Job {
    first_page: usize,
    pages: usize,
    order: AnyOrder,
    writes: Range<u64>,
}

/// Splits the writes of each worker only as far as needed to occupy all threads, because each job in progress holds a
/// tally of its worker's pages.
fn jobs(
    spec: &Spec,
    counts: &[u64],
    threads: usize,
    range: impl Fn(usize, u64) -> Range<u64>,
) -> Vec<Job> {
    let states = expect_workers(spec, counts);
    let parts = threads.div_ceil(states.len().max(1)) as u64;
    let mut jobs = Vec::new();
    for (worker, state) in (0u32..).zip(&states) {
        if state.writes.iter().all(|count| *count == 0) {
            continue;
        }
        let first_page = partition(spec, worker).start;
        for (segment, count) in segments(spec, worker).iter().zip(&state.writes) {
            let range = range(segment.pages, *count);
            let length = u128::from(range.end - range.start);
            let bound =
                |part: u64| range.start + (length * u128::from(part) / u128::from(parts)) as u64;
            jobs.extend((0..parts).filter(|_| length > 0).map(|part| Job {
                first_page,
                pages: segment.pages,
                order: segment.order.clone(),
                writes: bound(part)..bound(part + 1),
            }));
        }
    }
    jobs
}

fn expect_workers(spec: &Spec, counts: &[u64]) -> Vec<state::WorkerState> {
    state::workers(spec, counts).unwrap_or_else(|| {
        panic!(
            "a state of this workload has {} numbers, not {}",
            state::numbers(spec),
            counts.len()
        )
    })
}

impl Job {
    fn run(&self) -> Vec<u64> {
        let pages = self.pages;
        match &self.order {
            AnyOrder::Sequential(_) => count_rounds(&self.writes, pages, |page| page),
            AnyOrder::Stride(order) => count_strides(&self.writes, pages, order),
            AnyOrder::Random(order) => count_draws(&self.writes, order, pages),
            AnyOrder::Zipf(order) => count_draws(&self.writes, order, pages),
            AnyOrder::HotSet(order) => count_draws(&self.writes, order, pages),
        }
    }
}

fn count_strides(writes: &Range<u64>, pages: usize, order: &Stride) -> Vec<u64> {
    count_rounds(writes, pages, |page| order.place(page))
}

/// An order that goes round writes each page once a round; what is left of a round writes the pages at its first places.
fn count_rounds(writes: &Range<u64>, pages: usize, place: impl Fn(usize) -> usize) -> Vec<u64> {
    let until = |end: u64, place: usize| {
        let (rounds, rest) = (end / pages as u64, end % pages as u64);
        rounds + u64::from((place as u64) < rest)
    };
    let count = |place| until(writes.end, place) - until(writes.start, place);
    (0..pages).map(|page| count(place(page))).collect()
}

fn count_draws(writes: &Range<u64>, order: &impl Order, pages: usize) -> Vec<u64> {
    let mut tally = vec![0; pages];
    let mut walk = order.walk(writes.start);
    for _ in writes.clone() {
        if let Some(page) = walk.next() {
            tally[page] += 1;
        }
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::order;
    use crate::spec::Pattern;
    use proptest::prelude::*;
    use std::collections::HashSet;
    use sterna_units::Bytes;

    proptest! {
        #[test]
        fn replay_is_counting_one_by_one(
            pattern in proptest::sample::select(Pattern::ALL),
            counts in proptest::collection::vec(0u64..3000, 1..6),
            pages in 6u64..300,
            threads in 0usize..9,
        ) {
            let spec = Spec { workers: counts.len() as u32, pattern, seed: 11, ..Spec::of(Bytes(pages * 4096)) };
            let mut expected = vec![0; pages as usize];
            for (worker, count) in (0u32..).zip(&counts) {
                let order = order(&spec, worker);
                let first = partition(&spec, worker).start;
                (0..*count).for_each(|index| expected[first + order.page(index)] += 1);
            }
            prop_assert_eq!(page_writes(&spec, &counts, threads), expected);
        }

        #[test]
        fn distinct_pages_are_counted_exactly(
            pattern in proptest::sample::select(Pattern::ALL),
            from in proptest::collection::vec(0u64..3000, 3),
            more in proptest::collection::vec(0u64..300, 3),
        ) {
            let spec = Spec { workers: 3, pattern, ..Spec::of(Bytes(100 * 4096)) };
            let to: Vec<u64> = from.iter().zip(&more).map(|(a, b)| a + b).collect();
            let mut reached = HashSet::new();
            for worker in 0..3u32 {
                let (order, first) = (order(&spec, worker), partition(&spec, worker).start);
                let range = from[worker as usize]..to[worker as usize];
                reached.extend(range.map(|index| first + order.page(index)));
            }
            prop_assert_eq!(distinct_pages(&spec, &from, &to), reached.len() as u64);
        }
    }

    #[test]
    fn writes_of_all_phases_add_up() {
        let text = "memory=80KiB workers=1 pattern=random phases=for=1s,pattern=sequential,memory=50%;for=1s";
        let spec: Spec = text.parse().unwrap();
        let fresh = [0, 0, 0, 0, 0, 0];
        let state = [1025, 0, 9, 1000, 15, 10];
        let writes = page_writes(&spec, &state, 2);
        assert_eq!(writes.iter().sum::<u64>(), 1025);
        let without = page_writes(&spec, &[1010, 0, 9, 1000, 0, 10], 2);
        let difference: Vec<u64> = writes.iter().zip(&without).map(|(a, b)| a - b).collect();
        assert_eq!(difference, [2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_ne!(segments(&spec, 0)[0].order.page(0), segments(&spec, 0)[2].order.page(0));
        assert_eq!(distinct_pages(&spec, &fresh, &state), 20);
        assert_eq!(distinct_pages(&spec, &[1020, 0, 9, 1000, 10, 10], &state), 5);
    }

    #[test]
    fn after_a_remap_counting_begins_anew() {
        for pattern in Pattern::ALL {
            let spec = Spec { workers: 2, pattern: *pattern, ..Spec::of(Bytes(20 * 4096)) };
            // 2 rounds of 10 and 7 writes, and a round that has just ended.
            let found = page_writes_since_remap(&spec, &[27, 30], 3);
            let before = page_writes(&spec, &[20, 30], 3);
            let all = page_writes(&spec, &[27, 30], 3);
            let expected: Vec<u64> = all.iter().zip(&before).map(|(all, it)| all - it).collect();
            assert_eq!(found, expected, "{pattern}");
            assert_eq!(found.iter().sum::<u64>(), 7);
        }
    }

    #[test]
    fn many_draws_are_counted_by_expectation() {
        let spec: Spec = "memory=4GiB pattern=random".parse().unwrap();
        let writes = 5 << 20;
        let found = distinct_pages(&spec, &[0], &[writes]) as f64;
        let exact = replayed_distinct(&[(&segments(&spec, 0)[0], 0..writes)]) as f64;
        assert!((found / exact - 1.0).abs() < 0.001, "{found} for {exact}");
    }
}
