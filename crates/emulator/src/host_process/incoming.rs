//! Frames of a control connection as they come in, in parts.

use std::io::{self, ErrorKind, Read};

use sterna_wire::control::{self, ControlError, MAX_FRAME_BYTES, Reply};

/// Bytes that came and do not make a whole frame yet.
#[derive(Debug, Default)]
pub struct Incoming {
    bytes: Vec<u8>,
}

impl Incoming {
    /// The next reply, if all of it is here.
    pub fn next_reply(&mut self) -> Result<Option<Reply>, ControlError> {
        let Some((length, rest)) = self.bytes.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        if length > MAX_FRAME_BYTES {
            return Err(ControlError::TooLong(length as u64));
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let reply = control::decode(body)?;
        self.bytes.drain(..4 + length);
        Ok(Some(reply))
    }

    /// Whether a part of a frame is here.
    pub fn has_begun(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// Takes what comes within the read timeout of the connection, which may be nothing.
    pub fn take_from(&mut self, connection: &mut impl Read) -> Result<(), ControlError> {
        let mut buffer = [0; 8 << 10];
        match connection.read(&mut buffer) {
            Ok(0) => Err(ControlError::Closed),
            Ok(length) => {
                self.bytes.extend_from_slice(&buffer[..length]);
                Ok(())
            }
            Err(error) if is_a_pause(&error) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn is_a_pause(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_whole_however_they_came_in() {
        let replies = [Reply::Clock { now_ns: 1 }, Reply::Done { at_ns: 2 }];
        let encoded = replies.iter().map(|it| control::encode(it).unwrap());
        let bytes: Vec<u8> = encoded.flatten().collect();
        for part in [1, 3, 7, bytes.len()] {
            let mut incoming = Incoming::default();
            let mut found = Vec::new();
            for mut piece in bytes.chunks(part) {
                incoming.take_from(&mut piece).unwrap();
                while let Some(reply) = incoming.next_reply().unwrap() {
                    found.push(reply);
                }
            }
            assert_eq!(format!("{found:?}"), format!("{replies:?}"), "in parts of {part}");
        }
    }

    #[test]
    fn a_length_beyond_the_bound_is_refused_before_it_comes() {
        let mut incoming = Incoming::default();
        incoming.take_from(&mut &[0xff; 4][..]).unwrap();
        assert!(matches!(incoming.next_reply(), Err(ControlError::TooLong(0xffff_ffff))));
        assert!(matches!(incoming.take_from(&mut io::empty()), Err(ControlError::Closed)));
    }
}
