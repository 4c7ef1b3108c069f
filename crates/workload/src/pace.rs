//! When the next page is due: pure arithmetic on time, without a clock of its own.

use sterna_sys::PAGE_BYTES;

use crate::spec::Pace;

/// Pages that fall due within this time are written together, so that a fast pace does not wake up for each page.
///
/// Each time costs some 20 us of a processor in a virtual machine, so that half of this would keep 4 % of it busy.
const QUANTUM_NS: u64 = 900_000;

/// A lag of up to about two quanta is made up for at once, because waking up is never quite punctual.
const LAG_AT_ONCE_NS: u64 = 2_000_000;

/// Longer without a plan is a stall, in which the pace could not have been higher.
const LONGEST_WAIT_NS: u64 = 4_000_000;

/// Of a longer lag, so much is made up for little by little; what is beyond it is forgiven.
const LAG_OWED_NS: u64 = 10_000_000;

/// While a lag is made up for little by little, the pace is higher by one part in this.
const REPAYMENT_PART: u64 = 10;

const BITS_PER_PAGE: u128 = PAGE_BYTES as u128 * 8;
const NS_PER_SECOND: u128 = 1_000_000_000;

/// The schedule of one worker.
///
/// # Smooth, exact, and without bursts
///
/// Sleeping for a computed time after each batch loses the time of waking up again and again, so a rate kept that way
/// always comes out low.
/// Here each page has an absolute time at which it is due, `origin + page × interval`, with the interval kept as an
/// exact fraction: waking up late shortens the next sleep by itself, and the mean over any longer time is the rate.
/// All workers get the same interval, shifted against each other, so together they make exactly the rate asked for.
///
/// Absolute times alone would make a worker that was frozen for a second write that second's pages in one burst, which
/// no real program that paces itself does, and which would be the first thing to happen after every downtime.
/// So the schedule moves.
/// A deliberate pause moves it by the length of the pause.
/// Any other lag moves it until at most 2 ms are left to be written at once.
/// On a busy machine, though, a worker loses a time slice of a few milliseconds every now and then, and if all of that
/// were forgiven, a rate that is easily within reach would come out some percent low.
/// So up to 10 ms of what the schedule was moved by stay owed, and are repaid by running one tenth faster: the rate is
/// kept, and no window of 10 ms sees more than 1.3 times the rate.
///
/// Who wants the lag made up for whatever its length, as programs do that only look at the wall clock, asks for catching
/// up; then nothing moves the schedule.
#[derive(Clone, Debug)]
pub(crate) struct Pacer {
    schedule: Option<Schedule>,
    catches_up: bool,
}

/// How fast one worker is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speed {
    Unlimited,
    /// The time from one page to the next is this fraction of nanoseconds.
    Interval {
        numerator: u128,
        denominator: u128,
    },
}

#[derive(Clone, Debug)]
struct Schedule {
    /// Page 0 of the schedule is due at this time.
    origin_ns: u64,
    /// Pages written since the origin.
    done: u64,
    /// By how much the schedule was moved for a lag that is still to be made up for.
    owed_ns: u64,
    /// When something of that was last repaid.
    repaid_ns: u64,
    /// The time from one page to the next is this fraction of nanoseconds.
    interval_numerator: u128,
    interval_denominator: u128,
}

impl Speed {
    /// Nothing is ever due.
    pub(crate) const IDLE: Speed = Speed::Interval { numerator: 1, denominator: 0 };

    /// The part of one of `workers` in `pace`; `full_speed` is what it reaches without a limit, in pages per second.
    pub(crate) fn of(pace: Pace, workers: u32, full_speed: u64) -> Speed {
        let workers = u128::from(workers.max(1));
        match pace {
            Pace::Unlimited => Speed::Unlimited,
            Pace::Idle => Speed::IDLE,
            Pace::BytesPerSecond(rate) => Speed::bits(rate.bits_per_second(), workers as u32),
            Pace::PagesPerSecond(pages) => Speed::Interval {
                numerator: NS_PER_SECOND * workers,
                denominator: u128::from(pages.get()),
            },
            // The worker's own share of its own speed, so others do not matter.
            Pace::ShareOfUnlimited(share) => Speed::Interval {
                numerator: NS_PER_SECOND * 10_000,
                denominator: u128::from(full_speed) * u128::from(share.hundredths()),
            },
        }
    }

