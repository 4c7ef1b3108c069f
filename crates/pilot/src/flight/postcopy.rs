//! Limits while the guest runs on the destination and the rest of its memory follows.
//!
//! ```text
//! post-copy ── limits.max-time, or an interrupt ──► a warning, and no limit on the bandwidth any more ──► goes on
//!     └─────── limits.abandon-postcopy-after ─────► the guest is given up: lost
//! ```
//!
//! The guest cannot go back, since the source's memory is old, and ending it would lose it. So a limit does what can be
//! done without harm, and only a field that says so gives the guest up.

use std::time::Duration;

use sterna_units::human_bytes;

use super::watch::PostcopyWatch;
use super::{Flight, Stop};
use crate::{Action, EngineError};

impl Flight<'_> {
    /// Holds post-copy to its limits.
    pub(super) fn steer_postcopy(
        &mut self,
        watch: &mut PostcopyWatch,
        accepted_ns: u64,
    ) -> Result<(), Stop> {
        let now_ns = self.now_ns();
        let began_ns = *watch.began_ns.get_or_insert(now_ns);
        let limits = &self.pilot.scenario.limits;
        let is_over = |since_ns: u64, most: Duration| {
            u128::from(now_ns.saturating_sub(since_ns)) >= most.as_nanos()
        };
        if let Some(most) = limits.abandon_postcopy_after.filter(|it| is_over(began_ns, it.0)) {
            return Err(Stop::Abandoned(format!(
                "Given up after {most} in post-copy, as the scenario asks (limits.abandon-postcopy-after); {} not there",
                self.left_words()
            )));
        }
        if watch.is_limit_lifted {
            return Ok(());
        }
        // A limit that itself brought post-copy about gives it the same time once more.
        let since_ns = if self.record.forced_ns.is_some() { began_ns } else { accepted_ns };
        let reason = if self.pilot.interrupt.requested() {
            "Interrupted by the user in post-copy".to_owned()
        } else if let Some(most) = limits.max_time.filter(|it| is_over(since_ns, it.0)) {
            format!("Limit reached in post-copy (limits.max-time = {most})")
        } else {
            return Ok(());
        };
        watch.is_limit_lifted = true;
        self.lift_limit(&reason)
    }

    fn lift_limit(&mut self, reason: &str) -> Result<(), Stop> {
        let now_ns = self.now_ns();
        let outcome = match self.pilot.hypervisor.act(Action::LiftPostcopyLimit) {
            Ok(()) => "from now on it is sent without a limit on the bandwidth".to_owned(),
            Err(EngineError::Failed(refusal)) => {
                format!("the limit on the bandwidth cannot be lifted: {refusal}")
            }
            Err(error) => return Err(error.into()),
        };
        let text = format!(
            "{reason}: the guest runs on the destination and cannot go back, and {} not there yet; {outcome}",
            self.left_words()
        );
        self.note(now_ns, "postcopy-limit", text.clone());
        self.record.postcopy_over_limit = Some(text);
        Ok(())
    }

    /// How much of the guest's memory is still on the source, and the verb.
    fn left_words(&self) -> String {
        let left_bytes = self.record.polls.last().and_then(|it| it.remaining_bytes);
        left_bytes.map_or_else(
            || "an unknown part of its memory is".to_owned(),
            |bytes| {
                let pages = bytes.div_ceil(sterna_report::PAGE_BYTES);
                format!("{} of its memory ({pages} pages) are", human_bytes(bytes as f64))
            },
        )
    }
}
