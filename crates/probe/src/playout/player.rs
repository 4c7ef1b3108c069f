//! What a viewer sees of a stream.

use super::Frame;

/// A viewer asks for the first picture each 100 ms, and its request is answered by a cookie first.
const ASKING_NS: u64 = 300_000_000;

/// Shows frames as a simple player does, and notes when the picture stood still.
///
/// # What a viewer sees
///
/// The player holds the first frame back for the length of its jitter buffer, and from then on a frame has its moment: that of the first, plus one interval for each number between.
/// A frame that came before its moment is shown then.
/// One that comes later is shown when it comes, and the player's clock goes on from there: everything after it is later by as much, which fills the buffer again.
/// A frame that comes after a newer one was shown is dropped.
///
/// The picture is frozen from the moment at which a new one was due, one interval after the last, until one is shown; a single frame that is missing is a stutter and no freeze.
/// So an interruption of 500 ms freezes the picture for about 500 ms when frames are lost in it, and for as much less as is in the buffer when they only come late.
#[derive(Clone, Debug)]
pub struct Player {
    interval_ns: u64,
    buffer_ns: u64,
    /// When frame 0 would have been shown.
    base_ns: Option<i128>,
    /// From when on a picture is expected although none has come.
    dawn_ns: Option<u64>,
    shown: Option<Shown>,
    frames: u64,
    dropped: u64,
    again: u64,
    skipped: u64,
    late: u64,
    freezes: Vec<Freeze>,
    /// The numbers that came lately, a bit for each below `newest`.
    window: u128,
    newest: u64,
}

#[derive(Clone, Copy, Debug)]
struct Shown {
    number: u64,
    at_ns: u64,
}

/// A time in which the picture stood still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freeze {
    /// When a new picture was due.
    pub start_ns: u64,
    /// When one was shown; the moment of asking while it lasts.
    pub end_ns: u64,
    /// Whether it is over.
    pub has_ended: bool,
    /// Frames that were not shown in it.
    pub missed: u64,
}

impl Player {
    /// Of a stream with this time between its frames.
    pub fn new(interval_ns: u64, buffer_ns: u64) -> Player {
        Player {
            interval_ns: interval_ns.max(1),
            buffer_ns,
            base_ns: None,
            dawn_ns: None,
            shown: None,
            frames: 0,
            dropped: 0,
            again: 0,
            skipped: 0,
            late: 0,
            freezes: Vec::new(),
            window: 0,
            newest: 0,
        }
    }

    /// From now on a picture is expected: freezes from before are forgotten, and one that there is before the first picture
    /// counts.
    pub fn count_from(&mut self, at_ns: u64) {
        let Player { base_ns, shown, frames, window, newest, .. } = *self;
        let is_playing = frames > 0;
        *self = Player::new(self.interval_ns, self.buffer_ns);
        if is_playing {
            // The stream goes on; only what was counted of it begins again.
            *self = Player { base_ns, shown, window, newest, frames: 1, ..self.clone() };
        } else {
            self.dawn_ns = Some(at_ns);
        }
    }

    /// Whether there is anything to say: a picture came, or one is expected.
    pub fn counts(&self) -> bool {
        self.frames > 0 || self.dawn_ns.is_some()
    }

    /// Freezes up to this length do not count.
    pub fn resolution_ns(&self) -> u64 {
        self.interval_ns
    }

    /// A frame came.
    pub fn hear(&mut self, frame: &Frame, at_ns: u64) {
        if self.is_known(frame.number) {
            self.again += 1;
            return;
        }
        self.frames += 1;
        let step_ns = i128::from(frame.number) * i128::from(self.interval_ns);
        let first_ns = i128::from(at_ns) + i128::from(self.buffer_ns) - step_ns;
        let base_ns = *self.base_ns.get_or_insert(first_ns);
        let due_ns = u64::try_from(base_ns + step_ns).unwrap_or(0);
        let Some(shown) = self.shown else {
            self.freezes.extend(self.dark_until(at_ns, true));
            self.shown = Some(Shown { number: frame.number, at_ns: due_ns });
            return;
        };
        if frame.number < shown.number {
            // Its moment may still come when a newer one is only buffered; but nothing was late then.
            match at_ns > due_ns {
                true => self.dropped += 1,
                false => self.fill(frame.number),
            }
            return;
        }
        if at_ns > due_ns {
            self.late += 1;
            self.base_ns = Some(base_ns + i128::from(at_ns - due_ns));
        }
        self.show(shown, Shown { number: frame.number, at_ns: due_ns.max(at_ns) });
    }

