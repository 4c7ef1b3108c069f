//! Requests for a page, each on a connection of its own.
//!
//! A request that hangs does not keep the next from being made: each has a thread, up to a number, and one that has to wait for a thread is timed from when it was due.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use sterna_sys::clock::monotonic_ns;

use super::state::Shared;
use super::{Extra, Failure, Plan, words};
use crate::http::{HttpError, Url, get};

/// So many requests are under way at a time.
const MOST_WORKERS: usize = 128;

/// What was answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpSeen {
    /// How many answers had each status.
    pub statuses: BTreeMap<u16, u64>,
    /// How many requests ended in each error.
    pub errors: BTreeMap<String, u64>,
    /// Bytes of all pages.
    pub body_bytes: u64,
}

pub(super) struct Asker {
    url: Url,
    address: SocketAddr,
    timeout: Duration,
}

/// Requests that are due, and those who make them.
#[derive(Default)]
struct Queue {
    due: Mutex<Due>,
    more: Condvar,
}

#[derive(Default)]
struct Due {
    numbers: VecDeque<u64>,
    workers: usize,
    idle: usize,
    is_over: bool,
    was_answered: bool,
}

impl Asker {
    pub fn new(url: &Url, address: SocketAddr, timeout: Duration) -> Asker {
        Asker { url: url.clone(), address, timeout }
    }

    pub fn run(self, shared: &Arc<Shared>, plan: &Plan) -> Result<(), Failure> {
        shared.lock().extra = Extra::Http(HttpSeen::default());
        let began_ns = monotonic_ns();
        let patience_ns = u64::try_from(plan.patience.as_nanos()).unwrap_or(u64::MAX);
        let asker = Arc::new(self);
        let queue = Arc::new(Queue::default());
        let mut numbers = Vec::new();
        let outcome = loop {
            let now_ns = monotonic_ns();
            if !shared.sends(now_ns) {
                break Ok(());
            }
            shared.lock().take_due(now_ns, &mut numbers);
            for number in numbers.drain(..) {
                ask(&asker, &queue, shared, number)?;
            }
            let was_answered = queue.lock().was_answered;
            if !was_answered && now_ns.saturating_sub(began_ns) > patience_ns {
                break Err(silent(shared, plan));
            }
            let due_ns = shared.lock().schedule.due_ns().min(now_ns + 50_000_000);
            std::thread::sleep(Duration::from_nanos(due_ns.saturating_sub(monotonic_ns())));
        };
        // What is under way may still come.
        while outcome.is_ok() && shared.hears(monotonic_ns()) && queue.is_busy() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut due = queue.lock();
        due.is_over = true;
        queue.more.notify_all();
        match due.was_answered || outcome.is_err() {
            true => outcome,
            false => Err(silent(shared, plan)),
        }
    }

    fn work(&self, queue: &Queue, shared: &Shared) {
        loop {
            let mut due = queue.lock();
            due.idle += 1;
            let number = loop {
                if due.is_over {
                    return;
                }
                if let Some(number) = due.numbers.pop_front() {
                    break number;
                }
                due = queue.more.wait(due).unwrap_or_else(PoisonError::into_inner);
            };
            due.idle -= 1;
            drop(due);
            let answer = get(&self.url, self.address, self.timeout);
            queue.lock().was_answered |= answer.is_ok();
            self.note(shared, number, answer.map(|it| (it.status, it.body.len() as u64)));
        }
    }

    fn note(&self, shared: &Shared, number: u64, answer: Result<(u16, u64), HttpError>) {
        let now_ns = monotonic_ns();
        let mut state = shared.lock();
        let Extra::Http(seen) = &mut state.extra else { return };
        match answer {
            Ok((status, bytes)) => {
                *seen.statuses.entry(status).or_default() += 1;
                seen.body_bytes += bytes;
                // A server that answers that something is wrong with it is there, but does not serve.
                if status < 500 {
                    state.log.received(number, now_ns, None);
                }
            }
            Err(error) => {
                let text = match error {
                    HttpError::Io(error) => words(&error),
                    other => other.to_string(),
                };
                *seen.errors.entry(text.clone()).or_default() += 1;
                state.complaint = Some(text);
            }
        }
    }
}

/// Hands a request to whoever is idle, or to somebody new.
fn ask(
    asker: &Arc<Asker>,
    queue: &Arc<Queue>,
    shared: &Arc<Shared>,
    number: u64,
) -> Result<(), Failure> {
    let mut due = queue.lock();
    due.numbers.push_back(number);
    queue.more.notify_one();
    if due.numbers.len() <= due.idle || due.workers == MOST_WORKERS {
        return Ok(());
    }
    due.workers += 1;
    drop(due);
    let (asker, queue, shared) = (Arc::clone(asker), Arc::clone(queue), Arc::clone(shared));
    let worker = std::thread::Builder::new().name("http".to_owned());
    let worker = worker.spawn(move || {
        let _ = sterna_sys::cpu::raise_priority();
        asker.work(&queue, &shared);
    });
    worker.map(|_| ()).map_err(|error| Failure::Broken(format!("No thread: {error}")))
}

impl Queue {
    fn lock(&self) -> std::sync::MutexGuard<'_, Due> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_busy(&self) -> bool {
        let due = self.lock();
        due.idle < due.workers || !due.numbers.is_empty()
    }
}

fn silent(shared: &Shared, plan: &Plan) -> Failure {
    let complaint = shared.lock().complaint.take();
    let complaint = complaint.map(|it| format!(" ({it})")).unwrap_or_default();
    Failure::Silent(format!(
        "No page came from {}{complaint}; is the server running, and no firewall between?",
        plan.task.target()
    ))
}
