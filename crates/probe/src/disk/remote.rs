//! Records on the disk of another machine, asked for from here, so that what was acknowledged is known where nothing breaks.
//!
//! ```text
//!   probe                                   responder
//!     ── greeting: run, bytes of a record ───►   begins a file
//!     ◄──────────── welcome: its path ────────   or a reason why there is none
//!     ── number, number, … ─────────────────►   writes, waits until they are safe
//!     ◄───────────────────── number, … ───────
//! ```

use std::io::{self, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{LARGEST_RECORD_BYTES, Records, SMALLEST_RECORD_BYTES};
use crate::reading::read_some;
use crate::serve::Upgrade;

const GREETING: [u8; 8] = *b"StrnDsk2";
const GREETING_BYTES: usize = 24;
/// Nobody's path or reason is longer.
const MOST_TEXT_BYTES: usize = 4096;
/// So many records are made safe at once.
const MOST_AT_ONCE: usize = 1024;
/// Each probe that writes has a thread; more are refused until one ends.
const MOST_WRITERS: usize = 64;
/// Who begins to greet and does not go on is not waited for.
const GREETING_PATIENCE: Duration = Duration::from_secs(5);
/// How long a probe may take nothing of what it is answered.
const WRITE_PATIENCE: Duration = Duration::from_secs(60);
/// How long a probe may be silent, which sends each second at least; an outage of its network is shorter.
const SILENCE_PATIENCE: Duration = Duration::from_secs(600);

/// Probes that this process writes for.
static WRITERS: AtomicUsize = AtomicUsize::new(0);

/// Writes records for whoever asks.
#[derive(Clone, Debug)]
pub struct DiskResponder {
    /// Where the files go; `None` refuses.
    pub directory: Option<PathBuf>,
}

/// What a probe says first.
#[cfg(feature = "client")]
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
#[cfg(feature = "client")]
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
        // Counted before it has a thread, so that there are no more threads than that.
        let writer = Writer::begin();
        if writer.before >= MOST_WRITERS {
            let reason = format!("it writes for {MOST_WRITERS} others already; try again later");
            // A new connection has room for so little, so this does not wait.
            let _ = stream.set_nonblocking(true);
            let _ = (&stream).write_all(&answer(true, &reason));
            return;
        }
        let ours = self.clone();
        // Without a thread the connection is closed, which the probe sees.
        let _ = crate::serve::spawn("disk", move || {
            let _writer = writer;
            drop(ours.serve(stream, first));
        });
    }
}

impl DiskResponder {
    /// Writes what is asked for on a connection, of which these first bytes were read already, until it ends.
    ///
    /// # Errors
    /// The connection or the disk broke.
    fn serve(&self, mut stream: TcpStream, mut incoming: Vec<u8>) -> io::Result<()> {
        let mut buffer = [0; 8 * MOST_AT_ONCE];
        stream.set_read_timeout(Some(GREETING_PATIENCE))?;
        stream.set_write_timeout(Some(WRITE_PATIENCE))?;
        while incoming.len() < GREETING_BYTES {
            if !read_more(&mut stream, &mut incoming, &mut buffer)? {
                return Ok(());
            }
        }
        stream.set_read_timeout(Some(SILENCE_PATIENCE))?;
        let number =
            |at: usize| incoming[at..].first_chunk().map_or(0, |it| u64::from_be_bytes(*it));
        let (run, record_bytes) = (number(8), number(16));
        let mut records = match self.create(run, record_bytes) {
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
            incoming = rest.to_vec();
            for some in numbers.chunks(MOST_AT_ONCE) {
                records.append(some)?;
                let safe: Vec<u8> = some.iter().flat_map(|it| it.to_be_bytes()).collect();
                stream.write_all(&safe)?;
            }
            if !read_more(&mut stream, &mut incoming, &mut buffer)? {
                return Ok(());
            }
        }
    }

    fn create(&self, run: u64, record_bytes: u64) -> Result<(Records, PathBuf), String> {
        let directory = self.directory.as_ref().ok_or(
            "it was started without --disk DIRECTORY (an agent: without `disk=DIRECTORY` in its configuration)",
        )?;
        let possible = SMALLEST_RECORD_BYTES as u64..=LARGEST_RECORD_BYTES as u64;
        if !possible.contains(&record_bytes) {
            return Err(format!(
                "a record has 64 to {LARGEST_RECORD_BYTES} bytes and not {record_bytes}"
            ));
        }
        let path = directory.join(format!("sterna-{run:016x}.records"));
        match Records::create(&path, run, record_bytes as usize) {
            Ok(records) => Ok((records, path)),
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    }
}

/// One of the probes that are written for, as long as the value lives.
struct Writer {
    /// How many others there were.
    before: usize,
}

impl Writer {
    fn begin() -> Writer {
        Writer { before: WRITERS.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        WRITERS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether there was more.
fn read_more(stream: &mut TcpStream, into: &mut Vec<u8>, buffer: &mut [u8]) -> io::Result<bool> {
    let count = read_some(stream, buffer)?;
    into.extend(&buffer[..count]);
    Ok(count > 0)
}

fn answer(is_refused: bool, text: &str) -> Vec<u8> {
    let text = &text.as_bytes()[..text.len().min(MOST_TEXT_BYTES)];
    let length = (text.len() as u16).to_be_bytes();
    [&GREETING[..], &[u8::from(is_refused)], &length, text].concat()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

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

    /// What a responder says to a greeting.
    fn welcomed(directory: Option<PathBuf>, record_bytes: usize) -> Result<Option<String>, String> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut probe = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let stream = listener.accept().unwrap().0;
        let first = greeting(7, record_bytes).to_vec();
        let serving =
            std::thread::spawn(move || DiskResponder { directory }.serve(stream, first).unwrap());
        probe.shutdown(std::net::Shutdown::Write).unwrap();
        let mut said = Vec::new();
        probe.read_to_end(&mut said).unwrap();
        serving.join().unwrap();
        welcome(&mut said)
    }

    #[test]
    fn records_that_cannot_be_are_refused_before_anything_is_written() {
        let directory = std::env::temp_dir().join(format!("sterna-remote-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        for bytes in [0, 63, LARGEST_RECORD_BYTES + 1, usize::MAX] {
            let reason = welcomed(Some(directory.clone()), bytes).unwrap_err();
            assert!(reason.contains("64 to 1048576"), "{reason}");
        }
        assert!(welcomed(None, 64).unwrap_err().contains("without --disk"));
        assert!(welcomed(Some(directory.join("absent")), 64).unwrap_err().contains("absent"));
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
        let path = welcomed(Some(directory.clone()), 64).unwrap().unwrap();
        assert!(std::path::Path::new(&path).exists(), "{path}");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
