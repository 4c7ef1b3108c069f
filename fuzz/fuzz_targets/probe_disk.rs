//! Any bytes are the first words of a writer of records or of its responder, or are refused.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sterna_probe::disk::remote::{DiskResponder, greeting, welcome};
use sterna_probe::serve::Upgrade;

fuzz_target!(|bytes: &[u8]| {
    let mut incoming = bytes.to_vec();
    match welcome(&mut incoming) {
        // What follows is left, and nothing else.
        Ok(Some(_)) => assert!(bytes.ends_with(&incoming) && incoming.len() < bytes.len()),
        Ok(None) => assert_eq!(incoming, bytes),
        Err(reason) => assert!(!reason.is_empty()),
    }
    if (DiskResponder { directory: None }).wants(bytes) {
        let words = greeting(1, 4096);
        assert_eq!(bytes[..8], words[..8]);
    }
});
