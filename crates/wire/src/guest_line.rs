//! The line between a guest's agent and the engine: a virtio-serial port, or a serial port that the kernel's own messages share.
//!
//! ```text
//!  engine                                    agent, in the guest
//!    │                     Hello (ready, paused)  │
//!    │ ◄───────────────────────────────────────── │
//!    │  Ping                                      │
//!    │ ─────────────────────────────────────────► │
//!    │                                      Pong  │
//!    │ ◄───────────────────────────────────────── │
//!    │  Start                                     │
//!    │ ─────────────────────────────────────────► │
//!    │               State, then Sample and Gap   │
//!    │ ◄───────────────────────────────────────── │
//!    │  Resumed (waits for the guest to arrive)   │
//!    │ ─────────────────────────────────────────► │
//!    │  Verify                                    │
//!    │ ─────────────────────────────────────────► │
//!    │                                  Verified  │
//!    │ ◄───────────────────────────────────────── │
//!    │  Stop                                      │
//!    │ ─────────────────────────────────────────► │
//!    │                        Bye, and power off  │
//!    │ ◄───────────────────────────────────────── │
//! ```
//!
//! # One line
//!
//! `RS direction kind sequence fields… checksum LF`, separated by single spaces, in ASCII.
//! RS is the byte 0x1E, which no kernel message contains, so a [`Decoder`] finds the next line after any garbage.
//! The checksum is CRC-32C in eight hexadecimal digits over all between RS and the space before it.
//! Each side numbers its lines, so the other knows how many it missed.
//! Fields that a newer agent adds at the end, and kinds that it adds, are ignored.
//!
//! # Time
//!
//! All stamps are the guest's CLOCK_MONOTONIC, and that clock **stands still while the virtual machine is stopped**: a guest
//! that is migrated sees nothing of its own standstill, unless it lasts so long on running processors that work is late.
//! So one offset is not enough: take one from [`GuestCommand::Ping`] shortly before the stop and one after the resumption
//! ([`crate::clock::Offset`]). Stamps up to the stop belong to the first, those after it to the second, and the second
//! minus the first is how long the guest was frozen.

mod decoder;
mod fields;
mod marker;

use std::fmt::Write as _;

use sterna_sys::crc32c;

pub use decoder::Decoder;
pub use marker::Marker;

use fields::{Fields, list, option};

/// The version of the line that this build speaks.
pub const VERSION: u16 = 1;

/// The name of the virtio-serial port on which the agent speaks.
pub const PORT_NAME: &str = "org.sterna.guest";

/// Longer lines are garbage.
pub const MAX_LINE_BYTES: usize = 64 << 10;

/// Begins every line.
const RECORD_SEPARATOR: u8 = 0x1E;

/// What the agent says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestMessage {
    /// The guest is ready: memory filled, workers waiting. Said once at the beginning and again whenever asked for.
    Hello {
        /// Version of the line, see [`VERSION`].
        version: u16,
        /// How many workers write.
        workers: u32,
        /// Memory of workload and ballast together.
        memory_bytes: u64,
        /// Guest-physical address of the [`Marker`] page; None if the agent may not know it.
        marker_gpa: Option<u64>,
        /// Whether the agent is the guest's first process, which may power it off.
        pid1: bool,
    },
    /// The workload began to run or stopped.
    State {
        /// When, on the guest's clock.
        at_ns: u64,
        /// Whether it runs now.
        running: bool,
        /// Writes by each worker, since the beginning.
        counts: Vec<u64>,
    },
    /// Progress, told at regular intervals.
    Sample {
        /// When, on the guest's clock.
        at_ns: u64,
        /// Writes by each worker, since the beginning.
        counts: Vec<u64>,
        /// Times of the writes since the sample before; None if writes are not timed.
        latency: Option<LatencyParts>,
        /// Times from when pages were due to their writes, of the same stretch; None if writes are not timed, or from an
        /// older agent.
        since_due: Option<LatencyParts>,
        /// Gaps that were not noted for want of room, since the beginning.
        gaps_lost: u64,
        /// Time that the workers together have spent on checking pages before their first write, since the beginning.
        checking_ns: u64,
    },
    /// A worker made no progress.
    Gap {
        /// Its number, from 0.
        worker: u32,
        /// When its progress ended, on the guest's clock.
        start_ns: u64,
        /// When it went on.
        end_ns: u64,
    },
    /// The answer to [`GuestCommand::Ping`].
    Pong {
        /// What the ping said.
        asked_ns: u64,
        /// The guest's clock.
        now_ns: u64,
    },
    /// The answer to [`GuestCommand::Verify`].
    Verified {
        /// When the check was done, on the guest's clock.
        at_ns: u64,
        /// Pages looked at, each of them whole.
        pages_checked: u64,
        /// Pages with at least one wrong word.
        corrupt_pages: u64,
        /// The first of them.
        first: Vec<CorruptWord>,
        /// What workers found before first writes; None if they were not to check, and from an older agent.
        first_writes: Option<FirstWrites>,
    },
    /// The agent cannot go on, and why; as the first process it powers the guest off.
    Fatal(String),
    /// The last line.
    Bye,
}

