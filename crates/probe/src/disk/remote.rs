//! Records on the disk of another machine, asked for from here, so that what was acknowledged is known where nothing breaks.
//!
//! ```text
//!   probe                                   responder
//!     ── greeting: run, bytes of a record ───►   begins a file
//!     ◄──────────── welcome: its path ────────   or a reason why there is none
//!     ── number, number, … ─────────────────►   writes, waits until they are safe
//!     ◄───────────────────── number, … ───────
//! ```

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use super::Records;
use crate::serve::{Upgrade, spawn};

const GREETING: [u8; 8] = *b"StrnDsk2";
const GREETING_BYTES: usize = 24;
/// Nobody's path or reason is longer.
const MOST_TEXT_BYTES: usize = 4096;
/// So many records are made safe at once.
const MOST_AT_ONCE: usize = 1024;

/// Writes records for whoever asks.
#[derive(Clone, Debug)]
pub struct DiskResponder {
    /// Where the files go; `None` refuses.
    pub directory: Option<PathBuf>,
}

/// What a probe says first.
pub fn greeting(run: u64, record_bytes: usize) -> [u8; GREETING_BYTES] {
    let mut bytes = [0; GREETING_BYTES];
    bytes[..8].copy_from_slice(&GREETING);
    bytes[8..16].copy_from_slice(&run.to_be_bytes());
    bytes[16..].copy_from_slice(&(record_bytes as u64).to_be_bytes());
    bytes
}

/// Takes what a responder says first, when all of it is there: the path of its file.
///
/// # Errors
/// Its reason why there is none, or something that no responder says.
pub fn welcome(incoming: &mut Vec<u8>) -> Result<Option<String>, String> {
    let no_responder = || {
        "The other end writes no records; run `sterna probe serve --disk DIRECTORY` there"
            .to_owned()
    };
    let known = incoming.len().min(8);
    if incoming[..known] != GREETING[..known] {
        return Err(no_responder());
    }
    let Some(&[is_refused, a, b]) = incoming.get(8..11).and_then(|it| it.first_chunk()) else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([a, b]));
    // A plain echo sends our own greeting back, whose run is any number.
    if is_refused > 1 || length > MOST_TEXT_BYTES {
        return Err(no_responder());
    }
    let Some(text) = incoming.get(11..11 + length) else { return Ok(None) };
    let text = String::from_utf8_lossy(text).into_owned();
    if is_refused == 1 {
        return Err(format!("The responder cannot write records: {text}"));
    }
    incoming.drain(..11 + length);
    Ok(Some(text))
}

impl Upgrade for DiskResponder {
    fn wants(&self, first: &[u8]) -> bool {
        first.starts_with(&GREETING)
    }

    fn take(&self, stream: TcpStream, first: Vec<u8>) {
        let directory = self.directory.clone();
        // Without a thread the connection is closed, which the probe sees.
        let _ = spawn("disk", move || drop(serve(stream, first, directory.as_deref())));
    }
}

fn serve(mut stream: TcpStream, mut incoming: Vec<u8>, directory: Option<&Path>) -> io::Result<()> {
    let mut buffer = [0; 8 * MOST_AT_ONCE];
    while incoming.len() < GREETING_BYTES {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            count => incoming.extend(&buffer[..count]),
        }
    }
    let number = |at: usize| incoming[at..].first_chunk().map_or(0, |it| u64::from_be_bytes(*it));
    let (run, record_bytes) = (number(8), number(16));
    let mut records = match create(directory, run, record_bytes) {
        Ok((records, path)) => {
            stream.write_all(&answer(false, &path.display().to_string()))?;
            records
        }
        Err(reason) => return stream.write_all(&answer(true, &reason)),
    };
    incoming.drain(..GREETING_BYTES);
    loop {
        let (whole, rest) = incoming.as_chunks::<8>();
        let numbers: Vec<u64> = whole.iter().map(|it| u64::from_be_bytes(*it)).collect();
        let rest = rest.to_vec();
        for some in numbers.chunks(MOST_AT_ONCE) {
            records.append(some)?;
            let safe: Vec<u8> = some.iter().flat_map(|it| it.to_be_bytes()).collect();
            stream.write_all(&safe)?;
        }
        incoming = rest;
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            count => incoming.extend(&buffer[..count]),
        }
    }
}

fn create(
    directory: Option<&Path>,
    run: u64,
    record_bytes: u64,
) -> Result<(Records, PathBuf), String> {
    let directory = directory.ok_or("it was started without --disk DIRECTORY")?;
    let path = directory.join(format!("sterna-{run:016x}.records"));
    let record_bytes = usize::try_from(record_bytes).unwrap_or(usize::MAX);
    match Records::create(&path, run, record_bytes) {
        Ok(records) => Ok((records, path)),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

fn answer(is_refused: bool, text: &str) -> Vec<u8> {
    let text = &text.as_bytes()[..text.len().min(MOST_TEXT_BYTES)];
    let length = (text.len() as u16).to_be_bytes();
    [&GREETING[..], &[u8::from(is_refused)], &length, text].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_welcome_is_read_when_all_of_it_is_there() {
        let told = answer(false, "/disk/file");
        for length in 0..told.len() {
            assert_eq!(welcome(&mut told[..length].to_vec()), Ok(None));
        }
        let mut more = [&told[..], b"next"].concat();
        assert_eq!(welcome(&mut more), Ok(Some("/disk/file".to_owned())));
        assert_eq!(more, b"next");
        assert!(welcome(&mut answer(true, "no room")).unwrap_err().contains("no room"));
        assert!(welcome(&mut b"HTTP/1.1 ".to_vec()).unwrap_err().contains("--disk"));
        let mut echoed = greeting(u64::MAX, 4096).to_vec();
        assert!(welcome(&mut echoed).unwrap_err().contains("--disk"));
    }
}
