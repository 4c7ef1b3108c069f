//! Records on a disk that prove afterwards whether the disk kept its word.
//!
//! A record has its number, and a checksum over all of it. It is acknowledged when the disk has said that it is safe (`fdatasync`).
//! Whatever happens then, to the program, its machine or its disk: an acknowledged record must be there, whole and in its place.

pub mod remote;
mod verify;

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::Moment;

pub use verify::{Defect, Defects, Verdict, VerifyError, verify, verify_run};

/// Bytes of a record unless told otherwise: a page, and a block of most file systems.
pub const DEFAULT_RECORD_BYTES: usize = 4096;
/// No record is smaller: its header has to fit.
pub const SMALLEST_RECORD_BYTES: usize = 64;
/// None is larger.
pub const LARGEST_RECORD_BYTES: usize = 1 << 20;

/// So much is handed to the kernel at once, however many records are due after a stall.
const PIECE_BYTES: usize = 1 << 20;

const MAGIC: [u8; 8] = *b"StrnRec1";
const HEADER_BYTES: usize = 48;

/// A file of records that is being written.
#[derive(Debug)]
pub struct Records {
    file: File,
    run: u64,
    record_bytes: usize,
}

impl Records {
    /// Begins a new file.
    ///
    /// # Errors
    /// It is there already, or cannot be written.
    pub fn create(path: &Path, run: u64, record_bytes: usize) -> io::Result<Records> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        // The file's name has to be safe too, or all records are gone with it.
        let directory = path.parent().filter(|it| *it != Path::new(""));
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
        let record_bytes = record_bytes.clamp(SMALLEST_RECORD_BYTES, LARGEST_RECORD_BYTES);
        Ok(Records { file, run, record_bytes: record_bytes / 8 * 8 })
    }

    /// Appends records and waits until they are safe.
    ///
    /// # Errors
    /// The disk is full, or broken.
    pub fn append(&mut self, numbers: &[u64]) -> io::Result<()> {
        let mut pieces = BufWriter::with_capacity(PIECE_BYTES, &self.file);
        for number in numbers {
            pieces.write_all(&record(self.run, *number, self.record_bytes, Moment::now()))?;
        }
        pieces.flush()?;
        drop(pieces);
        self.file.sync_data()
    }

    /// Makes all of it safe and gives the memory back in which the kernel remembers it: whoever reads it next reads what the disk holds.
    ///
    /// # Errors
    /// The disk is full, or broken.
    pub fn forget(self) -> io::Result<()> {
        // Only what is on the disk can be forgotten.
        self.file.sync_all()?;
        Ok(rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed)?)
    }
}

/// One record: a header, and a filling that follows from run and number.
fn record(run: u64, number: u64, bytes: usize, now: Moment) -> Vec<u8> {
    let mut record = vec![0; bytes];
    let words = record.as_chunks_mut().0;
    let header = [run, number, now.realtime_ns, now.monotonic_ns];
    words[0] = MAGIC;
    for (word, value) in words[1..].iter_mut().zip(header) {
        *word = value.to_be_bytes();
    }
    let mut filling = run ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for word in &mut words[HEADER_BYTES / 8..] {
        filling = filling.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
        *word = filling.to_be_bytes();
    }
    record[40..44].copy_from_slice(&(bytes as u32).to_be_bytes());
    let checksum = sterna_sys::crc32c(0, &record);
    record[44..48].copy_from_slice(&checksum.to_be_bytes());
    record
}

#[cfg(test)]
mod tests {
    use std::io::IoSliceMut;

    use rustix::io::{Errno, ReadWriteFlags, preadv2};

    use super::*;

    /// Whether memory holds the beginning of a file; the kernel says so only of some file systems.
    fn is_remembered(path: &Path) -> Result<bool, Errno> {
        let file = File::open(path).unwrap();
        let mut buffer = [0; 64];
        let mut buffers = [IoSliceMut::new(&mut buffer)];
        match preadv2(&file, &mut buffers, 0, ReadWriteFlags::NOWAIT) {
            Ok(length) => Ok(length == 64),
            Err(Errno::AGAIN) => Ok(false),
            Err(error) => Err(error),
        }
    }

    #[test]
    fn what_was_forgotten_is_read_from_the_disk_again() {
        let name = format!("sterna-forgotten-{}.records", std::process::id());
        let path = std::env::temp_dir().join(name);
        let mut records = Records::create(&path, 1, 4096).unwrap();
        let numbers: Vec<u64> = (0..256).collect();
        records.append(&numbers).unwrap();
        let before = is_remembered(&path);
        records.forget().unwrap();
        let after = is_remembered(&path);
        let is_sound = verify_run(&path, 1, 4096, Some(255)).unwrap().is_sound();
        std::fs::remove_file(&path).unwrap();
        assert!(is_sound);
        match (before, after) {
            (Ok(true), Ok(after)) => assert!(!after, "memory still holds it"),
            (before, _) => eprintln!(
                "skipped: the file system of the directory for temporary files does not say what memory holds ({before:?}); set TMPDIR to one on a disk"
            ),
        }
    }
}