    /// The time without a first picture, if it is longer than it takes to ask for one.
    fn dark_until(&self, at_ns: u64, has_ended: bool) -> Option<Freeze> {
        let start_ns = self.dawn_ns.filter(|_| self.shown.is_none())?;
        let dark_ns = at_ns.saturating_sub(start_ns);
        let missed = dark_ns / self.interval_ns;
        (dark_ns > ASKING_NS + 2 * self.interval_ns).then_some(Freeze {
            start_ns,
            end_ns: at_ns,
            has_ended,
            missed,
        })
    }

    fn show(&mut self, before: Shown, now: Shown) {
        let missed = now.number - before.number - 1;
        self.skipped += missed;
        let stood_ns = now.at_ns.saturating_sub(before.at_ns);
        if stood_ns > 2 * self.interval_ns {
            let start_ns = before.at_ns + self.interval_ns;
            self.freezes.push(Freeze { start_ns, end_ns: now.at_ns, has_ended: true, missed });
        }
        self.shown = Some(now);
    }

    /// A frame that was overtaken, but is in time: the hole that its successor left is smaller than it seemed.
    fn fill(&mut self, number: u64) {
        self.skipped = self.skipped.saturating_sub(1);
        let Some(last) = self.freezes.last_mut() else { return };
        let is_its = self.shown.is_some_and(|it| it.at_ns == last.end_ns && number < it.number);
        if is_its {
            last.missed = last.missed.saturating_sub(1);
        }
    }

    /// Whether this number came already, among the last 128.
    fn is_known(&mut self, number: u64) -> bool {
        if self.frames == 0 || number > self.newest {
            let steps = number - if self.frames == 0 { number } else { self.newest };
            self.window = if steps < 128 { self.window << steps } else { 0 } | 1;
            self.newest = number;
            return false;
        }
        let back = self.newest - number;
        let bit = if back < 128 { 1u128 << back } else { 0 };
        let known = self.window & bit != 0;
        self.window |= bit;
        known
    }

    /// All freezes until now, with one that may still last.
    pub fn freezes(&self, now_ns: u64) -> Vec<Freeze> {
        let mut freezes = self.freezes.clone();
        freezes.extend(self.dark_until(now_ns, false));
        if let Some(shown) = self.shown {
            let start_ns = shown.at_ns.saturating_add(self.interval_ns);
            if now_ns.saturating_sub(start_ns) > self.interval_ns {
                let missed = (now_ns - start_ns) / self.interval_ns;
                freezes.push(Freeze { start_ns, end_ns: now_ns, has_ended: false, missed });
            }
        }
        freezes
    }

    /// When the next picture is due, or was.
    pub fn due_ns(&self) -> Option<u64> {
        self.shown.map(|it| it.at_ns.saturating_add(self.interval_ns)).or(self.dawn_ns)
    }

    /// Freezes that are over.
    pub fn ended_freezes(&self) -> usize {
        self.freezes.len()
    }

    /// Frames that came, each counted once.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Frames that came after a newer one was shown.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Frames that came again.
    pub fn duplicates(&self) -> u64 {
        self.again
    }

