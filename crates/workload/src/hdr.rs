//! Histograms in the form that HdrHistogram's tools read: its V2 encoding, and lines of its interval log.
//!
//! Two significant digits are exact to 1 %, finer than [`Histogram`] itself.
//! The encoding asks for zlib, which has a form that stores bytes as they are; histograms are a few hundred bytes long,
//! so that is what we write, without a compressor.

use std::fmt::Write;

use crate::histogram::Histogram;

const SIGNIFICANT_DIGITS: u32 = 2;
/// 256 cells of equal width from zero on, and 128 in each octave after that, as two digits need.
const HALF_CELLS_LOG2: u32 = 7;
const LOWEST_NS: u64 = 1;
/// More than an hour.
const HIGHEST_NS: u64 = (1 << 42) - 1;

const V2_COOKIE: u32 = 0x1C84_9313;
const V2_COMPRESSED_COOKIE: u32 = 0x1C84_9314;

/// What an interval log begins with; `start_unix_seconds` is the time from which its lines count.
pub fn log_header(start_unix_seconds: f64) -> String {
    format!(
        "#[Histogram log format version 1.3]\n\
         #[StartTime: {start_unix_seconds:.3} (seconds since epoch)]\n\
         \"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n"
    )
}

/// A line of an interval log: an interval that began `start_seconds` after the log's start, with all its times.
///
/// The maximum is in ms, as the tools expect; the values of the histogram are ns. A `tag` tells several histograms of one
/// log apart; it has no comma.
pub fn log_line(
    tag: Option<&str>,
    start_seconds: f64,
    length_seconds: f64,
    histogram: &Histogram,
) -> String {
    let max_ms = histogram.max_ns().unwrap_or(0) as f64 / 1e6;
    let tag = tag.map_or(String::new(), |it| format!("Tag={it},"));
    format!(
        "{tag}{start_seconds:.3},{length_seconds:.3},{max_ms:.3},{}\n",
        base64(&compressed(histogram))
    )
}

