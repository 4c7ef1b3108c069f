//! What left, what came back, and the silences between.

use std::collections::VecDeque;

use hdrhistogram::Histogram;

/// Silence of this many intervals may be an outage; a busy machine answers a little late now and then.
const SILENT_INTERVALS: u64 = 3;

/// Shorter silences are none: two processes of one machine make each other wait for so long.
const SHORTEST_OUTAGE_NS: u64 = 10_000_000;

/// How long a message is waited for; one that comes even later is not noticed any more.
const PATIENCE_NS: u64 = 60_000_000_000;

/// A machine that boots answers with the first of many messages that wait for it somewhere; it is there when it answers within this time.
const PROMPT_NS: u64 = 1_000_000_000;

/// Round trips are told to three digits, up to [`PATIENCE_NS`].
const DIGITS: u8 = 3;

/// Everything that one probe has sent and heard. Stamps are nanoseconds of one clock, which never steps.
///
/// # What an outage is
///
/// Nobody hears that a message was lost; one hears nothing.
/// So an outage is a silence, from the arrival of one message to that of the next, that is longer than three intervals and than 10 ms.
/// That makes it as long as an observer without any knowledge of the other side would say, up to an interval too long.
/// Messages that never came are counted in it; they may still come late, and then they do not count as lost, but the silence stands.
/// A silence that still lasts is an outage that has not ended.
///
/// Who sends nothing hears nothing, and that is no outage.
/// So a silence begins one interval before the first message that went unanswered in it, if the last arrival was even earlier: for longer than that the probe itself was held up.
/// In the same way it loses at its end what the probe was late with the message that was answered.
///
/// # What the beginning is
///
/// Silence before the first answer is an outage only where an answer was expected.
/// [`Log::count_from`] says from when on that is so; without it everything before the first prompt answer is left out, as for a machine that still boots.
#[derive(Clone, Debug)]
pub struct Log {
    interval_ns: u64,
    limit_ns: u64,
    /// Those that may still come.
    waiting: VecDeque<Sent>,
    /// The number of the first in `waiting`.
    first_waiting: u64,
    /// The first message that counts: the first after [`Log::count_from`], or the first that was answered in good time.
    first_counted: Option<u64>,
    /// The time until the first answer, where one was expected; decided on when the next silence comes, since how long a
    /// message is under way is known only then.
    dawn: Option<Silence>,
    received: u64,
    again: u64,
    overtaken: u64,
    restarts: u64,
    /// The first answer whose responder counted, since it began to count.
    first: Option<Heard>,
    /// Losses of responders that have begun anew since.
    past: Losses,
    last: Option<Heard>,
    outages: Vec<Silence>,
    round_trips: Histogram<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    at_ns: u64,
    is_back: bool,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    /// The number after that of the message that was answered; at the beginning that of the first which counts.
    next: u64,
    at_ns: u64,
    count: Option<u64>,
    /// Messages that had come by then.
    received: u64,
}

/// From one arrival to the next.
#[derive(Clone, Debug)]
struct Silence {
    before: Heard,
    start_ns: u64,
    end_ns: u64,
    /// Numbers of the messages that were sent in it and not in one before.
    asked: std::ops::Range<u64>,
    /// The first answer to one that was sent after it, which tells what was counted until then.
    closing: Option<Heard>,
    /// Messages in between that have not come, or not yet.
    lost: u64,
}

/// Messages that never came, by the way on which they went missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Before they reached the responder.
    pub to_responder: u64,
    /// After they had.
    pub from_responder: u64,
}

/// What a probe has seen so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// Messages sent since the first that was answered, but for those that may well still come.
    pub sent: u64,
    /// Of them, those that came back.
    pub received: u64,
    /// Answers that came more than once.
    pub duplicates: u64,
    /// Answers that came after one that was sent later.
    pub reordered: u64,
    /// Lost messages by way; `None` when no responder counted, or when the way of one is not known.
    pub losses: Option<Losses>,
    /// How often a responder restarted its count; `None` when none counted.
    pub restarts: Option<u64>,
    /// How long messages were under way; `None` before the first came back.
    pub round_trip: Option<RoundTrip>,
    /// The silences.
    pub outages: Vec<Outage>,
    /// Silences up to this length are no outages.
    pub resolution_ns: u64,
}

/// How long messages were under way, there and back, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundTrip {
    /// The fastest.
    pub min_ns: u64,
    /// The mean.
    pub mean_ns: u64,
    /// How far they are from the mean, as a standard deviation.
    pub deviation_ns: u64,
    /// Half of them at most.
    pub p50_ns: u64,
    /// 90 % of them at most.
    pub p90_ns: u64,
    /// 99 % of them at most.
    pub p99_ns: u64,
    /// 99.9 % of them at most.
    pub p99_9_ns: u64,
    /// The slowest.
    pub max_ns: u64,
}

