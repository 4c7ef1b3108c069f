//! Words that several processes share.

use std::{
    fs::{File, OpenOptions},
    io,
    path::Path,
    ptr::NonNull,
    slice,
    sync::atomic::AtomicU64,
};

use rustix::mm::{self, MapFlags, ProtFlags};

use crate::nameless::NamelessFile;

/// A few words in a file that other processes map as well.
///
/// Whoever can write the file can also cut it short, and then a use of the words ends this process;
/// so it belongs where only the user's own processes reach it.
#[derive(Debug)]
pub struct SharedWords {
    start: NonNull<AtomicU64>,
    count: usize,
}

// SAFETY: the words are atomic, and the mapping stays where it is until the value is dropped.
unsafe impl Send for SharedWords {}
// SAFETY: as above.
unsafe impl Sync for SharedWords {}

impl SharedWords {
    /// `count` words that are 0, in a file without a name: nothing is left of it when all who hold it are gone.
    ///
    /// # Errors
    /// No descriptors or no memory are left.
    pub fn create(count: usize) -> io::Result<NamelessFile> {
        let file = NamelessFile::new("sterna-words")?;
        file.file().set_len(bytes_of(count) as u64)?;
        Ok(file)
    }

    /// The words of a file that another process has made.
    ///
    /// # Errors
    /// There is no such file, or it does not hold `count` words.
    pub fn open(path: &Path, count: usize) -> io::Result<SharedWords> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        if file.metadata()?.len() != bytes_of(count) as u64 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} does not hold {count} words", path.display()),
            ));
        }
        SharedWords::map(&file, count)
    }

    /// The words.
    #[must_use]
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping holds that many words, is aligned to pages, and lives as long as
        // `self`; others may change them at any time, which is what atomics are for.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.count) }
    }

    fn map(file: &File, count: usize) -> io::Result<SharedWords> {
        let bytes = bytes_of(count);
        // SAFETY: the kernel chooses an address where nothing is mapped, so nobody's memory changes.
        let start = unsafe {
            mm::mmap(
                std::ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                file,
                0,
            )?
        };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(SharedWords { start, count })
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        // SAFETY: this value owns the mapping, and no borrow of the words outlives it.
        let _ = unsafe { mm::munmap(self.start.as_ptr().cast(), bytes_of(self.count)) };
    }
}

fn bytes_of(count: usize) -> usize {
    count * size_of::<AtomicU64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn what_one_writes_the_other_reads() {
        let file = SharedWords::create(3).unwrap();
        assert!(SharedWords::open(file.path(), 4).is_err(), "it is shorter");
        let first = SharedWords::open(file.path(), 3).unwrap();
        let second = SharedWords::open(file.path(), 3).unwrap();
        first.words()[2].store(7, Ordering::Release);
        assert_eq!(second.words()[2].load(Ordering::Acquire), 7);
        assert_eq!(second.words()[0].load(Ordering::Acquire), 0);
    }
}
