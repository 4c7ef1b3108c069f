//! Sending what changed in a page instead of the page.

mod cache;
mod load;

use std::io::{self, Write};

use sterna_sys::crc32c;
use sterna_wire::control::XbzrleCounters;
use sterna_wire::stream::{
    Delta, DeltaEncoder, HEADER_BYTES, Kind, MAX_PIECES, MessageWriter, PAGE_BYTES, PIECE_BYTES,
    PageContent, Piece, encode_pieces,
};

pub use cache::PageCache;
pub use load::Deltas;

/// What QEMU's stream adds to each difference, and its counter of bytes too: one byte for the encoding, two for the length.
const COUNTED_EXTRA_BYTES: u64 = 3;

/// The rate is told for periods longer than this.
const RATE_PERIOD_NS: u64 = 1_000_000_000;

/// What becomes of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is sent as a whole.
    Whole,
    /// What changed in it has been added to the batch.
    Difference,
    /// It is as it was sent before.
    Nothing,
}

/// The cache of former contents, and the differences of the batch under way.
///
/// Everything is about copies: the page that is compared, that goes into the cache and that is sent is the staged one, because the guest goes on writing its own.
/// Nothing is looked up before all of memory was sent once, and nothing is kept of what is sent after the stop, since it is not sent again.
#[derive(Debug)]
pub struct Xbzrle {
    cache: PageCache,
    encoder: DeltaEncoder,
    has_begun: bool,
    is_last_stage: bool,
    loses_one: bool,
    generation: u64,
    pieces: Vec<Piece>,
    content: Vec<u8>,
    counters: XbzrleCounters,
    rate: Rate,
}

/// What the counters were when the period under way began.
#[derive(Debug, Default)]
struct Rate {
    since_ns: u64,
    pages: u64,
    bytes: u64,
}

impl Xbzrle {
    /// With a cache of so many bytes, at least one page.
    pub fn new(cache_bytes: u64) -> Xbzrle {
        let cache = PageCache::new(cache_bytes);
        let counters = XbzrleCounters { cache_bytes: cache.bytes(), ..XbzrleCounters::default() };
        Xbzrle {
            cache,
            encoder: DeltaEncoder::default(),
            has_begun: false,
            is_last_stage: false,
            loses_one: false,
            generation: 0,
            pieces: Vec::new(),
            content: Vec::new(),
            counters,
            rate: Rate::default(),
        }
    }

    /// Forgets one difference after the stop: a defect committed on purpose, so that a test sees the verification fail.
    pub fn lose_one_difference(&mut self) {
        self.loses_one = true;
    }

    /// All of memory was sent once.
    pub fn begin(&mut self) {
        self.has_begun = true;
    }

    /// A synchronisation begins the next generation.
    pub fn next_generation(&mut self, now_ns: u64) {
        self.generation += 1;
        if now_ns > self.rate.since_ns + RATE_PERIOD_NS {
            let pages = self.counters.pages - self.rate.pages;
            let bytes = self.counters.bytes - self.rate.bytes;
            let raw = (pages * PAGE_BYTES as u64) as f64;
            if bytes > 0 {
                self.counters.encoding_rate = Some(raw / bytes as f64);
            }
            self.rate =
                Rate { since_ns: now_ns, pages: self.counters.pages, bytes: self.counters.bytes };
        }
    }

    /// The guest is stopped; pages are sent for the last time.
    pub fn begin_last_stage(&mut self) {
        self.is_last_stage = true;
    }

    /// What it has done so far.
    pub fn counters(&self) -> &XbzrleCounters {
        &self.counters
    }

    /// Whether the batch has room for the difference of one more page.
    pub fn has_room(&self) -> bool {
        self.pieces.len() < MAX_PIECES
    }

    /// Bytes of differences in the batch.
    pub fn content_bytes(&self) -> usize {
        self.content.len()
    }

    /// Bytes of the batch's frame.
    pub fn wire_bytes(&self) -> usize {
        match self.pieces.len() {
            0 => 0,
            pieces => HEADER_BYTES + pieces * PIECE_BYTES + self.content.len(),
        }
    }

    /// Empties the batch.
    pub fn clear(&mut self) {
        self.pieces.clear();
        self.content.clear();
    }

