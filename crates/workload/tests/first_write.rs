//! What arrives wrong is found, although the next write makes it right again.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use sterna_sys::region::{HugePages, Region, RegionOptions};
use sterna_units::Bytes;
use sterna_workload::{
    Crew, CrewOptions, CrewState, FirstWrites, Layout, Method, Pace, Pattern, Spec, Verification,
    expected_word, fill, stamp_word, verify, verify_with,
};

const PAGES: usize = 512;
const LAYOUT: Layout = Layout { workload_pages: PAGES, ballast_pages: 0, total_pages: PAGES };

fn region() -> Arc<Region> {
    let bytes = (PAGES * 4096) as u64;
    let options = RegionOptions { bytes, huge_pages: HugePages::None, locked: false };
    Arc::new(Region::new(&options).expect("a few MiB can be mapped"))
}

fn spec(method: Method) -> Spec {
    let pattern = Pattern::Sequential;
    Spec { workers: 2, pattern, method, ..Spec::of(Bytes((PAGES * 4096) as u64)) }
}

fn healing() -> impl Iterator<Item = Method> {
    Method::ALL.iter().copied().filter(|method| FirstWrites::are_needed_for(*method))
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen within 20 s");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A guest that has worked until each worker made `writes` writes, or some more.
fn worked(spec: &Spec, writes: u64) -> (Arc<Region>, CrewState) {
    let region = region();
    fill(&region, 0..PAGES, spec.seed, 2);
    let fresh = CrewState::fresh(spec.workers);
    let crew = Crew::start(&region, spec, &fresh, CrewOptions::default()).unwrap();
    wait_until("work", || crew.counts().iter().all(|count| *count >= writes));
    (region, crew.stop())
}

/// The guest goes on from `state`, long enough to write each page again.
fn go_on(region: &Arc<Region>, spec: &Spec, state: &CrewState) -> (Crew, CrewState) {
    let options = CrewOptions { paused: true, check_first_writes: true, ..CrewOptions::default() };
    let crew = Crew::start(region, spec, state, options).unwrap();
    crew.resume();
    let rewritten = |crew: &Crew| {
        let pairs = crew.counts().into_iter().zip(&state.counts);
        pairs.into_iter().all(|(now, then)| now > then + 2 * PAGES as u64)
    };
    wait_until("every page being written again", || rewritten(&crew));
    crew.pause();
    let state = crew.state();
    (crew, state)
}

fn both_checks(region: &Region, spec: &Spec, crew: &Crew) -> (Verification, Verification) {
    let counts = crew.state().counts;
    let without = verify(region, &LAYOUT, spec, &counts, 2);
    (without, verify_with(region, &LAYOUT, spec, &counts, 2, &crew.first_writes()))
}

#[test]
fn intact_pages_are_all_checked_once_and_found_right() {
    for method in Method::ALL {
        let spec = Spec { latency: true, ..spec(*method) };
        let (region, state) = worked(&spec, 700);
        let (crew, _) = go_on(&region, &spec, &state);
        let first = crew.first_writes();
        let expected = if FirstWrites::are_needed_for(*method) { PAGES as u64 } else { 0 };
        assert_eq!((first.pages_checked, first.corrupt_pages), (expected, 0), "{method}");
        assert_eq!(first.checking_ns > 0, expected > 0, "{method}");
        assert!(both_checks(&region, &spec, &crew).1.is_clean(), "{method}");
    }
}

#[test]
fn a_wrong_word_is_found_although_it_was_written_over() {
    for method in healing() {
        let spec = spec(method);
        let (region, state) = worked(&spec, 700);
        for page in [3, 400] {
            let word = (stamp_word(page) + 1) % 512;
            region.page(page)[word].fetch_xor(1 << 17, Relaxed);
        }
        let (crew, _) = go_on(&region, &spec, &state);
        let (without, with) = both_checks(&region, &spec, &crew);
        assert!(without.is_clean(), "{method}: the next write made it right");
        let pages: Vec<usize> = with.corrupt.iter().map(|it| it.page).collect();
        assert_eq!((with.corrupt_pages, pages), (2, vec![3, 400]), "{method}");
        assert_eq!(with.corrupt[0].expected ^ with.corrupt[0].found, 1 << 17, "{method}");
    }
}

#[test]
fn a_write_of_zeros_that_was_lost_is_found_by_the_replay() {
    let spec = spec(Method::Zero);
    let (region, state) = worked(&spec, 700);
    // As before its first write, which is a legal content of such a page, but not of this one.
    for (word, value) in region.page(77).iter().enumerate() {
        value.store(expected_word(spec.seed, 77, word), Relaxed);
    }
    let (crew, _) = go_on(&region, &spec, &state);
    let (without, with) = both_checks(&region, &spec, &crew);
    assert!(without.is_clean(), "the next write made it right");
    assert_eq!((with.corrupt_pages, with.corrupt[0].page, with.corrupt[0].expected), (1, 77, 0));
}

#[test]
fn zeros_in_place_of_a_page_that_was_never_written_are_found_by_the_replay() {
    let spec = Spec { pace: Pace::Unlimited, ..spec(Method::Zero) };
    let region = region();
    fill(&region, 0..PAGES, spec.seed, 2);
    // Each worker has written its first page and no other.
    for page in [0, PAGES / 2] {
        region.page(page).iter().for_each(|word| word.store(0, Relaxed));
    }
    region.page(300).iter().for_each(|word| word.store(0, Relaxed));
    let (crew, _) = go_on(&region, &spec, &CrewState { counts: vec![1, 1] });
    let (without, with) = both_checks(&region, &spec, &crew);
    assert!(without.is_clean(), "the next write made it right");
    assert_eq!((with.corrupt_pages, with.corrupt[0].page, with.corrupt[0].found), (1, 300, 0));
}

#[test]
fn each_resume_is_checked_and_the_first_release_is_not() {
    let spec = spec(Method::FillRandom);
    let region = region();
    fill(&region, 0..PAGES, spec.seed, 2);
    let options = CrewOptions { check_first_writes: true, ..CrewOptions::default() };
    let crew = Crew::start(&region, &spec, &CrewState::fresh(2), options).unwrap();
    let all_written = |since: Vec<u64>| {
        wait_until("every page being written", || {
            crew.counts().iter().zip(&since).all(|(now, then)| *now > then + PAGES as u64)
        });
    };
    all_written(vec![0, 0]);
    crew.pause();
    assert_eq!(crew.first_writes(), FirstWrites::default());
    for round in 1..=2 {
        region.page(9 * round)[7].fetch_xor(4, Relaxed);
        let before = crew.counts();
        crew.resume();
        all_written(before);
        crew.pause();
        let found = crew.first_writes();
        let expected = ((PAGES * round) as u64, round as u64);
        assert_eq!((found.pages_checked, found.corrupt_pages), expected);
    }
    // A guest that does not know that it was stopped is checked when it is asked to.
    let before = crew.counts();
    crew.resume();
    all_written(before);
    let before = crew.counts();
    crew.check_again();
    all_written(before);
    crew.pause();
    assert_eq!(crew.first_writes().pages_checked, 4 * PAGES as u64);
}

#[test]
fn memory_full_of_wrong_pages_is_counted_page_by_page() {
    let spec = spec(Method::Write64);
    let (region, state) = worked(&spec, 700);
    for page in 0..PAGES {
        region.page(page)[(stamp_word(page) + 9) % 512].fetch_xor(1, Relaxed);
    }
    let (crew, _) = go_on(&region, &spec, &state);
    let (_, with) = both_checks(&region, &spec, &crew);
    assert_eq!(with.corrupt_pages, PAGES as u64);
    assert_eq!(with.corrupt.len(), Verification::SHOWN);
}
