//! One client's trial.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

use sterna_report::stream::{StreamInterval, StreamSide, StreamSideSummary};
use sterna_units::Bytes;
use sterna_wire::control::{self, ControlError};
use sterna_wire::trial::ask::{Ask, Prepared, Tell, Test};
use sterna_wire::trial::{Lane, Part, Way, YES};

use crate::door::lock;
use crate::stream::lanes::{check_congestion, connected};
use crate::stream::plan::Plan;
use crate::stream::sample::Sampler;
use crate::stream::side::{Memory, Side};
use crate::transport::Socket;

use super::{Expected, Notice, Shared, Slot, Tell as TellAll};

/// How long a client that was let in may take to say what it wants.
const FIRST_PATIENCE: Duration = Duration::from_secs(10);

/// How long it may take to get its memory, and to make its connections.
const PATIENCE: Duration = Duration::from_secs(60);

/// In such steps everything is looked after.
const STEP: Duration = Duration::from_millis(5);

type Told = Tell<StreamInterval, StreamSideSummary>;
type Asked = Result<Ask, ControlError>;

pub struct Session<'a> {
    pub shared: &'a Shared,
    pub tell: &'a TellAll,
    pub peer: &'a str,
    /// Given back before the client hears of the end, so that it may come again at once.
    pub slot: Option<Slot<'a>>,
}

impl Session<'_> {
    /// Serves to the end; the reason when nothing was tried.
    pub fn serve(mut self, mut control: Socket) -> Result<(), String> {
        let asked = self.listen(&control)?;
        let result = self.try_it(&mut control, &asked);
        self.slot = None;
        if let Err(reason) = &result {
            say(&mut control, &Told::Refused { error: reason.clone() });
        }
        // Whoever reads there ends with it.
        linger(&control, &asked);
        control.shut_down();
        result
    }

    fn try_it(&mut self, control: &mut Socket, asked: &Receiver<Asked>) -> Result<(), String> {
        let test = match self.next(asked, FIRST_PATIENCE)? {
            Ask::Test(test) => *test,
            other => return Err(format!("{other:?} came where a test was due")),
        };
        let plan = Plan::of(test, self.shared.most_memory_bytes).map_err(|it| it.to_string())?;
        check_congestion(&plan.test).map_err(|it| it.to_string())?;
        let plan = Arc::new(plan);
        let memory = Memory::new(&plan, StreamSide::Server).map_err(|it| chain(&it))?;
        let lanes = self.gather(control, asked, &plan)?;
        say(control, &Told::Begun);
        let side = Side::start(StreamSide::Server, Arc::clone(&plan), memory, lanes);
        let side = side.map_err(|it| format!("The trial cannot begin: {it}"))?;
        (self.tell)(Notice::Begun { peer: self.peer.to_owned(), what: what(&plan.test) });
        let summary = self.fly(control, asked, side);
        self.slot = None;
        say(control, &Told::Done(Box::new(summary.clone())));
        (self.tell)(Notice::Ended { peer: self.peer.to_owned(), summary: Box::new(summary) });
        self.shared.is_done.store(true, Ordering::Release);
        Ok(())
    }

    /// Takes all connections that carry pages, until the client begins.
    fn gather(
        &self,
        control: &mut Socket,
        asked: &Receiver<Asked>,
        plan: &Plan,
    ) -> Result<Vec<(Way, Part, u16, Socket)>, String> {
        let mut session = [0; 16];
        rustix::rand::getrandom(&mut session, rustix::rand::GetRandomFlags::empty())
            .map_err(|it| format!("No session can be had: {it}"))?;
        let (sender, came) = channel();
        *lock(&self.shared.expected) = Some(Expected { session, lanes: sender });
        let warnings = Vec::new();
        say(control, &Told::Prepared(Prepared { session, warnings }));
        let mut missing = plan.lanes();
        let mut lanes = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while !missing.is_empty() {
            match came.recv_timeout(STEP) {
                Ok((lane, socket)) => lanes.push(take(lane, socket, &mut missing, &plan.test)?),
                Err(_) if Instant::now() >= deadline => {
                    return Err(format!("{} data connections did not come", missing.len()));
                }
                Err(_) => {}
            }
            self.check_closing()?;
            if missing.is_empty() {
                break;
            }
            match asked.try_recv() {
                Err(TryRecvError::Empty) => {}
                Ok(Ok(_)) => {
                    return Err("It began before its data connections were there".to_owned());
                }
                Ok(Err(_)) | Err(TryRecvError::Disconnected) => return Err("it left".to_owned()),
            }
        }
        *lock(&self.shared.expected) = None;
        match self.next(asked, PATIENCE)? {
            Ask::Begin => Ok(lanes),
            other => Err(format!("{other:?} came where it was to begin")),
        }
    }

    fn fly(
        &self,
        control: &mut Socket,
        asked: &Receiver<Asked>,
        mut side: Side,
    ) -> StreamSideSummary {
        let mut sampler = Sampler::new(&side);
        let interval = Duration::from_nanos(side.state.plan.test.interval_ns);
        let mut next = Instant::now() + interval;
        while !side.is_finished() {
            std::thread::sleep(STEP.min(next.saturating_duration_since(Instant::now())));
            if Instant::now() >= next {
                say(control, &Told::Interval(Box::new(sampler.interval(&side))));
                next += interval;
            }
            match asked.try_recv() {
                Ok(Ok(Ask::Stop)) => side.stop(),
                Ok(Ok(_)) => side.abort("The client does not keep to the protocol"),
                Ok(Err(_)) => side.abort("The client is gone"),
                Err(_) => {}
            }
            if self.shared.closing.load(Ordering::Acquire) {
                side.abort("The server was asked to end");
            }
        }
        side.join();
        if let Some(last) = sampler.last(&side) {
            say(control, &Told::Interval(Box::new(last)));
        }
        sampler.summary(&side)
    }

    /// Reads what the client asks for, in a thread of its own, since nobody knows when that is.
    fn listen(&self, control: &Socket) -> Result<Receiver<Asked>, String> {
        let failed = |it| format!("the connection failed: {it}");
        let mut socket = control.try_clone().map_err(failed)?;
        let (sender, asked) = channel();
        let reader = std::thread::Builder::new().name("control".to_owned());
        let spawned = reader.spawn(move || {
            loop {
                let ask = control::receive::<Ask>(&mut socket);
                let is_last = ask.is_err();
                if sender.send(ask).is_err() || is_last {
                    return;
                }
            }
        });
        spawned.map_err(failed)?;
        Ok(asked)
    }

    fn next(&self, asked: &Receiver<Asked>, patience: Duration) -> Result<Ask, String> {
        let deadline = Instant::now() + patience;
        loop {
            match asked.recv_timeout(STEP * 4) {
                Ok(Ok(ask)) => return Ok(ask),
                Ok(Err(ControlError::Malformed(_))) => {
                    return Err("This is `sterna stream serve`, and what was asked of it is no trial; `sterna run` needs `sterna host`".to_owned());
                }
                Ok(Err(ControlError::Closed)) => return Err("it left".to_owned()),
                Ok(Err(error)) => return Err(error.to_string()),
                Err(_) if Instant::now() >= deadline => {
                    return Err("It asks for nothing".to_owned());
                }
                Err(_) => self.check_closing()?,
            }
        }
    }

    fn check_closing(&self) -> Result<(), String> {
        match self.shared.closing.load(Ordering::Acquire) {
            true => Err("The server was asked to end".to_owned()),
            false => Ok(()),
        }
    }
}

