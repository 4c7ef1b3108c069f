//! From bytes to values, whatever else is on the line.

use std::collections::VecDeque;
use std::marker::PhantomData;

use sterna_sys::crc32c;

use super::fields::Fields;
use super::{Line, MAX_LINE_BYTES, RECORD_SEPARATOR};

/// Console lines kept for [`Decoder::take_console`]; a panic with its trace has about 60.
const CONSOLE_LINES: usize = 200;

/// Finds the lines of one direction in a stream of bytes.
///
/// Everything else is taken for console text, since on a serial port the kernel's messages come in between, even in
/// the middle of a line. A line that was hit so is counted as damaged and kept as console text too: what hit it may be
/// the kernel's last words.
///
/// One decoder serves the whole life of a guest: after a migration, feed it the bytes of the destination's socket after
/// all those of the source's. A line that was cut by the migration is then whole again, or counted.
#[derive(Debug)]
pub struct Decoder<T> {
    line: Vec<u8>,
    is_overlong: bool,
    next_sequence: u64,
    missed: u64,
    damaged: u64,
    console: VecDeque<String>,
    is_of: PhantomData<T>,
}

impl<T> Default for Decoder<T> {
    fn default() -> Decoder<T> {
        Decoder {
            line: Vec::new(),
            is_overlong: false,
            next_sequence: 0,
            missed: 0,
            damaged: 0,
            console: VecDeque::new(),
            is_of: PhantomData,
        }
    }
}

impl<T: Line> Decoder<T> {
    /// Takes bytes as they come and returns the values that are complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<T> {
        let mut values = Vec::new();
        for byte in bytes {
            match byte {
                b'\n' => values.extend(self.end_line()),
                _ if self.line.len() < MAX_LINE_BYTES => self.line.push(*byte),
                _ => self.is_overlong = true,
            }
        }
        values
    }

    /// Lines that the other side numbered and that never came whole.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// Lines that began but whose checksum was wrong.
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// The last lines that were none of ours, such as the kernel's messages; the oldest are dropped.
    pub fn take_console(&mut self) -> Vec<String> {
        self.console.drain(..).collect()
    }

    /// Bytes of the line that is not complete yet.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.line.len()
    }

    fn end_line(&mut self) -> Option<T> {
        let line = std::mem::take(&mut self.line);
        let is_overlong = std::mem::take(&mut self.is_overlong);
        let Some(start) = line.iter().rposition(|it| *it == RECORD_SEPARATOR) else {
            self.note(&line);
            return None;
        };
        let (before, record) = (&line[..start], &line[start + 1..]);
        self.note(before);
        self.damaged += before.iter().filter(|it| **it == RECORD_SEPARATOR).count() as u64;
        let Some(body) = checked(record).filter(|_| !is_overlong) else {
            self.damaged += 1;
            self.note(record);
            return None;
        };
        self.read(body)
    }

    fn read(&mut self, body: &str) -> Option<T> {
        let mut fields = Fields::new(body);
        if fields.word()?.as_bytes() != [T::DIRECTION] {
            return None;
        }
        let kind = fields.word()?;
        let sequence: u64 = fields.number()?;
        // A lower number is that of an agent that was started again.
        self.missed += sequence.saturating_sub(self.next_sequence);
        self.next_sequence = sequence.saturating_add(1);
        T::read(kind, &mut fields)
    }

    fn note(&mut self, text: &[u8]) {
        let text: String = String::from_utf8_lossy(text)
            .chars()
            .map(|it| if it.is_control() && it != '\t' { ' ' } else { it })
            .collect();
        let text = text.trim_end();
        if text.is_empty() {
            return;
        }
        if self.console.len() == CONSOLE_LINES {
            self.console.pop_front();
        }
        self.console.push_back(text.to_owned());
    }
}

/// What the checksum at the end vouches for.
fn checked(record: &[u8]) -> Option<&str> {
    // A terminal that was not yet in raw mode sends CR LF.
    let record = record.strip_suffix(b"\r").unwrap_or(record);
    let (body, checksum) = std::str::from_utf8(record).ok()?.rsplit_once(' ')?;
    let checksum = u32::from_str_radix(checksum, 16).ok()?;
    (crc32c(0, body.as_bytes()) == checksum).then_some(body)
}
