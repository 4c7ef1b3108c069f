//! Any bytes are frames up to an error; the reader ends, and allocates no more than its bounds.
//!
//! A fuzzer does not guess checksums, so half of the inputs get theirs, and their sequence
//! numbers, mended before they are read.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sterna_sys::crc32c;
use sterna_wire::stream::{HEADER_BYTES, Header, MessageReader};

fuzz_target!(|input: (bool, &[u8])| {
    let (mend, bytes) = input;
    let mut stream = bytes.to_vec();
    if mend {
        mend_headers(&mut stream);
    }
    let mut from = stream.as_slice();
    let mut reader = MessageReader::default();
    while let Ok(message) = reader.message(&mut from) {
        let _ = message.encode();
    }
});

fn mend_headers(stream: &mut [u8]) {
    let mut rest = stream;
    for sequence in 0.. {
        let Some((bytes, after)) = rest.split_first_chunk_mut::<HEADER_BYTES>() else { return };
        let Ok(header) = Header::decode(bytes) else { return };
        let Some((body, next)) = after.split_at_mut_checked(header.body_bytes as usize) else {
            return;
        };
        *bytes = Header { sequence, ..header }.seal(crc32c(0, body)).encode();
        rest = next;
    }
}
