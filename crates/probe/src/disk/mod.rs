//! Records on a disk that prove afterwards whether the disk kept its word.
//!
//! A record has its number, and a checksum over all of it. It is acknowledged when the disk has said that it is safe (`fdatasync`).
//! Whatever happens then, to the program, its machine or its disk: an acknowledged record must be there, whole and in its place.

pub mod remote;
#[cfg(feature = "client")]
mod verify;

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::Moment;

#[cfg(feature = "client")]
pub use verify::{Defect, Defects, Verdict, VerifyError, verify};

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
