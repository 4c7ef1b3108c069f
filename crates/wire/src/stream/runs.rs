//! Page runs: which pages a `Pages` or `Zero` frame is about.

use super::{FrameError, Kind, MAX_PAGES};

/// Bytes of one encoded run.
pub const RUN_BYTES: usize = 8;

/// Most runs in one frame.
pub const MAX_RUNS: usize = 256;

/// Most runs in a frame that is a list of pages.
pub const MAX_LIST_RUNS: usize = 8192;

/// Consecutive pages, at most 65,535 of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRun {
    /// Index of the first page; 48 bits on the wire.
    pub first: u64,
    /// Number of pages, never 0.
    pub count: u16,
}

/// Appends runs: 6 bytes first page, 2 bytes count, each little-endian.
pub fn encode_runs(runs: &[PageRun], to: &mut Vec<u8>) {
    for run in runs {
        to.extend_from_slice(&run.first.to_le_bytes()[..6]);
        to.extend_from_slice(&run.count.to_le_bytes());
    }
}

/// Decodes runs into `to` and checks that they lie within `ram_pages` and, for `Pages`, fit one frame.
pub fn decode_runs(
    kind: Kind,
    bytes: &[u8],
    ram_pages: u64,
    to: &mut Vec<PageRun>,
) -> Result<u64, FrameError> {
    let malformed = |detail| FrameError::Malformed { kind, detail };
    to.clear();
    decode_all(kind, bytes, to)?;
    let pages = check_runs(kind, to, ram_pages)?;
    if kind == Kind::Pages && pages > MAX_PAGES as u64 {
        return Err(malformed(format!("{pages} pages, at most {MAX_PAGES} are allowed")));
    }
    Ok(pages)
}

/// Checks that runs lie within `ram_pages`; returns how many pages they are.
pub fn check_runs(kind: Kind, runs: &[PageRun], ram_pages: u64) -> Result<u64, FrameError> {
    let mut pages = 0;
    for run in runs {
        if run.count == 0 || run.first + u64::from(run.count) > ram_pages {
            let detail = format!(
                "run of {} pages at page {} lies outside the guest's {ram_pages} pages",
                run.count, run.first
            );
            return Err(FrameError::Malformed { kind, detail });
        }
        pages += u64::from(run.count);
    }
    Ok(pages)
}

/// Decodes a body that is a list of runs and nothing else.
pub(super) fn decode_list(kind: Kind, bytes: &[u8]) -> Result<Vec<PageRun>, FrameError> {
    let mut runs = Vec::with_capacity(bytes.len() / RUN_BYTES);
    decode_all(kind, bytes, &mut runs)?;
    let malformed = |detail| FrameError::Malformed { kind, detail };
    if runs.is_empty() {
        return Err(malformed("it names no page".to_owned()));
    }
    match runs.iter().find(|it| it.count == 0) {
        Some(run) => Err(malformed(format!("a run has no page at page {}", run.first))),
        None => Ok(runs),
    }
}

fn decode_all(kind: Kind, bytes: &[u8], to: &mut Vec<PageRun>) -> Result<(), FrameError> {
    let (chunks, rest) = bytes.as_chunks::<RUN_BYTES>();
    if !rest.is_empty() {
        let detail = format!("{} bytes are no whole number of runs", bytes.len());
        return Err(FrameError::Malformed { kind, detail });
    }
    to.extend(chunks.iter().map(|&[a, b, c, d, e, f, low, high]| PageRun {
        first: u64::from_le_bytes([a, b, c, d, e, f, 0, 0]),
        count: u16::from_le_bytes([low, high]),
    }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn runs_have_golden_bytes() {
        let mut bytes = Vec::new();
        encode_runs(&[PageRun { first: 0x0102_0304_0506, count: 0x0708 }], &mut bytes);
        assert_eq!(bytes, [6, 5, 4, 3, 2, 1, 8, 7]);
    }

    #[test]
    fn lying_runs_are_refused() {
        #[track_caller]
        fn check(first: u64, count: u16, kind: Kind, expected: &str) {
            let mut bytes = Vec::new();
            encode_runs(&[PageRun { first, count }], &mut bytes);
            let error = decode_runs(kind, &bytes, 1000, &mut Vec::new()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        check(0, 0, Kind::Zero, "outside");
        check(1000, 1, Kind::Zero, "outside");
        check(999, 2, Kind::Zero, "outside");
        check((1 << 48) - 1, 1, Kind::Zero, "outside");
        check(0, 257, Kind::Pages, "at most 256");
        assert!(decode_runs(Kind::Zero, &[0; 7], 10, &mut Vec::new()).is_err());
    }

    proptest! {
        #[test]
        fn runs_round_trip(pairs in prop::collection::vec((0u64..1 << 40, 1u16..), 1..50)) {
            let runs: Vec<PageRun> =
                pairs.into_iter().map(|(first, count)| PageRun { first, count }).collect();
            let mut bytes = Vec::new();
            encode_runs(&runs, &mut bytes);
            let mut found = Vec::new();
            let pages = decode_runs(Kind::Zero, &bytes, 1 << 41, &mut found).unwrap();
            prop_assert_eq!(pages, runs.iter().map(|run| u64::from(run.count)).sum::<u64>());
            prop_assert_eq!(found, runs);
        }
    }
}
