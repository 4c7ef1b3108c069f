//! From the first page to the numbers of both sides.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use sterna_pilot::Interrupt;
use sterna_report::stream::{
    LaneWay, StreamEnding, StreamEstimate, StreamInterval, StreamSide, StreamSideSummary,
};
use sterna_units::printable;
use sterna_wire::control::{self, ControlError};
use sterna_wire::trial::Way;
use sterna_wire::trial::ask::{Ask, Tell};

use super::server::Server;
use super::{ClientError, Event, Outcome, Told};
use crate::stream::estimate::estimate;
use crate::stream::sample::Sampler;
use crate::stream::side::Side;

/// In such steps everything is looked after.
const STEP: Duration = Duration::from_millis(5);

/// How long the server's numbers may take after the last page.
const LAST_WORDS: Duration = Duration::from_secs(15);

/// A trial that has begun.
pub(super) struct Flight {
    server: Server,
    told: Receiver<Result<Told, ControlError>>,
    side: Side,
    sampler: Sampler,
    intervals: Vec<StreamInterval>,
    warnings: Vec<String>,
    /// The server's numbers.
    done: Option<StreamSideSummary>,
    /// Why nothing more comes from the server.
    gone: Option<String>,
}

impl Flight {
    pub fn new(server: Server, side: Side, warnings: Vec<String>) -> Result<Flight, ClientError> {
        let mut socket = server.socket.try_clone().map_err(ClientError::Start)?;
        let (sender, told) = channel();
        let reader = std::thread::Builder::new().name("control".to_owned());
        reader
            .spawn(move || {
                loop {
                    let message = control::receive::<Told>(&mut socket);
                    let is_last = message.is_err();
                    if sender.send(message).is_err() || is_last {
                        return;
                    }
                }
            })
            .map_err(ClientError::Start)?;
        let sampler = Sampler::new(&side);
        let intervals = Vec::new();
        Ok(Flight { server, told, side, sampler, intervals, warnings, done: None, gone: None })
    }

    pub fn fly(
        mut self,
        interrupt: &Interrupt,
        on: &mut dyn FnMut(Event),
    ) -> Result<Outcome, ClientError> {
        let begun = Instant::now();
        let interval = Duration::from_nanos(self.side.state.plan.test.interval_ns);
        let mut next = begun + interval;
        let mut was_interrupted = false;
        while !self.side.is_finished() {
            self.listen(STEP.min(next.saturating_duration_since(Instant::now())), on);
            if Instant::now() >= next {
                let seen = self.sampler.interval(&self.side);
                self.tell(seen, on);
                next += interval;
            }
            if interrupt.requested() && !was_interrupted {
                was_interrupted = true;
                self.side.stop();
                let _ = control::send(&mut self.server.socket, &Ask::Stop);
            }
            if interrupt.urgent() {
                self.side.abort("Interrupted");
            }
            if let Some(reason) = self.broken()
                && !self.side.state.is_over()
            {
                self.side.abort(&reason);
            }
        }
        self.side.join();
        if let Some(last) = self.sampler.last(&self.side) {
            self.tell(last, on);
        }
        self.wait_for_numbers(interrupt, on);
        let duration_seconds = begun.elapsed().as_secs_f64();
        self.server.socket.shut_down();
        Ok(self.outcome(duration_seconds, was_interrupted))
    }

    /// Why the server neither takes nor sends any more.
    fn broken(&self) -> Option<String> {
        match &self.done {
            None => self.gone.clone(),
            Some(done) => done.error.as_ref().map(|it| format!("At the server: {it}")),
        }
    }