/// A time in which nothing came although something should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// The last arrival before; at the beginning, when the first answer was due.
    pub start_ns: u64,
    /// The first arrival after, or the moment of asking while there is none.
    pub end_ns: u64,
    /// Whether there was an arrival after it.
    pub has_ended: bool,
    /// Messages that never came.
    pub lost: u64,
    /// Where they went missing.
    pub direction: Direction,
}

/// The way on which messages were lost, seen from the responder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// All before they reached it.
    ToResponder,
    /// All after they had reached it.
    FromResponder,
    /// Some here, some there.
    Both,
    /// Nobody counted, or none was lost.
    Unknown,
}

impl Log {
    /// Of a probe with this time between its messages.
    pub fn new(interval_ns: u64) -> Log {
        let round_trips = Histogram::new_with_bounds(1_000, PATIENCE_NS, DIGITS)
            .expect("these bounds and digits are within what a histogram can have");
        Log {
            interval_ns,
            limit_ns: (interval_ns.saturating_mul(SILENT_INTERVALS)).max(SHORTEST_OUTAGE_NS),
            waiting: VecDeque::new(),
            first_waiting: 0,
            first_counted: None,
            dawn: None,
            received: 0,
            again: 0,
            overtaken: 0,
            restarts: 0,
            first: None,
            past: Losses::default(),
            last: None,
            outages: Vec::new(),
            round_trips,
        }
    }

    /// From now on an answer is expected: what was seen before is forgotten, and silence counts even before the first answer.
    pub fn count_from(&mut self, at_ns: u64) {
        let next = self.next_number();
        // Nothing of this probe can have reached the responder before its first message.
        let count = (next == 0).then_some(0);
        let begin = Heard { next, at_ns, count, received: 0 };
        let fresh = Log::new(self.interval_ns);
        *self = Log {
            waiting: std::mem::take(&mut self.waiting),
            first_waiting: self.first_waiting,
            first_counted: Some(next),
            first: count.map(|_| begin),
            last: Some(begin),
            ..fresh
        };
    }

    /// Silences up to this length are no outages.
    pub fn resolution_ns(&self) -> u64 {
        self.limit_ns
    }

    /// A message leaves now; its number.
    pub fn sent(&mut self, at_ns: u64) -> u64 {
        self.waiting.push_back(Sent { at_ns, is_back: false });
        while self.waiting.front().is_some_and(|it| it.at_ns.saturating_add(PATIENCE_NS) < at_ns) {
            self.waiting.pop_front();
            self.first_waiting += 1;
        }
        self.next_number() - 1
    }

    /// A message came back; `count` is how many of this probe's had reached a responder that counts. It counts once, however often it comes.
    pub fn received(&mut self, number: u64, at_ns: u64, count: Option<u64>) {
        let Some(sent) = self.sent_of(number) else { return };
        if std::mem::replace(&mut sent.is_back, true) {
            self.again += 1;
            return;
        }
        let under_way_ns = at_ns.saturating_sub(sent.at_ns);
        let is_first = self.first_counted.is_none();
        if is_first && under_way_ns > PROMPT_NS || self.first_counted.is_some_and(|it| number < it)
        {
            return;
        }
        self.round_trips.saturating_record(under_way_ns);
        self.received += 1;
        self.first_counted.get_or_insert(number);
        let mut silences = self.dawn.iter_mut().chain(self.outages.iter_mut().rev());
        if let Some(late) = silences.find(|it| it.holds(number)) {
            late.lost -= 1;
        }
        let next = number + 1;
        let after = Heard { next, at_ns, count, received: self.received };
        let before = self.last.replace(after);
        self.note_count(before, after);
        let Some(before) = before else { return };
        let (start_ns, end_ns) = self.silence(before, after);
        let is_dawn = before.received == 0;
        if is_dawn || end_ns.saturating_sub(start_ns) > self.limit_ns {
            let dawn = self.dawn.take().and_then(|it| self.as_outage(it));
            self.outages.extend(dawn);
            let asked = self.asked(before, after);
            let lost = self.missing(asked.start, asked.end);
            let closing = (next >= asked.end).then_some(after);
            let silence = Silence { before, start_ns, end_ns, asked, closing, lost };
            match is_dawn {
                true => self.dawn = Some(silence),
                false => self.outages.push(silence),
            }
        } else if let Some(last) = self.dawn.as_mut().or(self.outages.last_mut())
            && last.closing.is_none()
            && number >= last.asked.end
        {
            last.closing = Some(after);
        }
        // The newest number of all, so that a straggler is not taken for the beginning of a silence.
        if before.next > next {
            self.overtaken += 1;
            self.last = Some(Heard { at_ns, received: self.received, ..before });
        }
    }

