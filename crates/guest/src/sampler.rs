//! Samples and gaps, told at regular intervals.

use std::sync::Arc;
use std::time::Duration;

use sterna_sys::clock::monotonic_ns;
use sterna_wire::guest_line::{GuestMessage, LatencyParts};
use sterna_workload::{Histogram, HistogramParts};

use crate::error::AgentError;
use crate::memory::Memory;
use crate::speaker::Speaker;

/// Starts a thread that samples until the line breaks.
pub fn begin(
    memory: &Arc<Memory>,
    speaker: &Arc<Speaker>,
    interval_ns: u64,
) -> Result<(), AgentError> {
    let sampler = Sampler {
        memory: Arc::clone(memory),
        speaker: Arc::clone(speaker),
        sent: Histogram::default(),
        sent_since_due: Histogram::default(),
    };
    let thread = std::thread::Builder::new().name("sampler".to_owned());
    thread.spawn(move || sampler.run(interval_ns)).map(drop).map_err(AgentError::Thread)
}

struct Sampler {
    memory: Arc<Memory>,
    speaker: Arc<Speaker>,
    /// The times that were sent already.
    sent: Histogram,
    sent_since_due: Histogram,
}

impl Sampler {
    fn run(mut self, interval_ns: u64) {
        let mut due_ns = monotonic_ns();
        loop {
            if self.sample().is_err() {
                return;
            }
            let now_ns = monotonic_ns();
            // Samples that could not be taken in time are left out, not made up for.
            due_ns = (due_ns + interval_ns).max(now_ns.saturating_sub(interval_ns));
            std::thread::sleep(Duration::from_nanos(due_ns.saturating_sub(now_ns)));
        }
    }

    fn sample(&mut self) -> std::io::Result<()> {
        let crew = &self.memory.crew;
        let (at_ns, counts) = (monotonic_ns(), crew.counts());
        let is_timed = self.memory.spec.latency;
        let latency = is_timed.then(|| unsent(crew.latency(), &mut self.sent));
        let since_due = is_timed.then(|| unsent(crew.since_due(), &mut self.sent_since_due));
        let gaps_lost = crew.lost_gaps();
        let checking_ns = crew.checking_ns().iter().sum();
        let sample =
            GuestMessage::Sample { at_ns, counts, latency, since_due, gaps_lost, checking_ns };
        self.speaker.say(&sample)?;
        for gap in crew.take_gaps() {
            let sterna_workload::Gap { worker, start_ns, end_ns } = gap;
            self.speaker.say(&GuestMessage::Gap { worker, start_ns, end_ns })?;
        }
        Ok(())
    }
}

/// What is new since it was last sent.
fn unsent(now: Histogram, before: &mut Histogram) -> LatencyParts {
    let HistogramParts { cells, sum_ns, max_ns } = now.since(before).to_parts();
    *before = now;
    LatencyParts { sum_ns, max_ns, cells }
}
