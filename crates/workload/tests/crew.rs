//! Crews at work on real memory: what they write, how they stop, what they tell.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use sterna_sys::clock::monotonic_ns;
use sterna_sys::region::{HugePages, Region, RegionOptions};
use sterna_units::{Bytes, Rate};
use sterna_workload::{
    Crew, CrewError, CrewOptions, CrewState, DirtyBitmap, Layout, Method, Pace, Pattern, Spec,
    fill, stamp_word, verify,
};

const PAGES: usize = 2048;

fn region(pages: usize) -> Arc<Region> {
    let bytes = (pages * 4096) as u64;
    let options = RegionOptions { bytes, huge_pages: HugePages::None, locked: false };
    Arc::new(Region::new(&options).expect("a few MiB can be mapped"))
}

fn spec(pattern: Pattern, pace: Pace) -> Spec {
    Spec { workers: 2, pattern, pace, ..Spec::of(Bytes((PAGES * 4096) as u64)) }
}

fn pages_per_second(pages: u64) -> Pace {
    Pace::BytesPerSecond(Rate::from_bytes_per_second(pages * 4096))
}

fn start(region: &Arc<Region>, spec: &Spec) -> Crew {
    Crew::start(region, spec, &CrewState::fresh(spec.workers), CrewOptions::default())
        .expect("a crew that fits starts")
}

fn sleep_ms(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen within 20 s");
        sleep_ms(1);
    }
}

fn total(crew: &Crew) -> u64 {
    crew.counts().iter().sum()
}

fn is_clean(region: &Region, spec: &Spec, counts: &[u64]) -> bool {
    let layout = Layout { workload_pages: PAGES, ballast_pages: 0, total_pages: PAGES };
    verify(region, &layout, spec, counts, 2).is_clean()
}

#[test]
fn memory_is_what_the_counts_say_at_any_pause() {
    for pattern in Pattern::ALL {
        for (turn, method) in Method::ALL.iter().enumerate() {
            let (method, latency) = (*method, turn % 2 == 0);
            let spec = Spec { method, latency, ..spec(*pattern, Pace::Unlimited) };
            let region = region(PAGES);
            fill(&region, 0..PAGES, spec.seed, 2);
            let crew = start(&region, &spec);
            for ms in [0, 1, 5] {
                sleep_ms(ms);
                crew.pause();
                assert!(is_clean(&region, &spec, &crew.counts()), "{spec}, after {ms} ms");
                crew.resume();
            }
            assert!(is_clean(&region, &spec, &crew.stop().counts), "{spec}, at the end");
        }
    }
}

#[test]
fn a_second_crew_goes_on_where_the_first_stopped() {
    let spec = spec(Pattern::Random, Pace::Unlimited);
    let (source, destination) = (region(PAGES), region(PAGES));
    fill(&source, 0..PAGES, spec.seed, 1);
    let first = start(&source, &spec);
    wait_until("work", || first.counts().iter().all(|count| *count > 1000));
    let state = first.stop();
    for page in 0..PAGES {
        for (to, from) in destination.page(page).iter().zip(source.page(page)) {
            to.store(from.load(Relaxed), Relaxed);
        }
    }
    let options = CrewOptions { paused: true, ..CrewOptions::default() };
    let second = Crew::start(&destination, &spec, &state, options).unwrap();
    sleep_ms(5);
    assert_eq!(second.state(), state, "a crew that starts paused writes nothing");
    assert_eq!(second.first_write_ns(), [None, None]);
    let resumed_ns = second.resume();
    wait_until("work", || second.counts().iter().zip(&state.counts).all(|(a, b)| a > b));
    for first_ns in second.first_write_ns() {
        assert!(first_ns.unwrap() >= resumed_ns);
    }
    let early = |gap: &sterna_workload::Gap| gap.start_ns < resumed_ns;
    assert_eq!(
        second.take_gaps().iter().find(|gap| early(gap)),
        None,
        "waiting to arrive is no gap"
    );
    let counts = second.stop().counts;
    assert!(is_clean(&destination, &spec, &counts));
    assert!(!is_clean(&source, &spec, &counts));
}

