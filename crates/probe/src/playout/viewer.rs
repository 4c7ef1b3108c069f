//! A viewer of pictures: asks for them, and hands what comes to a player.

use std::time::Duration;

use super::{Frame, Freeze, PlayAnswer, PlayRequest, Player};
use crate::{Direction, Outage, Seen};

/// How often a viewer says that it is there, and before the first picture asks for it.
pub const ASK_EVERY: Duration = Duration::from_millis(100);

/// What the player holds back.
pub const BUFFER: Duration = Duration::from_millis(100);

/// Small pictures: what is measured is when they come.
const FRAME_BYTES: u64 = 400;

/// What one viewer has.
///
/// # A source that moves
///
/// A guest that is migrated takes its source along, so its pictures go on by the source's clock, and those of the time in
/// which it stood still are left out. Where another program plays on in its place, that one knows nothing of the stream
/// and begins with picture 0; [`Viewer::has_moved`] says so, and the numbers go on as the guest's own would.
#[derive(Clone, Debug)]
pub struct Viewer {
    player: Player,
    request: PlayRequest,
    /// The last picture: its number, and when it came.
    last: Option<(u64, u64)>,
    /// What is added to the numbers of the source; `None` until the first picture from its new place.
    shift: Option<u64>,
}

impl Viewer {
    /// Of pictures with this time between them; `session` tells them from those of others.
    pub fn new(interval_ns: u64, session: u64) -> Viewer {
        Viewer {
            player: Player::new(interval_ns, BUFFER.as_nanos() as u64),
            request: PlayRequest { cookie: 0, session, interval_ns, frame_bytes: FRAME_BYTES },
            last: None,
            shift: Some(0),
        }
    }

    /// From now on a picture is expected.
    pub fn count_from(&mut self, at_ns: u64) {
        self.player.count_from(at_ns);
    }

    /// What to send to the source.
    pub fn request(&self) -> Vec<u8> {
        self.request.to_bytes().to_vec()
    }

    /// Somebody else plays from now on.
    pub fn has_moved(&mut self) {
        self.request.cookie = 0;
        self.shift = None;
    }

    /// Takes in what came if it is for this viewer; true when the source wants to be asked again at once.
    pub fn hear(&mut self, payload: &[u8], at_ns: u64) -> bool {
        let session = self.request.session;
        if let Some(PlayAnswer::Cookie { session: its, cookie }) = PlayAnswer::from_bytes(payload)
            && its == session
        {
            let is_new = self.request.cookie != cookie;
            self.request.cookie = cookie;
            return is_new;
        }
        if let Some(frame) = Frame::from_bytes(payload)
            && frame.session == session
        {
            let shift = *self.shift.get_or_insert(self.last.map_or(0, |(number, last_ns)| {
                let steps = at_ns.saturating_sub(last_ns) / self.request.interval_ns.max(1);
                number.saturating_add(steps.max(1)).saturating_sub(frame.number)
            }));
            let number = frame.number.saturating_add(shift);
            self.last = self.last.max(Some((number, at_ns)));
            self.player.hear(&Frame { number, ..frame }, at_ns);
        }
        false
    }

    /// What was seen, freezes as outages; `None` before the first picture, unless one is expected.
    pub fn seen(&self, now_ns: u64) -> Option<Seen> {
        let frames = self.player.frames();
        let freezes = self.player.freezes(now_ns);
        self.player.counts().then(|| Seen {
            sent: frames.saturating_add(self.player.skipped()),
            received: frames,
            duplicates: self.player.duplicates(),
            outages: freezes.iter().map(outage).collect(),
            resolution_ns: self.player.resolution_ns(),
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

    const MS: u64 = 1_000_000;

    fn cookie(session: u64, cookie: u64) -> [u8; 24] {
        PlayAnswer::Cookie { session, cookie }.to_bytes()
    }

    fn frame(session: u64, number: u64) -> [u8; 32] {
        Frame { session, number, sent_ns: 0 }.to_bytes()
    }

    #[test]
    fn a_viewer_learns_its_cookie_and_sees_freezes_as_outages() {
        let mut viewer = Viewer::new(40 * MS, 7);
        assert!(!viewer.hear(&cookie(8, 9), 0));
        assert_eq!(PlayRequest::from_bytes(&viewer.request()).unwrap().cookie, 0);
        assert!(viewer.hear(&cookie(7, 9), 0));
        assert!(!viewer.hear(&cookie(7, 9), 0), "a source is not asked for ever");
        assert_eq!(PlayRequest::from_bytes(&viewer.request()).unwrap().cookie, 9);
        assert_eq!(viewer.seen(0), None);
        for (session, number, at_ms) in [(7, 0, 0), (8, 1, 40), (7, 1, 40), (7, 11, 440)] {
            viewer.hear(&frame(session, number), at_ms * MS);
        }
        let seen = viewer.seen(500 * MS).unwrap();
        assert_eq!((seen.sent, seen.received, seen.outages.len()), (12, 3, 1));
        assert_eq!((seen.outages[0].start_ns, seen.outages[0].lost), (180 * MS, 9));
    }

    #[test]
    fn the_highest_number_of_a_liar_does_no_harm() {
        let mut viewer = Viewer::new(40 * MS, 7);
        viewer.hear(&frame(7, 0), 0);
        viewer.hear(&frame(7, u64::MAX), 40 * MS);
        viewer.has_moved();
        viewer.hear(&frame(7, 3), 80 * MS);
        assert_eq!(viewer.seen(90 * MS).unwrap().sent, u64::MAX);
    }

    #[test]
    fn pictures_go_on_where_another_plays_on_and_those_of_the_standstill_are_left_out() {
        let mut viewer = Viewer::new(40 * MS, 7);
        viewer.hear(&cookie(7, 9), 0);
        for number in 0..=10 {
            viewer.hear(&frame(7, number), number * 40 * MS);
        }
        // It stands still at 400 ms and is played on elsewhere at 910 ms, from 0 on.
        viewer.has_moved();
        assert_eq!(PlayRequest::from_bytes(&viewer.request()).unwrap().cookie, 0);
        assert!(viewer.hear(&cookie(7, 5), 905 * MS));
        for number in 0..=20 {
            viewer.hear(&frame(7, number), (910 + number * 40) * MS);
        }
        let seen = viewer.seen(1750 * MS).unwrap();
        // Numbers 11 to 21 were missed: 12.75 intervals lie between the last and the next.
        assert_eq!((seen.received, seen.sent, seen.duplicates), (32, 43, 0));
        let [freeze] = &seen.outages[..] else { panic!("{seen:?}") };
        assert_eq!((freeze.start_ns, freeze.lost, freeze.has_ended), (540 * MS, 11, true));
    }

    #[test]
    fn a_short_standstill_repeats_no_number() {
        let mut viewer = Viewer::new(40 * MS, 7);
        viewer.hear(&frame(7, 0), 0);
        viewer.has_moved();
        viewer.hear(&frame(7, 0), 5 * MS);
        assert_eq!(viewer.seen(10 * MS).map(|it| (it.received, it.duplicates)), Some((2, 0)));
    }
}
