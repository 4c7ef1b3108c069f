//! One worker thread: quanta of writes, and between them everything else.

use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use sterna_sys::WORDS_PER_PAGE;
use sterna_sys::clock::{Cycles, monotonic_ns};
use sterna_sys::page_write::PageWords;
use sterna_sys::region::Region;

use crate::bitmap::DirtyBitmap;
use crate::control::{Control, Mode};
use crate::first_write::{Book, Checking, FirstWrites};
use crate::image::Images;
use crate::meter::Meter;
use crate::method::{Counter, WriteMethod};
use crate::order::{Order, with_order};
use crate::pace::{GivenUp, Plan};
use crate::segment::Segment;
use crate::strokes::{LongWrites, Observer, Schedule, Timer, Unobserved, strokes};
use crate::timeline::Timeline;
use crate::verify::check_page;

/// What a crew and its workers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) region: Arc<Region>,
    pub(crate) control: Control,
    pub(crate) meters: Vec<Meter>,
    pub(crate) images: Images,
    /// What a check before a first write leaves out of the schedule at most.
    pub(crate) longest_check_ticks: u64,
    /// Times without progress that are noted.
    pub(crate) long: LongWrites,
}

/// What one worker has to do.
pub(crate) struct Job {
    pub(crate) number: usize,
    pub(crate) pages: Range<usize>,
    pub(crate) segments: Vec<Segment>,
    pub(crate) timeline: Timeline,
    pub(crate) is_timed: bool,
    /// How often each of the pages was written, where each is checked before it is written again.
    ///
    /// Known without replaying, so that every pattern can be checked on the way, with phases as well.
    pub(crate) writes: Option<Vec<u64>>,
    /// Whether all pages are given back to the kernel after each round.
    pub(crate) remaps: bool,
}

/// Writes made between two looks at the clock and the orders, at most.
///
/// With the microsecond that a write-protect fault costs this is half a millisecond, and without faults a few
/// microseconds, against which a look costs little.
const LONGEST_BATCH: usize = 512;

/// Batches are halved when they take longer than this, so that a worker that meets slow faults still sees a pause soon.
const LONG_BATCH_NS: u64 = 500_000;

/// A throttled worker sleeps once after running for so long, as a throttled virtual CPU does.
pub(crate) const THROTTLE_RUN_NS: u64 = 10_000_000;

/// Runs `job` on the calling thread until the crew says stop.
pub(crate) fn run(shared: &Shared, job: Job) {
    let meter = &shared.meters[job.number];
    let words =
        &shared.region.words()[job.pages.start * WORDS_PER_PAGE..job.pages.end * WORDS_PER_PAGE];
    let mut worker = Worker {
        shared,
        meter,
        words: words.as_chunks().0,
        cycles: *Cycles::calibrated(),
        index: 0,
        obeyed: 0,
        bitmap: None,
        checks: 0,
        unchecked: Cell::new(0),
        checking_ticks: Cell::new(0),
        gathered_until_ns: 0,
        batch: 1,
        awaits_first_write: true,
        has_run: false,
        throttle: Throttle { rest_ns: 0, rest_at_ns: 0 },
        job,
    };
    worker.run();
}

struct Worker<'a> {
    shared: &'a Shared,
    meter: &'a Meter,
    job: Job,
    words: &'a [PageWords],
    cycles: Cycles,
    /// The number of the next write within its segment.
    index: u64,
    /// The epoch of the orders that were obeyed last.
    obeyed: u64,
    bitmap: Option<Arc<DirtyBitmap>>,
    /// The number of the resume after which pages were last to be checked.
    checks: u64,
    /// Pages that are still to be checked before their first write.
    unchecked: Cell<usize>,
    /// Time that the quantum spent on that.
    checking_ticks: Cell<u64>,
    /// Until when the worker last waited on purpose.
    gathered_until_ns: u64,
    /// How many writes the next quantum may make.
    batch: usize,
    awaits_first_write: bool,
    /// Whether the worker was ever released; a wait before that is no gap.
    has_run: bool,
    throttle: Throttle,
}

struct Throttle {
    rest_ns: u64,
    rest_at_ns: u64,
}