#[test]
fn pause_stops_every_write_and_says_when() {
    let spec = spec(Pattern::Sequential, Pace::Unlimited);
    let region = region(PAGES);
    let crew = start(&region, &spec);
    wait_until("work", || crew.counts().iter().all(|count| *count > 0));
    let before_ns = monotonic_ns();
    let stopped_ns = crew.pause();
    assert!((before_ns..=monotonic_ns()).contains(&stopped_ns));
    for last_ns in crew.last_write_ns() {
        assert!(last_ns.unwrap() <= stopped_ns, "nothing is written after the stamp");
    }
    let words = || region.words().iter().map(|word| word.load(Relaxed)).collect::<Vec<_>>();
    let (counts, memory) = (crew.counts(), words());
    sleep_ms(20);
    assert_eq!(crew.pause(), stopped_ns, "pausing again changes nothing");
    assert!(counts == crew.counts() && memory == words());
    let resumed_ns = crew.resume();
    assert_eq!(crew.resume(), resumed_ns, "resuming again changes nothing");
    wait_until("work", || total(&crew) > counts.iter().sum());
    let again_ns = crew.pause();
    assert!(again_ns > resumed_ns, "a later pause has a later stamp");
}

#[test]
fn a_pause_is_seen_as_a_gap_from_inside() {
    for pace in [Pace::Unlimited, pages_per_second(4000)] {
        let spec = spec(Pattern::Random, pace);
        let crew = start(&region(PAGES), &spec);
        wait_until("work", || crew.counts().iter().all(|count| *count > 2));
        let stopped_ns = crew.pause();
        sleep_ms(30);
        let resumed_ns = crew.resume();
        wait_until("work", || crew.first_write_ns().iter().all(Option::is_some));
        let gaps = crew.take_gaps();
        for worker in 0..2 {
            let covers = gaps.iter().any(|gap| {
                gap.worker == worker
                    && gap.start_ns <= stopped_ns
                    && gap.end_ns >= resumed_ns
                    && gap.length_ns() >= 30_000_000
            });
            assert!(covers, "worker {worker} under {pace} noted {gaps:?}");
        }
    }
}

#[test]
fn slow_workers_sleep_and_still_pause_at_once() {
    let spec = spec(Pattern::Random, pages_per_second(1));
    let crew = start(&region(PAGES), &spec);
    sleep_ms(20);
    // The best of several, because the machine may be busy with other things.
    let took_ns = (0..5).map(|_| {
        sleep_ms(5);
        let before_ns = monotonic_ns();
        let took_ns = crew.pause() - before_ns;
        crew.resume();
        took_ns
    });
    let took_ns = took_ns.min().unwrap();
    assert!(took_ns < 1_000_000, "the fastest of 5 pauses took {took_ns} ns");
    assert!(total(&crew) <= 2, "2 workers that share 1 page/s wrote {:?} at once", crew.counts());
}

#[test]
fn the_pace_is_kept() {
    let rate = 20_000;
    let crew = start(&region(PAGES), &spec(Pattern::Random, pages_per_second(rate)));
    sleep_ms(20);
    let (count, began) = (total(&crew), Instant::now());
    sleep_ms(1000);
    let (count, seconds) = (total(&crew) - count, began.elapsed().as_secs_f64());
    let measured = count as f64 / seconds;
    // Too fast is always wrong; too slow is what a busy machine makes of it.
    assert!(measured < rate as f64 * 1.01, "{measured:.0} pages/s");
    assert!(measured > rate as f64 * 0.8, "{measured:.0} pages/s");
}

#[test]
fn nothing_is_caught_up_after_a_pause() {
    let rate = 100_000;
    let crew = start(&region(PAGES), &spec(Pattern::Random, pages_per_second(rate)));
    wait_until("work", || total(&crew) > 0);
    crew.pause();
    let count = total(&crew);
    sleep_ms(300);
    crew.resume();
    let began = Instant::now();
    sleep_ms(20);
    let written = total(&crew) - count;
    // What is due in the time passed, and a little lag from before the pause or from a busy machine beside.
    let allowed = rate as f64 * (began.elapsed().as_secs_f64() * 1.2 + 0.004);
    assert!((written as f64) < allowed, "{written} pages written, at most {allowed:.0} were due");
}

