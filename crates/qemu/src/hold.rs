//! Keeping a migration from finishing until memory has provably been sent, written and sent again.
//!
//! QEMU's counters prove nothing: two synchronisations are reported even when all that is hot travels while the guest is frozen.
//! The proof is one page that the guest writes some hundred times a second: seen on the destination it was sent; seen on the source with a later beat it is dirty again, so a sent page must be sent once more.
//!
//! QEMU finishes as soon as little enough remains, which it judges by bandwidth × downtime limit.
//! So the limit is held at the least it takes (0 would mean: finish at once), and when little remains the bandwidth is cut below what the guest writes; once a synchronisation has found new pages it may go fast again.
//! QEMU sends a tenth of a second's budget in one burst, which is why "little" is more than such a burst.

use serde_json::{Value, json};
use sterna_pilot::{EngineError, Status};
use sterna_scenario::Scenario;
use sterna_workload::Pace;

use crate::guest_memory::MarkerPage;
use crate::place::Place;
use crate::process::QemuProcess;
use crate::settings::milliseconds;

/// Time between two looks at the marker page where QEMU has to write it to a file, which takes up to 0.2 s of its main thread. A look from outside costs QEMU nothing and is made at each poll.
const LOOK_INTERVAL_NS: u64 = 200_000_000;

/// QEMU's least limit; in whole milliseconds.
const HELD_DOWNTIME_MS: u64 = 1;

/// Whoever writes less than this cannot be held: kernels write more by themselves.
const LEAST_RATE: u64 = 1 << 20;

/// One migration that must not finish yet.
#[derive(Debug)]
pub(crate) struct Hold {
    least_passes: u64,
    nonce: u64,
    marker_gpa: Option<u64>,
    /// The marker page on both sides, once the migration begins.
    pages: Option<[MarkerPage; 2]>,
    fast: u64,
    slow: u64,
    is_slow: bool,
    /// The limits to give back.
    bandwidth: u64,
    downtime_limit_ns: u64,
    proof: Proof,
    next_look_ns: u64,
    released_ns: Option<u64>,
}

/// How far the proof has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    None,
    /// The destination has the page as it was at this beat.
    Sent {
        beat: u64,
    },
    /// The source has it with a later beat.
    DirtyAgain {
        sent: u64,
        now: u64,
    },
}

impl Hold {
    /// What the scenario asks for, if it does; `marker_gpa` is where the agent's marker page lies.
    pub fn new(scenario: &Scenario, nonce: u64, marker_gpa: Option<u64>) -> Option<Hold> {
        let hold = scenario.migration.hold.as_ref()?;
        let bandwidth = scenario.migration.max_bandwidth.map_or(0, |it| it.bytes_per_second());
        let most = scenario.guest.memory.0;
        let fast = if bandwidth == 0 { most } else { bandwidth.min(most) };
        let written = match scenario.workload.rate {
            Pace::BytesPerSecond(rate) => rate.bytes_per_second(),
            Pace::PagesPerSecond(rate) => rate.get().saturating_mul(sterna_report::PAGE_BYTES),
            _ => u64::MAX,
        };
        Some(Hold {
            least_passes: u64::from(hold.at_least_passes),
            nonce,
            marker_gpa,
            pages: None,
            fast,
            slow: (written / 2).min(fast / 4).max(LEAST_RATE),
            is_slow: false,
            bandwidth,
            downtime_limit_ns: scenario.migration.first_downtime_limit().0.as_nanos() as u64,
            proof: Proof::None,
            next_look_ns: 0,
            released_ns: None,
        })
    }

    /// Whether the migration is still kept from finishing.
    pub fn is_holding(&self) -> bool {
        self.released_ns.is_none()
    }

    /// Whether memory was seen to be sent and then to be dirty again.
    pub fn is_proven(&self) -> bool {
        matches!(self.proof, Proof::DirtyAgain { .. })
    }

    /// The limit to set when the hold ends.
    pub fn set_downtime_limit(&mut self, ns: u64) {
        self.downtime_limit_ns = ns;
    }

    /// Sets the limits with which the migration begins, and finds the marker page on both sides.
    pub fn begin(
        &mut self,
        source: &mut QemuProcess,
        destination: &mut QemuProcess,
    ) -> Result<(), EngineError> {
        self.pages = self.marker_gpa.map(|guest_address| {
            let page = |qemu| MarkerPage::new(qemu, guest_address, self.nonce);
            [&mut *source, destination].map(page)
        });
        limits(source, self.fast, HELD_DOWNTIME_MS)
    }

