//! What stands behind the header, in the three ways in which its end is told.

use std::io::Read;

use super::{HttpError, MOST_BYTES, MOST_HEAD_BYTES};
use crate::reading::read_some;

/// Reads it; `rest` came with the header.
pub(super) fn read(
    head: &str,
    rest: Vec<u8>,
    stream: &mut impl Read,
) -> Result<Vec<u8>, HttpError> {
    let mut reader = Reader { bytes: rest, stream };
    if header(head, "transfer-encoding")
        .is_some_and(|it| it.to_ascii_lowercase().contains("chunked"))
    {
        return reader.chunks();
    }
    match header(head, "content-length") {
        Some(length) => {
            let length: usize = length
                .parse()
                .map_err(|_| HttpError::NoHttp("it gives a length that is no number"))?;
            reader.take(length)
        }
        None => reader.everything(),
    }
}

/// The value of a header of this name.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let fields = head.lines().skip(1).filter_map(|it| it.split_once(':'));
    let mut found = fields.filter(|(key, _)| key.trim().eq_ignore_ascii_case(name));
    found.next().map(|(_, value)| value.trim())
}

struct Reader<'a, S> {
    /// What has come and was not taken yet.
    bytes: Vec<u8>,
    stream: &'a mut S,
}

impl<S: Read> Reader<'_, S> {
    /// More of it; whether there was any.
    fn more(&mut self) -> Result<bool, HttpError> {
        let mut buffer = [0; 16 << 10];
        let count = read_some(self.stream, &mut buffer)?;
        self.bytes.extend(&buffer[..count]);
        Ok(count > 0)
    }

    fn take(&mut self, length: usize) -> Result<Vec<u8>, HttpError> {
        if length > MOST_BYTES {
            return Err(HttpError::TooLong);
        }
        while self.bytes.len() < length {
            if !self.more()? {
                return Err(HttpError::NoHttp("the page was cut off"));
            }
        }
        let rest = self.bytes.split_off(length);
        Ok(std::mem::replace(&mut self.bytes, rest))
    }

    fn line(&mut self) -> Result<String, HttpError> {
        loop {
            if let Some(at) = self.bytes.iter().position(|it| *it == b'\n') {
                let line = self.take(at + 1)?;
                return Ok(String::from_utf8_lossy(&line).trim().to_owned());
            }
            if self.bytes.len() > MOST_HEAD_BYTES || !self.more()? {
                return Err(HttpError::NoHttp("a chunk has no length"));
            }
        }
    }

    fn chunks(&mut self) -> Result<Vec<u8>, HttpError> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16)
                .map_err(|_| HttpError::NoHttp("a chunk has no length"))?;
            if size == 0 {
                return Ok(body);
            }
            if size > MOST_BYTES - body.len() {
                return Err(HttpError::TooLong);
            }
            body.extend(self.take(size)?);
            self.line()?;
        }
    }

    fn everything(&mut self) -> Result<Vec<u8>, HttpError> {
        while self.more()? {
            if self.bytes.len() > MOST_BYTES {
                return Err(HttpError::TooLong);
            }
        }
        Ok(std::mem::take(&mut self.bytes))
    }
}
