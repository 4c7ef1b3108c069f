#![no_main]

use libfuzzer_sys::fuzz_target;
use sterna_wire::control;
use sterna_wire::trial::ask::{Ask, Tell};
use sterna_wire::trial::{HEAD_BYTES, Head, LANE_BYTES, Lane, MAX_BLOCK_BYTES};

fuzz_target!(|data: &[u8]| {
    if let Some(bytes) = data.first_chunk::<HEAD_BYTES>()
        && let Ok(head) = Head::decode(bytes)
    {
        assert!(head.content_bytes() <= MAX_BLOCK_BYTES);
        assert_eq!(head.encode(), *bytes);
    }
    if let Some(bytes) = data.first_chunk::<LANE_BYTES>()
        && let Ok(lane) = Lane::decode(bytes)
    {
        assert_eq!(lane.encode(), *bytes);
    }
    if let Ok(ask) = control::decode::<Ask>(data) {
        let bytes = control::encode(&ask).expect("what was decoded can be encoded");
        assert_eq!(control::decode::<Ask>(&bytes[4..]).expect("and decoded again"), ask);
    }
    let _ = control::decode::<Tell<u64, u64>>(data);
});