    /// Gives back what the scenario allows, when the guest was stopped while the migration is held: the rest shall not crawl.
    pub fn give_back(&self, source: &mut QemuProcess) -> Result<(), EngineError> {
        match self.is_holding() {
            true => limits(source, self.bandwidth, milliseconds(self.downtime_limit_ns)),
            false => Ok(()),
        }
    }

    /// One step, after each poll.
    pub fn steer(
        &mut self,
        status: &Status,
        passes: u64,
        source: &mut QemuProcess,
        destination: &mut QemuProcess,
        places: &[Place; 2],
    ) -> Result<(), EngineError> {
        if !self.is_holding() || status.moments.stopped_ns.is_some() {
            return Ok(());
        }
        if let Some(remaining) =
            status.remaining_bytes.filter(|_| passes > 0 || status.pass.is_some())
        {
            self.pace(remaining, source)?;
        }
        if status.at_ns >= self.next_look_ns && !self.is_proven() {
            self.look(source, destination, places)?;
            let is_free = self.pages.iter().flatten().all(MarkerPage::is_free);
            let interval_ns = if is_free { 0 } else { LOOK_INTERVAL_NS };
            self.next_look_ns = sterna_sys::clock::monotonic_ns() + interval_ns;
        }
        let was_resent = status.pages_resent.is_some_and(|it| it > 0);
        if self.is_proven() && passes >= self.least_passes && was_resent {
            limits(source, self.bandwidth, milliseconds(self.downtime_limit_ns))?;
            self.released_ns = Some(status.at_ns);
        }
        Ok(())
    }

    /// For the report.
    pub fn to_details(&self) -> Value {
        let (sent, now) = match self.proof {
            Proof::None => (None, None),
            Proof::Sent { beat } => (Some(beat), None),
            Proof::DirtyAgain { sent, now } => (Some(sent), Some(now)),
        };
        let way = |side: usize| self.pages.as_ref().map(|it| it[side].way());
        json!({
            "proven": self.is_proven(),
            "released": !self.is_holding(),
            "marker_beat_on_destination": sent,
            "marker_beat_on_source_later": now,
            "looks_at_source": way(0),
            "looks_at_destination": way(1),
        })
    }

    /// Fast while much remains, slow near the end of a pass.
    fn pace(&mut self, remaining: u64, source: &mut QemuProcess) -> Result<(), EngineError> {
        let burst = self.fast / 8;
        let shall_be_slow = if self.is_slow { remaining < 2 * burst } else { remaining < burst };
        if shall_be_slow == self.is_slow {
            return Ok(());
        }
        self.is_slow = shall_be_slow;
        limits(source, if shall_be_slow { self.slow } else { self.fast }, HELD_DOWNTIME_MS)
    }

    fn look(
        &mut self,
        source: &mut QemuProcess,
        destination: &mut QemuProcess,
        places: &[Place; 2],
    ) -> Result<(), EngineError> {
        let (Some([on_source, on_destination]), [here, there]) = (&self.pages, places) else {
            return Ok(());
        };
        if self.proof == Proof::None
            && let Some(marker) = on_destination.read(destination, there)?
        {
            self.proof = Proof::Sent { beat: marker.beat };
        }
        if let Proof::Sent { beat } = self.proof
            && let Some(marker) = on_source.read(source, here)?
            && marker.beat > beat
        {
            self.proof = Proof::DirtyAgain { sent: beat, now: marker.beat };
        }
        Ok(())
    }
}

fn limits(source: &mut QemuProcess, bandwidth: u64, downtime_ms: u64) -> Result<(), EngineError> {
    let arguments = json!({ "max-bandwidth": bandwidth, "downtime-limit": downtime_ms });
    source.execute("migrate-set-parameters", arguments).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(toml: &str) -> Option<Hold> {
        Hold::new(&Scenario::from_toml(toml, "test.toml").unwrap(), 1, Some(4096))
    }

    #[test]
    fn the_slow_rate_stays_below_what_the_guest_writes() {
        assert!(hold("").is_none());
        let usual = hold("[migration.hold]\nat-least-passes = 3").unwrap();
        assert_eq!((usual.least_passes, usual.fast, usual.slow), (3, 125_000_000, 16 << 20));
        let free = hold(
            "[migration]\nmax-bandwidth = \"unlimited\"\n[workload]\nrate = \"unlimited\"\n[migration.hold]\nat-least-passes = 2",
        );
        let free = free.unwrap();
        assert_eq!((free.fast, free.slow, free.bandwidth), (256 << 20, 64 << 20, 0));
        assert!(free.is_holding() && !free.is_proven());
        assert_eq!(free.to_details()["proven"], false);
    }
}
