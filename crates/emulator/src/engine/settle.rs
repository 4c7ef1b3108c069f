//! Whether the guest runs on the destination after all, when the source cannot know.

use std::time::Duration;

use sterna_pilot::{EngineError, Settled};
use sterna_sys::clock::monotonic_ns;
use sterna_wire::control::Phase;

use super::Emulator;
use super::mapping::{add_destination, source_moments};
use super::postcopy::incomplete;

/// How long a destination may take to say whether it runs the guest.
const SETTLE_NS: u64 = 5_000_000_000;

impl Emulator {
    /// The destination alone can tell. If it cannot be made to tell, it is killed: a guest that might run is worse than one that is lost for certain.
    pub(super) fn ask_destination(&mut self) -> Result<Settled, EngineError> {
        let hosts = self.hosts()?;
        let deadline_ns = monotonic_ns() + SETTLE_NS;
        let reason = loop {
            match hosts.destination.status(0) {
                Ok(status) if status.phase == Phase::Completed => {
                    // A source that is gone by now has told its moments before.
                    let mut moments = hosts
                        .source
                        .status(usize::MAX)
                        .map(|source| source_moments(&source, &hosts.source))
                        .unwrap_or_default();
                    add_destination(&mut moments, &status, &hosts.destination);
                    return Ok(Settled::Running(Box::new(moments)));
                }
                Ok(status) if status.phase == Phase::Failed => {
                    let words = status.error.unwrap_or_default();
                    break format!("the destination never ran the guest: {words}");
                }
                Ok(status) if matches!(status.phase, Phase::Incomplete | Phase::PostcopyPaused) => {
                    break incomplete(&status);
                }
                Ok(_) | Err(EngineError::Silent { .. }) if monotonic_ns() < deadline_ns => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Ok(_) => {
                    break "the destination did not say whether it runs the guest and was killed"
                        .to_owned();
                }
                Err(error) => break format!("{error}"),
            }
        };
        hosts.destination.kill();
        Ok(Settled::Lost(format!("no side can run the guest: {reason}")))
    }
}
