//! The thread that touches the disk.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sterna_probe::Moment;
use sterna_probe::disk::{Defect, Defects, Records, VerifyError, verify_run};
use sterna_probe::serve::spawn;
use sterna_sys::clock::monotonic_ns;
use sterna_wire::guest_disk::{DiskDefect, DiskEnded, DiskProof};

use super::ledger::{Ledger, MOST_RECORDS};
use super::target::{RECORD_BYTES, Target};

/// So many records are made safe at once, however many are due after a stall.
const MOST_AT_ONCE: u64 = 2048;
/// How soon it is noticed that the end was asked for.
const LOOK_NS: u64 = 20_000_000;
/// The first defects are told one by one.
const MOST_DEFECTS: usize = 8;

/// Records that are being written, seen from outside.
#[derive(Debug)]
pub struct Writer {
    pub run: u64,
    shared: Arc<Shared>,
}

/// How far it is. Channels would tell the same, and cost ten KiB of the agent.
#[derive(Clone, Debug)]
pub enum Phase {
    /// The first record is not safe yet.
    Beginning,
    Writing,
    /// There is no first record, and nothing else to wait for.
    Failed(String),
    Ended(Box<DiskEnded>),
}

#[derive(Debug)]
struct Shared {
    book: Mutex<Book>,
    turned: Condvar,
    /// When the end was asked for; 0 before.
    end_ns: AtomicU64,
}

#[derive(Debug)]
struct Book {
    ledger: Ledger,
    phase: Phase,
}

impl Writer {
    pub fn start(target: Target) -> io::Result<Writer> {
        // No two runs of a guest begin in the same nanosecond.
        let run = Moment::now().realtime_ns;
        let book = Book { ledger: Ledger::new(monotonic_ns()), phase: Phase::Beginning };
        let (book, turned, end_ns) = (Mutex::new(book), Condvar::new(), AtomicU64::new(0));
        let shared = Arc::new(Shared { book, turned, end_ns });
        let ours = Arc::clone(&shared);
        spawn("disk", move || work(&target, run, &ours))?;
        Ok(Writer { run, shared })
    }

    /// The phase after the beginning, or what it is when that takes too long.
    pub fn begun(&self, patience: Duration) -> Phase {
        self.shared.wait(patience, |it| !matches!(it, Phase::Beginning))
    }

    /// Asks it to end.
    pub fn stop(&self) {
        let now_ns = monotonic_ns().max(1);
        let _ =
            self.shared.end_ns.compare_exchange(0, now_ns, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The last phase, or what it is when that takes too long.
    pub fn ended(&self, patience: Duration) -> Phase {
        self.shared.wait(patience, Phase::is_last)
    }

    /// What is known of a disk that does not come back.
    pub fn so_far(&self, waited: Duration) -> Box<DiskEnded> {
        let reason = format!("The disk had not answered {} s after the end", waited.as_secs());
        Box::new(self.shared.book().ledger.close(self.run, self.shared.end_ns(), Err(reason)))
    }
}

impl Phase {
    pub fn is_last(&self) -> bool {
        matches!(self, Phase::Failed(_) | Phase::Ended(_))
    }
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, patience: Duration, is_it: fn(&Phase) -> bool) -> Phase {
        let deadline = Instant::now() + patience;
        let mut book = self.book();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if is_it(&book.phase) || left.is_zero() {
                return book.phase.clone();
            }
            let waited = self.turned.wait_timeout(book, left);
            book = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn turn(&self, phase: Phase) {
        self.book().phase = phase;
        self.turned.notify_all();
    }

    fn end_ns(&self) -> u64 {
        self.end_ns.load(Ordering::Relaxed)
    }
}

fn work(target: &Target, run: u64, shared: &Shared) {
    // It must not wait behind the workload; the kernel allows this to root.
    let _ = rustix::process::setpriority_process(None, -20);
    let mut records = match open(target, run, shared) {
        Ok(records) => records,
        Err(reason) => return shared.turn(Phase::Failed(reason)),
    };
    shared.turn(Phase::Writing);
    write(&mut records, shared);
    let acknowledged = shared.book().ledger.acknowledged();
    let proof = prove(records, &target.file(), run, acknowledged);
    let _ = fs::remove_file(target.file());
    let told = shared.book().ledger.close(run, shared.end_ns(), proof);
    shared.turn(Phase::Ended(Box::new(told)));
}

/// The file with its first record, so that a disk that takes none is known at once.
fn open(target: &Target, run: u64, shared: &Shared) -> Result<Records, String> {
    let mut records = target.create(run)?;
    shared.book().ledger = Ledger::new(monotonic_ns());
    match records.append(&[0]) {
        Ok(()) => {
            shared.book().ledger.safe(0..1, monotonic_ns());
            Ok(records)
        }
        Err(error) => {
            let _ = fs::remove_file(target.file());
            Err(format!("The first record in {} is not safe: {error}", target.directory()))
        }
    }
}

/// Until the end is asked for, and everything that was due by then is safe.
fn write(records: &mut Records, shared: &Shared) {
    loop {
        let (now_ns, end_ns) = (monotonic_ns(), shared.end_ns());
        let mut book = shared.book();
        let ledger = &mut book.ledger;
        let is_over = end_ns != 0;
        let due = ledger.due(if is_over { end_ns } else { now_ns });
        let next = ledger.acknowledged();
        if next == MOST_RECORDS && ledger.error.is_none() {
            ledger.error = Some(format!("It was not ended after {MOST_RECORDS} records"));
        }
        if next >= due || ledger.error.is_some() {
            let due_ns = ledger.due_ns(due);
            drop(book);
            if is_over {
                return;
            }
            rest(now_ns, due_ns);
            continue;
        }
        ledger.takes(now_ns);
        drop(book);
        let numbers: Vec<u64> = (next..due.min(next + MOST_AT_ONCE)).collect();
        let result = records.append(&numbers);
        let ledger = &mut shared.book().ledger;
        match result {
            Ok(()) => ledger.safe(next..next + numbers.len() as u64, monotonic_ns()),
            Err(error) => ledger.error = Some(error.to_string()),
        }
    }
}

/// Until the next record is due, or for a moment where none will be.
fn rest(now_ns: u64, due_ns: u64) {
    let left_ns = due_ns.checked_sub(now_ns).unwrap_or(LOOK_NS);
    std::thread::sleep(Duration::from_nanos(left_ns.min(LOOK_NS)));
}

/// Reads every acknowledged record again, from the disk and not from memory.
fn prove(records: Records, file: &Path, run: u64, acknowledged: u64) -> Result<DiskProof, String> {
    records.forget().map_err(|error| format!("The file cannot be made safe: {error}"))?;
    let last = acknowledged.checked_sub(1);
    let defects = match verify_run(file, run, RECORD_BYTES, last) {
        Ok(verdict) => verdict.defects,
        Err(VerifyError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            let first = vec![Defect {
                number: 0,
                offset_bytes: 0,
                what: "the whole file is gone".to_owned(),
            }];
            Defects { missing: acknowledged, first, ..Defects::default() }
        }
        Err(VerifyError::Read { source, .. }) => {
            return Err(format!("The file cannot be read: {source}"));
        }
        Err(error) => return Err(error.to_string()),
    };
    let Defects { missing, torn, out_of_order, first } = defects;
    let first = first.into_iter().take(MOST_DEFECTS).map(|it| DiskDefect {
        record: it.number,
        offset_bytes: it.offset_bytes,
        what: it.what,
    });
    Ok(DiskProof { missing, torn, out_of_order, first: first.collect() })
}
