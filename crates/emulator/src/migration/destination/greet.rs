//! Before a byte of memory moves: who the source is, whether all fits, and the further connections that it has announced.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sterna_wire::control::Phase;
use sterna_wire::stream::{
    Hello, HelloAck, Message, OLDEST_VERSION, PAGE_BYTES, Role, VERSION, capability, negotiate,
};

use super::{Load, LoadError, SILENCE_TIMEOUT};
use crate::migration::breakage::Defect;
use crate::migration::callers::{Caller, Callers, NoCaller};
use crate::migration::channels::{CHANNELS_TIMEOUT, Further, Reception};
use crate::migration::multifd::{MAX_CHANNELS, Receivers};
use crate::migration::progress::Progress;
use crate::transport::Listener;

/// Longest wait for the source to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(600);

/// What this destination can do beyond the first connection's pages.
const CAPABILITIES: u32 = capability::MULTIFD
    | capability::URGENT
    | capability::XBZRLE
    | capability::POSTCOPY
    | capability::RECOVER;

/// Waits for the source: the one that names the migration, whoever else comes.
pub(super) fn await_source(
    listener: &Listener,
    session: [u8; 16],
    latency: Duration,
    progress: &Progress,
    closing: &AtomicBool,
) -> Result<(Caller, Hello), LoadError> {
    let on_stranger = |reason: &str| note_stranger(progress, reason);
    let mut callers = Callers::at(listener, latency, &on_stranger);
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    loop {
        let caller = callers.next(deadline, &|| !closing.load(Ordering::Acquire));
        let caller = caller.map_err(|it| match it {
            NoCaller::Ours(error) => error.into(),
            NoCaller::GivenUp => LoadError::GivenUp,
            NoCaller::Late | NoCaller::Crowded => LoadError::NoSource(callers.strangers()),
        })?;
        match &caller.introduction {
            Message::Hello(hello) if hello.session == session => {
                let hello = hello.clone();
                return Ok((caller, hello));
            }
            Message::Hello(_) => {
                callers.send_away(caller, "The connection belongs to another migration");
            }
            other => {
                let reason = format!("{:?} where a greeting was due", other.kind());
                callers.send_away(caller, &reason);
            }
        }
    }
}

fn note_stranger(progress: &Progress, reason: &str) {
    progress.note("stranger", format!("A connection was sent away: {reason}"));
}

impl Load<'_> {
    pub(super) fn greet(&mut self, hello: &Hello) -> Result<(), LoadError> {
        let version = self.check(hello)?;
        let capabilities = hello.capabilities;
        self.capabilities = capabilities;
        self.send(&Message::HelloAck(HelloAck { version, capabilities }))?;
        self.receive_channels(hello)?;
        self.progress.update(|it| {
            it.phase = Phase::Active;
            it.pass = 1;
        });
        Ok(())
    }

    /// Everything that must fit before a byte of memory moves.
    fn check(&self, hello: &Hello) -> Result<u16, LoadError> {
        let ours = (OLDEST_VERSION, VERSION);
        let refuse = |text: String| Err(LoadError::Refused(text));
        let Some(version) = negotiate(ours, (hello.oldest_version, hello.version)) else {
            return refuse(format!(
                "The source speaks stream versions {} to {}, this destination {} to {}; use the same release on both sides",
                hello.oldest_version, hello.version, ours.0, ours.1
            ));
        };
        let ram_bytes = self.guest.region.bytes();
        if hello.capabilities & !CAPABILITIES != 0 {
            return refuse(format!("Unknown capabilities {:#x}", hello.capabilities));
        }
        let channels = hello.channels(Role::Multifd);
        let has_channels = hello.capabilities & capability::MULTIFD != 0;
        if channels > MAX_CHANNELS || has_channels != (channels > 0) {
            return refuse(format!(
                "The source announces {channels} parallel connections; 1 to {MAX_CHANNELS} are possible"
            ));
        }
        if hello.page_bytes as usize != PAGE_BYTES {
            return refuse(format!(
                "The source's page size is {}, this destination's {PAGE_BYTES}",
                hello.page_bytes
            ));
        }
        if hello.ram_bytes != ram_bytes {
            return refuse(format!(
                "The source's guest has {} bytes of RAM, this destination's {ram_bytes}",
                hello.ram_bytes
            ));
        }
        Ok(version)
    }

    /// Waits for the further connections that the greeting announced.
    fn receive_channels(&mut self, hello: &Hello) -> Result<(), LoadError> {
        let expected = Role::ALL.map(|role| (role, hello.channels(role)));
        let reception = Reception {
            listener: &self.listener,
            session: self.session,
            expected: &expected,
            latency: self.latency,
            limit: CHANNELS_TIMEOUT,
            keep_waiting: &|| !self.closing.load(Ordering::Acquire),
            on_stranger: &|reason| note_stranger(self.progress, reason),
        };
        let connections = reception.take_all(&mut |socket| {
            if let Ok(socket) = socket.try_clone() {
                (self.on_connect)(socket);
            }
        })?;
        connections.iter().try_for_each(|it| self.troubles.add(it))?;
        let (multifd, mut others): (Vec<Further>, Vec<Further>) =
            connections.into_iter().partition(|it| it.channel.role == Role::Multifd);
        self.urgent = others.pop();
        if !multifd.is_empty() {
            let delay = self.defects.iter().find_map(|it| match it {
                Defect::LatePacket(delay) => Some(*delay),
                _ => None,
            });
            let region = &self.guest.region;
            let receivers =
                Receivers::start(multifd, region, self.progress, SILENCE_TIMEOUT, delay)?;
            self.receivers = Some(receivers);
        }
        Ok(())
    }
}
