//! Where each page of the guest is, between the guest, the log of writes and the destination: not page by page, but as mixtures over stretches of memory.

mod segment;

use crate::dirty::{Activity, DirtyProcess, PAGE};
use crate::rules::Rearm;
use segment::{Parts, Segment, Writer};

/// The memory of a guest under way.
///
/// Pages of one class within a segment differ only by chance, so a segment keeps for each class which part of its pages is in which state.
/// Between two synchronisations nothing but the cursor moves; writes are brought in only when the log is looked at, all at once and exactly, however long it was.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    shares: Vec<Vec<f64>>,
    writers: Vec<Writer>,
    segments: Vec<Segment>,
    is_late: bool,
    /// The segment that is being sent, and how far.
    at: usize,
    offset: f64,
    pending: f64,
    /// Pages of the first round that the cursor has not passed yet.
    first_round: f64,
}

/// What lies ahead of the cursor, up to the end of its segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ahead {
    /// Which region.
    pub(crate) region: usize,
    /// Pages to pass.
    pub(crate) pages: f64,
    /// The part of them that is to be sent.
    pub(crate) pending: f64,
    /// Whether this is the first round over memory.
    pub(crate) is_first_round: bool,
}

/// What a synchronisation found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found {
    /// Pages written since the one before.
    pub(crate) written: f64,
    /// Those of them that were not pending already.
    pub(crate) new: f64,
}

impl Memory {
    /// All memory is pending, and the guest has run for `time`.
    pub(crate) fn new(process: &DirtyProcess, rearm: Rearm) -> Memory {
        let chunk_pages = match rearm {
            Rearm::Sync => f64::INFINITY,
            Rearm::Chunk { bytes } => (bytes as f64 / PAGE).max(1.0),
        };
        let is_late = rearm != Rearm::Sync;
        let (mut segments, mut writers, mut first) = (Vec::new(), Vec::new(), 0.0);
        for (region, it) in process.regions.iter().enumerate() {
            let end = first + it.pages();
            writers.push(Writer::new(&it.activity, first, it.pages()));
            let mut from: f64 = first;
            while end - from > 1e-6 {
                let chunk = (from / chunk_pages).floor();
                let to = ((chunk + 1.0) * chunk_pages).min(end);
                let classes = vec![Parts::pending(is_late); it.classes.len().max(1)];
                let (pages, chunk) = (to - from, chunk as u32);
                segments.push(Segment { region, first: from, pages, chunk, seen: 0.0, classes });
                from = to;
            }
            first = end;
        }
        let shares = process.regions.iter();
        let shares = shares
            .map(|it| if it.classes.is_empty() { vec![1.0] } else { it.classes.clone() })
            .collect();
        let mut memory = Memory {
            shares,
            writers,
            segments,
            is_late,
            at: 0,
            offset: 0.0,
            pending: first,
            first_round: first,
        };
        memory.arm_chunk(0.0);
        memory
    }

    /// Pages to be sent.
    pub(crate) fn pending(&self) -> f64 {
        self.pending
    }

    /// What the cursor meets next; `None` when nothing is pending.
    pub(crate) fn ahead(&self) -> Option<Ahead> {
        let segment = self.segments.get(self.at).filter(|_| self.pending > 0.0)?;
        let pages = segment.pages - self.offset;
        Some(Ahead {
            region: segment.region,
            pages,
            pending: self.share_of(segment, Parts::is_pending),
            is_first_round: self.is_first_round(),
        })
    }

    /// The cursor passes `pages`, at most those of its segment, at running time `time`; returns the pages that were sent.
    pub(crate) fn pass(&mut self, pages: f64, time: f64) -> f64 {
        let Some(ahead) = self.ahead() else { return 0.0 };
        let pages = pages.min(ahead.pages);
        let sent = pages * ahead.pending;
        self.pending = (self.pending - sent).max(0.0);
        self.first_round -= pages;
        self.offset += pages;
        if ahead.pages - pages < 1e-6 {
            self.segments[self.at].classes.iter_mut().for_each(Parts::send);
            self.next_segment(time);
        }
        sent
    }

