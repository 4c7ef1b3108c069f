//! What a page holds after it was written so and so often, by any method that writes all of it.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use sterna_sys::WORDS_PER_PAGE;
use sterna_sys::page_write::{self, PageWords, PlainWords, WideUnit};

use crate::fill::{Content, PageContent};
use crate::method::{Whole, stamp_word};
use crate::mix::{GOLDEN, draw, key, mix};
use crate::spec::Method;

/// What pages hold after any number of writes.
#[derive(Clone, Debug)]
pub(crate) struct Images {
    method: Method,
    content: Content,
    /// Random words twice in a row, so that a row of them can begin anywhere in the first half.
    pad: Box<[u64; 2 * WORDS_PER_PAGE]>,
    /// Each the exclusive or of all pad words before it.
    before: Box<[u64; 2 * WORDS_PER_PAGE]>,
    /// Words of a compressible page that are random.
    random_words: usize,
}

/// Keeps the pad apart from every other use of the same seed.
const PURPOSE: u64 = 0x7061_6420;

impl Images {
    /// Of pages that were filled at first.
    pub(crate) fn new(method: Method, seed: u64) -> Images {
        Images::of(method, seed, Content::new(seed))
    }

    /// Of pages that were zero at first.
    pub(crate) fn blank(method: Method, seed: u64) -> Images {
        Images::of(method, seed, Content::blank(seed))
    }

    fn of(method: Method, seed: u64, content: Content) -> Images {
        let key = key(seed, PURPOSE, 0);
        let row: PlainWords = array::from_fn(|index| draw(key, index as u64));
        let mut sum = 0;
        let before = array::from_fn(|index| {
            let before = sum;
            sum ^= row[index % WORDS_PER_PAGE];
            before
        });
        let random_words = match method {
            Method::Compressible(ratio) => {
                // The kernel stores four at once.
                (WORDS_PER_PAGE * 100 / ratio.hundredths() as usize).next_multiple_of(4)
            }
            _ => WORDS_PER_PAGE,
        };
        Images {
            method,
            content,
            pad: Box::new(array::from_fn(|index| row[index % WORDS_PER_PAGE])),
            before: Box::new(before),
            random_words,
        }
    }

    /// The method whose pages these are.
    #[inline]
    pub(crate) fn method(&self) -> Method {
        self.method
    }

    /// The method for the inner loop; None if it only counts.
    pub(crate) fn whole(&self) -> Option<Whole<'_>> {
        let counts = matches!(self.method, Method::Touch | Method::Counter);
        (!counts).then_some(Whole { images: self })
    }

    /// What the words of `page` are after `writes` writes.
    pub(crate) fn page(&self, page: usize, writes: u64) -> Image<'_> {
        let content = self.content.page(page);
        Image { images: self, content, page, writes, key: write_key(&content, writes) }
    }

    #[inline]
    pub(crate) fn write(&self, words: &PageWords, page: usize) {
        if self.method == Method::Zero {
            return page_write::repeat_wide(words, &WideUnit::default());
        }
        let content = self.content.page(page);
        let stamp = &words[stamp_word(page)];
        let raised = stamp.load(Relaxed).wrapping_add(1);
        let writes = raised.wrapping_sub(content.word(stamp_word(page)));
        let key = write_key(&content, writes);
        match self.method {
            Method::Write64 => page_write::repeat(words, key),
            Method::Write64Nt => page_write::repeat_past_cache(words, key),
            Method::Write1024 => page_write::repeat_wide(words, &self.unit(key)),
            Method::XorRandom => page_write::mix_in(words, self.row(page, writes.wrapping_sub(1))),
            Method::FillRandom | Method::Compressible(_) => {
                page_write::mixed_past_cache(words, self.row(0, 0), key, self.random_words);
            }
            Method::Touch | Method::Counter | Method::Zero => {}
        }
        stamp.store(raised, Relaxed);
    }

    fn unit(&self, key: u64) -> WideUnit {
        array::from_fn(|lane| key ^ self.pad[lane])
    }

    /// The random words that write number `write` of `page` mixes in.
    fn row(&self, page: usize, write: u64) -> &PlainWords {
        let start = row_start(page, write);
        self.pad[start..].first_chunk().expect("two rows have one after any start in the first")
    }

    /// All rows that `writes` writes of `page` mixed into word number `word`, together.
    ///
    /// Each row begins one word after the one before, so they are a stretch of the pad that is repeated without end,
    /// and its exclusive or is that of what comes before its two ends.
    fn rows(&self, page: usize, writes: u64, word: usize) -> u64 {
        let start = row_start(page, 0) + word;
        // Two rounds of the pad cancel out.
        let end = start + (writes % (2 * WORDS_PER_PAGE as u64)) as usize;
        let before = |place: usize| self.before[place % (2 * WORDS_PER_PAGE)];
        before(end) ^ before(start)
    }
}