    /// The time until the first answer, if it is too long for a message under way and for what must happen before the first
    /// one, such as to connect. The first answer was not due before a message had been there and back.
    fn as_outage(&self, dawn: Silence) -> Option<Silence> {
        let under_way_ns = self.round_trips.min();
        let start_ns = dawn.start_ns.saturating_add(under_way_ns).min(dawn.end_ns);
        let longest_ns = self.limit_ns.saturating_add(2 * under_way_ns);
        (dawn.end_ns - start_ns > longest_ns).then_some(Silence { start_ns, ..dawn })
    }

    /// From one arrival to the next, without what the probe itself was late at either end.
    fn silence(&self, before: Heard, after: Heard) -> (u64, u64) {
        let start_ns = self.begin_of_silence(before);
        let sent_ns = |number: u64| Some(self.waiting.get(self.place(number)?)?.at_ns);
        let number = after.next.saturating_sub(1);
        let late_ns = number.checked_sub(1).filter(|it| *it >= before.next).and_then(|it| {
            let step_ns = sent_ns(number)?.saturating_sub(sent_ns(it)?);
            Some(step_ns.saturating_sub(self.interval_ns))
        });
        (start_ns, after.at_ns.saturating_sub(late_ns.unwrap_or(0)).max(start_ns))
    }

    /// The messages that a silence concerns. A responder that was stopped answers first what waited for it, and what did not fit there is lost behind that.
    fn asked(&self, before: Heard, after: Heard) -> std::ops::Range<u64> {
        let sent = self.waiting.partition_point(|it| it.at_ns <= after.at_ns) as u64;
        let from = self.uncounted(before);
        from..(self.first_waiting + sent).max(after.next.saturating_sub(1)).max(from)
    }

    /// The first message after an answer that no silence has counted yet.
    fn uncounted(&self, before: Heard) -> u64 {
        let counted = self.outages.last().or(self.dawn.as_ref());
        counted.map_or(0, |it| it.asked.end).max(before.next)
    }

    fn begin_of_silence(&self, before: Heard) -> u64 {
        let next = self.place(before.next).and_then(|it| self.waiting.get(it));
        let asked_ns = next.map_or(0, |it| it.at_ns.saturating_sub(self.interval_ns));
        before.at_ns.max(asked_ns)
    }

    /// A responder that counts less than before has begun anew.
    fn note_count(&mut self, before: Option<Heard>, after: Heard) {
        if after.count.is_none() {
            return;
        }
        let is_newer = before.is_none_or(|it| it.next < after.next);
        let fell = before.and_then(|it| it.count).zip(after.count).is_some_and(|(a, b)| b < a);
        if is_newer && fell {
            self.restarts += 1;
            let known = self.first.zip(before).and_then(|(from, to)| Log::losses(from, to));
            if let Some(losses) = known {
                self.past.to_responder += losses.to_responder;
                self.past.from_responder += losses.from_responder;
            }
            self.first = None;
        }
        self.first.get_or_insert(after);
    }

    /// What went missing between two answers; `None` where one of them carries no count.
    fn losses(from: Heard, to: Heard) -> Option<Losses> {
        let sent = to.next.saturating_sub(from.next);
        let reached = to.count?.saturating_sub(from.count?);
        let lost = sent.saturating_sub(to.received.saturating_sub(from.received));
        let to_responder = sent.saturating_sub(reached).min(lost);
        Some(Losses { to_responder, from_responder: lost - to_responder })
    }

    /// The lost messages by way; `None` when no responder counted, and when the way of some is unknown, as of those
    /// after the last answer.
    fn losses_of(&self, lost: u64, last: Heard) -> Option<Losses> {
        let now = Log::losses(self.first?, last)?;
        let losses = Losses {
            to_responder: self.past.to_responder + now.to_responder,
            from_responder: self.past.from_responder + now.from_responder,
        };
        (losses.to_responder + losses.from_responder == lost).then_some(losses)
    }

    /// What was seen until now; `None` before the first answer, unless one is expected.
    pub fn seen(&self, now_ns: u64) -> Option<Seen> {
        let first = self.first_counted?;
        let last = self.last?;
        let may_come = self.under_way(last.next, now_ns);
        let dawn = self.dawn.clone().and_then(|it| self.as_outage(it));
        let mut outages: Vec<Outage> =
            dawn.iter().chain(&self.outages).map(Silence::told).collect();
        let start_ns = self.begin_of_silence(last);
        if now_ns.saturating_sub(start_ns) > self.limit_ns && self.next_number() > last.next {
            outages.push(Outage {
                start_ns,
                end_ns: now_ns,
                has_ended: false,
                lost: self
                    .missing(self.uncounted(last), self.next_number())
                    .saturating_sub(may_come),
                direction: Direction::Unknown,
            });
        }
        let sent = self.next_number() - first - may_come;
        Some(Seen {
            sent,
            received: self.received,
            duplicates: self.again,
            reordered: self.overtaken,
            losses: self.losses_of(sent.saturating_sub(self.received), last),
            restarts: last.count.filter(|it| *it > 0).map(|_| self.restarts),
            round_trip: self.round_trip(),
            outages,
            resolution_ns: self.limit_ns,
        })
    }

