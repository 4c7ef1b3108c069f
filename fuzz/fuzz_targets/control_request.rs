//! Any text is a request or an error; what was read is written so that it reads the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sterna_wire::control::{Request, decode, encode};

fuzz_target!(|body: &[u8]| {
    let Ok(request) = decode::<Request>(body) else { return };
    // Written out, a request may outgrow what one frame can carry.
    let Ok(frame) = encode(&request) else { return };
    assert_eq!(decode::<Request>(&frame[4..]).expect("What we write we can read"), request);
});
