//! Keeping a migration from finishing until memory has provably been sent, written and sent again.
//!
//! The source's own counters prove nothing: they are what is to be shown.
//! The proof is one page of the workload that the source says it has sent and then found dirty again.
//! What it holds tells how often it was written: seen on the destination it was sent; seen on the source with more writes it is dirty again, so a sent page must be sent once more.

use serde_json::{Value, json};
use sterna_pilot::EngineError;
use sterna_scenario::Scenario;
use sterna_wire::control::{Act, HostStatus, Reply, Request};

use super::{Hosts, done};
use crate::host_process::HostProcess;

/// One migration that must not finish yet.
#[derive(Debug)]
pub(super) struct Hold {
    least_passes: u32,
    proof: Option<Proof>,
    is_released: bool,
}

/// A page that was sent and is dirty again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Proof {
    page: u64,
    /// Writes it had had when it was sent.
    sent: u64,
    /// Writes it has had on the source, seen later.
    now: u64,
}

impl Hold {
    /// What the scenario asks for, if it does.
    pub fn new(scenario: &Scenario) -> Option<Hold> {
        let hold = scenario.migration.hold.as_ref()?;
        Some(Hold { least_passes: hold.at_least_passes, proof: None, is_released: false })
    }

    /// Whether the migration is still kept from finishing.
    pub fn is_holding(&self) -> bool {
        !self.is_released
    }

    /// One step, after each poll.
    pub fn steer(&mut self, status: &HostStatus, hosts: &mut Hosts) -> Result<(), EngineError> {
        if self.is_released || status.stamps.stopped_ns.is_some() {
            return Ok(());
        }
        if self.proof.is_none()
            && let Some(page) = status.techniques.resent_page
        {
            self.proof = look(page, hosts)?;
        }
        let completed = status.pass.saturating_sub(1);
        if self.proof.is_some() && completed >= self.least_passes && status.pages_resent > 0 {
            done(&mut hosts.source, &Request::Act(Act::Release))?;
            self.is_released = true;
        }
        Ok(())
    }

    /// For the report.
    pub fn to_details(&self) -> Value {
        json!({
            "proven": self.proof.is_some(),
            "released": self.is_released,
            "marker_page": self.proof.map(|it| it.page),
            "marker_beat_on_destination": self.proof.map(|it| it.sent),
            "marker_beat_on_source_later": self.proof.map(|it| it.now),
        })
    }
}

/// The destination first: what is seen on the source afterwards was not yet sent if it is more.
fn look(page: u64, hosts: &mut Hosts) -> Result<Option<Proof>, EngineError> {
    let Some(sent) = writes(&mut hosts.destination, page)? else { return Ok(None) };
    let now = writes(&mut hosts.source, page)?;
    Ok(now.filter(|now| *now > sent).map(|now| Proof { page, sent, now }))
}

fn writes(host: &mut HostProcess, page: u64) -> Result<Option<u64>, EngineError> {
    match host.ask(&Request::PageWrites { page })? {
        Reply::PageWrites { writes } => Ok(writes),
        other => Err(host.unexpected(&other)),
    }
}
