//! The count of distinct pages, which is computed, against the kernel's own, which is seen.

use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use sterna_sys::region::{HugePages, Region, RegionOptions};
use sterna_sys::tracking::{TrackingError, WpTracker};
use sterna_units::Bytes;
use sterna_workload::{Crew, CrewOptions, CrewState, Pace, Pattern, Spec, fill};

const MEMORY: Bytes = Bytes(32 << 20);

/// Distinct pages as computed and as the kernel saw them.
fn counts(pattern: Pattern, pace: &str) -> Result<(u64, u64), TrackingError> {
    let options = RegionOptions { bytes: MEMORY.0, huge_pages: HugePages::None, locked: false };
    let region = Arc::new(Region::new(&options).unwrap());
    let spec =
        Spec { workers: 2, pattern, pace: pace.parse::<Pace>().unwrap(), ..Spec::of(MEMORY) };
    fill(&region, 0..spec.pages(), spec.seed, 2);
    let mut tracker = WpTracker::attach(&region)?;
    tracker.sync(&mut |_, _| {}).unwrap();
    let crew_options = CrewOptions { paused: true, ..CrewOptions::default() };
    let crew = Crew::start(&region, &spec, &CrewState::fresh_for(&spec), crew_options).unwrap();
    let before = crew.state();
    crew.resume();
    sleep(Duration::from_millis(150));
    crew.pause();
    let computed = crew.distinct_pages_since(&before);
    Ok((computed, tracker.sync(&mut |_, _| {}).unwrap().pages as u64))
}

#[test]
fn distinct_pages_are_those_that_the_kernel_saw() {
    for (pattern, pace) in [
        ("sequential", "20000pages/s"),
        ("random", "40000pages/s"),
        ("zipf(0.99)", "unlimited"),
        ("hot-set(10%,90%)", "40000pages/s"),
        ("stride(7)", "20000pages/s"),
        ("once", "unlimited"),
    ] {
        let (computed, seen) = match counts(pattern.parse().unwrap(), pace) {
            Ok(counts) => counts,
            Err(error) => {
                return eprintln!("skipped: the kernel cannot say what was written: {error}");
            }
        };
        let difference = computed.abs_diff(seen) as f64 / seen as f64;
        assert!(difference < 0.01, "{pattern}: {computed} computed, {seen} seen");
    }
}
