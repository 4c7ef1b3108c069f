//! Answers that are asked for again and again, and are not waited for to the end.

use std::time::{Duration, Instant};

use sterna_pilot::EngineError;
use sterna_sys::clock::monotonic_ns;
use sterna_wire::clock::Exchange;
use sterna_wire::control::{ControlError, HostSamples, HostStatus, Reply, Request, Side};

use super::{ANSWER_TIMEOUT, HostProcess, side_name};

/// Longest wait for an answer that is asked for again and again, beside four round trips; then there is something else
/// to do, and the answer is taken later.
const SOON: Duration = Duration::from_millis(300);

impl HostProcess {
    /// For how long an answer is owed.
    pub fn silence(&self) -> Option<Duration> {
        self.owed_since.map(|it| it.elapsed())
    }

    /// The state of the migration; the answer tells the host's time, so the clock is followed on the way.
    ///
    /// # Errors
    /// [`EngineError::Silent`] when it does not come soon; asked again, it waits no longer for a host that is still silent.
    pub fn status(&mut self, passes_seen: usize) -> Result<HostStatus, EngineError> {
        // An answer to the same question is as good late: the passes in it were not seen yet.
        if let Some(Reply::Status(status)) = self.catch_up(Duration::ZERO)?
            && self.asked_passes == passes_seen
        {
            return Ok(*status);
        }
        self.asked_passes = passes_seen;
        let asked_ns = monotonic_ns();
        match self.ask_soon(&Request::Status { passes_seen })? {
            Reply::Status(status) => {
                let answered_ns = status.at_ns;
                let received_ns = monotonic_ns();
                self.alignment.observe(Exchange { asked_ns, answered_ns, received_ns });
                Ok(*status)
            }
            other => Err(self.unexpected(&other)),
        }
    }

    /// Samples since the last time; of a host that was silent several.
    ///
    /// # Errors
    /// As for [`status`](Self::status).
    pub fn samples(&mut self) -> Result<Vec<HostSamples>, EngineError> {
        self.catch_up(Duration::ZERO)?;
        match self.ask_soon(&Request::Samples)? {
            Reply::Samples(samples) => self.late_samples.push(samples),
            other => return Err(self.unexpected(&other)),
        }
        Ok(std::mem::take(&mut self.late_samples))
    }

    /// Asks, and waits a moment only; the answer may be owed then.
    fn ask_soon(&mut self, request: &Request) -> Result<Reply, EngineError> {
        let asked = Instant::now();
        self.send(request)?;
        let round_trip_ns = self.alignment.offset().uncertainty_ns.saturating_mul(2);
        let patience = SOON + Duration::from_nanos(round_trip_ns.min(1_000_000_000)) * 4;
        if self.is_coming(patience) {
            return self.answer(ANSWER_TIMEOUT, None, &mut |_| {});
        }
        self.owed_since = Some(asked);
        Err(self.silent(patience))
    }

    /// Takes the answer that is owed, if one is; waits for it as long as `limit`.
    pub(super) fn catch_up(&mut self, limit: Duration) -> Result<Option<Reply>, EngineError> {
        let Some(since) = self.owed_since else { return Ok(None) };
        if self.is_lost {
            return Err(self.gone(ControlError::Closed));
        }
        if !self.is_coming(limit) {
            if since.elapsed() < ANSWER_TIMEOUT {
                return Err(self.silent(since.elapsed()));
            }
            self.is_lost = true;
            let reason = format!("No answer within {} s", ANSWER_TIMEOUT.as_secs());
            return Err(EngineError::SideGone { side: side_name(self.side), reason });
        }
        self.owed_since = None;
        match self.answer(ANSWER_TIMEOUT, None, &mut |_| {}) {
            Ok(Reply::Samples(samples)) => {
                self.late_samples.push(samples);
                Ok(None)
            }
            Ok(reply) => Ok(Some(reply)),
            // The question was about nothing that matters any more.
            Err(EngineError::Failed(_) | EngineError::Unsupported(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn silent(&self, length: Duration) -> EngineError {
        let side = match self.side {
            Side::Source => sterna_report::Side::Source,
            Side::Destination => sterna_report::Side::Destination,
        };
        EngineError::Silent { side, seconds: length.as_secs_f64() }
    }

    /// Whether a part of an answer is here, or comes within that time. An error is met again, with its cause, by the
    /// read.
    fn is_coming(&mut self, limit: Duration) -> bool {
        self.incoming.has_begun() || self.control.is_readable(limit).unwrap_or(true)
    }
}
