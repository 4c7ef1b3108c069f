//! The page by which an engine can prove that memory was sent, written again and must be sent again.

/// What stands at the start of the marker page, a page of guest memory whose address [`super::GuestMessage::Hello`] tells.
///
/// The agent raises `beat` some hundred times a second for as long as the guest runs.
/// If the page is seen on the destination with some beat, it was sent; if it is then seen on the source with a higher
/// one, a page that was sent is dirty again, and no migration can complete without a further pass or a stop.
/// The nonce is of this run, so what an earlier one left in memory cannot be taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    /// Which run this is, from the agent's configuration.
    pub nonce: u64,
    /// Raised by one each time.
    pub beat: u64,
}

/// "sterna marker 1\0" as two words.
const MAGIC: [u64; 2] = [u64::from_le_bytes(*b"sterna m"), u64::from_le_bytes(*b"arker 1\0")];

impl Marker {
    /// How many words of the page are used.
    pub const WORDS: usize = 4;
    /// Which of the words is the beat.
    pub const BEAT_WORD: usize = 3;

    /// The words to write, little-endian.
    pub fn words(self) -> [u64; Marker::WORDS] {
        [MAGIC[0], MAGIC[1], self.nonce, self.beat]
    }

    /// The marker at the start of `page`; None if there is none.
    pub fn read(page: &[u8]) -> Option<Marker> {
        let (words, _) = page.as_chunks::<8>();
        match words.get(..Marker::WORDS)? {
            [first, second, nonce, beat] if [*first, *second].map(u64::from_le_bytes) == MAGIC => {
                Some(Marker { nonce: u64::from_le_bytes(*nonce), beat: u64::from_le_bytes(*beat) })
            }
            _ => None,
        }
    }
}