/// The V2 encoding, not compressed.
pub fn encoded(histogram: &Histogram) -> Vec<u8> {
    let counts = counts(histogram);
    let mut payload = Vec::new();
    let mut zeros = 0;
    for count in &counts {
        match count {
            0 => zeros += 1,
            count => {
                put_zeros(&mut payload, &mut zeros);
                put_number(&mut payload, *count as i64);
            }
        }
    }
    let mut bytes = Vec::with_capacity(40 + payload.len());
    bytes.extend(V2_COOKIE.to_be_bytes());
    bytes.extend((payload.len() as u32).to_be_bytes());
    bytes.extend(0u32.to_be_bytes());
    bytes.extend(SIGNIFICANT_DIGITS.to_be_bytes());
    bytes.extend(LOWEST_NS.to_be_bytes());
    bytes.extend(HIGHEST_NS.to_be_bytes());
    bytes.extend(1.0f64.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn compressed(histogram: &Histogram) -> Vec<u8> {
    let content = zlib_stored(&encoded(histogram));
    let mut bytes = V2_COMPRESSED_COOKIE.to_be_bytes().to_vec();
    bytes.extend((content.len() as u32).to_be_bytes());
    bytes.extend(content);
    bytes
}

/// The counts by HdrHistogram's cells, up to the last that is not empty.
///
/// The longest time is known exactly, so one of the last cell's times is counted there.
fn counts(histogram: &Histogram) -> Vec<u64> {
    let mut counts = Vec::new();
    let mut add = |ns: u64, n: u64| {
        let cell = cell_of(ns.min(HIGHEST_NS));
        if counts.len() <= cell {
            counts.resize(cell + 1, 0);
        }
        counts[cell] += n;
    };
    let cells: Vec<(u64, u64, u64)> = histogram.cells().collect();
    let Some(((low, high, n), others)) = cells.split_last() else { return counts };
    others.iter().for_each(|(low, high, n)| add(low + (high - low) / 2, *n));
    let max_ns = histogram.max_ns().unwrap_or(*high);
    add((low + (high - low) / 2).min(max_ns), n - 1);
    add(max_ns, 1);
    counts
}

fn cell_of(ns: u64) -> usize {
    let cells = 2u64 << HALF_CELLS_LOG2;
    let bucket = (ns | (cells - 1)).ilog2() - HALF_CELLS_LOG2;
    let within = ns >> bucket;
    (((u64::from(bucket) + 1) << HALF_CELLS_LOG2) + within - cells / 2) as usize
}

fn put_zeros(bytes: &mut Vec<u8>, zeros: &mut i64) {
    if *zeros > 0 {
        put_number(bytes, -*zeros);
        *zeros = 0;
    }
}

/// Seven bits a byte, lowest first, the sign in the lowest bit; the ninth byte has eight.
fn put_number(bytes: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
    for _ in 0..8 {
        if rest < 0x80 {
            return bytes.push(rest as u8);
        }
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

/// The bytes as zlib wraps them, not compressed.
fn zlib_stored(content: &[u8]) -> Vec<u8> {
    const LONGEST_BLOCK: usize = 0xFFFF;
    let mut bytes = vec![0x78, 0x01];
    let blocks = content.chunks(LONGEST_BLOCK);
    let last = blocks.len().saturating_sub(1);
    for (index, block) in blocks.enumerate() {
        let length = block.len() as u16;
        bytes.push(u8::from(index == last));
        bytes.extend(length.to_le_bytes());
        bytes.extend((!length).to_le_bytes());
        bytes.extend(block);
    }
    bytes.extend(adler32(content).to_be_bytes());
    bytes
}

fn adler32(content: &[u8]) -> u32 {
    const PRIME: u32 = 65_521;
    let (a, b) = content.iter().fold((1, 0), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % PRIME;
        (a, (b + a) % PRIME)
    });
    (b << 16) | a
}

fn base64(content: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(content.len().div_ceil(3) * 4);
    for chunk in content.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4usize {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            let is_padding = place > chunk.len();
            // Writing to a text cannot fail.
            let _ = text.write_char(if is_padding { '=' } else { char::from(digit) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::serialization::Deserializer;

    fn sample() -> Histogram {
        let mut histogram = Histogram::default();
        (1..200_000u64).for_each(|n| histogram.record(n * n % 1_000_003));
        histogram.record(7_654_321_987);
        histogram
    }

    fn check_same(ours: &Histogram, theirs: &hdrhistogram::Histogram<u64>) {
        assert_eq!(theirs.len(), ours.count());
        for percent in [1.0, 50.0, 90.0, 99.0, 99.9, 100.0] {
            let (a, b) =
                (ours.percentile_ns(percent).unwrap(), theirs.value_at_percentile(percent));
            assert!(a.abs_diff(b) <= 2 + a / 40, "p{percent}: {a} and {b}");
        }
        let max = ours.max_ns().unwrap();
        assert!(theirs.equivalent(theirs.max(), max), "{max} and {}", theirs.max());
    }

    #[test]
    fn the_reference_implementation_reads_it() {
        let ours = sample();
        let theirs = Deserializer::new().deserialize(&mut encoded(&ours).as_slice()).unwrap();
        check_same(&ours, &theirs);
        let theirs = Deserializer::new().deserialize(&mut compressed(&ours).as_slice()).unwrap();
        check_same(&ours, &theirs);
        let empty = encoded(&Histogram::default());
        let theirs: hdrhistogram::Histogram<u64> =
            Deserializer::new().deserialize(&mut empty.as_slice()).unwrap();
        assert_eq!(theirs.len(), 0);
    }

    #[test]
    fn the_reference_implementation_reads_the_log() {
        use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
        let ours = sample();
        let log = log_header(1_700_000_000.5)
            + &log_line(None, 0.25, 1.0, &ours)
            + &log_line(Some("since-due"), 1.25, 0.5, &ours);
        let entries: Vec<_> =
            IntervalLogIterator::new(log.as_bytes()).map(Result::unwrap).collect();
        let intervals: Vec<_> = entries
            .iter()
            .filter_map(|entry| match entry {
                LogEntry::Interval(interval) => Some(interval),
                _ => None,
            })
            .collect();
        assert_eq!(intervals.len(), 2);
        assert_eq!(intervals[1].start_timestamp().as_millis(), 1250);
        assert_eq!(intervals[1].duration().as_millis(), 500);
        assert!((intervals[0].max() - 7654.322).abs() < 0.001);
        // HISTFAAA is how every compressed V2 histogram begins.
        assert!(intervals[0].encoded_histogram().starts_with("HISTFAAA"));
        assert_eq!(intervals[0].encoded_histogram(), base64(&compressed(&ours)));
    }

    #[test]
    fn numbers_take_as_many_bytes_as_they_need() {
        let check = |number: i64, expected: &[u8]| {
            let mut bytes = Vec::new();
            put_number(&mut bytes, number);
            assert_eq!(bytes, expected, "{number}");
        };
        check(0, &[0]);
        check(-1, &[1]);
        check(63, &[126]);
        check(64, &[128, 1]);
        check(i64::MIN, &[255; 9]);
    }

    #[test]
    fn base64_and_adler_of_known_texts() {
        for (text, expected) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(text.as_bytes()), expected);
        }
        assert_eq!(adler32(b"Wikipedia"), 0x11E6_0398);
    }

    #[test]
    fn long_contents_take_several_blocks() {
        let content = vec![7; 200_000];
        let bytes = zlib_stored(&content);
        assert_eq!(bytes.len(), 2 + 4 * 5 + content.len() + 4);
        assert_eq!((bytes[2], bytes[2 + 3 * (5 + 0xFFFF)]), (0, 1));
    }
}
