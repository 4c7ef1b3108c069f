//! Any bytes are a question to a keeper or are refused.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sterna_wire::control::decode;
use sterna_wire::keeper::{KeeperReply, KeeperRequest};

fuzz_target!(|bytes: &[u8]| {
    let _ = decode::<KeeperRequest>(bytes);
    let _ = decode::<KeeperReply>(bytes);
});