impl Worker<'_> {
    fn run(&mut self) {
        let mut now_ns = monotonic_ns();
        self.look_up_position();
        loop {
            if self.shared.control.epoch() != self.obeyed {
                if self.obey() == Mode::Stop {
                    return;
                }
                now_ns = monotonic_ns();
            }
            if now_ns >= self.job.timeline.next_change_ns() {
                self.job.timeline.change(now_ns, self.meter);
                self.look_up_position();
            }
            if let Some(rest_ns) = self.throttle.rest_ns(now_ns) {
                now_ns = self.rest(now_ns, rest_ns);
                continue;
            }
            now_ns = match self.plan(now_ns) {
                Plan::Write(due) => self.quantum(now_ns, due),
                Plan::WaitUntil(until_ns) => self.wait(until_ns),
            };
        }
    }

    fn obey(&mut self) -> Mode {
        if self.has_run {
            self.meter.elapsed_ns.store(self.job.timeline.elapsed_ns(monotonic_ns()), Relaxed);
        }
        let obeyed = self.shared.control.obey(self.job.number);
        self.obeyed = obeyed.epoch;
        self.bitmap = obeyed.orders.bitmap;
        self.throttle.set(obeyed.orders.rests_ns.get(self.job.number).copied().unwrap_or(0));
        if let Some(since_ns) = obeyed.paused_since {
            self.end_pause(since_ns, obeyed.orders.mode);
        }
        if obeyed.orders.checks != self.checks {
            self.checks = obeyed.orders.checks;
            self.begin_checks();
        }
        self.has_run = true;
        obeyed.orders.mode
    }

    fn end_pause(&mut self, since_ns: u64, mode: Mode) {
        let now_ns = monotonic_ns();
        if self.has_run {
            self.note_given_up(now_ns, true);
        }
        self.job.timeline.end_pause(since_ns, now_ns, self.meter);
        if mode == Mode::Run && self.has_run {
            self.meter.gaps.add(since_ns, now_ns, None);
        }
        // The world may be another one now (faults that wait for the network): find the batch size again.
        self.batch = 1;
        self.awaits_first_write = true;
        self.throttle.restart(now_ns);
    }

    /// From now on each page is checked before it is written, once.
    fn begin_checks(&self) {
        let method = self.shared.images.method();
        if !FirstWrites::are_needed_for(method) {
            return;
        }
        let mut book = self.meter.first_writes();
        book.begin(self.checks, self.meter.state(), self.job.pages.len(), method);
        self.unchecked.set(book.left());
        self.meter.checks_began.set(monotonic_ns());
    }

    /// Finds where this worker is in the segment that has come.
    fn look_up_position(&mut self) {
        self.index = self.meter.by_segment[self.job.timeline.segment()].load(Relaxed);
    }

    fn segment(&self) -> &Segment {
        &self.job.segments[self.job.timeline.segment()]
    }

    fn plan(&mut self, now_ns: u64) -> Plan {
        let Some(limit) = self.segment().limit else {
            self.note_given_up(now_ns, false);
            return self.job.timeline.pacer.plan(now_ns);
        };
        // A round that is made only once is made as fast as can be: it is what comes after it that is wanted.
        match limit.saturating_sub(self.index) {
            0 => Plan::WaitUntil(u64::MAX),
            left => Plan::Write(left),
        }
    }

    /// Counts pages that were due and will not be written, as done now: a client that waits for each of them would see
    /// that, and leaving them out would hide the longest stalls (coordinated omission).
    fn note_given_up(&self, now_ns: u64, is_pause: bool) {
        if !self.job.is_timed {
            return;
        }
        let pacer = &self.job.timeline.pacer;
        if let Some(GivenUp { due, pages }) = pacer.given_up(now_ns, is_pause) {
            let from_ns = due.next_ns.max(self.gathered_until_ns);
            let longest_ns = now_ns.saturating_sub(from_ns);
            self.meter.since_due.add_falling(longest_ns, due.interval_ns, pages);
        }
    }

    /// Makes up to `due` writes and returns the time after them.
    fn quantum(&mut self, began_ns: u64, due: u64) -> u64 {
        let due = if self.job.remaps { due.min(self.left_in_round()) } else { due };
        let count = self.batch.min(usize::try_from(due).unwrap_or(usize::MAX));
        self.check(count);
        let timed_ns = self.write(count);
        let ended_ns = monotonic_ns();
        let checking_ns = self.end_checks();
        self.count(count as u64, ended_ns, checking_ns);
        let took_ns = ended_ns.saturating_sub(began_ns);
        if took_ns.saturating_sub(timed_ns).saturating_sub(checking_ns) > self.shared.long.gap_ns {
            self.meter.gaps.add(began_ns, ended_ns, None);
        }
        self.batch = next_batch(self.batch, took_ns);
        ended_ns
    }

    /// Takes the time that the quantum spent on checking out of the worker's own; returns how much it was.
    fn end_checks(&mut self) -> u64 {
        let spent_ns = self.cycles.ns(self.checking_ticks.take());
        let excused_ns = self.job.timeline.excuse(spent_ns);
        if excused_ns > 0 {
            let before = self.meter.checking_ns.load(Relaxed);
            self.meter.checking_ns.store(before + excused_ns, Relaxed);
        }
        excused_ns
    }

    fn count(&mut self, count: u64, ended_ns: u64, checking_ns: u64) {
        self.index += count;
        self.job.timeline.pacer.wrote(count);
        self.meter.by_segment[self.job.timeline.segment()].store(self.index, Relaxed);
        self.meter.writes.store(self.meter.writes.load(Relaxed) + count, Relaxed);
        self.meter.elapsed_ns.store(self.job.timeline.elapsed_ns(ended_ns), Relaxed);
        self.meter.last_write.set(ended_ns);
        if self.awaits_first_write {
            self.awaits_first_write = false;
            self.meter.first_write.set(ended_ns.saturating_sub(checking_ns));
        }
        // A batch ends with the round, so that what pages hold then can be told from the number of writes.
        if self.job.remaps && self.index.is_multiple_of(self.segment().pages as u64) {
            self.remap();
        }
    }

    fn left_in_round(&self) -> u64 {
        let pages = self.segment().pages as u64;
        pages - self.index % pages
    }

    /// Gives all pages back, so that the next round takes a fault for each.
    fn remap(&mut self) {
        let pages = &self.job.pages;
        if let Err(error) = self.shared.region.discard(pages.start, pages.len()) {
            self.meter.note_remap_error(error);
            self.job.remaps = false;
        } else if let Some(writes) = &mut self.job.writes {
            writes.fill(0);
        }
    }

    /// Makes `count` writes and returns how much of their time is accounted for write by write.
    fn write(&self, count: usize) -> u64 {
        let bitmap = self.bitmap.as_deref();
        if !self.job.is_timed {
            match bitmap {
                None => self.strokes(count, &mut Unobserved),
                Some(mut bitmap) => self.strokes(count, &mut bitmap),
            }
            return 0;
        }
        let mut timer = Timer::start(self.meter, self.cycles, self.shared.long, self.schedule());
        match bitmap {
            None => self.strokes(count, &mut timer),
            Some(bitmap) => self.strokes(count, &mut (bitmap, &mut timer)),
        }
        timer.finish()
    }

    /// When the writes of a quantum that begins now are due; `None` where they are made as fast as can be.
    fn schedule(&self) -> Option<Schedule> {
        let due = self.job.timeline.pacer.due().filter(|_| self.segment().limit.is_none())?;
        let gathered_until_ns = self.gathered_until_ns;
        Some(Schedule { began_ns: monotonic_ns(), gathered_until_ns, due })
    }

    fn strokes(&self, count: usize, observer: &mut impl Observer) {
        let order = &self.segment().order;
        match self.shared.images.whole() {
            None => with_order!(order, order => self.strokes_of(order, Counter, count, observer)),
            Some(whole) if self.unchecked.get() == 0 => {
                with_order!(order, order => self.strokes_of(order, whole, count, observer));
            }
            Some(whole) => {
                let mut book = self.meter.first_writes();
                let mut checking = self.checking(&mut book, observer);
                with_order!(order, order => self.strokes_of(order, whole, count, &mut checking));
                self.checking_ticks.set(checking.spent_ticks);
                self.unchecked.set(book.left());
            }
        }
    }

    fn checking<'a, S: Observer>(
        &'a self,
        book: &'a mut Book,
        inner: &'a mut S,
    ) -> Checking<'a, S> {
        Checking {
            inner,
            book,
            images: &self.shared.images,
            first_page: self.job.pages.start,
            cycles: self.cycles,
            longest_ticks: self.shared.longest_check_ticks,
            spent_ticks: 0,
        }
    }

    /// Kept apart from its callers so that each combination is one tight loop.
    #[inline(never)]
    fn strokes_of<O: Order, M: WriteMethod>(
        &self,
        order: &O,
        method: M,
        count: usize,
        observer: &mut impl Observer,
    ) {
        strokes(self.words, &self.job.pages, order, method, self.index, count, observer);
    }

    /// Looks at the pages that the next `count` writes are for, if it is asked for.
    ///
    /// All before the first write, so a page that comes more than once is the same each time; counted are the writes
    /// afterwards.
    fn check(&mut self, count: usize) {
        let Some(writes) = &mut self.job.writes else { return };
        let (index, first, shared) = (self.index, self.job.pages.start, self.shared);
        let order = &self.job.segments[self.job.timeline.segment()].order;
        with_order!(order, order => {
            let looks = order.walk(index).take(count).map(|page| {
                check_page(&shared.region, &shared.images, first + page, writes[page])
            });
            self.meter.note_checked(looks);
            order.walk(index).take(count).for_each(|page| writes[page] += 1);
        });
    }

    /// Sleeps until the next page is due, something changes, or the orders do.
    fn wait(&mut self, until_ns: u64) -> u64 {
        let until_ns = until_ns.min(self.job.timeline.next_change_ns());
        let now_ns = self.sleep(until_ns);
        self.gathered_until_ns = until_ns.min(now_ns);
        let late_ns = now_ns.saturating_sub(until_ns);
        if late_ns > self.shared.long.shortest_ns() {
            self.shared.long.note(self.meter, until_ns, now_ns, None);
        }
        now_ns
    }

    /// Sleeps because the crew is throttled, which the guest feels as a gap.
    ///
    /// The schedule moves as for a pause: a throttled virtual CPU gets less done, and does not make up for it later.
    fn rest(&mut self, began_ns: u64, rest_ns: u64) -> u64 {
        let now_ns = self.sleep(began_ns.saturating_add(rest_ns));
        if now_ns.saturating_sub(began_ns) > self.shared.long.gap_ns {
            self.meter.gaps.add(began_ns, now_ns, None);
        }
        self.note_given_up(now_ns, true);
        self.job.timeline.pacer.move_by(now_ns.saturating_sub(began_ns));
        self.throttle.restart(now_ns);
        now_ns
    }

    fn sleep(&self, until_ns: u64) -> u64 {
        loop {
            let now_ns = monotonic_ns();
            if now_ns >= until_ns || self.shared.control.epoch() != self.obeyed {
                return now_ns;
            }
            thread::park_timeout(Duration::from_nanos(until_ns - now_ns));
        }
    }
}

impl Throttle {
    fn set(&mut self, rest_ns: u64) {
        if rest_ns != self.rest_ns {
            self.rest_ns = rest_ns;
            self.restart(monotonic_ns());
        }
    }

    fn restart(&mut self, now_ns: u64) {
        self.rest_at_ns = now_ns.saturating_add(THROTTLE_RUN_NS);
    }

    /// How long to sleep now, if it is time to.
    fn rest_ns(&self, now_ns: u64) -> Option<u64> {
        (self.rest_ns > 0 && now_ns >= self.rest_at_ns).then_some(self.rest_ns)
    }
}

fn next_batch(batch: usize, took_ns: u64) -> usize {
    if took_ns > LONG_BATCH_NS {
        (batch / 2).max(1)
    } else if took_ns < LONG_BATCH_NS / 2 {
        (batch * 2).min(LONGEST_BATCH)
    } else {
        batch
    }
}
