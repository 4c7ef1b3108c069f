//! Whether a file of records is what its writer was promised.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::{HEADER_BYTES, LARGEST_RECORD_BYTES, MAGIC, SMALLEST_RECORD_BYTES};

/// The first defects are told one by one.
const MOST_DEFECTS: usize = 100;

/// So much is read at once.
const READ_BYTES: usize = 1 << 20;

/// What a file of records holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Bytes of each record.
    pub record_bytes: u64,
    /// Whole records in their places.
    pub records: u64,
    /// The number of the first.
    pub first: u64,
    /// The number of the last whole one in its place.
    pub last: Option<u64>,
    /// Everything that is wrong with records that were safe: all that were acknowledged, and all that have a whole one behind them.
    pub defects: Defects,
    /// Bytes at the end that are no whole record. They are what was being written when the writer ended, and nobody was promised them.
    pub tail_bytes: u64,
}

/// What is wrong, by sort.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defects {
    /// Records that are not there: their place is empty, or the file ends before it.
    pub missing: u64,
    /// Records of which only a part is what was written.
    pub torn: u64,
    /// Whole records in the place of others.
    pub out_of_order: u64,
    /// The first of all sorts.
    pub first: Vec<Defect>,
}

/// One record that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defect {
    /// The number of the record that should be there.
    pub number: u64,
    /// Where, in bytes.
    pub offset_bytes: u64,
    /// What is wrong.
    pub what: String,
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It cannot be read.
    #[error("Cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not a single whole header.
    #[error("{} holds no record of `sterna probe disk`", .0.display())]
    NoRecords(PathBuf),
}

/// What a place holds.
enum Place {
    Whole {
        number: u64,
    },
    /// Whole too, and of another run.
    Foreign {
        number: u64,
    },
    Empty,
    Torn,
}

/// Checks every record. `acknowledged` is the number of the last one that was; without it, only what stands before a whole record is known to have been safe.
///
/// # Errors
/// The file cannot be read, or is none of ours.
pub fn verify(path: &Path, acknowledged: Option<u64>) -> Result<Verdict, VerifyError> {
    let failed = |source| VerifyError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let Some(shape) = shape(&mut file).map_err(failed)? else {
        return match (length, acknowledged) {
            // Nothing was written, and nothing was promised.
            (0, None) => Ok(Verdict::default()),
            // The worst loss of all.
            (0, Some(last)) => Ok(Verdict::default().without(0..=last, 0)),
            _ => Err(VerifyError::NoRecords(path.to_owned())),
        };
    };
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    check(file, length, &shape, acknowledged).map_err(failed)
}

/// As [`verify`], for whoever knows what was written: records of this run and size, from number 0 on. Nothing else is taken for them, and a file that has none of them has lost them all.
///
/// # Errors
/// The file cannot be read.
pub fn verify_run(
    path: &Path,
    run: u64,
    record_bytes: usize,
    acknowledged: Option<u64>,
) -> Result<Verdict, VerifyError> {
    let failed = |source| VerifyError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    check(file, length, &Shape { record_bytes, run, first: 0 }, acknowledged).map_err(failed)
}

fn check(file: File, length: u64, shape: &Shape, acknowledged: Option<u64>) -> io::Result<Verdict> {
    let &Shape { record_bytes, run, first } = shape;
    let mut verdict = Verdict { record_bytes: record_bytes as u64, first, ..Verdict::default() };
    let mut reader = io::BufReader::with_capacity(READ_BYTES, file);
    let mut record = vec![0; record_bytes];
    let promised = |number: u64| acknowledged.is_some_and(|it| number <= it);
    let mut doubtful = Vec::new();
    let mut number = first;
    let mut left = length;
    while left >= record_bytes as u64 {
        reader.read_exact(&mut record)?;
        let offset_bytes = length - left;
        left -= record_bytes as u64;
        let place = place(&record, run);
        if matches!(place, Place::Whole { .. }) {
            // What stands before a whole record was safe before that was written.
            doubtful.drain(..).for_each(|it| verdict.blame(it));
        }
        match place.doubt(number, offset_bytes) {
            None => {
                verdict.records += 1;
                verdict.last = Some(number);
            }
            Some(doubt) if promised(number) || doubt.is_whole => verdict.blame(doubt),
            Some(doubt) => doubtful.push(doubt),
        }
        number += 1;
    }
    verdict.tail_bytes = left + doubtful.len() as u64 * record_bytes as u64;
    Ok(match acknowledged {
        Some(last) if last >= number => verdict.without(number..=last, length - left),
        _ => verdict,
    })
}

impl Verdict {
    /// Whether every record that was safe is there, whole and in its place.
    pub fn is_sound(&self) -> bool {
        let Defects { missing, torn, out_of_order, .. } = &self.defects;
        missing + torn + out_of_order == 0
    }

