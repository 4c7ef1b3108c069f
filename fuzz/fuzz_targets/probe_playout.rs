//! Any bytes are what a source of pictures or its viewer says, or none; a viewer takes in whatever comes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sterna_probe::playout::{Frame, PlayAnswer, PlayRequest, Viewer};

/// The viewer's own, so that frames of it can be met.
const SESSION: u64 = 0;

fuzz_target!(|bytes: &[u8]| {
    if let Some(request) = PlayRequest::from_bytes(bytes) {
        assert_eq!(PlayRequest::from_bytes(&request.to_bytes()), Some(request));
    }
    if let Some(answer) = PlayAnswer::from_bytes(bytes) {
        assert_eq!(PlayAnswer::from_bytes(&answer.to_bytes()), Some(answer));
    }
    if let Some(frame) = Frame::from_bytes(bytes) {
        assert_eq!(frame.to_bytes(), bytes[..frame.to_bytes().len()]);
    }
    watch(bytes);
});

/// A word for each step: how much later it is, and which frame comes then; 0 is a source that has moved.
fn watch(bytes: &[u8]) {
    let mut viewer = Viewer::new(40_000_000, SESSION);
    viewer.hear(bytes, 0);
    let mut now_ns = 0_u64;
    for step in bytes.chunks_exact(12) {
        let (later, number) = step.split_at(4);
        let later = later.first_chunk().map_or(0, |it| u32::from_le_bytes(*it));
        let number = number.first_chunk().map_or(0, |it| u64::from_le_bytes(*it));
        now_ns += u64::from(later);
        match number {
            0 => viewer.has_moved(),
            _ => {
                let frame = Frame { session: SESSION, number: number - 1, sent_ns: now_ns };
                viewer.hear(&frame.to_bytes(), now_ns);
            }
        }
    }
    let _ = viewer.seen(now_ns);
}
