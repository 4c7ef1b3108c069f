//! One worker thread: quanta of writes, and between them everything else.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use sterna_sys::WORDS_PER_PAGE;
use sterna_sys::clock::{Cycles, monotonic_ns};
use sterna_sys::region::Region;

use crate::bitmap::DirtyBitmap;
use crate::control::{Control, Mode};
use crate::meter::Meter;
use crate::method::{Counter, WriteMethod};
use crate::order::{AnyOrder, Order};
use crate::pace::{Pacer, Plan};
use crate::spec::Method;
use crate::strokes::{Observer, Timer, Unobserved, strokes};

/// What a crew and its workers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) region: Arc<Region>,
    pub(crate) control: Control,
    pub(crate) meters: Vec<Meter>,
    /// Time without progress that counts as a gap.
    pub(crate) gap_ns: u64,
}

/// What one worker has to do.
pub(crate) struct Job {
    pub(crate) number: usize,
    pub(crate) pages: Range<usize>,
    pub(crate) order: AnyOrder,
    pub(crate) method: Method,
    pub(crate) is_timed: bool,
    pub(crate) pacer: Pacer,
}

/// Writes made between two looks at the clock and the orders, at most.
///
/// With the microsecond that a write-protect fault costs this is half a millisecond, and without faults a few
/// microseconds, against which a look costs little.
const LONGEST_BATCH: usize = 512;

/// Batches are halved when they take longer than this, so that a worker that meets slow faults still sees a pause soon.
const LONG_BATCH_NS: u64 = 500_000;

/// A throttled worker sleeps once after running for so long, as a throttled virtual CPU does.
const THROTTLE_RUN_NS: u64 = 10_000_000;

/// Runs `job` on the calling thread until the crew says stop.
pub(crate) fn run(shared: &Shared, job: Job) {
    match (job.order, job.method) {
        (AnyOrder::Sequential(order), Method::Counter) => go(shared, job, order, Counter),
        (AnyOrder::Random(order), Method::Counter) => go(shared, job, order, Counter),
    }
}

fn go<O: Order, M: WriteMethod>(shared: &Shared, job: Job, order: O, method: M) {
    let meter = &shared.meters[job.number];
    let words =
        &shared.region.words()[job.pages.start * WORDS_PER_PAGE..job.pages.end * WORDS_PER_PAGE];
    let mut worker = Worker {
        shared,
        meter,
        words,
        order,
        method,
        cycles: *Cycles::calibrated(),
        index: meter.writes.load(Relaxed),
        obeyed: 0,
        bitmap: None,
        batch: 1,
        awaits_first_write: true,
        has_run: false,
        throttle: Throttle { percent: 0, rest_at_ns: 0 },
        job,
    };
    worker.run();
}

struct Worker<'a, O, M> {
    shared: &'a Shared,
    meter: &'a Meter,
    job: Job,
    words: &'a [AtomicU64],
    order: O,
    method: M,
    cycles: Cycles,
    /// The number of the next write.
    index: u64,
    /// The epoch of the orders that were obeyed last.
    obeyed: u64,
    bitmap: Option<Arc<DirtyBitmap>>,
    /// How many writes the next quantum may make.
    batch: usize,
    awaits_first_write: bool,
    /// Whether the worker was ever released; a wait before that is no gap.
    has_run: bool,
    throttle: Throttle,
}

struct Throttle {
    percent: u8,
    rest_at_ns: u64,
}

