//! Any bytes are a difference of a page or refused, and what is encoded is what is applied.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sterna_wire::stream::{
    Delta, DeltaEncoder, PAGE_BYTES, PageContent, apply_delta, decode_pieces, encode_pieces,
};

/// Where, how many bytes, and what they become.
type Change = (u16, u8, u8);

fuzz_target!(|input: (&[u8], Vec<Change>, u64)| {
    let (bytes, changes, ram_pages) = input;

    let mut lied_to: PageContent = [7; PAGE_BYTES];
    let _ = apply_delta(bytes, &mut lied_to);

    let mut pieces = Vec::new();
    if decode_pieces(bytes, ram_pages, &mut pieces).is_ok() {
        assert!(pieces.iter().all(|it| it.page < ram_pages && (1..=4096).contains(&it.bytes)));
        let mut encoded = Vec::new();
        encode_pieces(&pieces, &mut encoded);
        assert_eq!(encoded, bytes);
    }

    let old: PageContent = std::array::from_fn(|at| bytes.get(at).copied().unwrap_or(0));
    let mut new = old;
    for (at, count, byte) in changes {
        let at = usize::from(at) % PAGE_BYTES;
        new[at..PAGE_BYTES.min(at + usize::from(count))].fill(byte);
    }
    let mut page = old;
    match DeltaEncoder::default().encode(&old, &new) {
        Delta::Unchanged => assert_eq!(old, new),
        Delta::Changed(delta) => {
            apply_delta(delta, &mut page).expect("what was encoded can be applied");
            assert_eq!(page, new);
        }
        Delta::Overflow => assert_ne!(old, new),
    }
});
