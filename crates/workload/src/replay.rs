//! How often each page was written, computed again from the seed and the number of writes.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::order::{AnyOrder, Order, Random};
use crate::partition::{order, partition};
use crate::spec::Spec;

/// How often each page of the workload was written when worker `w` has made `counts[w]` writes.
///
/// Sequential orders are computed, random ones drawn again at about 1 ns a write, spread over `threads` threads.
///
/// # Panics
/// When there is not one count for each worker, or a worker without pages has written.
pub fn page_writes(spec: &Spec, counts: &[u64], threads: usize) -> Vec<u64> {
    assert_eq!(counts.len(), spec.workers as usize, "one count for each worker");
    let jobs = jobs(spec, counts, threads.max(1));
    let next = AtomicUsize::new(0);
    let writes = Mutex::new(vec![0; spec.pages()]);
    let work = || {
        while let Some(job) = jobs.get(next.fetch_add(1, Relaxed)) {
            let tally = job.run();
            let mut writes = writes.lock().unwrap_or_else(PoisonError::into_inner);
            for (total, n) in writes[job.pages.clone()].iter_mut().zip(tally) {
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

/// A range of one worker's writes.
struct Job {
    pages: Range<usize>,
    order: AnyOrder,
    writes: Range<u64>,
}

/// Splits the writes of each worker only as far as needed to occupy all threads, because each job in progress holds a
/// tally of its worker's pages.
fn jobs(spec: &Spec, counts: &[u64], threads: usize) -> Vec<Job> {
    let parts = threads.div_ceil(counts.len().max(1)) as u64;
    let mut jobs = Vec::new();
    for (worker, count) in (0u32..).zip(counts) {
        if *count == 0 {
            continue;
        }
        let bound = |part: u64| (u128::from(*count) * u128::from(part) / u128::from(parts)) as u64;
        jobs.extend((0..parts).map(|part| Job {
            pages: partition(spec, worker),
            order: order(spec, worker),
            writes: bound(part)..bound(part + 1),
        }));
    }
    jobs
}

impl Job {
    fn run(&self) -> Vec<u64> {
        match self.order {
            AnyOrder::Sequential(_) => count_rounds(&self.writes, self.pages.len()),
            AnyOrder::Random(order) => count_draws(&self.writes, order, self.pages.len()),
        }
    }
}

/// A sequential order writes each page once a round; what is left of a round touches its first pages.
fn count_rounds(writes: &Range<u64>, pages: usize) -> Vec<u64> {
    let until = |end: u64, page: usize| {
        let (rounds, rest) = (end / pages as u64, end % pages as u64);
        rounds + u64::from((page as u64) < rest)
    };
    (0..pages).map(|page| until(writes.end, page) - until(writes.start, page)).collect()
}

fn count_draws(writes: &Range<u64>, order: Random, pages: usize) -> Vec<u64> {
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
    use crate::spec::Pattern;
    use proptest::prelude::*;
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
    }
}
