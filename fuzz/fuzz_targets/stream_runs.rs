//! Runs of pages that are accepted lie within the guest's memory, whatever a peer claims.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sterna_wire::stream::{Kind, MAX_PAGES, decode_runs, encode_runs};

fuzz_target!(|input: (bool, u64, &[u8])| {
    let (content, ram_pages, bytes) = input;
    let kind = if content { Kind::Pages } else { Kind::Zero };
    let mut runs = Vec::new();
    let Ok(pages) = decode_runs(kind, bytes, ram_pages, &mut runs) else { return };

    assert_eq!(pages, runs.iter().map(|run| u64::from(run.count)).sum::<u64>());
    assert!(runs.iter().all(|run| run.count > 0 && run.first < ram_pages));
    assert!(runs.iter().all(|run| u64::from(run.count) <= ram_pages - run.first));
    assert!(!content || pages <= MAX_PAGES as u64);
    let mut encoded = Vec::new();
    encode_runs(&runs, &mut encoded);
    assert_eq!(encoded, bytes);
});
