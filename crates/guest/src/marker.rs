//! The marker page and its beat; [`Marker`] says what for.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use sterna_sys::PAGE_BYTES;
use sterna_sys::region::{HugePages, Region, RegionOptions};
use sterna_wire::guest_line::Marker;

use crate::error::AgentError;

/// Short against the pass of any migration.
const BEAT: Duration = Duration::from_millis(5);

/// A page of its own, which no worker writes.
#[derive(Debug, Clone)]
pub struct MarkerPage {
    region: Arc<Region>,
}

impl MarkerPage {
    /// Writes the page and lets it beat, whether the workload runs or not.
    pub fn begin(nonce: u64) -> Result<MarkerPage, AgentError> {
        let bytes = PAGE_BYTES as u64;
        let options = RegionOptions { bytes, huge_pages: HugePages::None, locked: false };
        let page = MarkerPage { region: Arc::new(Region::new(&options)?) };
        let words = Marker { nonce, beat: 0 }.words();
        for (word, value) in page.region.words().iter().zip(words) {
            word.store(value.to_le(), Relaxed);
        }
        let region = Arc::clone(&page.region);
        let beat = move || {
            let word = &region.words()[Marker::BEAT_WORD];
            for beat in 1u64.. {
                std::thread::sleep(BEAT);
                word.store(beat.to_le(), Relaxed);
            }
        };
        let thread = std::thread::Builder::new().name("marker".to_owned());
        thread.spawn(beat).map_err(AgentError::Thread)?;
        Ok(page)
    }

    /// The page's guest-physical address; None for those whom the kernel does not tell.
    ///
    /// Asked anew each time: a kernel short of memory may move pages.
    pub fn physical_address(&self) -> Option<u64> {
        const PRESENT: u64 = 1 << 63;
        const FRAME: u64 = (1 << 55) - 1;
        let page = self.region.words().as_ptr().addr() / PAGE_BYTES;
        let mut entry = [0; 8];
        let file = File::open("/proc/self/pagemap").ok()?;
        file.read_exact_at(&mut entry, page as u64 * 8).ok()?;
        let entry = u64::from_ne_bytes(entry);
        let frame = entry & FRAME;
        // Without CAP_SYS_ADMIN the frame reads as 0.
        (entry & PRESENT != 0 && frame != 0).then_some(frame * PAGE_BYTES as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_beats_and_carries_the_nonce() {
        let page = MarkerPage::begin(77).unwrap();
        let read = || {
            let mut bytes = [0; PAGE_BYTES];
            page.region.copy_out(0, &mut bytes);
            Marker::read(&bytes).unwrap()
        };
        let first = read();
        std::thread::sleep(Duration::from_millis(100));
        let later = read();
        assert_eq!((first.nonce, later.nonce), (77, 77));
        assert!(later.beat > first.beat, "{first:?}, then {later:?}");
        match page.physical_address() {
            Some(address) => assert_eq!(address % PAGE_BYTES as u64, 0),
            None => eprintln!("skipped: the kernel tells no physical addresses here"),
        }
    }
}