    /// When the silence began that lasts now, be it as short as between two messages; `None` before the first answer.
    pub fn silent_since_ns(&self) -> Option<u64> {
        self.last.map(|it| self.begin_of_silence(it))
    }

    /// Outages that have ended, which is how many `seen` tells of at least.
    pub fn ended_outages(&self) -> usize {
        let dawn = self.dawn.clone().and_then(|it| self.as_outage(it));
        self.outages.len() + usize::from(dawn.is_some())
    }

    /// Messages that were sent since then and have not come back.
    pub fn awaited(&self, since_ns: u64) -> u64 {
        let young = self.waiting.iter().rev().take_while(|it| it.at_ns >= since_ns);
        young.filter(|it| !it.is_back).count() as u64
    }

    /// When a message was sent that has not come back yet; `None` for any other.
    pub fn awaited_since(&self, number: u64) -> Option<u64> {
        let sent = self.waiting.get(self.place(number)?)?;
        (!sent.is_back).then_some(sent.at_ns)
    }

    fn place(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.first_waiting)?).ok()
    }

    fn round_trip(&self) -> Option<RoundTrip> {
        let at = |percent| self.round_trips.value_at_percentile(percent);
        let told = RoundTrip {
            min_ns: self.round_trips.min(),
            mean_ns: self.round_trips.mean() as u64,
            deviation_ns: self.round_trips.stdev() as u64,
            p50_ns: at(50.0),
            p90_ns: at(90.0),
            p99_ns: at(99.0),
            p99_9_ns: at(99.9),
            max_ns: self.round_trips.max(),
        };
        (!self.round_trips.is_empty()).then_some(told)
    }

    /// Messages from `first` on that are so young that they may well still come; one that a later one has overtaken is not.
    fn under_way(&self, first: u64, now_ns: u64) -> u64 {
        let since = usize::try_from(self.next_number().saturating_sub(first)).unwrap_or(usize::MAX);
        let young = self.waiting.iter().rev().take(since);
        let young = young.take_while(|it| it.at_ns.saturating_add(self.limit_ns) > now_ns);
        young.filter(|it| !it.is_back).count() as u64
    }

    fn next_number(&self) -> u64 {
        self.first_waiting + self.waiting.len() as u64
    }

    fn sent_of(&mut self, number: u64) -> Option<&mut Sent> {
        let place = self.place(number)?;
        self.waiting.get_mut(place)
    }

    /// Messages from one number to before another that have not come back. What is waited for no longer never did, or it does not matter any more.
    fn missing(&self, from: u64, to: u64) -> u64 {
        let place = |number: u64| {
            (number.saturating_sub(self.first_waiting) as usize).min(self.waiting.len())
        };
        let known = place(from)..place(to).max(place(from));
        let forgotten = self.first_waiting.min(to).saturating_sub(from);
        forgotten + self.waiting.range(known).filter(|it| !it.is_back).count() as u64
    }
}

impl Silence {
    fn holds(&self, number: u64) -> bool {
        self.asked.contains(&number) && self.lost > 0
    }

    fn told(&self) -> Outage {
        Outage {
            start_ns: self.start_ns,
            end_ns: self.end_ns,
            has_ended: true,
            lost: self.lost,
            direction: self.direction(),
        }
    }

    /// What the responder counted in between did reach it; what of that did not come back was lost after it.
    fn direction(&self) -> Direction {
        let Some(closing) = self.closing else { return Direction::Unknown };
        let Some((before, after)) = self.before.count.zip(closing.count) else {
            return Direction::Unknown;
        };
        let sent = closing.next.saturating_sub(self.before.next).saturating_sub(1);
        let reached = after.saturating_sub(before).saturating_sub(1).min(sent);
        let came_late = sent - self.lost.min(sent);
        let lost_after = reached.saturating_sub(came_late).min(self.lost);
        match (self.lost - lost_after, lost_after) {
            (0, 0) => Direction::Unknown,
            (_, 0) => Direction::ToResponder,
            (0, _) => Direction::FromResponder,
            _ => Direction::Both,
        }
    }
}

#[cfg(test)]
mod tests;
