//! Who comes back after a link was lost in post-copy.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use sterna_wire::stream::{Channel, Message, MessageReader, MessageWriter, Role};

use super::fetch::FetchError;
use super::line::Line;
use crate::link::Inbound;
use crate::migration::callers::{Caller, Callers, NoCaller};
use crate::migration::channels::Further;
use crate::transport::{Listener, Socket};

/// After so long without anybody the doorman forgets whom he has sent away.
const SHIFT: Duration = Duration::from_secs(60);

/// How long a connection for requested pages waits for its main one, which came before it and may be heard behind it.
const PATIENCE: Duration = Duration::from_millis(500);

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

/// The parts of a link as they are heard, each with the number of its connection.
#[derive(Default)]
struct Parts {
    main: Option<(u64, Link)>,
    urgent: Option<(u64, Further)>,
}

impl Doorman<'_> {
    /// Hands links over until all memory is there.
    pub(super) fn run(&self, line: &Line<'_>, to: &Sender<Link>) {
        let mut parts = Parts::default();
        while self.is_needed() {
            // A crowd of strangers is no reason to leave a guest without its memory.
            let mut callers = Callers::at(self.listener, self.latency, &|_| {});
            loop {
                let patience = if parts.urgent.is_some() { PATIENCE } else { SHIFT };
                match callers.next(Instant::now() + patience, &|| self.is_needed()) {
                    Ok(caller) => self.take(caller, &mut callers, &mut parts, line),
                    Err(NoCaller::Late) if parts.refuse_urgent() => {}
                    Err(_) => break,
                }
                parts.take_whole(self.has_urgent).into_iter().for_each(|it| drop(to.send(it)));
            }
        }
    }

    fn is_needed(&self) -> bool {
        !self.stop.load(Ordering::Acquire) && !self.closing.load(Ordering::Acquire)
    }

    /// Takes a part of a link; a stranger is told why it is none of ours.
    fn take(&self, caller: Caller, callers: &mut Callers<'_>, parts: &mut Parts, line: &Line<'_>) {
        let refusal = match caller.introduction {
            Message::Resume(session) if session == self.session => {
                // Also when it waits for the rest of a link: that one was cut, too.
                line.end(FetchError::Replaced);
                return parts.put_main(caller);
            }
            Message::Channel(channel) if channel == self.urgent() && self.has_urgent => {
                return parts.put_urgent(channel, caller);
            }
            Message::Resume(_) => "The connection belongs to another migration".to_owned(),
            ref other => format!("{:?} where a source was to come back", other.kind()),
        };
        callers.send_away(caller, &refusal);
    }

    fn urgent(&self) -> Channel {
        Channel { session: self.session, role: Role::Urgent, index: 0 }
    }
}

impl Parts {
    /// Of two sources that came back, the later one has seen the earlier end.
    fn put_main(&mut self, caller: Caller) {
        let Caller { socket, inbound, reader, number, .. } = caller;
        let writer = MessageWriter::default();
        let link = Link { socket, writer, inbound, reader, urgent: None };
        if self.main.as_ref().is_none_or(|it| it.0 < number) {
            self.main = Some((number, link));
        }
    }

    fn put_urgent(&mut self, channel: Channel, caller: Caller) {
        let Caller { socket, inbound, reader, number, .. } = caller;
        let (writer, trouble) = Default::default();
        let urgent = Further { channel, socket, writer, inbound, reader, trouble };
        if self.urgent.as_ref().is_none_or(|it| it.0 < number) {
            self.urgent = Some((number, urgent));
        }
    }

    /// Tells the source that its main connection has not come through; whether there was somebody to tell.
    fn refuse_urgent(&mut self) -> bool {
        let Some((_, mut urgent)) = self.urgent.take() else { return false };
        let text = "The main connection has not come back".to_owned();
        let _ = urgent.writer.send(&mut urgent.socket, &Message::Error(text));
        true
    }

    /// A link, when all of it is there: the connection for requested pages is one that came behind the main one.
    fn take_whole(&mut self, has_urgent: bool) -> Option<Link> {
        let (number, _) = self.main.as_ref()?;
        if !has_urgent {
            return self.main.take().map(|it| it.1);
        }
        let (_, mut urgent) = self.urgent.take_if(|it| it.0 > *number)?;
        urgent.writer.send(&mut urgent.socket, &Message::ChannelAck).ok()?;
        let (_, link) = self.main.take()?;
        Some(Link { urgent: Some(urgent), ..link })
    }
}
