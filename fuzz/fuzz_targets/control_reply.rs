//! Any text is a reply or an error; what was read is written so that it reads the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sterna_wire::control::{Reply, decode, encode};

fuzz_target!(|body: &[u8]| {
    let Ok(reply) = decode::<Reply>(body) else { return };
    // Written out, a reply may outgrow what one frame can carry.
    let Ok(frame) = encode(&reply) else { return };
    assert_eq!(decode::<Reply>(&frame[4..]).expect("What we write we can read"), reply);
});