#[test]
fn throttling_takes_its_share_of_the_time() {
    let crew = start(&region(PAGES), &spec(Pattern::Sequential, pages_per_second(100_000)));
    crew.set_throttle(80);
    sleep_ms(60);
    let (count, began) = (total(&crew), Instant::now());
    sleep_ms(500);
    let measured = (total(&crew) - count) as f64 / began.elapsed().as_secs_f64();
    assert!(measured < 25_000.0, "80 % throttled from 100000 leaves 20000, not {measured:.0}");
    assert!(measured > 5_000.0, "throttled workers still run, at {measured:.0} pages/s");
    assert!(crew.take_gaps().iter().any(|gap| gap.length_ns() > 30_000_000));
    crew.set_throttle(0);
    sleep_ms(60);
    let count = total(&crew);
    sleep_ms(200);
    assert!(total(&crew) - count > 10_000, "a throttle that is lifted is gone");
}

#[test]
fn workers_can_be_held_back_one_by_one() {
    let crew = start(&region(PAGES), &spec(Pattern::Sequential, pages_per_second(100_000)));
    crew.set_rests(&[40_000_000]);
    sleep_ms(60);
    let before = crew.counts();
    sleep_ms(500);
    let after = crew.counts();
    let written: Vec<u64> =
        after.iter().zip(&before).map(|(after, before)| after - before).collect();
    assert!(written[0] * 2 < written[1], "{written:?}");
    crew.pause();
    crew.resume();
}

/// A migration in small: bits are taken and pages copied while workers write, as long as one likes, then once more
/// after the pause. What was copied must be all that was written.
#[test]
fn cooperative_tracking_loses_nothing_under_concurrent_drains() {
    for pattern in Pattern::ALL {
        let spec = Spec { latency: *pattern == Pattern::Random, ..spec(*pattern, Pace::Unlimited) };
        let region = region(PAGES);
        fill(&region, 0..PAGES, spec.seed, 1);
        let crew = start(&region, &spec);
        wait_until("work", || total(&crew) > 0);
        let bitmap = Arc::new(DirtyBitmap::new(PAGES));
        crew.track(Some(Arc::clone(&bitmap)));
        bitmap.set_all();
        let stamp = |page: usize| region.page(page)[stamp_word(page)].load(Relaxed);
        let mut copies = vec![0; PAGES];
        let mut copy = || {
            bitmap.drain(&mut |first, count| {
                (first..first + count).for_each(|page| copies[page] = stamp(page));
            })
        };
        assert_eq!(copy(), PAGES as u64);
        for _ in 0..200 {
            copy();
        }
        crew.pause();
        copy();
        let behind = (0..PAGES).filter(|page| copies[*page] != stamp(*page)).count();
        assert_eq!(behind, 0, "{behind} pages changed without a mark, {pattern}");
        crew.track(None);
        crew.resume();
        sleep_ms(5);
        assert_eq!(bitmap.drain(&mut |_, _| {}), 0, "tracking that is off marks nothing");
    }
}

#[test]
fn orders_from_several_threads_all_complete() {
    let spec = spec(Pattern::Random, pages_per_second(50_000));
    let region = region(PAGES);
    fill(&region, 0..PAGES, spec.seed, 1);
    let crew = start(&region, &spec);
    let bitmap = Arc::new(DirtyBitmap::new(PAGES));
    std::thread::scope(|scope| {
        let switch = || {
            for _ in 0..100 {
                crew.pause();
                crew.resume();
            }
        };
        scope.spawn(switch);
        scope.spawn(switch);
        scope.spawn(|| (0..100).for_each(|_| crew.track(Some(Arc::clone(&bitmap)))));
        scope.spawn(|| (0..100).for_each(|_| drop((crew.take_gaps(), crew.latency()))));
    });
    let stopped_ns = crew.pause();
    let resumed_ns = crew.resume();
    assert!(stopped_ns <= resumed_ns);
    assert!(is_clean(&region, &spec, &crew.stop().counts));
}