/// What the engine wants of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestCommand {
    /// Say [`GuestMessage::Hello`] again.
    Hello,
    /// Run the workload; answered by [`GuestMessage::State`].
    Start,
    /// Stop the workload; answered by [`GuestMessage::State`].
    Pause,
    /// Check all memory; a workload that runs is paused meanwhile.
    Verify,
    /// The guest was stopped, which it cannot notice itself, and runs again: check pages before they are written next.
    ///
    /// It is said to the side where the guest will run before the guest is there, and waits there for it.
    Resumed {
        /// Which resume; the same one again is ignored.
        number: u64,
    },
    /// Power the guest off, or end the agent where it is an ordinary program.
    Stop,
    /// Say what time it is.
    Ping {
        /// Repeated in the answer.
        ns: u64,
    },
}

/// A latency histogram's cells that are not empty, as `sterna-workload` numbers them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LatencyParts {
    /// The sum of all times.
    pub sum_ns: u64,
    /// The longest time.
    pub max_ns: u64,
    /// Cell number and its count, by rising number.
    pub cells: Vec<(u16, u64)>,
}

/// What workers found on pages before they wrote them for the first time after a resume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FirstWrites {
    /// Pages compared.
    pub pages_checked: u64,
    /// Pages that were wrong; they are among the corrupt ones.
    pub corrupt_pages: u64,
    /// Time that all workers together spent on it.
    pub checking_ns: u64,
    /// When the last worker had begun, on the guest's clock; 0 when they never did.
    pub began_ns: u64,
}

/// The first wrong word of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CorruptWord {
    /// The page, counted from the start of the workload's memory.
    pub page: u64,
    /// Where in the page the word starts.
    pub offset_bytes: u64,
    /// What the word should be.
    pub expected: u64,
    /// What it is.
    pub found: u64,
}

/// Numbers lines and writes them.
#[derive(Debug, Default)]
pub struct Encoder {
    sequence: u64,
}

