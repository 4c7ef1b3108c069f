//! Messages on a schedule over any line, and what comes back.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::mpsc::Receiver;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sterna_sys::clock::monotonic_ns;

use super::state::Shared;
use super::{Extra, Failure, Plan, explained, neighbour};
use crate::{Message, Moment, Target};

/// Sleeps are cut so that an end is heeded.
const LONGEST_NAP_NS: u64 = 50_000_000;

/// A way to send messages and to hear what comes back; nothing of it waits.
pub(super) trait Line: Send {
    /// What to wait for.
    fn waits_for(&self) -> Option<(BorrowedFd<'_>, PollFlags)>;

    /// Sends one.
    fn say(&mut self, message: Message, now_ns: u64) -> io::Result<()>;

    /// Everything that came.
    fn hear(&mut self, now_ns: u64, heard: &mut Vec<Heard>) -> Result<(), Trouble>;

    /// Goes on at another address.
    fn turn_to(&mut self, address: SocketAddr) -> Result<(), Failure>;

    /// What only this kind sees.
    fn extra(&self) -> Extra {
        Extra::None
    }

    /// Whether the other end might count.
    fn may_be_counted(&self) -> bool {
        false
    }

    /// What to do when nobody answers.
    fn advice(&self) -> &'static str;
}

/// A message that came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    /// Whose it is; others are left out.
    pub probe: u64,
    pub number: u64,
    pub at_ns: u64,
    /// What a responder that counts has added.
    pub told: Option<(u64, Moment)>,
}

/// What a line complains about.
pub(super) enum Trouble {
    /// Some message was refused; the next may come through.
    Passing(io::Error),
    /// It makes no sense to go on.
    Final(Failure),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        Trouble::Passing(error)
    }
}

/// Sends and hears until it is over.
pub(super) fn run(
    shared: &Shared,
    plan: &Plan,
    mut line: impl Line,
    target: Option<&Target>,
) -> Result<(), Failure> {
    let probe = nonce();
    let began_ns = monotonic_ns();
    let patience_ns = u64::try_from(plan.patience.as_nanos()).unwrap_or(u64::MAX);
    let moves = follow(plan, target)?;
    let (mut numbers, mut heard) = (Vec::new(), Vec::new());
    let mut was_heard = false;
    loop {
        let now_ns = monotonic_ns();
        let is_ending = !shared.sends(now_ns);
        if is_ending && (!shared.hears(now_ns) || !is_awaited(shared)) {
            break;
        }
        let mut due_ns = now_ns + LONGEST_NAP_NS;
        if !is_ending {
            let mut state = shared.lock();
            state.take_due(now_ns, &mut numbers);
            due_ns = due_ns.min(state.schedule.due_ns());
        }
        for number in numbers.drain(..) {
            if let Err(error) = line.say(Message::new(probe, number), now_ns) {
                complain(shared, plan, &error)?;
            }
        }
        wait(&line, due_ns)?;
        match line.hear(monotonic_ns(), &mut heard) {
            Ok(()) => {}
            Err(Trouble::Passing(error)) => complain(shared, plan, &error)?,
            Err(Trouble::Final(failure)) => return Err(failure),
        }
        heard.retain(|it| it.probe == probe);
        was_heard |= !heard.is_empty();
        note(shared, &line, &mut heard);
        if !was_heard && monotonic_ns().saturating_sub(began_ns) > patience_ns {
            return Err(silent(shared, plan, line.advice(), target));
        }
        if let Some(address) = moves.as_ref().and_then(|it| it.try_iter().last()) {
            line.turn_to(address)?;
            shared.lock().note(monotonic_ns(), format!("the name leads to {address} now"));
        }
    }
    match was_heard {
        true => Ok(()),
        false => Err(silent(shared, plan, line.advice(), target)),
    }
}

fn note(shared: &Shared, line: &impl Line, heard: &mut Vec<Heard>) {
    let mut state = shared.lock();
    for it in heard.drain(..) {
        let count = it.told.map(|told| told.0);
        if line.may_be_counted() {
            state.is_counted = Some(count.is_some());
        }
        if let Some(((heard, moment), sent_ns)) = it.told.zip(state.log.awaited_since(it.number)) {
            state.ways.note(sent_ns, it.at_ns, moment.monotonic_ns);
            state.clocks.look(sent_ns, it.at_ns, moment, heard);
        }
        state.log.received(it.number, it.at_ns, count);
    }
    state.extra = line.extra();
}

fn is_awaited(shared: &Shared) -> bool {
    let since_ns = monotonic_ns().saturating_sub(2 * super::GRACE_NS);
    shared.lock().log.awaited(since_ns) > 0
}

/// A message that does not fit the way will not fit it later either; everything else may pass.
fn complain(shared: &Shared, plan: &Plan, error: &io::Error) -> Result<(), Failure> {
    const TOO_LONG: i32 = rustix::io::Errno::MSGSIZE.raw_os_error();
    if error.raw_os_error() == Some(TOO_LONG) {
        return Err(Failure::Broken(format!(
            "A message does not fit the way to {}, whose MTU is smaller; make it shorter with --size",
            plan.task.target()
        )));
    }
    if error.kind() != ErrorKind::WouldBlock {
        shared.lock().complaint = Some(explained(error));
    }
    Ok(())
}

fn silent(shared: &Shared, plan: &Plan, advice: &str, target: Option<&Target>) -> Failure {
    let address = target.and_then(|it| it.resolve().ok());
    let missing = address.and_then(|it| neighbour::missing(it.ip())).map(str::to_owned);
    let complaint = missing.or_else(|| shared.lock().complaint.take());
    let complaint = complaint.map(|it| format!(" ({it})")).unwrap_or_default();
    let target = plan.task.target();
    Failure::Silent(format!("No answer from {target}{complaint}; {advice}"))
}

fn follow(plan: &Plan, target: Option<&Target>) -> Result<Option<Receiver<SocketAddr>>, Failure> {
    let Some(target) = target.filter(|_| plan.follow) else { return Ok(None) };
    let now = super::resolved(target)?;
    let moves = target.follow(now);
    moves.map(Some).map_err(|error| Failure::Broken(format!("No thread: {error}")))
}

fn wait(line: &impl Line, due_ns: u64) -> Result<(), Failure> {
    let left_ns = due_ns.saturating_sub(monotonic_ns());
    let timeout = Timespec {
        tv_sec: (left_ns / 1_000_000_000).cast_signed(),
        tv_nsec: (left_ns % 1_000_000_000).cast_signed(),
    };
    let outcome = match line.waits_for() {
        Some((descriptor, flags)) => {
            poll(&mut [PollFd::from_borrowed_fd(descriptor, flags)], Some(&timeout))
        }
        None => poll(&mut [], Some(&timeout)),
    };
    match outcome {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(Failure::Broken(format!("Cannot wait: {error}"))),
    }
}

/// Unlike for any two probes that may meet.
pub(super) fn nonce() -> u64 {
    use std::hash::BuildHasher;
    std::hash::RandomState::new().hash_one((std::process::id(), monotonic_ns()))
}