    /// Tells the difference of a page, if that can be told, and remembers what it is now.
    pub fn tell(&mut self, page: usize, content: &PageContent) -> Told {
        if !self.has_begun {
            return Told::Whole;
        }
        let Some(former) = self.cache.look_up(page, self.generation) else {
            self.counters.cache_misses += 1;
            if !self.is_last_stage {
                self.cache.insert(page, content, self.generation);
            }
            return Told::Whole;
        };
        self.counters.pages += 1;
        let told = match self.encoder.encode(former, content) {
            Delta::Unchanged => {
                self.counters.unchanged_pages += 1;
                return Told::Nothing;
            }
            Delta::Changed(_) if self.loses_one && self.is_last_stage => {
                self.loses_one = false;
                return Told::Nothing;
            }
            Delta::Changed(difference) => {
                self.counters.bytes += difference.len() as u64 + COUNTED_EXTRA_BYTES;
                self.pieces.push(Piece { page: page as u64, bytes: difference.len() as u16 });
                self.content.extend_from_slice(difference);
                Told::Difference
            }
            Delta::Overflow => {
                self.counters.overflows += 1;
                self.counters.bytes += PAGE_BYTES as u64;
                Told::Whole
            }
        };
        if !self.is_last_stage {
            *former = *content;
        }
        told
    }

    /// A page was sent as a mark for zeros, so that is what the destination has.
    pub fn note_zero(&mut self, page: usize) {
        if self.has_begun {
            self.cache.insert(page, &[0; PAGE_BYTES], self.generation);
        }
    }

    /// Sends the differences of the batch.
    pub fn send(&self, writer: &mut MessageWriter, to: &mut impl Write) -> io::Result<()> {
        if self.pieces.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(self.wire_bytes());
        bytes.resize(HEADER_BYTES, 0);
        encode_pieces(&self.pieces, &mut bytes);
        bytes.extend_from_slice(&self.content);
        let header = writer.header(Kind::Deltas, self.pieces.len(), bytes.len() - HEADER_BYTES);
        let header = header.seal(crc32c(0, &bytes[HEADER_BYTES..]));
        bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
        to.write_all(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(byte: u8) -> PageContent {
        [byte; PAGE_BYTES]
    }

    fn begun() -> Xbzrle {
        let mut it = Xbzrle::new(8 * PAGE_BYTES as u64);
        it.begin();
        it
    }

    #[test]
    fn nothing_is_remembered_of_the_first_round() {
        let mut it = Xbzrle::new(1 << 20);
        assert_eq!(it.tell(3, &page(1)), Told::Whole);
        it.begin();
        assert_eq!(it.tell(3, &page(1)), Told::Whole);
        assert_eq!((it.counters().pages, it.counters().cache_misses), (0, 1));
    }

    #[test]
    fn a_page_is_told_by_what_was_sent_last() {
        let mut it = begun();
        assert_eq!(it.tell(3, &page(1)), Told::Whole);
        let mut changed = page(1);
        changed[100] = 2;
        assert_eq!(it.tell(3, &changed), Told::Difference);
        assert_eq!(it.tell(3, &changed), Told::Nothing);
        assert_eq!(it.tell(3, &page(9)), Told::Whole);
        assert_eq!(it.tell(3, &page(9)), Told::Nothing);
        it.note_zero(3);
        let mut nearly_zero = page(0);
        nearly_zero[7] = 1;
        assert_eq!(it.tell(3, &nearly_zero), Told::Difference);
        assert_eq!(it.pieces, [Piece { page: 3, bytes: 3 }, Piece { page: 3, bytes: 3 }]);
        let expected = XbzrleCounters {
            cache_bytes: 8 * 4096,
            pages: 5,
            bytes: 6 + 4096 + 6,
            cache_misses: 1,
            overflows: 1,
            unchanged_pages: 2,
            encoding_rate: None,
        };
        assert_eq!(it.counters(), &expected);
    }

    #[test]
    fn after_the_stop_nothing_new_is_remembered() {
        let mut it = begun();
        it.begin_last_stage();
        assert_eq!(it.tell(1, &page(1)), Told::Whole);
        assert_eq!(it.tell(1, &page(1)), Told::Whole);
        assert_eq!(it.counters().cache_misses, 2);
    }

    #[test]
    fn the_rate_is_that_of_the_last_period() {
        let mut it = begun();
        it.tell(1, &page(0));
        let mut changed = page(0);
        changed[1] = 1;
        it.tell(1, &changed);
        it.next_generation(RATE_PERIOD_NS + 1);
        assert_eq!(it.counters().encoding_rate, Some(4096.0 / 6.0));
        it.tell(1, &page(0));
        it.next_generation(RATE_PERIOD_NS + 2);
        assert_eq!(it.counters().encoding_rate, Some(4096.0 / 6.0), "the period goes on");
        it.next_generation(3 * RATE_PERIOD_NS);
        assert_eq!(it.counters().encoding_rate, Some(4096.0 / 6.0));
    }
}
