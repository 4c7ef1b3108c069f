//! Words that several processes share.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    ptr::NonNull,
    slice,
    sync::atomic::AtomicU64,
};

use rustix::mm::{self, MapFlags, ProtFlags};

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
    /// A new file with `count` words that are 0, for this user alone.
    ///
    /// # Errors
    /// There is a file already, or the file system refuses.
    pub fn create(path: &Path, count: usize) -> io::Result<SharedWords> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(0o600).open(path)?;
        file.set_len(bytes_of(count) as u64)?;
        SharedWords::map(&file, count)
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
        let path = std::env::temp_dir().join(format!("sterna-shared-{}", std::process::id()));
        let first = SharedWords::create(&path, 3).unwrap();
        assert!(SharedWords::create(&path, 3).is_err(), "it is there already");
        assert!(SharedWords::open(&path, 4).is_err(), "it is shorter");
        let second = SharedWords::open(&path, 3).unwrap();
        std::fs::remove_file(&path).unwrap();
        first.words()[2].store(7, Ordering::Release);
        assert_eq!(second.words()[2].load(Ordering::Acquire), 7);
        assert_eq!(second.words()[0].load(Ordering::Acquire), 0);
        assert!(SharedWords::open(&path, 3).is_err());
    }
}
