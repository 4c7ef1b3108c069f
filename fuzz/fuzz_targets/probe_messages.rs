//! Any bytes are a message of a probe, or none; a responder answers questions, never with more bytes than they have, and plays what it was asked for.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sterna_probe::{Answer, MESSAGE_BYTES, Message, Moment, Responder};

fuzz_target!(|bytes: &[u8]| {
    if let Some(message) = Message::from_bytes(bytes) {
        assert_eq!(message.to_bytes(), bytes[..MESSAGE_BYTES]);
    }
    let mut responder = Responder::new(2);
    let mut buffer = vec![0; 65_536];
    for (step, datagram) in bytes.chunks(MESSAGE_BYTES).enumerate() {
        buffer[..datagram.len()].copy_from_slice(datagram);
        let now = Moment { monotonic_ns: step as u64 * 1_000_000, realtime_ns: 0 };
        let from = ([127, 0, 0, 1], 1).into();
        if let Answer::Back(length) = responder.answer(&mut buffer, datagram.len(), from, now) {
            assert!(length <= datagram.len());
            // No answer is a question, or two responders would answer each other for ever.
            let back = Responder::new(2).answer(&mut buffer, length, from, now);
            assert_eq!(back, Answer::Nothing);
        }
        responder.play_due(now.monotonic_ns, |to, _, _| assert_eq!(to, from));
    }
});