impl<O: Order, M: WriteMethod> Worker<'_, O, M> {
    fn run(&mut self) {
        let mut now_ns = monotonic_ns();
        loop {
            if self.shared.control.epoch() != self.obeyed {
                if self.obey() == Mode::Stop {
                    return;
                }
                now_ns = monotonic_ns();
            }
            if let Some(rest_ns) = self.throttle.rest_ns(now_ns) {
                now_ns = self.rest(now_ns, rest_ns);
                continue;
            }
            now_ns = match self.job.pacer.plan(now_ns) {
                Plan::Write(due) => self.quantum(now_ns, due),
                Plan::WaitUntil(until_ns) => self.wait(until_ns),
            };
        }
    }

    fn obey(&mut self) -> Mode {
        let obeyed = self.shared.control.obey(self.job.number);
        self.obeyed = obeyed.epoch;
        self.bitmap = obeyed.orders.bitmap;
        self.throttle.set(obeyed.orders.throttle_percent);
        if let Some(since_ns) = obeyed.paused_since {
            self.end_pause(since_ns, obeyed.orders.mode);
        }
        self.has_run = true;
        obeyed.orders.mode
    }

    fn end_pause(&mut self, since_ns: u64, mode: Mode) {
        let now_ns = monotonic_ns();
        self.job.pacer.move_by(now_ns.saturating_sub(since_ns));
        if mode == Mode::Run && self.has_run {
            self.meter.gaps.add(since_ns, now_ns);
        }
        // The world may be another one now (faults that wait for the network): find the batch size again.
        self.batch = 1;
        self.awaits_first_write = true;
        self.throttle.restart(now_ns);
    }

    /// Makes up to `due` writes and returns the time after them.
    fn quantum(&mut self, began_ns: u64, due: u64) -> u64 {
        let count = self.batch.min(usize::try_from(due).unwrap_or(usize::MAX));
        let timed_ns = self.write(count);
        let ended_ns = monotonic_ns();
        self.index += count as u64;
        self.job.pacer.wrote(count as u64);
        self.meter.writes.store(self.index, Relaxed);
        self.meter.last_write.set(ended_ns);
        if self.awaits_first_write {
            self.awaits_first_write = false;
            self.meter.first_write.set(ended_ns);
        }
        let took_ns = ended_ns.saturating_sub(began_ns);
        if took_ns.saturating_sub(timed_ns) > self.shared.gap_ns {
            self.meter.gaps.add(began_ns, ended_ns);
        }
        self.batch = next_batch(self.batch, took_ns);
        ended_ns
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
        let mut timer = Timer::start(self.meter, self.cycles, self.shared.gap_ns);
        match bitmap {
            None => self.strokes(count, &mut timer),
            Some(bitmap) => self.strokes(count, &mut (bitmap, &mut timer)),
        }
        timer.finish()
    }

    /// Kept apart from its callers so that each combination is one tight loop.
    #[inline(never)]
    fn strokes(&self, count: usize, observer: &mut impl Observer) {
        let (order, method) = (self.order, self.method);
        strokes(self.words, &self.job.pages, order, method, self.index, count, observer);
    }

    /// Sleeps until the next page is due or the orders change.
    fn wait(&self, until_ns: u64) -> u64 {
        let now_ns = self.sleep(until_ns);
        if now_ns.saturating_sub(until_ns) > self.shared.gap_ns {
            self.meter.gaps.add(until_ns, now_ns);
        }
        now_ns
    }

    /// Sleeps because the crew is throttled, which the guest feels as a gap.
    ///
    /// The schedule moves as for a pause: a throttled virtual CPU gets less done, and does not make up for it later.
    fn rest(&mut self, began_ns: u64, rest_ns: u64) -> u64 {
        let now_ns = self.sleep(began_ns.saturating_add(rest_ns));
        if now_ns.saturating_sub(began_ns) > self.shared.gap_ns {
            self.meter.gaps.add(began_ns, now_ns);
        }
        self.job.pacer.move_by(now_ns.saturating_sub(began_ns));
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
    fn set(&mut self, percent: u8) {
        if percent != self.percent {
            self.percent = percent;
            self.restart(monotonic_ns());
        }
    }

    fn restart(&mut self, now_ns: u64) {
        self.rest_at_ns = now_ns.saturating_add(THROTTLE_RUN_NS);
    }

    /// How long to sleep now, if it is time to.
    fn rest_ns(&self, now_ns: u64) -> Option<u64> {
        let percent = u64::from(self.percent.min(99));
        let is_time = percent > 0 && now_ns >= self.rest_at_ns;
        is_time.then(|| THROTTLE_RUN_NS * percent / (100 - percent))
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
