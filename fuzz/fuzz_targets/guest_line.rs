//! Any bytes from a guest are messages and console text; what was read is written so that it reads the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sterna_wire::guest_line::{Decoder, Encoder, GuestMessage, MAX_LINE_BYTES};

fuzz_target!(|bytes: &[u8]| {
    let messages = Decoder::<GuestMessage>::default().push(bytes);
    let mut encoder = Encoder::default();
    for message in messages {
        let line = encoder.encode(&message);
        // Written out, a reason may outgrow what one line can carry.
        if line.len() < MAX_LINE_BYTES {
            assert_eq!(Decoder::<GuestMessage>::default().push(&line), [message]);
        }
    }
});