    /// The part of one of `workers` in a touch rate.
    pub(crate) fn bits(bits_per_second: u64, workers: u32) -> Speed {
        Speed::Interval {
            numerator: BITS_PER_PAGE * NS_PER_SECOND * u128::from(workers.max(1)),
            denominator: u128::from(bits_per_second),
        }
    }
}

/// When the next page is due, and those after it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Due {
    /// On CLOCK_MONOTONIC.
    pub(crate) next_ns: u64,
    /// From one page to the next.
    pub(crate) interval_ns: f64,
}

/// Pages that a plan gives up, since its schedule moves past them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct GivenUp {
    pub(crate) due: Due,
    pub(crate) pages: u64,
}

/// What to do at a given time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// So many pages are due.
    Write(u64),
    /// Nothing is due before this time.
    WaitUntil(u64),
}

impl Pacer {
    /// The schedule of worker number `worker` of `workers`, starting at `now_ns`.
    pub(crate) fn new(
        speed: Speed,
        catches_up: bool,
        (worker, workers): (u32, u32),
        now_ns: u64,
    ) -> Pacer {
        let Speed::Interval { numerator, denominator } = speed else {
            return Pacer { schedule: None, catches_up };
        };
        let mut schedule = Schedule {
            origin_ns: now_ns,
            // Page 0 is due at the origin at any rate but none.
            done: u64::from(denominator == 0),
            owed_ns: 0,
            repaid_ns: now_ns,
            interval_numerator: numerator,
            interval_denominator: denominator,
        };
        let interval_ns = schedule.due_ns(1).saturating_sub(now_ns);
        let phase_ns = u128::from(interval_ns) * u128::from(worker) / u128::from(workers.max(1));
        schedule.move_by(u64::try_from(phase_ns).unwrap_or(u64::MAX));
        Pacer { schedule: Some(schedule), catches_up }
    }

    /// Goes on at another speed, without a jump: what part of the time to the next page has passed stays so.
    pub(crate) fn change(&mut self, speed: Speed, now_ns: u64) {
        let (Some(old), Speed::Interval { numerator, denominator }) = (&self.schedule, speed)
        else {
            *self = Pacer::new(speed, self.catches_up, (0, 1), now_ns);
            return;
        };
        let next_ns = old.due_ns(old.done);
        let old_ns = old.due_ns(old.done.saturating_add(1)).saturating_sub(next_ns).max(1);
        let mut new = Schedule {
            origin_ns: next_ns.min(now_ns),
            done: u64::from(denominator == 0),
            interval_numerator: numerator,
            interval_denominator: denominator,
            ..old.clone()
        };
        if next_ns > now_ns {
            let interval_ns = u128::from(new.due_ns(1).saturating_sub(new.origin_ns));
            let left = interval_ns * u128::from(next_ns - now_ns) / u128::from(old_ns);
            let left = left.min(interval_ns);
            new.origin_ns = now_ns.saturating_add(u64::try_from(left).unwrap_or(u64::MAX));
        }
        self.schedule = Some(new);
    }

    /// What to do at `now_ns`; forgives whatever lag is too long to be jitter.
    pub(crate) fn plan(&mut self, now_ns: u64) -> Plan {
        let Some(schedule) = &mut self.schedule else { return Plan::Write(u64::MAX) };
        if !self.catches_up {
            schedule.repay(now_ns);
        }
        let next_ns = schedule.due_ns(schedule.done);
        if next_ns > now_ns {
            // Pages are gathered up to a common grid, unless they come more slowly than it.
            let grid_ns = now_ns - now_ns % QUANTUM_NS + QUANTUM_NS;
            return Plan::WaitUntil(next_ns.max(grid_ns));
        }
        if !self.catches_up {
            schedule.owe((now_ns - next_ns).saturating_sub(LAG_AT_ONCE_NS));
        }
        Plan::Write(schedule.due_by(now_ns).saturating_sub(schedule.done).max(1))
    }

    /// When the next page is due; `None` without a rate.
    pub(crate) fn due(&self) -> Option<Due> {
        let schedule = self.schedule.as_ref().filter(|it| it.interval_denominator > 0)?;
        let interval_ns = schedule.interval_numerator as f64 / schedule.interval_denominator as f64;
        Some(Due { next_ns: schedule.due_ns(schedule.done), interval_ns })
    }