/// The content of one page after some number of writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Image<'a> {
    images: &'a Images,
    content: PageContent,
    page: usize,
    writes: u64,
    key: u64,
}

impl Image<'_> {
    /// What word number `word` is.
    #[inline]
    pub(crate) fn word(&self, word: usize) -> u64 {
        let Image { images, content, page, writes, key } = self;
        if *writes == 0 {
            return content.word(word);
        }
        if images.method == Method::Zero {
            return 0;
        }
        if word == stamp_word(*page) {
            return content.word(word).wrapping_add(*writes);
        }
        match images.method {
            Method::Touch | Method::Counter => content.word(word),
            Method::Write64 | Method::Write64Nt => *key,
            Method::Write1024 => key ^ images.pad[word % 16],
            Method::XorRandom => content.word(word) ^ images.rows(*page, *writes, word),
            Method::FillRandom | Method::Compressible(_) if word < images.random_words => {
                key ^ images.pad[word]
            }
            Method::FillRandom | Method::Compressible(_) => *key,
            Method::Zero => 0,
        }
    }

    /// The first word that differs, with what it should be and what it is.
    pub(crate) fn first_difference(&self, words: &PageWords) -> Option<(usize, u64, u64)> {
        if !self.differs(words) {
            return None;
        }
        (0..WORDS_PER_PAGE).find_map(|index| {
            let (expected, found) = (self.word(index), words[index].load(Relaxed));
            (expected != found).then_some((index, expected, found))
        })
    }

    /// All differences but the stamp's are gathered without a branch, which is what keeps up with memory.
    fn differs(&self, words: &PageWords) -> bool {
        let content = self.content;
        match self.images.method {
            _ if self.writes == 0 => differs(words, None, |word| content.word(word)),
            Method::Touch | Method::Counter => {
                let stamp = stamp_word(self.page);
                differs(words, Some((stamp, self.word(stamp))), |word| content.word(word))
            }
            _ => differs(words, None, |word| self.word(word)),
        }
    }
}

/// Compares with `expected`, but one word with a value of its own.
#[inline]
fn differs(
    words: &PageWords,
    special: Option<(usize, u64)>,
    expected: impl Fn(usize) -> u64,
) -> bool {
    let (place, value) = special.unwrap_or((0, expected(0)));
    let difference = |words: &[AtomicU64], first: usize| {
        let words = words.iter().enumerate();
        words.fold(0, |all, (index, word)| all | (word.load(Relaxed) ^ expected(first + index)))
    };
    let around = difference(&words[..place], 0) | difference(&words[place + 1..], place + 1);
    (around | (words[place].load(Relaxed) ^ value)) != 0
}

/// What tells the content of one write of a page from that of all others.
#[inline]
fn write_key(content: &PageContent, writes: u64) -> u64 {
    mix(content.random(0).wrapping_add(writes.wrapping_mul(GOLDEN)))
}

