//! A stretch of a region in which all pages of a class are in the same mixture of states.

use crate::dirty::{Activity, SweepOrder};

/// Which parts of a class's pages are in which state; together they are 1.
///
/// A page is pending or sent, and in the log of writes it is clean or written. With late re-arming it may also be disarmed: found by the last synchronisation and not watched again yet, so that a write to it changes nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Parts {
    pub(super) disarmed: f64,
    pub(super) pending_clean: f64,
    pub(super) pending_written: f64,
    pub(super) sent_clean: f64,
    pub(super) sent_written: f64,
}

#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) region: usize,
    /// Its first page, from the beginning of memory.
    pub(super) first: f64,
    pub(super) pages: f64,
    /// Which chunk of late re-arming it belongs to.
    pub(super) chunk: u32,
    /// The running time of the guest up to which writes are in.
    pub(super) seen: f64,
    pub(super) classes: Vec<Parts>,
}

/// Everything is to be sent.
impl Parts {
    pub(super) fn pending(is_disarmed: bool) -> Parts {
        let (disarmed, pending_clean) = if is_disarmed { (1.0, 0.0) } else { (0.0, 1.0) };
        Parts { disarmed, pending_clean, pending_written: 0.0, sent_clean: 0.0, sent_written: 0.0 }
    }

    pub(super) fn is_pending(&self) -> f64 {
        self.disarmed + self.pending_clean + self.pending_written
    }

    /// The pages that are clean in the log are written, each with this probability.
    fn write(&mut self, probability: f64) {
        let (pending, sent) = (self.pending_clean * probability, self.sent_clean * probability);
        self.pending_clean -= pending;
        self.pending_written += pending;
        self.sent_clean -= sent;
        self.sent_written += sent;
    }

    /// Writes pass over `part` of the class, and those that are clean come first.
    fn write_part(&mut self, part: f64) {
        let clean = self.pending_clean + self.sent_clean;
        if clean > 0.0 {
            self.write((part / clean).min(1.0));
        }
    }

    pub(super) fn send(&mut self) {
        self.sent_clean += self.pending_clean;
        self.sent_written += self.pending_written;
        self.pending_clean = 0.0;
        self.pending_written = 0.0;
    }

    pub(super) fn arm(&mut self) {
        self.pending_clean += self.disarmed;
        self.disarmed = 0.0;
    }

    /// A synchronisation takes over the log. Returns what was found and what of it was not pending already.
    pub(super) fn sync(&mut self, is_late: bool) -> (f64, f64) {
        let (found, new) = (self.pending_written + self.sent_written, self.sent_written);
        if is_late {
            self.disarmed += found;
        } else {
            self.pending_clean += found;
        }
        self.pending_written = 0.0;
        self.sent_written = 0.0;
        (found, new)
    }

    fn is_near(&self, other: &Parts) -> bool {
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        near(self.disarmed, other.disarmed)
            && near(self.pending_clean, other.pending_clean)
            && near(self.pending_written, other.pending_written)
            && near(self.sent_clean, other.sent_clean)
    }
}

/// How a region is written at present, and since when.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    pub(super) activity: Activity,
    /// The region's first page and its number of pages.
    pub(super) first: f64,
    pub(super) pages: f64,
    /// The running time at which this activity began.
    pub(super) since: f64,
    /// Pages that the sweep had passed then, in all rounds.
    pub(super) passed: f64,
    /// The last stretch of time for which probabilities were computed, and these.
    pub(super) last: (f64, Vec<f64>),
}

impl Writer {
    /// Pages that the sweep has passed in all rounds at a running time.
    pub(super) fn passed(&self, time: f64) -> f64 {
        let Some(sweep) = self.activity.sweep else { return self.passed };
        let passed = self.passed + sweep.pages_per_second * (time - self.since).max(0.0);
        if sweep.once { passed.min(self.pages).max(self.passed) } else { passed }
    }

    fn probabilities(&mut self, length: f64) -> &[f64] {
        if self.last.0 != length || self.last.1.len() != self.activity.rates.len() {
            self.last.0 = length;
            let rates = self.activity.rates.iter();
            self.last.1 = rates.map(|rate| -(-rate * length).exp_m1()).collect();
        }
        &self.last.1
    }
}