#[test]
fn each_write_is_timed_once() {
    let spec = spec(Pattern::Random, Pace::Unlimited);
    let crew = start(&region(PAGES), &spec);
    wait_until("work", || total(&crew) > 100_000);
    assert!(crew.latency().count() > 0, "latency can be read while workers run");
    crew.pause();
    let latency = crew.latency();
    assert_eq!(latency.count(), total(&crew));
    let (median, max) = (latency.percentile_ns(50.0).unwrap(), latency.max_ns().unwrap());
    assert!(median <= max && latency.mean_ns().unwrap() <= max as f64);
    let untimed = start(&region(PAGES), &Spec { latency: false, ..spec });
    wait_until("work", || total(&untimed) > 1000);
    assert_eq!(untimed.latency().count(), 0);
}

#[test]
fn pauses_are_in_the_time_since_due_and_not_in_that_of_a_write() {
    const PAUSE: Duration = Duration::from_millis(100);
    let pace = Pace::PagesPerSecond(std::num::NonZero::new(20_000).unwrap());
    let spec = Spec { workers: 1, ..spec(Pattern::Random, pace) };
    let crew = start(&region(PAGES), &spec);
    for _ in 0..4 {
        let before = total(&crew);
        wait_until("work", || total(&crew) > before + 500);
        crew.pause();
        std::thread::sleep(PAUSE);
        crew.resume();
    }
    let before = total(&crew);
    wait_until("work", || total(&crew) > before + 100);
    crew.pause();
    let since_due = crew.since_due();
    assert!(since_due.max_ns() >= Some(PAUSE.as_nanos() as u64), "{:?}", since_due.max_ns());
    // In each pause 2000 pages were due, half of them in its first 50 ms.
    let late: u64 = since_due.cells().filter(|it| it.0 > 50_000_000).map(|it| it.2).sum();
    assert!(late >= 3_800, "{late} of 4000 pages were late by more than 50 ms");
    let written = total(&crew);
    assert!(since_due.count() >= written + 7_800, "{} of {written}", since_due.count());
    assert_eq!(crew.latency().count(), written, "what was not written has no time of a write");
}

#[test]
fn without_a_rate_nothing_is_due() {
    let crew = start(&region(PAGES), &spec(Pattern::Random, Pace::Unlimited));
    wait_until("work", || total(&crew) > 10_000);
    assert_eq!(crew.since_due().count(), 0);
}

#[test]
fn a_crew_that_cannot_work_says_why() {
    let region = region(4);
    let fit = || Spec { workers: 2, ..Spec::of(Bytes(4 * 4096)) };
    let check = |spec: Spec, counts: usize, cpus: Option<Vec<usize>>, expected: &str| {
        let options = CrewOptions { cpus, ..CrewOptions::default() };
        let state = CrewState { counts: vec![0; counts] };
        let error = Crew::start(&region, &spec, &state, options).expect_err(expected);
        assert!(error.to_string().contains(expected), "{error} lacks {expected:?}");
        error
    };
    check(Spec { workers: 0, ..fit() }, 0, None, "use at least 1");
    check(Spec { workers: 5, ..fit() }, 5, None, "5 workers cannot share 4 pages");
    check(Spec { memory: Bytes(5 * 4096), ..fit() }, 2, None, "5 pages exceeds the region of 4");
    check(fit(), 3, None, "has 3 numbers, but that of this workload has 2");
    let error = check(fit(), 2, Some(vec![1023]), "Worker 0 cannot run on processors [1023]");
    assert!(matches!(error, CrewError::Pin { worker: 0, .. }));
}

#[test]
fn workers_run_where_they_are_told() {
    let cpus = sterna_sys::cpu::allowed().unwrap();
    let options = CrewOptions { cpus: Some(vec![cpus[0]]), ..CrewOptions::default() };
    let spec = spec(Pattern::Random, pages_per_second(1000));
    let crew = Crew::start(&region(PAGES), &spec, &CrewState::fresh(2), options).unwrap();
    wait_until("work", || total(&crew) > 10);
    assert_eq!(sterna_sys::cpu::allowed().unwrap(), cpus, "the caller's own processors stay");
}