    /// Hears what the server tells, for so long.
    fn listen(&mut self, limit: Duration, on: &mut dyn FnMut(Event)) {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.told.recv_timeout(left) {
                Ok(Ok(Tell::Interval(interval))) => {
                    let interval = StreamInterval { side: StreamSide::Server, ..*interval };
                    self.tell(interval, on);
                }
                Ok(Ok(Tell::Done(summary))) => self.done = Some(*summary),
                Ok(Ok(Tell::Refused { error })) => {
                    self.gone = Some(format!("The server has given up: {}", printable(&error)));
                }
                Ok(Ok(_)) => {
                    self.gone = Some("The server does not keep to the protocol".to_owned());
                }
                Ok(Err(error)) => {
                    let reason = match error {
                        ControlError::Closed => "The server is gone".to_owned(),
                        other => format!("The server cannot be understood: {other}"),
                    };
                    self.gone.get_or_insert(reason);
                }
                Err(RecvTimeoutError::Timeout) => return,
                Err(RecvTimeoutError::Disconnected) => return std::thread::sleep(left),
            }
            if Instant::now() >= deadline {
                return;
            }
        }
    }

    fn wait_for_numbers(&mut self, interrupt: &Interrupt, on: &mut dyn FnMut(Event)) {
        let deadline = Instant::now() + LAST_WORDS;
        while self.done.is_none()
            && self.gone.is_none()
            && Instant::now() < deadline
            && !interrupt.urgent()
        {
            self.listen(STEP, on);
        }
    }

    fn tell(&mut self, interval: StreamInterval, on: &mut dyn FnMut(Event)) {
        self.intervals.push(interval.clone());
        on(Event::Interval(Box::new(interval)));
    }

    fn outcome(mut self, duration_seconds: f64, was_interrupted: bool) -> Outcome {
        if self.side.was_cut {
            self.warnings.push(
                "What was on its way when the time was over did not all arrive within 10 s: the link, or what queues before it, holds more than it carries in that time".to_owned(),
            );
        }
        let client = self.sampler.summary(&self.side);
        let mut error = client.error.clone();
        let server_error = self.done.as_ref().and_then(|it| it.error.clone());
        if let Some(theirs) = server_error {
            // Whoever was left alone knows less than who left.
            error = Some(format!("At the server: {theirs}"));
        }
        if self.done.is_none() {
            // A lost server explains what broke here.
            let silent = || "The server's numbers did not come".to_owned();
            error = Some(self.gone.or(error).unwrap_or_else(silent));
        }
        let test = &self.side.state.plan.test;
        let ending = match &error {
            _ if was_interrupted && test.duration_ns.is_none() && test.bytes.is_none() => {
                StreamEnding::Signal
            }
            _ if was_interrupted => StreamEnding::Interrupted,
            Some(_) => StreamEnding::Failed,
            None if test.bytes.is_some() && !is_late(&self.side, duration_seconds) => {
                StreamEnding::Bytes
            }
            None => StreamEnding::Duration,
        };
        let estimate = estimate_of(&self.side, &client, self.done.as_ref());
        Outcome {
            ending,
            error,
            duration_seconds,
            client,
            server: self.done,
            estimate,
            intervals: self.intervals,
            warnings: self.warnings,
        }
    }
}

/// Whether the time was over before the bytes were.
fn is_late(side: &Side, seconds: f64) -> bool {
    side.state.plan.test.duration_ns.is_some_and(|it| seconds >= it as f64 / 1e9)
}

/// From bulk as it arrived, in the direction in which less did.
fn estimate_of(
    side: &Side,
    client: &StreamSideSummary,
    server: Option<&StreamSideSummary>,
) -> Option<StreamEstimate> {
    let rate = |way| match way {
        Way::Up => server.map_or(client.sent_bytes_per_second, |it| it.received_bytes_per_second),
        Way::Down => client.received_bytes_per_second,
    };
    let rates = side.state.plan.ways().filter_map(|way| Some((rate(way)?, way)));
    let (throughput, way) = rates.min_by(|a, b| a.0.total_cmp(&b.0))?;
    let way = if way == Way::Up { LaneWay::Up } else { LaneWay::Down };
    estimate(throughput, way)
}