/// One direction of the line.
pub trait Line: Sized + sealed::Sealed {
    /// The letter of the direction.
    #[doc(hidden)]
    const DIRECTION: u8;
    /// Kind, and the fields, each with a space before it.
    #[doc(hidden)]
    fn write(&self) -> (&'static str, String);
    /// The reverse; None for an unknown kind or fields that do not fit.
    #[doc(hidden)]
    fn read(kind: &str, fields: &mut Fields<'_>) -> Option<Self>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::GuestMessage {}
    impl Sealed for super::GuestCommand {}
}

impl Encoder {
    /// The bytes of one line.
    pub fn encode<T: Line>(&mut self, value: &T) -> Vec<u8> {
        let (kind, fields) = value.write();
        let direction = char::from(T::DIRECTION);
        let mut line = format!("\x1E{direction} {kind} {}{fields}", self.sequence);
        self.sequence += 1;
        let checksum = crc32c(0, &line.as_bytes()[1..]);
        let _ = writeln!(line, " {checksum:08x}");
        line.into_bytes()
    }
}

impl Line for GuestMessage {
    const DIRECTION: u8 = b'G';

    fn write(&self) -> (&'static str, String) {
        match self {
            GuestMessage::Hello { version, workers, memory_bytes, marker_gpa, pid1 } => {
                let (marker_gpa, pid1) = (option(*marker_gpa), u8::from(*pid1));
                ("hello", format!(" {version} {workers} {memory_bytes} {marker_gpa} {pid1}"))
            }
            GuestMessage::State { at_ns, running, counts } => {
                ("state", format!(" {at_ns} {} {}", u8::from(*running), list(counts)))
            }
            GuestMessage::Sample { at_ns, counts, latency, since_due, gaps_lost, checking_ns } => {
                let [latency, since_due] = [latency, since_due]
                    .map(|it| it.as_ref().map_or_else(|| "-".to_owned(), latency_text));
                let counts = list(counts);
                let text =
                    format!(" {at_ns} {gaps_lost} {counts} {latency} {checking_ns} {since_due}");
                ("sample", text)
            }
            GuestMessage::Gap { worker, start_ns, end_ns } => {
                ("gap", format!(" {worker} {start_ns} {end_ns}"))
            }
            GuestMessage::Pong { asked_ns, now_ns } => ("pong", format!(" {asked_ns} {now_ns}")),
            GuestMessage::Verified { at_ns, pages_checked, corrupt_pages, first, first_writes } => {
                let words: Vec<u64> = first
                    .iter()
                    .flat_map(|it| [it.page, it.offset_bytes, it.expected, it.found])
                    .collect();
                let first_writes =
                    list(&first_writes.map(FirstWrites::to_numbers).unwrap_or_default());
                let words = list(&words);
                let text =
                    format!(" {at_ns} {pages_checked} {corrupt_pages} {words} {first_writes}");
                ("verified", text)
            }
            GuestMessage::Fatal(reason) => ("fatal", format!(" {}", reason.escape_default())),
            GuestMessage::Bye => ("bye", String::new()),
        }
    }

    fn read(kind: &str, fields: &mut Fields<'_>) -> Option<GuestMessage> {
        Some(match kind {
            "hello" => GuestMessage::Hello {
                version: fields.number()?,
                workers: fields.number()?,
                memory_bytes: fields.number()?,
                marker_gpa: fields.option()?,
                pid1: fields.flag()?,
            },
            "state" => GuestMessage::State {
                at_ns: fields.number()?,
                running: fields.flag()?,
                counts: fields.list()?,
            },
            "sample" => {
                let (at_ns, gaps_lost) = (fields.number()?, fields.number()?);
                let counts = fields.list()?;
                let latency = read_latency(fields)?;
                // An older agent does not have these.
                let checking_ns = fields.number().unwrap_or(0);
                let since_due = read_latency(fields).flatten();
                GuestMessage::Sample { at_ns, counts, latency, since_due, gaps_lost, checking_ns }
            }
            "gap" => GuestMessage::Gap {
                worker: fields.number()?,
                start_ns: fields.number()?,
                end_ns: fields.number()?,
            },
            "pong" => GuestMessage::Pong { asked_ns: fields.number()?, now_ns: fields.number()? },
            "verified" => GuestMessage::Verified {
                at_ns: fields.number()?,
                pages_checked: fields.number()?,
                corrupt_pages: fields.number()?,
                first: corrupt_words(&fields.list()?)?,
                first_writes: fields.list().and_then(|it| FirstWrites::of(&it)),
            },
            "fatal" => GuestMessage::Fatal(fields.rest_unescaped()),
            "bye" => GuestMessage::Bye,
            _ => return None,
        })
    }
}

impl Line for GuestCommand {
    const DIRECTION: u8 = b'C';

    fn write(&self) -> (&'static str, String) {
        match self {
            GuestCommand::Hello => ("hello", String::new()),
            GuestCommand::Start => ("start", String::new()),
            GuestCommand::Pause => ("pause", String::new()),
            GuestCommand::Verify => ("verify", String::new()),
            GuestCommand::Resumed { number } => ("resumed", format!(" {number}")),
            GuestCommand::Stop => ("stop", String::new()),
            GuestCommand::Ping { ns } => ("ping", format!(" {ns}")),
        }
    }

    fn read(kind: &str, fields: &mut Fields<'_>) -> Option<GuestCommand> {
        Some(match kind {
            "hello" => GuestCommand::Hello,
            "start" => GuestCommand::Start,
            "pause" => GuestCommand::Pause,
            "verify" => GuestCommand::Verify,
            "resumed" => GuestCommand::Resumed { number: fields.number()? },
            "stop" => GuestCommand::Stop,
            "ping" => GuestCommand::Ping { ns: fields.number()? },
            _ => return None,
        })
    }
}

impl FirstWrites {
    fn to_numbers(self) -> Vec<u64> {
        vec![self.pages_checked, self.corrupt_pages, self.checking_ns, self.began_ns]
    }

    fn of(numbers: &[u64]) -> Option<FirstWrites> {
        let [pages_checked, corrupt_pages, checking_ns, began_ns, ..] = *numbers else {
            return None;
        };
        Some(FirstWrites { pages_checked, corrupt_pages, checking_ns, began_ns })
    }
}

/// `sum,max,cell,count,cell,count,…`
fn latency_text(parts: &LatencyParts) -> String {
    let cells = parts.cells.iter().flat_map(|(cell, count)| [u64::from(*cell), *count]);
    list(&[parts.sum_ns, parts.max_ns].into_iter().chain(cells).collect::<Vec<u64>>())
}

fn read_latency(fields: &mut Fields<'_>) -> Option<Option<LatencyParts>> {
    let numbers = fields.list()?;
    let [sum_ns, max_ns, cells @ ..] = numbers.as_slice() else {
        return numbers.is_empty().then_some(None);
    };
    let (pairs, rest) = cells.as_chunks::<2>();
    let cells = pairs
        .iter()
        .map(|[cell, count]| Some((u16::try_from(*cell).ok()?, *count)))
        .collect::<Option<_>>()?;
    rest.is_empty().then_some(Some(LatencyParts { sum_ns: *sum_ns, max_ns: *max_ns, cells }))
}

fn corrupt_words(numbers: &[u64]) -> Option<Vec<CorruptWord>> {
    let (words, rest) = numbers.as_chunks::<4>();
    let word = |[page, offset_bytes, expected, found]: &[u64; 4]| CorruptWord {
        page: *page,
        offset_bytes: *offset_bytes,
        expected: *expected,
        found: *found,
    };
    rest.is_empty().then(|| words.iter().map(word).collect())
}

#[cfg(test)]
mod tests;
