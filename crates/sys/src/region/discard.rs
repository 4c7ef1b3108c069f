//! Making pages of a region not exist any more.

use std::io;

use rustix::{
    io::Errno,
    mm::{self, Advice},
};

use super::{HugePages, Region};

impl Region {
    /// Gives the memory of pages back to the kernel; they read as zero afterwards, or cause faults where the region is
    /// registered for missing pages. A locked region stays locked.
    ///
    /// # Errors
    /// A range that does not start and end at the region's own page size, or a locked region on a kernel before 5.18.
    pub fn discard(&self, first: usize, pages: usize) -> io::Result<()> {
        match self.advise(first, pages, Advice::LinuxDontNeed) {
            // Locked memory has an advice of its own, so that nobody drops it by mistake.
            Err(Errno::INVAL) => Ok(self.advise(first, pages, Advice::LinuxDontneedLocked)?),
            done => Ok(done?),
        }
    }

    /// Ends the joining of small pages to huge ones, so that each page can be missing by itself; those that are joined
    /// already are parted where one of them is discarded.
    ///
    /// # Errors
    /// A region of reserved huge pages, which cannot be parted.
    pub fn keep_pages_small(&self) -> io::Result<()> {
        match self.huge_pages {
            HugePages::None => Ok(()),
            HugePages::Thp => {
                match self.advise(0, self.pages(), Advice::LinuxNoHugepage) {
                    // A kernel without transparent huge pages has only small ones.
                    Err(Errno::INVAL) => Ok(()),
                    done => Ok(done?),
                }
            }
            HugePages::Size2MiB | HugePages::Size1GiB => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "Reserved huge pages cannot be parted into small ones",
            )),
        }
    }

    fn advise(&self, first: usize, pages: usize, advice: Advice) -> Result<(), Errno> {
        let words = self.range(first, pages);
        let start = words.as_ptr().cast_mut().cast();
        // SAFETY: the range lies within the mapping; the advices used here leave its words as they are, or change them to
        // zero as by atomic stores, which every holder of a shared reference expects anyway.
        unsafe { mm::madvise(start, size_of_val(words), advice) }
    }
}
