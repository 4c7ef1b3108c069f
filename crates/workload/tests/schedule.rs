//! What crews do over time and with options: phases, shares, checks, stalls, remapping, counting.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use sterna_sys::region::{HugePages, Region, RegionOptions};
use sterna_sys::tracking::WpTracker;
use sterna_workload::{
    Crew, CrewError, CrewOptions, CrewState, DirtyBitmap, Layout, Method, Spec, distinct_pages,
    fill, stamp_word, verify, verify_remapped,
};

const PAGES: usize = 2048;

fn region() -> Arc<Region> {
    let bytes = (PAGES * 4096) as u64;
    let options = RegionOptions { bytes, huge_pages: HugePages::None, locked: false };
    Arc::new(Region::new(&options).expect("a few MiB can be mapped"))
}

fn filled(spec: &Spec) -> Arc<Region> {
    let region = region();
    fill(&region, 0..PAGES, spec.seed, 2);
    region
}

/// A workload of two workers on all pages, with `fields` as its text form has them.
fn spec(fields: &str) -> Spec {
    format!("memory=8MiB workers=2 {fields}").parse().expect(fields)
}

fn start(region: &Arc<Region>, spec: &Spec, options: CrewOptions) -> Crew {
    Crew::start(region, spec, &CrewState::fresh_for(spec), options)
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

fn corrupt_pages(region: &Region, spec: &Spec, state: &CrewState) -> u64 {
    let layout = Layout { workload_pages: PAGES, ballast_pages: 0, total_pages: PAGES };
    verify(region, &layout, spec, &state.counts, 2).corrupt_pages
}

#[test]
fn phases_are_replayed_and_go_on_after_a_migration() {
    for method in ["counter", "fill-random"] {
        let phases = "for=5ms,pattern=sequential;for=7ms,pattern=zipf(0.99),memory=30%;at=15ms,for=3ms,rate=unlimited";
        let spec = spec(&format!("method={method} rate=200MB/s phases={phases} repeat=on"));
        let (source, destination) = (filled(&spec), region());
        let first = start(&source, &spec, CrewOptions::default());
        let by_segment = |state: &CrewState| {
            state.counts[2..].chunks(6).map(|it| it[2..].to_vec()).collect::<Vec<_>>()
        };
        let wrote_in_all = |state: CrewState| by_segment(&state).iter().flatten().all(|n| *n > 20);
        wait_until("work in all phases", || wrote_in_all(first.state()));
        first.pause();
        assert_eq!(corrupt_pages(&source, &spec, &first.state()), 0, "in the middle");
        let state = first.stop();
        for page in 0..PAGES {
            for (to, from) in destination.page(page).iter().zip(source.page(page)) {
                to.store(from.load(Relaxed), Relaxed);
            }
        }
        let options = CrewOptions { paused: true, ..CrewOptions::default() };
        let second = Crew::start(&destination, &spec, &state, options).unwrap();
        sleep_ms(30);
        let elapsed = |state: &CrewState| [state.counts[3], state.counts[9]];
        assert_eq!(second.state(), state, "a crew that starts paused stays as it is");
        second.resume();
        sleep_ms(40);
        second.pause();
        let later = second.state();
        for (then, now) in elapsed(&state).into_iter().zip(elapsed(&later)) {
            assert!(
                (30_000_000..2_000_000_000).contains(&(now - then)),
                "ran for {} ns",
                now - then
            );
        }
        assert!(second.counts().iter().zip(&state.counts).all(|(now, then)| now > then));
        assert_eq!(corrupt_pages(&destination, &spec, &second.stop()), 0, "at the end");
    }
}

#[test]
fn a_wrong_count_in_any_phase_is_found() {
    let spec = spec("rate=200MB/s phases=for=5ms;for=5ms,pattern=stride(3) repeat=on");
    let region = filled(&spec);
    let crew = start(&region, &spec, CrewOptions::default());
    wait_until("work", || total(&crew) > 5000);
    let state = crew.stop();
    assert_eq!(corrupt_pages(&region, &spec, &state), 0);
    for place in 4..7 {
        let mut wrong = state.clone();
        wrong.counts[place] += 1;
        assert_eq!(corrupt_pages(&region, &spec, &wrong), 1, "number {place}");
    }
}

#[test]
fn idle_phases_write_nothing_and_others_keep_their_rate() {
    let spec = spec("rate=idle phases=at=100ms,for=10s,rate=20000pages/s latency=off");
    let crew = start(&region(), &spec, CrewOptions::default());
    sleep_ms(30);
    let early = total(&crew);
    let ran_ns = crew.state().counts[3];
    assert!(early == 0 || ran_ns >= 100_000_000, "{early} pages within {ran_ns} ns of rest");
    wait_until("the phase", || total(&crew) > 0);
    sleep_ms(20);
    let (count, began) = (total(&crew), Instant::now());
    sleep_ms(500);
    let rate = (total(&crew) - count) as f64 / began.elapsed().as_secs_f64();
    assert!((15_000.0..21_000.0).contains(&rate), "{rate:.0} pages/s");
}

#[test]
fn a_ramp_rises() {
    let spec = spec("latency=off rate=idle phases=for=1s,rate=0B/s..400MB/s");
    let crew = start(&region(), &spec, CrewOptions::default());
    let quarter = || {
        let (count, began) = (total(&crew), Instant::now());
        sleep_ms(250);
        (total(&crew) - count) as f64 / began.elapsed().as_secs_f64()
    };
    let rates: Vec<f64> = (0..4).map(|_| quarter()).collect();
    // The middles of the quarters are at an eighth, three, five and seven of 97656 pages/s.
    assert!(rates[0] < 25_000.0 && rates[3] > 50_000.0, "{rates:?}");
    assert!(rates.windows(2).all(|pair| pair[0] < pair[1]), "{rates:?}");
    sleep_ms(100);
    let expected = 400e6 / 4096.0 / 2.0;
    let written = total(&crew) as f64;
    assert!(written < expected * 1.02, "{written} pages for {expected:.0}");
    assert!(written > expected * 0.8, "{written} pages for {expected:.0}");
}

#[test]
fn a_share_of_full_speed_is_found_once_and_travels() {
    let spec = spec("rate=10% latency=off pattern=random");
    let first = start(&region(), &spec, CrewOptions::default());
    wait_until("a full speed", || first.full_speed_pages_per_second().is_some());
    let full = first.full_speed_pages_per_second().unwrap() as f64;
    sleep_ms(50);
    let (count, began) = (total(&first), Instant::now());
    sleep_ms(300);
    let share = (total(&first) - count) as f64 / began.elapsed().as_secs_f64() / full;
    assert!((0.05..0.102).contains(&share), "{share:.3} of full speed");
    let state = first.stop();
    let second = Crew::start(&region(), &spec, &state, CrewOptions::default()).unwrap();
    assert_eq!(second.full_speed_pages_per_second(), Some(full as u64));
    sleep_ms(20);
    let written = (total(&second) - state.counts[..2].iter().sum::<u64>()) as f64;
    let ran = (second.state().counts[3] - state.counts[3]).max(20_000_000) as f64 / 1e9;
    // What a search at full speed would have written in that time is ten times as much.
    assert!(written < full * ran * 0.3, "{written} pages in {ran} s at {full} pages/s");
}

#[test]
fn once_is_one_round_and_then_rest() {
    for method in ["counter", "zero", "compressible(3)"] {
        let spec = spec(&format!("pattern=once rate=1pages/s method={method}"));
        let region = filled(&spec);
        let crew = start(&region, &spec, CrewOptions::default());
        wait_until("the round", || total(&crew) == PAGES as u64);
        sleep_ms(10);
        assert_eq!(total(&crew), PAGES as u64);
        crew.pause();
        crew.resume();
        sleep_ms(10);
        let state = crew.stop();
        assert_eq!(state.counts, [PAGES as u64 / 2; 2]);
        assert_eq!(corrupt_pages(&region, &spec, &state), 0);
    }
}

#[test]
fn catching_up_is_only_for_those_who_ask() {
    let written_after_pause = |fields: &str| {
        let crew = start(&region(), &spec(fields), CrewOptions::default());
        wait_until("work", || total(&crew) > 0);
        crew.pause();
        let count = total(&crew);
        sleep_ms(200);
        crew.resume();
        sleep_ms(30);
        total(&crew) - count
    };
    let patient = written_after_pause("rate=20000pages/s");
    assert!(patient < 2500, "{patient} pages in 30 ms at 20000 pages/s");
    let hasty = written_after_pause("rate=20000pages/s catch-up=on");
    assert!(hasty > 4000, "{hasty} pages, where 230 ms at 20000 pages/s were due");
}

/// A bit that is flipped while the workers rest is found when its page comes again.
fn check_finds_a_flipped_bit(spec: &Spec, region: &Arc<Region>, options: CrewOptions) {
    let what = spec.to_string();
    let crew = start(region, spec, CrewOptions { check: true, ..options });
    wait_until("two rounds", || total(&crew) > 2 * PAGES as u64);
    crew.pause();
    assert!(crew.checked().is_clean(), "{what}: {:?}", crew.checked());
    assert_eq!(crew.checked().pages_checked, total(&crew));
    // In drawn orders some pages come seldom; one of these may do.
    let pages = [1000usize, 1100, 1200, 1300];
    let words = pages.map(|page| (page, (stamp_word(page) + 1) % 512));
    let before = words.map(|(page, word)| region.page(page)[word].fetch_xor(1 << 7, Relaxed));
    crew.resume();
    wait_until("one of the pages to come", || !crew.checked().is_clean());
    crew.pause();
    let found = crew.checked().corrupt[0];
    let place = pages.iter().position(|page| *page == found.page).expect("no other is found");
    let (_, word) = words[place];
    assert_eq!(found.offset_bytes, word * 8, "{what}");
    assert_eq!((found.expected, found.found), (before[place], before[place] ^ (1 << 7)), "{what}");
}

#[test]
fn checking_before_each_write_finds_what_others_did() {
    for method in Method::ALL {
        let spec = spec(&format!("pattern=stride(3) method={method} rate=unlimited"));
        check_finds_a_flipped_bit(&spec, &filled(&spec), CrewOptions::default());
    }
    for fields in [
        "pattern=random",
        "pattern=zipf(0.5)",
        "pattern=hot-set(10%,50%)",
        "pattern=random phases=for=5ms,pattern=sequential;for=5ms,rate=50% repeat=on",
    ] {
        let spec = spec(&format!("{fields} rate=unlimited"));
        check_finds_a_flipped_bit(&spec, &filled(&spec), CrewOptions::default());
    }
}

#[test]
fn a_crew_that_goes_on_can_check_as_well() {
    let spec = spec("pattern=random rate=unlimited");
    let region = filled(&spec);
    let crew = start(&region, &spec, CrewOptions::default());
    wait_until("work", || total(&crew) > PAGES as u64);
    let state = crew.stop();
    let options = CrewOptions { check: true, ..CrewOptions::default() };
    let crew = Crew::start(&region, &spec, &state, options).unwrap();
    wait_until("work", || crew.checked().pages_checked > 2 * PAGES as u64);
    crew.pause();
    assert!(crew.checked().is_clean(), "{:?}", crew.checked());
}

#[test]
fn remapped_memory_can_be_checked() {
    for method in Method::ALL {
        for pattern in ["sequential", "random", "stride(7)"] {
            let spec = spec(&format!("pattern={pattern} method={method} rate=unlimited"));
            let (region, fresh) = (region(), CrewState::fresh(2));
            let options = CrewOptions { check: true, remap: true, ..CrewOptions::default() };
            let crew = Crew::start(&region, &spec, &fresh, options.clone()).unwrap();
            wait_until("some rounds", || total(&crew) > 3 * PAGES as u64);
            let checked = crew.checked();
            let state = crew.stop();
            assert!(checked.is_clean(), "{spec}: {checked:?}");
            let found = verify_remapped(&region, &spec, &state.counts, 2);
            assert!(found.is_clean(), "{spec}: {found:?}");
            region.page(77)[5].fetch_xor(1, Relaxed);
            let found = verify_remapped(&region, &spec, &state.counts, 2);
            let place = found.corrupt.first().map(|it| (it.page, it.offset_bytes));
            assert_eq!((found.corrupt_pages, place), (1, Some((77, 40))), "{spec}");
            let again = Crew::start(&region, &spec, &state, options).expect_err("not fresh");
            assert!(matches!(again, CrewError::CannotCheckRemapped), "{again}");
        }
    }
}

#[test]
fn stalls_tell_their_page() {
    let options = CrewOptions { stall_threshold_ns: Some(0), ..CrewOptions::default() };
    let crew = start(&region(), &spec("pattern=sequential rate=unlimited"), options);
    wait_until("work", || crew.counts().iter().all(|count| *count > 10_000));
    let stalls = crew.take_stalls();
    for worker in 0..2u32 {
        let own: Vec<_> = stalls.iter().filter(|stall| stall.worker == worker).collect();
        let pages: Vec<usize> = own.iter().filter_map(|stall| stall.page).collect();
        let part = PAGES / 2;
        let first = worker as usize * part;
        assert!(pages.len() > 1000, "worker {worker} noted {}", pages.len());
        assert!(pages.iter().all(|page| (first..first + part).contains(page)));
        let ends = own.iter().map(|stall| stall.start_ns + stall.length_ns);
        assert!(ends.is_sorted());
    }
    assert!(crew.lost_stalls() > 0, "so many find no room, and that is known");
    let none = start(&region(), &spec("rate=unlimited"), CrewOptions::default());
    wait_until("work", || total(&none) > 20_000);
    assert_eq!(none.take_stalls(), []);
}

#[test]
fn remapping_gives_each_round_fresh_pages() {
    let spec = spec("pattern=sequential rate=unlimited");
    let region = filled(&spec);
    let options = CrewOptions { remap: true, ..CrewOptions::default() };
    let crew = start(&region, &spec, options);
    wait_until("some rounds", || crew.counts().iter().all(|count| *count > 5 * PAGES as u64));
    assert!(crew.remap_error().is_none());
    crew.stop();
    for page in 0..PAGES {
        for (index, word) in region.page(page).iter().enumerate() {
            let word = word.load(Relaxed);
            let most = u64::from(index == stamp_word(page));
            assert!(
                word <= most,
                "page {page}, word {index} is {word}, so it was never given back"
            );
        }
    }
}

#[test]
fn distinct_pages_are_those_that_a_bitmap_sees() {
    for pattern in ["random", "zipf(0.99)", "hot-set(10%,90%)", "stride(7)", "sequential"] {
        let spec = spec(&format!("pattern={pattern} rate=300MB/s"));
        let crew = start(&region(), &spec, CrewOptions::default());
        crew.pause();
        let bitmap = Arc::new(DirtyBitmap::new(PAGES));
        crew.track(Some(Arc::clone(&bitmap)));
        let before = crew.state();
        crew.resume();
        sleep_ms(20);
        crew.pause();
        let seen = bitmap.drain(&mut |_, _| {});
        assert_eq!(crew.distinct_pages_since(&before), seen, "{pattern}");
        assert_eq!(distinct_pages(&spec, &before.counts, &crew.state().counts), seen);
    }
}

#[test]
fn distinct_pages_are_those_that_the_kernel_sees() {
    let spec = spec("pattern=zipf(0.8) rate=200MB/s");
    let region = filled(&spec);
    let mut tracker = match WpTracker::attach(&region) {
        Ok(tracker) => tracker,
        Err(error) => return eprintln!("skipped: {error}"),
    };
    let crew = start(&region, &spec, CrewOptions::default());
    crew.pause();
    tracker.sync(&mut |_, _| {}).expect("a scan that arms");
    let before = crew.state();
    crew.resume();
    sleep_ms(30);
    crew.pause();
    let mut seen = 0;
    tracker.sync(&mut |_, pages| seen += pages as u64).expect("a scan that reads");
    assert_eq!(crew.distinct_pages_since(&before), seen);
}