impl Segment {
    /// Brings in all writes up to `time`; where a sweep passed over only a part of it, the segment is cut.
    pub(super) fn write(mut self, writer: &mut Writer, time: f64, into: &mut Vec<Segment>) {
        let length = time - self.seen;
        if length <= 0.0 {
            into.push(self);
            return;
        }
        let (from, to) = (writer.passed(self.seen), writer.passed(time));
        self.seen = time;
        let order = writer.activity.sweep.filter(|_| to > from).map(|it| it.order);
        let mut pieces = match order {
            None => vec![self],
            Some(SweepOrder::Strided) => {
                self.pass_lanes(from / writer.pages, to / writer.pages);
                vec![self]
            }
            Some(SweepOrder::Linear) => self.pass_over(writer, from, to),
        };
        if !writer.activity.rates.is_empty() {
            let probabilities = writer.probabilities(length);
            for piece in &mut pieces {
                piece.classes.iter_mut().zip(probabilities).for_each(|(it, p)| it.write(*p));
            }
        }
        into.append(&mut pieces);
    }

    /// A linear sweep went from one page to another, counted over all rounds.
    fn pass_over(self, writer: &Writer, from: f64, to: f64) -> Vec<Segment> {
        if to - from >= writer.pages {
            let mut whole = self;
            whole.classes.iter_mut().for_each(|it| it.write(1.0));
            return vec![whole];
        }
        let start = writer.first + from % writer.pages;
        let end = start + (to - from);
        let wrapped = end - writer.pages;
        // The arc behind the start, and what of it begins again at the region's first page.
        let mut pieces = Vec::with_capacity(4);
        let mut rest = self;
        for (first, last) in [(writer.first, wrapped), (start, end)] {
            let (before, inside, after) = rest.cut(first, last);
            pieces.extend(before);
            if let Some(mut inside) = inside {
                inside.classes.iter_mut().for_each(|it| it.write(1.0));
                pieces.push(inside);
            }
            match after {
                Some(after) => rest = after,
                None => return pieces,
            }
        }
        pieces.push(rest);
        pieces
    }

    /// A strided sweep went through a part of the classes, each of which is a lane.
    fn pass_lanes(&mut self, from: f64, to: f64) {
        let lanes = self.classes.len() as f64;
        if to - from >= 1.0 {
            self.classes.iter_mut().for_each(|it| it.write(1.0));
            return;
        }
        let start = from.fract() * lanes;
        let end = start + (to - from) * lanes;
        for (lane, parts) in (0..).zip(&mut self.classes) {
            let overlap = |shift: f64| {
                let lane = f64::from(lane) + shift;
                (end.min(lane + 1.0) - start.max(lane)).max(0.0)
            };
            let part = overlap(0.0) + overlap(lanes);
            if part > 0.0 {
                parts.write_part(part);
            }
        }
    }

    /// What lies before, within and behind a stretch of pages.
    fn cut(self, first: f64, last: f64) -> (Option<Segment>, Option<Segment>, Option<Segment>) {
        let end = self.first + self.pages;
        let (first, last) = (first.max(self.first), last.min(end));
        if last <= first {
            return match first >= end {
                true => (Some(self), None, None),
                false => (None, None, Some(self)),
            };
        }
        let piece = |from: f64, to: f64| {
            (to - from > 1e-6).then(|| Segment { first: from, pages: to - from, ..self.clone() })
        };
        (piece(self.first, first), piece(first, last), piece(last, end))
    }

    /// The same in two pieces, cut behind `pages` pages.
    pub(super) fn split(&mut self, pages: f64) -> Segment {
        let rest = Segment { first: self.first + pages, pages: self.pages - pages, ..self.clone() };
        self.pages = pages;
        rest
    }

    /// Whether what follows is the same in all.
    pub(super) fn continues(&self, next: &Segment) -> bool {
        self.region == next.region
            && self.chunk == next.chunk
            && self.seen == next.seen
            && self.classes.iter().zip(&next.classes).all(|(a, b)| a.is_near(b))
    }
}
