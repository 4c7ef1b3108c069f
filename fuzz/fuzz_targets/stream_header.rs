//! Any 16 bytes are a header within its bounds or an error; what was read is written the same way.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sterna_wire::stream::{HEADER_BYTES, Header};

fuzz_target!(|bytes: [u8; HEADER_BYTES]| {
    if let Ok(header) = Header::decode(&bytes) {
        assert!(header.body_bytes as usize <= header.kind.max_body_bytes());
        assert_eq!(header.encode(), bytes);
    }
});