    /// Frames between the first and the last that never came in time.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Frames that were shown after their moment.
    pub fn late(&self) -> u64 {
        self.late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Frames of 40 ms with a buffer of 100 ms, each given as number and arrival in ms.
    fn played(frames: &[(u64, u64)]) -> Player {
        let mut player = Player::new(40 * MS, 100 * MS);
        for &(number, at_ms) in frames {
            let frame = Frame { session: 1, number, sent_ns: 0 };
            player.hear(&frame, at_ms * MS);
        }
        player
    }

    fn freezes(player: &Player, now_ms: u64) -> Vec<(u64, u64, u64)> {
        let told = player.freezes(now_ms * MS);
        told.iter()
            .map(|it| (it.start_ns / MS, (it.end_ns - it.start_ns) / MS, it.missed))
            .collect()
    }

    #[test]
    fn jitter_within_the_buffer_is_not_seen() {
        let player = played(&[(0, 0), (1, 90), (2, 91), (3, 120), (4, 255)]);
        assert_eq!(freezes(&player, 270), []);
        assert_eq!((player.frames(), player.late(), player.skipped()), (5, 0, 0));
    }

    #[test]
    fn lost_frames_freeze_the_picture_for_as_long_as_they_would_have_lasted() {
        // Frames 3 to 15 are lost: half a second and one frame.
        let player = played(&[(0, 0), (1, 40), (2, 80), (16, 640), (17, 680)]);
        assert_eq!(freezes(&player, 700), [(220, 520, 13)]);
        assert_eq!(player.skipped(), 13);
    }

    #[test]
    fn late_frames_freeze_the_picture_for_what_is_not_in_the_buffer() {
        // The network holds everything back until 600 ms.
        let player = played(&[(0, 0), (1, 40), (2, 600), (3, 600), (4, 600), (5, 600), (6, 601)]);
        // Frame 2 was due at 180, and comes at 600; frame 6 then at 760.
        assert_eq!(freezes(&player, 770), [(180, 420, 0)]);
        assert_eq!(player.late(), 1);
    }

    #[test]
    fn a_source_whose_clock_stood_still_is_later_from_then_on_but_not_frozen() {
        let player = played(&[(0, 0), (1, 40), (2, 580), (3, 620), (4, 660), (5, 700)]);
        assert_eq!(freezes(&player, 710), [(180, 400, 0)]);
    }

    #[test]
    fn a_freeze_that_lasts_is_told_and_one_missing_frame_is_a_stutter() {
        let player = played(&[(0, 0), (2, 80)]);
        assert_eq!(freezes(&player, 200), []);
        assert_eq!(freezes(&player, 420), [(220, 200, 5)]);
        assert!(!player.freezes(420 * MS)[0].has_ended);
    }

    #[test]
    fn no_picture_where_one_is_expected_is_a_freeze() {
        let mut player = Player::new(40 * MS, 100 * MS);
        player.count_from(1000 * MS);
        assert_eq!(freezes(&player, 1200), []);
        assert_eq!(freezes(&player, 2000), [(1000, 1000, 25)]);
        assert!(!player.freezes(2000 * MS)[0].has_ended);
        player.hear(&Frame { session: 1, number: 0, sent_ns: 0 }, 2500 * MS);
        assert_eq!(freezes(&player, 2600), [(1000, 1500, 37)]);
        assert!(player.freezes(2600 * MS)[0].has_ended);
        // One that comes as soon as it was asked for is none.
        let mut player = Player::new(40 * MS, 100 * MS);
        player.count_from(1000 * MS);
        player.hear(&Frame { session: 1, number: 0, sent_ns: 0 }, 1200 * MS);
        assert_eq!(freezes(&player, 1310), []);
    }

    #[test]
    fn freezes_from_before_the_moment_that_counts_are_forgotten_and_the_stream_goes_on() {
        let mut player = played(&[(0, 0), (1, 40), (2, 80), (16, 640), (17, 680)]);
        player.count_from(690 * MS);
        for number in 18..30 {
            player.hear(&Frame { session: 1, number, sent_ns: 0 }, number * 40 * MS);
        }
        assert_eq!(freezes(&player, 1200), []);
        assert_eq!((player.skipped(), player.frames()), (0, 13));
    }

    #[test]
    fn doubles_and_those_overtaken_are_counted() {
        let player =
            played(&[(0, 0), (2, 41), (1, 45), (2, 46), (1, 47), (300, 12_000), (0, 12_001)]);
        assert_eq!(player.duplicates(), 2);
        assert_eq!(player.skipped(), 297);
        let player = played(&[(0, 0), (5, 200), (1, 320)]);
        assert_eq!((player.dropped(), player.duplicates()), (1, 0));
    }
}