    /// What a plan at `now_ns` would give up for good, or, with `is_pause`, what the end of a pause would.
    pub(crate) fn given_up(&self, now_ns: u64, is_pause: bool) -> Option<GivenUp> {
        let (schedule, due) = (self.schedule.as_ref()?, self.due()?);
        let at_once_ns = if is_pause { 0 } else { LAG_AT_ONCE_NS };
        let until_ns = now_ns.checked_sub(at_once_ns).filter(|it| *it > due.next_ns)?;
        let pages = schedule.due_by(until_ns).saturating_sub(schedule.done);
        (!self.catches_up && pages > 0).then_some(GivenUp { due, pages })
    }

    /// Counts pages that were written.
    #[inline]
    pub(crate) fn wrote(&mut self, pages: u64) {
        if let Some(schedule) = &mut self.schedule {
            schedule.done += pages;
        }
    }

    /// Takes a pause out of the schedule: what was due in 3 ms before it is due 3 ms after it.
    pub(crate) fn move_by(&mut self, pause_ns: u64) {
        if let Some(schedule) = self.schedule.as_mut().filter(|_| !self.catches_up) {
            schedule.move_by(pause_ns);
        }
    }
}

impl Schedule {
    /// When page `page` is due; the end of time if the rate is zero.
    fn due_ns(&self, page: u64) -> u64 {
        let after = u128::from(page).checked_mul(self.interval_numerator);
        let after = match (page, self.interval_denominator) {
            (0, _) => 0,
            (_, 0) => u128::MAX,
            (_, denominator) => after.map_or(u128::MAX, |ns| ns.div_ceil(denominator)),
        };
        self.origin_ns.saturating_add(u64::try_from(after).unwrap_or(u64::MAX))
    }

    /// How many pages are due at `now_ns`, counted from the origin.
    fn due_by(&self, now_ns: u64) -> u64 {
        let Some(since_ns) = now_ns.checked_sub(self.origin_ns) else { return 0 };
        let intervals = u128::from(since_ns) * self.interval_denominator / self.interval_numerator;
        u64::try_from(intervals).unwrap_or(u64::MAX).saturating_add(1)
    }

    fn move_by(&mut self, ns: u64) {
        self.origin_ns = self.origin_ns.saturating_add(ns);
        self.repaid_ns = self.repaid_ns.saturating_add(ns);
    }

    /// Moves the schedule by `lag_ns`, to be made up for later as far as the limit allows.
    fn owe(&mut self, lag_ns: u64) {
        self.origin_ns = self.origin_ns.saturating_add(lag_ns);
        self.owed_ns = self.owed_ns.saturating_add(lag_ns).min(LAG_OWED_NS);
    }

