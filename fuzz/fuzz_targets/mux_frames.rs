//! Any bytes of a session are frames or an error; what was read is written so that it reads the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sterna_wire::mux::{MuxDecoder, MuxFrame, PREAMBLE, encode_close, encode_data};

fuzz_target!(|bytes: &[u8]| {
    let mut decoder = MuxDecoder::default();
    let _ = decoder.push(&PREAMBLE);
    let Ok(frames) = decoder.push(bytes) else { return };
    let mut again = PREAMBLE.to_vec();
    for frame in &frames {
        match frame {
            MuxFrame::Data { channel, bytes } if bytes.is_empty() => {
                // An empty frame is allowed and never written.
                let _ = channel;
                return;
            }
            MuxFrame::Data { channel, bytes } => again.extend(encode_data(*channel, bytes)),
            MuxFrame::Close { channel } => again.extend(encode_close(*channel)),
        }
    }
    assert_eq!(MuxDecoder::default().push(&again), Ok(frames));
});
