//! A station that sends the guest a message every 10 ms and hears its echo.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use sterna_pilot::{OutageSpan, ProbeSeen};
use sterna_sys::clock::monotonic_ns;

use super::packet::{self, Frame};
use super::switch::{Arrival, Shared, Switch};

/// Time between two messages.
const INTERVAL_NS: u64 = 10_000_000;

/// Silence of this many intervals is an outage; a busy guest answers a little late now and then.
const SILENT_INTERVALS: u64 = 3;

/// The probe and the switch that it hangs on.
pub(crate) struct Prober {
    switch: Switch,
    log: Arc<Mutex<Log>>,
    shall_end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// When each message left and came back.
#[derive(Debug, Default)]
struct Log {
    sent_ns: Vec<u64>,
    received_ns: Vec<Option<u64>>,
}

impl Prober {
    /// Opens the switch in this directory and begins to ask.
    pub fn start(directory: &Path, nonce: u64) -> std::io::Result<Prober> {
        let (sender, arrivals) = channel();
        let switch = Switch::open(directory, &sender)?;
        let log = Arc::new(Mutex::new(Log::default()));
        let shall_end = Arc::new(AtomicBool::new(false));
        let (shared, theirs, end) = (switch.shared(), Arc::clone(&log), Arc::clone(&shall_end));
        let thread = std::thread::Builder::new()
            .name("probe".to_owned())
            .spawn(move || ask(nonce, &shared, &arrivals, &theirs, &end))?;
        Ok(Prober { switch, log, shall_end, thread: Some(thread) })
    }

    /// Where the QEMUs plug in: source, destination.
    pub fn paths(&self) -> [PathBuf; 2] {
        self.switch.paths()
    }

    /// What was seen since the guest first answered.
    pub fn seen(&self) -> Option<ProbeSeen> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).seen(monotonic_ns())
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.shall_end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn ask(
    nonce: u64,
    shared: &Shared,
    arrivals: &Receiver<Arrival>,
    log: &Mutex<Log>,
    shall_end: &AtomicBool,
) {
    let mut due_ns = monotonic_ns();
    while !shall_end.load(Ordering::Relaxed) {
        let now_ns = monotonic_ns();
        if now_ns >= due_ns {
            due_ns = (due_ns + INTERVAL_NS).max(now_ns);
            let number = log.lock().unwrap_or_else(PoisonError::into_inner).sent(now_ns);
            let payload = [nonce.to_be_bytes(), number.to_be_bytes()].concat();
            shared.send(&packet::question(&payload));
        }
        let left = Duration::from_nanos(due_ns.saturating_sub(monotonic_ns()));
        match arrivals.recv_timeout(left) {
            Ok((at_ns, frame)) => match packet::read(&frame) {
                Frame::AskedForUs(answer) => shared.send(&answer),
                Frame::Echo(payload) => {
                    if let Some(number) = number_of(&payload, nonce) {
                        log.lock().unwrap_or_else(PoisonError::into_inner).received(number, at_ns);
                    }
                }
                Frame::Other => {}
            },
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn number_of(payload: &[u8], nonce: u64) -> Option<u64> {
    let (theirs, number) = payload.split_first_chunk::<8>()?;
    (u64::from_be_bytes(*theirs) == nonce)
        .then(|| number.first_chunk::<8>().map(|it| u64::from_be_bytes(*it)))?
}

impl Log {
    fn sent(&mut self, at_ns: u64) -> u64 {
        self.sent_ns.push(at_ns);
        self.received_ns.push(None);
        self.sent_ns.len() as u64 - 1
    }

    /// A message counts once, however often it comes.
    fn received(&mut self, number: u64, at_ns: u64) {
        if let Some(place) =
            usize::try_from(number).ok().and_then(|it| self.received_ns.get_mut(it))
        {
            place.get_or_insert(at_ns);
        }
    }

    /// Before the first answer the guest boots; what is younger than the limit may still be under way.
    fn seen(&self, now_ns: u64) -> Option<ProbeSeen> {
        let limit_ns = INTERVAL_NS * SILENT_INTERVALS;
        let first = self.received_ns.iter().position(Option::is_some)?;
        let end = self.sent_ns.partition_point(|it| *it + limit_ns <= now_ns).max(first + 1);
        let received = &self.received_ns[first..end];
        let mut arrivals: Vec<u64> = received.iter().flatten().copied().collect();
        arrivals.sort_unstable();
        let silences = arrivals.windows(2).filter(|it| it[1] - it[0] > limit_ns);
        Some(ProbeSeen {
            kind: "udp".to_owned(),
            interval_ns: INTERVAL_NS,
            sent: received.len() as u64,
            received: arrivals.len() as u64,
            outages: silences.map(|it| self.outage(it[0], it[1])).collect(),
        })
    }

    fn outage(&self, start_ns: u64, end_ns: u64) -> OutageSpan {
        let from = self.sent_ns.partition_point(|it| *it < start_ns.saturating_sub(INTERVAL_NS));
        let to = self.sent_ns.partition_point(|it| *it < end_ns);
        let lost = self.received_ns[from..to].iter().filter(|it| it.is_none()).count() as u64;
        OutageSpan { start_ns, end_ns, lost }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn silence_is_an_outage_with_what_was_lost_in_it() {
        let mut log = Log::default();
        assert_eq!(log.seen(0), None);
        for number in 0..30 {
            assert_eq!(log.sent(number * 10 * MS), number);
        }
        // Answers take 1 ms; the first two came before the guest listened, five are lost, and one comes twice.
        for number in (2..10).chain(15..30) {
            log.received(number, number * 10 * MS + MS);
        }
        log.received(20, 900 * MS);
        log.received(99, 900 * MS);
        let seen = log.seen(1_000 * MS).unwrap();
        assert_eq!((seen.sent, seen.received), (28, 23));
        let expected = OutageSpan { start_ns: 91 * MS, end_ns: 151 * MS, lost: 5 };
        assert_eq!(seen.outages, [expected]);
    }

    #[test]
    fn only_messages_of_this_run_count() {
        let payload = [7u64.to_be_bytes(), 3u64.to_be_bytes()].concat();
        assert_eq!(number_of(&payload, 7), Some(3));
        assert_eq!(number_of(&payload, 8), None);
        assert_eq!(number_of(&payload[..9], 7), None);
    }
}
