//! A viewer of the guest's pictures: asks for them, and hands what comes to a player.

use std::time::Duration;

use sterna_probe::playout::{Frame, PlayAnswer, PlayRequest};
use sterna_probe::{Direction, Freeze, Outage, Player, Probe, Seen};

/// How often the viewer says that it is there, and before the first picture asks for it.
pub(super) const ASK_EVERY_NS: u64 = 100_000_000;

/// What the player holds back.
pub(crate) const BUFFER: Duration = Duration::from_millis(100);

/// Small pictures: what is measured is when they come.
const FRAME_BYTES: u64 = 400;

/// What one playout probe has.
pub(super) struct Viewer {
    player: Player,
    request: PlayRequest,
}

impl Viewer {
    /// Of a probe; `session` tells its pictures from those of others.
    pub fn new(probe: &Probe, session: u64) -> Viewer {
        let interval_ns = probe.interval_ns();
        Viewer {
            player: Player::new(interval_ns, BUFFER.as_nanos() as u64),
            request: PlayRequest { cookie: 0, session, interval_ns, frame_bytes: FRAME_BYTES },
        }
    }

    /// What to send to the guest.
    pub fn request(&self) -> Vec<u8> {
        self.request.to_bytes().to_vec()
    }

    /// Takes in what came if it is for this viewer.
    pub fn hear(&mut self, payload: &[u8], at_ns: u64) {
        let session = self.request.session;
        if let Some(PlayAnswer::Cookie { session: its, cookie }) = PlayAnswer::from_bytes(payload)
            && its == session
        {
            self.request.cookie = cookie;
        }
        if let Some(frame) = Frame::from_bytes(payload)
            && frame.session == session
        {
            self.player.hear(&frame, at_ns);
        }
    }

    /// What was seen, freezes as outages; `None` before the first picture.
    pub fn seen(&self, now_ns: u64) -> Option<Seen> {
        let frames = self.player.frames();
        let freezes = self.player.freezes(now_ns);
        (frames > 0).then(|| Seen {
            sent: frames + self.player.skipped(),
            received: frames,
            duplicates: self.player.duplicates(),
            outages: freezes.iter().map(outage).collect(),
            ..Seen::default()
        })
    }
}

fn outage(freeze: &Freeze) -> Outage {
    Outage {
        start_ns: freeze.start_ns,
        end_ns: freeze.end_ns,
        has_ended: freeze.has_ended,
        lost: freeze.missed,
        direction: Direction::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_viewer_learns_its_cookie_and_sees_freezes_as_outages() {
        const MS: u64 = 1_000_000;
        let probe: Probe = "kind=playout,interval=40ms".parse().unwrap();
        let mut viewer = Viewer::new(&probe, 7);
        let cookie = |session| PlayAnswer::Cookie { session, cookie: 9 }.to_bytes();
        viewer.hear(&cookie(8), 0);
        assert_eq!(PlayRequest::from_bytes(&viewer.request()).unwrap().cookie, 0);
        viewer.hear(&cookie(7), 0);
        assert_eq!(PlayRequest::from_bytes(&viewer.request()).unwrap().cookie, 9);
        assert_eq!(viewer.seen(0), None);
        for (session, number, at_ms) in [(7, 0, 0), (8, 1, 40), (7, 1, 40), (7, 11, 440)] {
            viewer.hear(&Frame { session, number, sent_ns: 0 }.to_bytes(), at_ms * MS);
        }
        let seen = viewer.seen(500 * MS).unwrap();
        assert_eq!((seen.sent, seen.received, seen.outages.len()), (12, 3, 1));
        assert_eq!((seen.outages[0].start_ns, seen.outages[0].lost), (180 * MS, 9));
    }
}
