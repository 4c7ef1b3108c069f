//! Checks pages before workers write them for the first time after a resume.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use sterna_sys::WORDS_PER_PAGE;
use sterna_sys::clock::Cycles;
use sterna_sys::page_write::PageWords;

use crate::image::Images;
use crate::method::stamp_word;
use crate::spec::Method;
use crate::state::WorkerState;
use crate::strokes::Observer;
use crate::verify::Corruption;

/// What workers found on pages before they wrote them for the first time after a resume.
///
/// # Why before the first write
///
/// A method that rewrites whole pages takes from the old content only the stamp.
/// If a migration delivers a page with the right stamp and a wrong rest, the next write makes the page right again, and a
/// check at the end of the run finds nothing.
/// So a worker compares each page with what the page's own stamp says, once after each resume, just before it writes it.
/// It needs one bit for each page and no replay, so it adds nothing to the time in which the guest is stopped.
/// The stamps themselves are compared at the end with the replayed ones, since a stamp that falls behind stays behind.
///
/// A page of `zero` has no stamp: it is either as filled or zero.
/// Which of the two is remembered for each page, and compared at the end with the replay up to the resume.
///
/// # The time it takes
///
/// A worker's clock leaves out the time that it spends on checking: its schedule moves, and [`FirstWrites::checking_ns`]
/// says by how much, so that a migration is not charged with it.
/// What is left out for one page is limited to a multiple of what a check takes when nothing disturbs it, so that a worker
/// that loses its processor in the middle of a check does not hide that.
/// Waiting for a page that has not arrived yet is not checking.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FirstWrites {
    /// Pages checked; a page that is checked after each of two resumes counts twice.
    pub pages_checked: u64,
    /// Pages of those that held what no number of writes leaves, or, with `zero`, not what the replay leaves.
    pub corrupt_pages: u64,
    /// Time that all workers together spent on it, as far as it is left out of their schedules.
    pub checking_ns: u64,
    /// The wrong pages, at most [`MOST_WRONG`] of each worker.
    pub(crate) wrong: BTreeMap<usize, Corruption>,
}

/// Wrong pages that are described for each worker; more are only counted, so that memory full of wrong pages needs no
/// memory of its own.
const MOST_WRONG: usize = 4096;

/// How many times the shortest check of a page is left out of the schedule at most.
///
/// The shortest one finds the page in the cache, and memory is some ten times slower, the more so on a busy machine; a
/// worker that loses its processor loses a hundred times as much at least.
const LONGEST_CHECK: u64 = 64;

/// What one worker has checked.
#[derive(Debug, Default)]
pub(crate) struct Book {
    rounds: Vec<Round>,
    wrong: BTreeMap<usize, Corruption>,
    /// Wrong pages beyond those that are described.
    more_wrong: u64,
}

/// The pages of one worker since one resume.
#[derive(Debug)]
pub(crate) struct Round {
    /// Which resume of the crew.
    pub(crate) number: u64,
    /// How far the worker was then.
    pub(crate) at: WorkerState,
    /// One bit for each page that was checked.
    seen: Vec<u64>,
    /// One bit for each page that was as filled, where that is to be remembered.
    was_filled: Vec<u64>,
    /// Pages that were not checked yet.
    left: usize,
}

impl Book {
    /// Begins to check `pages` pages, all of them not yet checked.
    pub(crate) fn begin(&mut self, number: u64, at: WorkerState, pages: usize, method: Method) {
        let words = pages.div_ceil(64);
        // The kernel hands out such memory when it is written, so that beginning costs the same for any size.
        let was_filled = if method == Method::Zero { vec![0; words] } else { Vec::new() };
        self.rounds.push(Round { number, at, seen: vec![0; words], was_filled, left: pages });
    }

    /// How many pages of the latest resume are still to be checked.
    pub(crate) fn left(&self) -> usize {
        self.rounds.last().map_or(0, |round| round.left)
    }

    pub(crate) fn rounds(&self) -> &[Round] {
        &self.rounds
    }

    /// Adds what this worker found to what all have found.
    pub(crate) fn add_to(&self, all: &mut FirstWrites) {
        all.pages_checked += self.rounds.iter().map(Round::checked).sum::<u64>();
        all.corrupt_pages += self.wrong.len() as u64 + self.more_wrong;
        all.wrong.extend(&self.wrong);
    }

    fn note(&mut self, corruption: Corruption) {
        if self.wrong.len() < MOST_WRONG {
            self.wrong.entry(corruption.page).or_insert(corruption);
        } else if !self.wrong.contains_key(&corruption.page) {
            self.more_wrong += 1;
        }
    }
}

impl Round {
    fn checked(&self) -> u64 {
        let pages: u32 = self.seen.iter().map(|word| word.count_ones()).sum();
        u64::from(pages)
    }

    /// Compares what was remembered of pages of `zero` with how often each was written until the resume.
    ///
    /// `first_page` is the worker's first page, and `writes` are those of its pages.
    pub(crate) fn against_replay(
        &self,
        images: &Images,
        first_page: usize,
        writes: &[u64],
    ) -> Vec<Corruption> {
        let bit = |words: &[u64], page: usize| words[page / 64] >> (page % 64) & 1 == 1;
        let wrong = (0..writes.len()).filter(|page| {
            let was_written = writes[*page] > 0;
            bit(&self.seen, *page) && bit(&self.was_filled, *page) == was_written
        });
        let describe = |page: usize| {
            let filled = images.page(first_page + page, 0).word(0);
            let was_written = writes[page] > 0;
            let (expected, found) = if was_written { (0, filled) } else { (filled, 0) };
            Corruption { page: first_page + page, offset_bytes: 0, expected, found }
        };
        wrong.map(describe).collect()
    }
}

