//! Any bytes on the control connection are requests up to an error.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sterna_wire::control::{Request, receive};

fuzz_target!(|bytes: &[u8]| {
    let mut from = bytes;
    while receive::<Request>(&mut from).is_ok() {}
});
