//! Any body of any kind is a message of that kind or an error; what was read can be written again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sterna_wire::stream::{Kind, Message};

fuzz_target!(|input: (u8, &[u8])| {
    let (choice, body) = input;
    let kind = Kind::ALL[usize::from(choice) % Kind::ALL.len()];
    let Ok(message) = Message::decode(kind, body) else { return };
    assert_eq!(message.kind(), kind);

    let encoded = message.encode();
    assert!(encoded.len() <= kind.max_body_bytes().max(body.len()));
    let again = Message::decode(kind, &encoded).expect("What we write we can read");
    // A text is made presentable and cut to its bound, so only its kind must survive.
    if !matches!(message, Message::Error(_) | Message::Abort(_)) {
        assert_eq!(again, message);
    }
});
