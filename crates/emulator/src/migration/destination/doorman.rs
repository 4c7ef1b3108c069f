//! Who comes back after a link was lost in post-copy.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sterna_wire::stream::{Channel, Message, MessageReader, MessageWriter, Role};

use super::fetch::FetchError;
use super::line::Line;
use crate::link::Inbound;
use crate::migration::channels::Further;
use crate::transport::{Listener, Socket};

/// How often the doorman looks whether he is still needed.
const SLICE: Duration = Duration::from_millis(50);

/// How long a visitor may take to introduce himself.
const INTRODUCTION_TIMEOUT: Duration = Duration::from_secs(1);

/// A link that takes the place of a lost one.
pub(super) struct Link {
    pub(super) socket: Socket,
    pub(super) writer: MessageWriter,
    pub(super) inbound: Inbound,
    pub(super) reader: MessageReader,
    /// The connection for requested pages, where there was one before.
    pub(super) urgent: Option<Further>,
}

/// Opens to the source, also while the link before seems to stand: a source that comes back has seen it end.
pub(super) struct Doorman<'a> {
    pub(super) listener: &'a Listener,
    pub(super) session: [u8; 16],
    pub(super) latency: Duration,
    pub(super) has_urgent: bool,
    pub(super) closing: &'a AtomicBool,
    pub(super) stop: &'a AtomicBool,
}

/// What a connection turns out to be.
enum Visitor {
    /// The source, on a connection for all but requested pages.
    Main(Link),
    /// The connection for requested pages that follows it.
    Urgent(Further),
}

impl Doorman<'_> {
    /// Hands links over until all memory is there.
    pub(super) fn run(&self, line: &Line<'_>, to: &Sender<Link>) {
        let mut incomplete = None;
        while self.is_needed() {
            if !self.somebody_knocks() {
                continue;
            }
            let Ok(socket) = self.listener.accept(Duration::ZERO, &|| true) else { continue };
            let whole = match self.introduce(socket, incomplete.is_some()) {
                Some(Visitor::Main(link)) => {
                    // Also when it waits for the rest of a link: that one was cut, too.
                    line.end(FetchError::Replaced);
                    incomplete = Some(link);
                    incomplete.take_if(|_| !self.has_urgent)
                }
                Some(Visitor::Urgent(urgent)) => {
                    incomplete.take().map(|link| Link { urgent: Some(urgent), ..link })
                }
                None => None,
            };
            whole.into_iter().for_each(|link| drop(to.send(link)));
        }
    }

    fn is_needed(&self) -> bool {
        !self.stop.load(Ordering::Acquire) && !self.closing.load(Ordering::Acquire)
    }

    fn somebody_knocks(&self) -> bool {
        let slice = Timespec { tv_sec: 0, tv_nsec: SLICE.subsec_nanos().into() };
        matches!(poll(&mut [PollFd::new(self.listener, PollFlags::IN)], Some(&slice)), Ok(1..))
    }

    /// Hears who it is; a stranger is told why it is none of ours.
    fn introduce(&self, mut socket: Socket, awaits_urgent: bool) -> Option<Visitor> {
        let mut inbound = Inbound::new(socket.try_clone().ok()?, self.latency).ok()?;
        inbound.set_timeout(Some(INTRODUCTION_TIMEOUT + self.latency)).ok()?;
        let (mut reader, mut writer) = (MessageReader::default(), MessageWriter::default());
        let refusal = match reader.message(&mut inbound) {
            Ok(Message::Resume(session)) if session == self.session => {
                let link = Link { socket, writer, inbound, reader, urgent: None };
                return Some(Visitor::Main(link));
            }
            Ok(Message::Channel(channel)) if channel == self.urgent() && awaits_urgent => {
                writer.send(&mut socket, &Message::ChannelAck).ok()?;
                inbound.set_timeout(None).ok()?;
                let trouble = Arc::default();
                let urgent = Further { channel, socket, writer, inbound, reader, trouble };
                return Some(Visitor::Urgent(urgent));
            }
            Ok(Message::Resume(_)) => "The connection belongs to another migration".to_owned(),
            Ok(other) => format!("{:?} where a source was to come back", other.kind()),
            Err(error) => error.to_string(),
        };
        let _ = writer.send(&mut socket, &Message::Error(refusal));
        None
    }

    fn urgent(&self) -> Channel {
        Channel { session: self.session, role: Role::Urgent, index: 0 }
    }
}