    /// Brings in all writes up to `time` and makes them pending.
    pub(crate) fn sync(&mut self, time: f64) -> Found {
        self.settle();
        let position = self.position();
        self.write_all(time);
        let mut found = Found::default();
        for segment in &mut self.segments {
            let shares = &self.shares[segment.region];
            for (parts, share) in segment.classes.iter_mut().zip(shares) {
                let (written, new) = parts.sync(self.is_late);
                found.written += written * share * segment.pages;
                found.new += new * share * segment.pages;
            }
        }
        self.merge(position);
        self.find(position);
        self.recount();
        self.arm_chunk(time);
        found
    }

    /// From `time` on regions are written otherwise.
    pub(crate) fn change(&mut self, activities: &[Activity], time: f64) {
        self.settle();
        let position = self.position();
        self.write_all(time);
        for (writer, activity) in self.writers.iter_mut().zip(activities) {
            writer.change(activity, time);
        }
        self.find(position);
    }

    /// Whether some memory was not passed at all yet.
    pub(crate) fn is_first_round(&self) -> bool {
        self.first_round > 0.5
    }

    /// Forgets what was written before `ran`: it is pending anyhow, and the log begins there.
    pub(crate) fn forget(&mut self, ran: f64) {
        self.segments.iter_mut().for_each(|it| it.seen = it.seen.max(ran));
    }

    /// Writes a second of the guest at full speed, as the workload is now.
    pub(crate) fn writes_per_second(&self) -> f64 {
        self.writers.iter().map(|it| it.activity.writes_per_second).sum()
    }

    /// Takes all that is pending, by region.
    pub(crate) fn take_pending(&mut self) -> Vec<(usize, f64)> {
        let mut taken = vec![0.0; self.writers.len()];
        for segment in &mut self.segments {
            let shares = &self.shares[segment.region];
            for (parts, share) in segment.classes.iter_mut().zip(shares) {
                taken[segment.region] += parts.is_pending() * share * segment.pages;
                parts.arm();
                parts.send();
            }
        }
        self.pending = 0.0;
        taken.into_iter().enumerate().filter(|it| it.1 > 0.0).collect()
    }

    /// Pages that a region would have dirty after running for `length`, if none were before; the workload as it is now.
    pub(crate) fn distinct(&self, length: f64) -> f64 {
        let regions = self.writers.iter().zip(&self.shares);
        regions.map(|(writer, shares)| writer.distinct(shares, length)).sum()
    }

    /// Pending pages of a region's class, each with the number of pages and its rate of touches; for what is missing at the destination.
    pub(crate) fn missing(&self) -> Vec<(f64, f64)> {
        let mut missing = Vec::new();
        for segment in &self.segments {
            let writer = &self.writers[segment.region];
            let swept = writer.activity.sweep.filter(|it| !it.once);
            let swept = swept.map_or(0.0, |it| it.pages_per_second / writer.pages);
            let shares = &self.shares[segment.region];
            for (index, (parts, share)) in segment.classes.iter().zip(shares).enumerate() {
                let rate = writer.activity.rates.get(index).copied().unwrap_or(0.0) + swept;
                let pages = parts.is_pending() * share * segment.pages;
                if pages > 0.0 && rate > 0.0 {
                    missing.push((pages, rate));
                }
            }
        }
        missing
    }

    fn share_of(&self, segment: &Segment, part: impl Fn(&Parts) -> f64) -> f64 {
        let classes = segment.classes.iter().zip(&self.shares[segment.region]);
        classes.map(|(parts, share)| part(parts) * share).sum()
    }

    fn recount(&mut self) {
        let pending = |it: &Segment| self.share_of(it, Parts::is_pending) * it.pages;
        self.pending = self.segments.iter().map(pending).sum();
    }

