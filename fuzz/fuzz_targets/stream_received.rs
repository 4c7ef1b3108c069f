//! What a destination says it has of a guest fits the guest, whatever it claims.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sterna_wire::stream::{Kind, Message, ReceivedMap};

fuzz_target!(|input: (u32, Vec<&[u8]>)| {
    let (ram_pages, bodies) = input;
    let ram_pages = u64::from(ram_pages);
    let mut map = ReceivedMap::new(ram_pages);
    for body in bodies {
        let Ok(Message::Received(part)) = Message::decode(Kind::Received, body) else { return };
        if map.add(&part).is_err() {
            return;
        }
    }
    let marks = map.marks();
    assert!(marks.len() as u64 <= ram_pages.div_ceil(8));
    assert_eq!(map.is_whole(), marks.len() as u64 == ram_pages.div_ceil(8));
    let spare = (marks.len() as u64 * 8).saturating_sub(ram_pages);
    assert!(marks.last().is_none_or(|last| u32::from(*last) >> (8 - spare) == 0));
});