/// Where in the pad a row begins: elsewhere for neighbouring pages, one further with each write.
fn row_start(page: usize, write: u64) -> usize {
    ((stamp_word(page) as u64).wrapping_add(write) % WORDS_PER_PAGE as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fill::{expected_word, fill};
    use crate::method::{Counter, WriteMethod};
    use crate::testing::region;

    /// Calls `check` with the images of each method and a page as it is after 0, 1, 2, … writes, filled at first or not.
    fn for_each_write(writes: u64, check: impl Fn(&Images, &PageWords, usize, u64)) {
        let both = |method: &Method| [Images::new(*method, 9), Images::blank(*method, 9)];
        for (number, images) in Method::ALL.iter().flat_map(both).enumerate() {
            let region = region(8);
            if number % 2 == 0 {
                fill(&region, 0..8, 9, 1);
            }
            for page in [0, 5] {
                let words: &PageWords = region.page(page).first_chunk().unwrap();
                for n in 0..=writes {
                    check(&images, words, page, n);
                    match images.whole() {
                        Some(whole) => whole.write(words, page),
                        None => Counter.write(words, page),
                    }
                }
            }
        }
    }

    #[test]
    fn the_image_is_what_writing_leaves() {
        for_each_write(1100, |images, words, page, n| {
            let found = images.page(page, n).first_difference(words);
            assert_eq!(found, None, "{}, page {page} after {n} writes", images.method);
        });
    }

    #[test]
    fn a_page_one_write_behind_or_ahead_differs_in_its_stamp_at_least() {
        for_each_write(5, |images, words, page, n| {
            if n == 0 || images.method == Method::Zero {
                return;
            }
            for other in [n - 1, n + 1] {
                let image = images.page(page, other);
                assert!(image.first_difference(words).is_some(), "{}", images.method);
                assert_ne!(image.word(stamp_word(page)), words[stamp_word(page)].load(Relaxed));
            }
        });
    }

    #[test]
    fn each_write_of_a_whole_page_changes_nearly_all_of_it() {
        for method in Method::ALL {
            let images = Images::new(*method, 1);
            if images.whole().is_none() || *method == Method::Zero {
                continue;
            }
            let same = |a: Image<'_>, b: Image<'_>| {
                (0..WORDS_PER_PAGE).filter(|word| a.word(*word) == b.word(*word)).count()
            };
            for n in [1, 2, 511, 512, 1023] {
                assert!(same(images.page(3, n), images.page(3, n + 1)) <= 1, "{method}, {n}");
                assert!(same(images.page(3, n), images.page(4, n)) <= 1, "{method}, {n}");
            }
        }
    }

    #[test]
    fn a_page_never_written_is_as_filled() {
        for method in Method::ALL {
            let images = Images::new(*method, 7);
            assert!(
                (0..WORDS_PER_PAGE)
                    .all(|word| images.page(2, 0).word(word) == expected_word(7, 2, word))
            );
        }
    }

    #[test]
    fn random_pages_have_even_bytes_and_compressible_ones_their_share() {
        let random_words = |method: &str, n: u64| {
            let images = Images::new(method.parse().unwrap(), 1);
            let image = images.page(6, n);
            let constant = image.word(WORDS_PER_PAGE - 1);
            (0..WORDS_PER_PAGE).filter(|word| image.word(*word) != constant).count()
        };
        for method in ["xor-random", "fill-random", "compressible(1)"] {
            assert!(random_words(method, 5) >= WORDS_PER_PAGE - 1, "{method}");
        }
        assert!((171..=173).contains(&random_words("compressible(3)", 5)));
        assert!((5..=9).contains(&random_words("compressible(100)", 5)));
        let mut bytes = [0u64; 256];
        for (method, n) in [("xor-random", 3), ("xor-random", 700), ("fill-random", 2)] {
            let images = Images::new(method.parse().unwrap(), 1);
            for page in 0..64 {
                let image = images.page(page, n);
                let words = (0..WORDS_PER_PAGE).map(|word| image.word(word).to_le_bytes());
                words.flatten().for_each(|byte| bytes[usize::from(byte)] += 1);
            }
        }
        let mean = (3 * 64 * 4096 / 256) as f64;
        let chi: f64 = bytes.iter().map(|n| (*n as f64 - mean).powi(2) / mean).sum();
        let z = (chi - 255.0) / (2.0f64 * 255.0).sqrt();
        assert!(z.abs() < 4.0, "byte values are {z:.1} standard deviations from even");
    }
}