    /// Records that were acknowledged and that the file does not reach.
    fn without(mut self, numbers: RangeInclusive<u64>, offset_bytes: u64) -> Verdict {
        let (first, last) = numbers.into_inner();
        self.blame(Doubt::missing(first, offset_bytes, "the file ends before it"));
        self.defects.missing = self.defects.missing.saturating_add(last - first);
        self
    }

    fn blame(&mut self, doubt: Doubt) {
        let Doubt { number, offset_bytes, sort, what, .. } = doubt;
        let count = match sort {
            Sort::Missing => &mut self.defects.missing,
            Sort::Torn => &mut self.defects.torn,
            Sort::OutOfOrder => &mut self.defects.out_of_order,
        };
        *count += 1;
        if self.defects.first.len() < MOST_DEFECTS {
            self.defects.first.push(Defect { number, offset_bytes, what });
        }
    }
}

struct Doubt {
    number: u64,
    offset_bytes: u64,
    sort: Sort,
    what: String,
    /// Whether a record of ours stands there, which was safe.
    is_whole: bool,
}

enum Sort {
    Missing,
    Torn,
    OutOfOrder,
}

impl Doubt {
    fn missing(number: u64, offset_bytes: u64, what: &str) -> Doubt {
        let (sort, what) = (Sort::Missing, what.to_owned());
        Doubt { number, offset_bytes, sort, what, is_whole: false }
    }
}

impl Place {
    /// What is wrong where the record of this number should be.
    fn doubt(self, number: u64, offset_bytes: u64) -> Option<Doubt> {
        let is_whole = matches!(self, Place::Whole { .. });
        let (sort, what) = match self {
            Place::Whole { number: found } if found == number => return None,
            Place::Whole { number: found } => {
                (Sort::OutOfOrder, format!("record {found} stands here"))
            }
            Place::Foreign { number: found } => {
                (Sort::OutOfOrder, format!("record {found} of another run stands here"))
            }
            Place::Empty => return Some(Doubt::missing(number, offset_bytes, "only zeros")),
            Place::Torn => (Sort::Torn, "its checksum is wrong".to_owned()),
        };
        Some(Doubt { number, offset_bytes, sort, what, is_whole })
    }
}

struct Shape {
    record_bytes: usize,
    run: u64,
    first: u64,
}

/// What the first whole header says; the one at the beginning may be torn itself.
fn shape(file: &mut File) -> io::Result<Option<Shape>> {
    let mut bytes = Vec::new();
    file.take(2 * LARGEST_RECORD_BYTES as u64).read_to_end(&mut bytes)?;
    let headers = (0..bytes.len()).step_by(8).filter_map(|at| {
        let header = bytes.get(at..at + HEADER_BYTES).filter(|it| it.starts_with(&MAGIC))?;
        let record_bytes = u32::from_be_bytes(*header[40..].first_chunk()?) as usize;
        let fits = (SMALLEST_RECORD_BYTES..=LARGEST_RECORD_BYTES).contains(&record_bytes);
        let record = fits.then(|| bytes.get(at..at + record_bytes)).flatten()?;
        let is_in_step = at % record_bytes == 0 && checksum_holds(record);
        let before = (at / record_bytes) as u64;
        let first = word(header, 2).checked_sub(before)?;
        is_in_step.then(|| Shape { record_bytes, run: word(header, 1), first })
    });
    let mut headers = headers;
    Ok(headers.next())
}

fn place(record: &[u8], run: u64) -> Place {
    if record.iter().all(|it| *it == 0) {
        return Place::Empty;
    }
    if !record.starts_with(&MAGIC) || !checksum_holds(record) {
        return Place::Torn;
    }
    let number = word(record, 2);
    if word(record, 1) == run { Place::Whole { number } } else { Place::Foreign { number } }
}

fn checksum_holds(record: &[u8]) -> bool {
    let (head, rest) = record.split_at(44);
    let (told, rest) = rest.split_at(4);
    let checksum = sterna_sys::crc32c(0, head);
    let checksum = sterna_sys::crc32c(checksum, &[0; 4]);
    told == sterna_sys::crc32c(checksum, rest).to_be_bytes()
}