    fn next_segment(&mut self, time: f64) {
        self.offset = 0.0;
        let old = self.segments[self.at].chunk;
        self.at = (self.at + 1) % self.segments.len();
        if self.segments[self.at].chunk != old {
            self.arm_chunk(time);
        }
    }

    /// Late re-arming: what is disarmed in the chunk at the cursor is watched again before any of it is sent.
    fn arm_chunk(&mut self, time: f64) {
        if !self.is_late || self.segments.is_empty() {
            return;
        }
        let chunk = self.segments[self.at].chunk;
        let is_disarmed =
            |it: &Segment| it.chunk == chunk && it.classes.iter().any(|it| it.disarmed > 0.0);
        if !self.segments.iter().any(is_disarmed) {
            return;
        }
        let position = self.position();
        let first = self.segments.iter().position(|it| it.chunk == chunk).unwrap_or(0);
        let count = self.segments[first..].iter().take_while(|it| it.chunk == chunk).count();
        let old: Vec<Segment> = self.segments.drain(first..first + count).collect();
        let mut new = Vec::with_capacity(count + 2);
        for segment in old {
            let writer = &mut self.writers[segment.region];
            segment.write(writer, time, &mut new);
        }
        new.iter_mut().flat_map(|it| &mut it.classes).for_each(Parts::arm);
        self.segments.splice(first..first, new);
        self.find(position);
    }

    /// Cuts the segment at the cursor, so that each is either sent or not.
    fn settle(&mut self) {
        let Some(segment) = self.segments.get_mut(self.at).filter(|_| self.offset > 1e-6) else {
            return;
        };
        let rest = segment.split(self.offset);
        segment.classes.iter_mut().for_each(Parts::send);
        self.at += 1;
        self.offset = 0.0;
        self.segments.insert(self.at, rest);
    }

    fn write_all(&mut self, time: f64) {
        let old = std::mem::take(&mut self.segments);
        self.segments.reserve(old.len() + 4);
        for segment in old {
            let writer = &mut self.writers[segment.region];
            segment.write(writer, time, &mut self.segments);
        }
    }

    /// Joins segments that are alike, but never over the cursor: what is behind it comes a round later.
    fn merge(&mut self, position: f64) {
        self.segments.dedup_by(|next, segment| {
            let continues = (next.first - position).abs() > 1e-6 && segment.continues(next);
            if continues {
                segment.pages += next.pages;
            }
            continues
        });
    }

    fn position(&self) -> f64 {
        self.segments.get(self.at).map_or(0.0, |it| it.first + self.offset)
    }

    fn find(&mut self, position: f64) {
        let holds = |it: &Segment| it.first + it.pages > position + 1e-6;
        self.at = self.segments.iter().position(holds).unwrap_or(0);
        self.offset = self.segments.get(self.at).map_or(0.0, |it| (position - it.first).max(0.0));
    }
}

impl Writer {
    fn new(activity: &Activity, first: f64, pages: f64) -> Writer {
        let passed = activity.sweep.map_or(0.0, |it| it.passed);
        let activity = activity.clone();
        Writer { activity, first, pages, since: 0.0, passed, last: (-1.0, Vec::new()) }
    }

    fn change(&mut self, activity: &Activity, time: f64) {
        self.passed = self.passed(time);
        self.since = time;
        self.activity = activity.clone();
        self.last.0 = -1.0;
    }

    fn distinct(&self, shares: &[f64], length: f64) -> f64 {
        let passed = |time: f64| self.passed(self.since + time);
        let swept = (passed(length) - passed(0.0)).min(self.pages);
        let drawn = shares.iter().zip(&self.activity.rates);
        let drawn: f64 = drawn.map(|(share, rate)| share * -(-rate * length).exp_m1()).sum();
        swept + drawn * (self.pages - swept)
    }
}
