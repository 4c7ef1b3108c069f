//! Frames over any byte stream. Page frames are written and read by their owners, who know where the pages live.

use std::io::{self, Read, Write};

use sterna_sys::crc32c;

use super::{FrameCounter, FrameError, HEADER_BYTES, Header, Message};

/// Why nothing could be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The bytes are no valid frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The peer closed the connection, cleanly or in the middle of a frame.
    #[error("The peer closed the connection")]
    Closed,
    /// The connection failed.
    #[error("The connection failed: {0}")]
    Io(io::Error),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => ReadError::Closed,
            _ => ReadError::Io(error),
        }
    }
}

/// Writes the frames of one direction and numbers them.
#[derive(Debug, Default)]
pub struct MessageWriter {
    counter: FrameCounter,
}

impl MessageWriter {
    /// Sends one message as one write; returns the bytes on the wire.
    pub fn send(&mut self, to: &mut impl Write, message: &Message) -> io::Result<u64> {
        let body = message.encode();
        let header = self.header(message.kind(), 0, body.len());
        let mut bytes = header.seal(crc32c(0, &body)).encode().to_vec();
        bytes.extend_from_slice(&body);
        to.write_all(&bytes)?;
        Ok(bytes.len() as u64)
    }

    /// A numbered header for a frame that the caller writes itself; its CRC is still to be set.
    pub fn header(&mut self, kind: super::Kind, runs: usize, body_bytes: usize) -> Header {
        debug_assert!(body_bytes <= kind.max_body_bytes());
        let sequence = self.counter.take();
        Header { kind, runs: runs as u16, body_bytes: body_bytes as u32, crc: 0, sequence }
    }
}

/// Reads the frames of one direction and checks their numbers.
#[derive(Debug, Default)]
pub struct MessageReader {
    counter: FrameCounter,
}

impl MessageReader {
    /// Reads the next header; its body is still to be read.
    pub fn header(&mut self, from: &mut impl Read) -> Result<Header, ReadError> {
        let mut bytes = [0; HEADER_BYTES];
        from.read_exact(&mut bytes)?;
        let header = Header::decode(&bytes)?;
        self.counter.accept(header.sequence)?;
        Ok(header)
    }

    /// Reads the body that belongs to a header of a message.
    pub fn body(&mut self, from: &mut impl Read, header: &Header) -> Result<Message, ReadError> {
        let mut body = vec![0; header.body_bytes as usize];
        from.read_exact(&mut body)?;
        header.check(crc32c(0, &body))?;
        Ok(Message::decode(header.kind, &body)?)
    }

    /// Reads one whole message.
    pub fn message(&mut self, from: &mut impl Read) -> Result<Message, ReadError> {
        let header = self.header(from)?;
        self.body(from, &header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_travel_in_order_and_a_lost_one_is_noticed() {
        let mut wire = Vec::new();
        let mut writer = MessageWriter::default();
        let first = writer.send(&mut wire, &Message::PassEnd(1)).unwrap() as usize;
        writer.send(&mut wire, &Message::Ready).unwrap();

        let mut reader = MessageReader::default();
        let mut from = wire.as_slice();
        assert_eq!(reader.message(&mut from).unwrap(), Message::PassEnd(1));
        assert_eq!(reader.message(&mut from).unwrap(), Message::Ready);
        assert!(matches!(reader.message(&mut from), Err(ReadError::Closed)));

        let error = MessageReader::default().message(&mut &wire[first..]).unwrap_err();
        assert!(error.to_string().contains("Frame number 1 came where 0 was due"));
    }

    #[test]
    fn truncated_and_damaged_frames_are_errors() {
        let mut wire = Vec::new();
        MessageWriter::default().send(&mut wire, &Message::Error("why".to_owned())).unwrap();
        for cut in 0..wire.len() {
            let found = MessageReader::default().message(&mut &wire[..cut]);
            assert!(matches!(found, Err(ReadError::Closed)), "cut at {cut}");
        }
        for at in 0..wire.len() {
            let mut bad = wire.clone();
            bad[at] ^= 0x40;
            assert!(MessageReader::default().message(&mut bad.as_slice()).is_err(), "byte {at}");
        }
    }
}
