//! scratch
use std::sync::Arc;
use sterna_sys::region::*;
use sterna_workload::*;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let spec: Spec = args[1].parse().unwrap();
    let huge = match args.get(2).map(String::as_str) {
        Some("thp") => HugePages::Thp,
        _ => HugePages::None,
    };
    let bytes = spec.memory.0.next_multiple_of(2 << 20);
    let region =
        Arc::new(Region::new(&RegionOptions { bytes, huge_pages: huge, locked: false }).unwrap());
    fill(&region, 0..spec.pages(), spec.seed, 2);
    let crew = Crew::start(&region, &spec, &CrewState::fresh(spec.workers), CrewOptions::default())
        .unwrap();
    let mut rates = vec![];
    let mut last = crew.counts().iter().sum::<u64>();
    for _ in 0..5 {
        let t = std::time::Instant::now();
        std::thread::sleep(std::time::Duration::from_millis(500));
        let now = crew.counts().iter().sum::<u64>();
        rates.push(((now - last) as f64 / t.elapsed().as_secs_f64() / 1e6 * 10.0).round() / 10.0);
        last = now;
    }
    let state = crew.stop();
    println!("{spec} {huge:?} Mpages/s {rates:?}");
    let _ = state;
}