    /// Moves the schedule back by a part of the time since the last repayment.
    fn repay(&mut self, now_ns: u64) {
        let since_ns = now_ns.saturating_sub(self.repaid_ns);
        let part_ns = since_ns.min(LONGEST_WAIT_NS) / REPAYMENT_PART;
        let repayment_ns = part_ns.min(self.owed_ns);
        self.owed_ns -= repayment_ns;
        self.origin_ns = self.origin_ns.saturating_sub(repayment_ns);
        self.repaid_ns = self.repaid_ns.max(now_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sterna_units::Rate;

    const SECOND_NS: u64 = 1_000_000_000;

    #[test]
    fn a_lag_gives_up_what_was_due_more_than_2_ms_ago_and_a_pause_all_of_it() {
        let mut it = pacer(100_000, 0, 1, SECOND_NS);
        it.wrote(1);
        let check = |now_ns: u64, is_pause: bool, pages: Option<u64>| {
            assert_eq!(it.given_up(now_ns, is_pause).map(|it| it.pages), pages, "{now_ns}");
        };
        check(SECOND_NS, false, None);
        check(SECOND_NS + 2_000_000, false, None);
        check(SECOND_NS + 102_000_000, false, Some(10_000));
        check(SECOND_NS + 100_000_000, true, Some(10_000));
        let due = it.due().unwrap();
        assert_eq!(due, Due { next_ns: SECOND_NS + 10_000, interval_ns: 10_000.0 });
        let catches_up = Pacer { catches_up: true, ..it.clone() };
        assert_eq!(catches_up.given_up(2 * SECOND_NS, false), None, "nothing is given up");
        let unlimited = Pacer::new(Speed::Unlimited, false, (0, 1), SECOND_NS);
        assert_eq!((unlimited.due(), unlimited.given_up(2 * SECOND_NS, true)), (None, None));
    }

    fn pacer(pages_per_second: u64, worker: u32, workers: u32, now_ns: u64) -> Pacer {
        let pace = Pace::BytesPerSecond(Rate::from_bytes_per_second(pages_per_second * 4096));
        Pacer::new(Speed::of(pace, workers, 0), false, (worker, workers), now_ns)
    }

    /// Runs a schedule from `from_ns` to `to_ns`, each wake-up late by what `late` says, and returns pages written.
    fn run(pacer: &mut Pacer, from_ns: u64, to_ns: u64, mut late: impl FnMut() -> u64) -> u64 {
        let (mut now_ns, mut pages) = (from_ns, 0);
        while now_ns < to_ns {
            match pacer.plan(now_ns) {
                Plan::Write(due) => {
                    pacer.wrote(due);
                    pages += due;
                }
                Plan::WaitUntil(until) => {
                    assert!(until > now_ns, "a wait must end after now");
                    now_ns = until.saturating_add(late());
                }
            }
        }
        pages
    }

    #[test]
    fn unlimited_is_always_due() {
        assert_eq!(Pacer::new(Speed::Unlimited, false, (0, 1), 5).plan(0), Plan::Write(u64::MAX));
    }

    #[test]
    fn a_rate_of_zero_is_never_due() {
        for speed in [Speed::IDLE, Speed::bits(0, 3), Speed::of(Pace::Idle, 3, 0)] {
            let mut pacer = Pacer::new(speed, false, (1, 3), 0);
            for now_ns in [0, 1 << 60] {
                assert_eq!(pacer.plan(now_ns), Plan::WaitUntil(u64::MAX));
            }
        }
    }

    #[test]
    fn slow_rates_wait_for_each_page() {
        let mut pacer = pacer(1, 0, 1, 100);
        assert_eq!(pacer.plan(100), Plan::Write(1));
        pacer.wrote(1);
        assert_eq!(pacer.plan(200), Plan::WaitUntil(SECOND_NS + 100));
    }

    #[test]
    fn workers_share_the_rate_and_take_turns() {
        let starts: Vec<Plan> = (0..4).map(|worker| pacer(1, worker, 4, 0).plan(0)).collect();
        let expected = [
            Plan::Write(1),
            Plan::WaitUntil(SECOND_NS),
            Plan::WaitUntil(2 * SECOND_NS),
            Plan::WaitUntil(3 * SECOND_NS),
        ];
        assert_eq!(starts, expected);
    }

    #[test]
    fn a_freeze_makes_no_burst_and_is_mostly_forgiven() {
        let rate = 100_000;
        let mut pacer = pacer(rate, 0, 1, 0);
        run(&mut pacer, 0, SECOND_NS, || 0);
        let back_ns = 9 * SECOND_NS;
        let Plan::Write(due) = pacer.plan(back_ns) else { panic!("pages must be due") };
        assert!((200..=202).contains(&due), "2 ms at once are 200 pages, got {due}");
        let window = run(&mut pacer, back_ns, back_ns + SECOND_NS / 100, || 0);
        assert!((1200..=1302).contains(&window), "10 ms are 1000 pages, got {window}");
        let rest = run(&mut pacer, back_ns + SECOND_NS / 100, back_ns + SECOND_NS, || 0);
        let made_up_for = window + rest - rate;
        assert!((1100..=1210).contains(&made_up_for), "12 ms are 1200 pages, got {made_up_for}");
    }

    #[test]
    fn lost_time_slices_cost_no_rate() {
        let rate = 100_000;
        let mut pacer = pacer(rate, 0, 1, 0);
        let mut wake_ups = 0;
        let late = || {
            wake_ups += 1;
            if wake_ups % 100 == 0 { 6_000_000 } else { 50_000 }
        };
        let pages = run(&mut pacer, 0, 10 * SECOND_NS, late);
        assert!(pages.abs_diff(10 * rate) < rate / 100, "{pages} pages for {}", 10 * rate);
    }

    #[test]
    fn a_pause_moves_the_schedule() {
        let mut pacer = pacer(1, 0, 1, 0);
        pacer.wrote(1);
        pacer.move_by(10 * SECOND_NS);
        assert_eq!(pacer.plan(10 * SECOND_NS), Plan::WaitUntil(11 * SECOND_NS));
    }

    #[test]
    fn a_hopeless_rate_is_always_due_but_never_by_much() {
        let mut pacer = pacer(1_000_000, 0, 1, 0);
        for now_ns in (0..SECOND_NS).step_by(100_000) {
            let Plan::Write(due) = pacer.plan(now_ns) else { panic!("pages must be due") };
            assert!(due <= 2201, "owed {due} pages at {now_ns}");
            pacer.wrote(due.min(10));
        }
    }

    #[test]
    fn every_kind_of_pace_is_kept() {
        let check = |pace: &str, workers: u32, full_speed: u64, expected: u64| {
            let speed = Speed::of(pace.parse().unwrap(), workers, full_speed);
            let mut pacer = Pacer::new(speed, false, (0, workers), 0);
            let pages = run(&mut pacer, 0, SECOND_NS, || 0);
            assert!(pages.abs_diff(expected) <= 1 + expected / 1000, "{pace}: {pages}");
        };
        check("40960000B/s", 2, 0, 5000);
        check("10000pages/s", 4, 0, 2500);
        check("12.5%", 3, 800_000, 100_000);
        check("idle", 1, 0, 0);
    }

    #[test]
    fn catching_up_makes_good_for_every_lag() {
        let speed = Speed::bits(100_000 * 4096 * 8, 1);
        let mut pacer = Pacer::new(speed, true, (0, 1), 0);
        run(&mut pacer, 0, SECOND_NS, || 0);
        pacer.move_by(SECOND_NS);
        let Plan::Write(due) = pacer.plan(5 * SECOND_NS) else { panic!("pages must be due") };
        assert!((400_000..=400_100).contains(&due), "4 s are 400000 pages, got {due}");
    }

    #[test]
    fn a_changing_rate_neither_jumps_nor_loses() {
        // From 0 to 100000 pages/s in a second, in steps of 5 ms: half of it on average.
        let mut pacer = Pacer::new(Speed::IDLE, false, (0, 1), 0);
        let (mut pages, mut most) = (0, 0);
        let step_ns = 5_000_000;
        for step in 0..200u64 {
            let speed = Speed::bits(100_000 * 4096 * 8 * (2 * step + 1) / 400, 1);
            pacer.change(speed, step * step_ns);
            let now = run(&mut pacer, step * step_ns, (step + 1) * step_ns, || 0);
            most = most.max(now);
            pages += now;
        }
        assert!((49_900..=50_050).contains(&pages), "{pages}");
        assert!(most <= 600, "5 ms at the end are 500 pages and a quantum, got {most}");
        pacer.change(Speed::Unlimited, SECOND_NS);
        assert_eq!(pacer.plan(SECOND_NS), Plan::Write(u64::MAX));
    }

    #[test]
    fn slow_rates_survive_many_changes() {
        let speed = Speed::of("10pages/s".parse().unwrap(), 1, 0);
        let mut pacer = Pacer::new(speed, false, (0, 1), 0);
        let mut pages = 0;
        for step in 0..2000 {
            pacer.change(speed, step * 5_000_000);
            pages += run(&mut pacer, step * 5_000_000, (step + 1) * 5_000_000, || 0);
        }
        assert!((99..=101).contains(&pages), "10 pages/s in 10 s gave {pages}");
    }

    proptest! {
        #[test]
        fn jitter_costs_no_rate(
            rate in 1u64..3_000_000, workers in 1u32..9, jitter_ns in 0u64..1_400_000, seed in any::<u64>(),
        ) {
            let seconds = 3;
            let mut lateness = seed;
            let mut late = || {
                lateness = crate::mix::mix(lateness);
                lateness % (jitter_ns + 1)
            };
            let pages: u64 = (0..workers)
                .map(|worker| {
                    let mut pacer = pacer(rate, worker, workers, 0);
                    run(&mut pacer, 0, seconds * SECOND_NS, &mut late)
                })
                .sum();
            // At the end each worker may be one page and one late wake-up away, and owe what it has not yet repaid.
            let lag_ns = QUANTUM_NS + jitter_ns + LAG_OWED_NS;
            let slack = u64::from(workers) + rate * lag_ns / SECOND_NS + 1;
            prop_assert!(pages.abs_diff(rate * seconds) <= slack, "{pages} pages for {}", rate * seconds);
        }
    }
}
