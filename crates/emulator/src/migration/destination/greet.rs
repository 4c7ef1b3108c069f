//! Before a byte of memory moves: who the source is, whether all fits, and the further connections that it has announced.

use std::sync::atomic::Ordering;

use sterna_wire::control::Phase;
use sterna_wire::stream::{
    Hello, HelloAck, Message, OLDEST_VERSION, PAGE_BYTES, Role, VERSION, capability, negotiate,
};

use super::{Load, LoadError, SILENCE_TIMEOUT, unexpected};
use crate::migration::breakage::Defect;
use crate::migration::channels::{CHANNELS_TIMEOUT, Further, Reception};
use crate::migration::multifd::{MAX_CHANNELS, Receivers};

/// What this destination can do beyond the first connection's pages.
const CAPABILITIES: u32 = capability::MULTIFD
    | capability::URGENT
    | capability::XBZRLE
    | capability::POSTCOPY
    | capability::RECOVER;

impl Load<'_> {
    pub(super) fn greet(&mut self) -> Result<(), LoadError> {
        let hello = match self.reader.message(&mut self.inbound)? {
            Message::Hello(hello) => hello,
            other => return Err(unexpected(other.kind(), "a greeting")),
        };
        let version = self.check(&hello)?;
        let capabilities = hello.capabilities;
        self.capabilities = capabilities;
        self.send(&Message::HelloAck(HelloAck { version, capabilities }))?;
        self.receive_channels(&hello)?;
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
        if hello.session != self.session {
            return refuse("The connection belongs to another migration".to_owned());
        }
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