fn word(bytes: &[u8], index: usize) -> u64 {
    bytes.as_chunks().0.get(index).map_or(0, |it| u64::from_be_bytes(*it))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Records;

    /// A directory of this test's own.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Place {
            let path =
                std::env::temp_dir().join(format!("sterna-records-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(&path).unwrap();
            Place(path)
        }

        /// Eight records of 64 bytes, changed before they are checked.
        fn checked(&self, change: impl FnOnce(&mut Vec<u8>), acknowledged: Option<u64>) -> Verdict {
            let path = self.0.join("records");
            let _ = std::fs::remove_file(&path);
            let mut records = Records::create(&path, 77, 64).unwrap();
            records.append(&[10, 11, 12]).unwrap();
            records.append(&[13, 14, 15, 16, 17]).unwrap();
            let mut bytes = std::fs::read(&path).unwrap();
            assert_eq!(bytes.len(), 8 * 64);
            change(&mut bytes);
            std::fs::write(&path, &bytes).unwrap();
            verify(&path, acknowledged).unwrap()
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_was_written_is_sound() {
        let place = Place::new("sound");
        let verdict = place.checked(|_| {}, Some(17));
        assert!(verdict.is_sound(), "{verdict:?}");
        assert_eq!(
            (verdict.records, verdict.first, verdict.last, verdict.tail_bytes),
            (8, 10, Some(17), 0)
        );
    }

    #[test]
    fn every_sort_of_defect_is_found() {
        let place = Place::new("defects");
        let defects = |change: fn(&mut Vec<u8>), acknowledged| {
            let found = place.checked(change, acknowledged).defects;
            (found.missing, found.torn, found.out_of_order)
        };
        // A bit in the filling, one in the header, the second half of a record.
        assert_eq!(defects(|it| it[3 * 64 + 60] ^= 1, None), (0, 1, 0));
        assert_eq!(defects(|it| it[3 * 64 + 20] ^= 1, None), (0, 1, 0));
        assert_eq!(defects(|it| it[3 * 64 + 32..4 * 64].fill(0), None), (0, 1, 0));
        assert_eq!(defects(|it| it[..64].fill(1), None), (0, 1, 0));
        assert_eq!(defects(|it| it[3 * 64..4 * 64].fill(0), None), (1, 0, 0));
        assert_eq!(defects(|it| it.copy_within(64..128, 256), None), (0, 0, 1));
        assert_eq!(defects(|it| drop(it.drain(64..128)), Some(17)), (1, 0, 6));
    }

    #[test]
    fn what_was_not_acknowledged_may_be_torn_at_the_end_and_what_was_may_not() {
        let place = Place::new("tail");
        let cut = |it: &mut Vec<u8>| it.truncate(7 * 64 + 30);
        let verdict = place.checked(cut, Some(16));
        assert!(verdict.is_sound());
        assert_eq!((verdict.last, verdict.tail_bytes), (Some(16), 30));
        let verdict = place.checked(cut, Some(17));
        assert_eq!((verdict.is_sound(), verdict.defects.missing), (false, 1));
        let torn = |it: &mut Vec<u8>| it[7 * 64 + 50] ^= 4;
        assert!(place.checked(torn, Some(16)).is_sound());
        assert_eq!(place.checked(torn, Some(17)).defects.torn, 1);
        assert_eq!(place.checked(cut, Some(27)).defects.missing, 11);
        assert!(!place.checked(cut, Some(u64::MAX)).is_sound());
    }

    #[test]
    fn who_knows_the_run_takes_no_records_of_another_and_none_that_begin_later() {
        let place = Place::new("runs");
        let path = place.0.join("records");
        let write = |run: u64, numbers: &[u64]| {
            let _ = std::fs::remove_file(&path);
            Records::create(&path, run, 64).unwrap().append(numbers).unwrap();
        };
        let found = |last: u64| {
            let Defects { missing, torn, out_of_order, .. } =
                verify_run(&path, 77, 64, Some(last)).unwrap().defects;
            (missing, torn, out_of_order)
        };
        write(77, &[0, 1, 2]);
        assert_eq!(found(2), (0, 0, 0));
        assert_eq!(found(3), (1, 0, 0));
        // An older state of the disk, which has the same numbers.
        write(76, &[0, 1, 2]);
        assert!(verify(&path, Some(2)).unwrap().is_sound());
        assert_eq!(found(2), (0, 0, 3));
        write(77, &[1, 2]);
        assert_eq!(found(2), (1, 0, 2));
        std::fs::write(&path, "").unwrap();
        assert_eq!(found(2), (3, 0, 0));
        std::fs::write(
            &path,
            "nothing of the kind, and yet as long as one of the records would be!",
        )
        .unwrap();
        assert_eq!(found(1), (1, 1, 0));
    }

    #[test]
    fn other_files_are_not_ours() {
        let place = Place::new("others");
        let path = place.0.join("text");
        std::fs::write(&path, "nothing of the kind").unwrap();
        assert!(verify(&path, None).unwrap_err().to_string().contains("holds no record"));
        assert!(verify(&place.0.join("absent"), None).is_err());
        std::fs::write(&path, "").unwrap();
        assert!(verify(&path, None).unwrap().is_sound());
        for (last, missing) in [(0, 1), (4, 5), (u64::MAX, u64::MAX)] {
            let verdict = verify(&path, Some(last)).unwrap();
            assert_eq!((verdict.is_sound(), verdict.defects.missing), (false, missing));
        }
        assert!(Records::create(&path, 1, 64).is_err(), "nothing is overwritten");
    }
}