impl FirstWrites {
    /// Whether `method` makes pages right again that were wrong.
    pub fn are_needed_for(method: Method) -> bool {
        match method {
            Method::Write64
            | Method::Write64Nt
            | Method::Write1024
            | Method::Zero
            | Method::FillRandom
            | Method::Compressible(_) => true,
            Method::Touch | Method::Counter | Method::XorRandom => false,
        }
    }

    pub(crate) fn add_wrong(&mut self, corruption: Corruption) {
        if let std::collections::btree_map::Entry::Vacant(place) = self.wrong.entry(corruption.page)
        {
            place.insert(corruption);
            self.corrupt_pages += 1;
        }
    }
}

/// How many ticks of the processor's counter a check of one page leaves out of a schedule at most.
pub(crate) fn longest_check_ticks(images: &Images, cycles: Cycles) -> u64 {
    const TRIES: usize = 8;
    let image = images.page(0, 0);
    let words: PageWords = std::array::from_fn(|index| AtomicU64::new(image.word(index)));
    let ticks = (0..TRIES).map(|_| {
        let began = cycles.now();
        black_box(inspect(images, black_box(&words), 0));
        cycles.now().saturating_sub(began)
    });
    ticks.min().unwrap_or(0).saturating_mul(LONGEST_CHECK)
}

/// Checks pages before their first write, and passes everything else on to another observer.
pub(crate) struct Checking<'a, S> {
    pub(crate) inner: &'a mut S,
    pub(crate) book: &'a mut Book,
    pub(crate) images: &'a Images,
    pub(crate) first_page: usize,
    pub(crate) cycles: Cycles,
    pub(crate) longest_ticks: u64,
    /// Time spent on checking so far.
    pub(crate) spent_ticks: u64,
}

impl<S: Observer> Observer for Checking<'_, S> {
    #[inline]
    fn before(&mut self, words: &PageWords, page: usize) {
        let number = page - self.first_page;
        if let Some(round) = self.book.rounds.last()
            && round.seen[number / 64] >> (number % 64) & 1 == 0
        {
            self.look(words, page);
        }
        self.inner.before(words, page);
    }

    #[inline]
    fn wrote(&mut self, page: usize) {
        self.inner.wrote(page);
    }

    fn excuse(&mut self, ticks: u64) {
        self.inner.excuse(ticks);
    }
}

impl<S: Observer> Checking<'_, S> {
    #[inline(never)]
    fn look(&mut self, words: &PageWords, page: usize) {
        // In post-copy the page may have to come over the network first. The write would wait for it as well, so this is
        // the migration's time and not the check's.
        black_box(words[stamp_word(page)].load(Relaxed));
        let began = self.cycles.now();
        let found = inspect(self.images, words, page);
        let ticks = self.cycles.now().saturating_sub(began).min(self.longest_ticks);
        self.spent_ticks += ticks;
        self.inner.excuse(ticks);
        self.enter(page, found);
    }

    fn enter(&mut self, page: usize, found: Found) {
        let number = page - self.first_page;
        let (word, bit) = (number / 64, 1 << (number % 64));
        let Some(round) = self.book.rounds.last_mut() else { return };
        round.seen[word] |= bit;
        round.left -= 1;
        match found {
            Found::Right => {}
            Found::Filled => round.was_filled[word] |= bit,
            Found::Wrong { word, expected, found } => {
                let offset_bytes = word * size_of::<u64>();
                self.book.note(Corruption { page, offset_bytes, expected, found });
            }
        }
    }
}

/// What a page turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Right,
    /// As before the first write, where that has to be compared with the replay.
    Filled,
    Wrong {
        word: usize,
        expected: u64,
        found: u64,
    },
}

/// Compares a page with what its own stamp says.
fn inspect(images: &Images, words: &PageWords, page: usize) -> Found {
    if images.method() == Method::Zero {
        return inspect_zero(images, words, page);
    }
    let word = stamp_word(page);
    let at_first = images.page(page, 0).word(word);
    let writes = words[word].load(Relaxed).wrapping_sub(at_first);
    match images.page(page, writes).first_difference(words) {
        None => Found::Right,
        Some((word, expected, found)) => Found::Wrong { word, expected, found },
    }
}

/// A page of `zero` is as filled or zero, and a page that is neither is compared with what it is closer to.
fn inspect_zero(images: &Images, words: &PageWords, page: usize) -> Found {
    let is_set = |word: &&AtomicU64| word.load(Relaxed) != 0;
    let set = words.iter().filter(is_set).count();
    if set == 0 {
        return Found::Right;
    }
    let difference = if set > WORDS_PER_PAGE / 2 {
        match images.page(page, 0).first_difference(words) {
            None => return Found::Filled,
            difference => difference,
        }
    } else {
        words
            .iter()
            .position(|word| word.load(Relaxed) != 0)
            .map(|it| (it, 0, words[it].load(Relaxed)))
    };
    let (word, expected, found) = difference.unwrap_or_default();
    Found::Wrong { word, expected, found }
}