/// A lane that is expected, with its options; the client hears of it.
fn take(
    lane: Lane,
    mut socket: Socket,
    missing: &mut Vec<(Way, Part, u16)>,
    test: &Test,
) -> Result<(Way, Part, u16, Socket), String> {
    let name = (lane.way, lane.part, lane.index);
    let place = missing.iter().position(|it| *it == name);
    let place = place.ok_or_else(|| format!("{lane:?} is not expected, or came twice"))?;
    missing.swap_remove(place);
    connected(&socket, lane.part, test).map_err(|it| it.to_string())?;
    socket.write_all(&[YES]).map_err(|it| format!("A data connection failed: {it}"))?;
    Ok((lane.way, lane.part, lane.index, socket))
}

/// A client that does not listen any more is met where it is read from.
fn say(control: &mut Socket, told: &Told) {
    let _ = control::send(control, told);
}

/// Lets the client read the last words before the connection ends, or hang up itself.
fn linger(control: &Socket, asked: &Receiver<Asked>) {
    let _ = rustix::net::shutdown(control, rustix::net::Shutdown::Write);
    let deadline = Instant::now() + Duration::from_secs(2);
    while Instant::now() < deadline {
        match asked.recv_timeout(STEP * 4) {
            Ok(Ok(_)) | Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
            _ => return,
        }
    }
}

fn what(test: &Test) -> String {
    let mode = match (test.bulk, test.requests, test.preempt) {
        (true, false, _) => "bulk",
        (false, true, _) => "page requests",
        (true, true, false) => "bulk and page requests",
        _ => "bulk, and page requests on a connection of their own",
    };
    let way = match (test.up, test.down) {
        (true, false) => "to here",
        (false, true) => "from here",
        _ => "both ways",
    };
    let channels = match test.channels {
        1 => String::new(),
        many => format!(", {many} channels"),
    };
    format!("{mode} {way}{channels}, blocks of {}", Bytes(test.block_bytes))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
