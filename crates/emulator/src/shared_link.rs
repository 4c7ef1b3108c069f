//! One emulated wire for several migrations, each of which is a process.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sterna_sys::nameless::NamelessFile;
use sterna_sys::shared::SharedWords;

/// How many migrations there are at most at the same time.
const SHARERS: usize = 0;

/// When the wire will have carried what was given to it, on the clock that all processes of a machine share.
const PAID_UNTIL: usize = 1;

const WORDS: usize = 2;

/// A wire that was made for several migrations, which hosts inherit; nothing is left of it when all are gone.
#[derive(Debug)]
pub struct SharedLink(NamelessFile);

/// One process's end of it.
#[derive(Clone, Debug)]
pub struct SharedWire(Arc<SharedWords>);

impl SharedLink {
    /// A new wire for at most `sharers` migrations at the same time.
    ///
    /// # Errors
    /// No file can be had for it.
    pub fn new(sharers: u32) -> io::Result<SharedLink> {
        let file = SharedWords::create(WORDS)?;
        let words = SharedWords::open(file.path(), WORDS)?;
        words.words()[SHARERS].store(u64::from(sharers.max(1)), Ordering::Release);
        Ok(SharedLink(file))
    }

    /// Where hosts that this process starts find it.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl SharedWire {
    /// Takes the end of a wire that another process has made.
    ///
    /// # Errors
    /// There is none.
    pub fn open(path: &Path) -> io::Result<SharedWire> {
        Ok(SharedWire(Arc::new(SharedWords::open(path, WORDS)?)))
    }

    /// How many migrations there are at most at the same time.
    pub fn sharers(&self) -> u64 {
        self.0.words()[SHARERS].load(Ordering::Acquire).max(1)
    }

    /// When the wire will have carried what was given to it.
    pub fn paid_until(&self) -> &AtomicU64 {
        &self.0.words()[PAID_UNTIL]
    }
}
