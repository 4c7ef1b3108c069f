//! A scenario's workload as a dirty process.

use sterna_scenario::Scenario;
use sterna_workload::partition::partition;
use sterna_workload::{Pace, Pattern, PhaseRate, Spec};

use super::content::{mixed, written};
use super::ranks;
use crate::dirty::{Activity, DirtyProcess, PAGE, Phase, Region, Sweep, SweepOrder};
use crate::guest::Content;
use crate::host::Host;

/// Steps in which a rate that rises or falls is followed.
const RAMP_STEPS: u32 = 8;

/// What happens in some stretch of time.
#[derive(Clone, Copy, Debug)]
struct Happening {
    pattern: Pattern,
    /// Writes a second of one worker.
    writes_per_second: f64,
    /// The part of the memory that is written.
    share: f64,
}

/// Memory as the emulator lays it out, [workload | ballast | zeros], and who writes it.
pub(super) fn process(scenario: &Scenario, host: &Host) -> DirtyProcess {
    let spec = scenario.workload_spec();
    let base = Happening {
        pattern: spec.pattern,
        writes_per_second: writes_per_second(spec.pace, &spec, host),
        share: 1.0,
    };
    let phases = happenings(&spec, host);
    let warmup = scenario.timing.warmup.0.as_secs_f64();
    let mut builder = Builder { spec: &spec, base, phases: &phases, warmup, regions: Vec::new() };
    builder.workers();
    let Builder { mut regions, .. } = builder;
    let mut idle = |bytes: u64, content| {
        if bytes > 0 {
            let activity = phases.iter().map(|_| Activity::default()).collect();
            regions.push((Region::idle(bytes, content), activity));
        }
    };
    let (workload, ballast) = (spec.memory.0, scenario.ballast_bytes().0);
    idle(ballast, Content::INCOMPRESSIBLE);
    idle(scenario.guest.memory.0.saturating_sub(workload + ballast), Content::ZERO);
    let (regions, activities): (Vec<Region>, Vec<Vec<Activity>>) = regions.into_iter().unzip();
    let phases = phases.iter().enumerate().map(|(index, it)| Phase {
        start_seconds: it.0,
        length_seconds: it.1,
        activities: activities.iter().map(|it| it[index].clone()).collect(),
    });
    let phases = phases.collect();
    DirtyProcess { regions, phases, repeats: spec.phases.repeat(), elapsed_seconds: warmup }
}

/// Start, length and what happens then, for each phase.
fn happenings(spec: &Spec, host: &Host) -> Vec<(f64, f64, Happening)> {
    let mut found = Vec::new();
    for phase in spec.phases.all() {
        let (start, length) = (phase.start.0.as_secs_f64(), phase.length.0.as_secs_f64());
        let share = phase
            .memory
            .map_or(1.0, |it| it.of(spec.memory).0 as f64 / spec.memory.0.max(1) as f64);
        let pattern = phase.pattern.unwrap_or(spec.pattern);
        let mut add = |start, length, writes_per_second| {
            found.push((start, length, Happening { pattern, writes_per_second, share }));
        };
        match phase.rate {
            None => add(start, length, writes_per_second(spec.pace, spec, host)),
            Some(PhaseRate::Steady(pace)) => {
                add(start, length, writes_per_second(pace, spec, host));
            }
            Some(PhaseRate::Ramp { from, to }) => {
                let step = length / f64::from(RAMP_STEPS);
                let of = |rate: sterna_units::Rate| rate.bytes_per_second() as f64 / PAGE;
                for index in 0..RAMP_STEPS {
                    let at = (f64::from(index) + 0.5) / f64::from(RAMP_STEPS);
                    let rate = of(from) + (of(to) - of(from)) * at;
                    let start = start + step * f64::from(index);
                    add(start, step, rate / f64::from(spec.workers.max(1)));
                }
            }
        }
    }
    found
}

/// Writes a second of one worker.
fn writes_per_second(pace: Pace, spec: &Spec, host: &Host) -> f64 {
    let workers = f64::from(spec.workers.max(1));
    let full = host.unlimited_writes_per_second(spec.method);
    let paced = match pace {
        Pace::Unlimited => full,
        Pace::Idle => 0.0,
        Pace::BytesPerSecond(rate) => rate.bits_per_second() as f64 / 8.0 / PAGE / workers,
        Pace::PagesPerSecond(pages) => pages.get() as f64 / workers,
        Pace::ShareOfUnlimited(share) => full * f64::from(share.hundredths()) / 10_000.0,
    };
    paced.min(full)
}

struct Builder<'a> {
    spec: &'a Spec,
    base: Happening,
    phases: &'a [(f64, f64, Happening)],
    warmup: f64,
    /// Each region with its activity in each phase.
    regions: Vec<(Region, Vec<Activity>)>,
}

impl Builder<'_> {
    /// The memory of all workers: each sweep has a region of its own, and pages that are drawn are alike for all workers.
    fn workers(&mut self) {
        let all = self.happenings();
        let is_drawn = all.iter().all(|it| sweep_order(it.pattern).is_none() && it.share >= 1.0);
        if is_drawn {
            let pages = self.spec.pages() as f64;
            return self.stretch(pages, 0.0, 1.0, f64::from(self.spec.workers));
        }
        for worker in 0..self.spec.workers {
            let pages = partition(self.spec, worker).len() as f64;
            let mut edges: Vec<f64> = all.iter().map(|it| it.share).collect();
            edges.sort_by(f64::total_cmp);
            edges.dedup();
            let mut from = 0.0;
            for to in edges {
                self.stretch(pages, from, to, 1.0);
                from = to;
            }
        }
    }

    fn happenings(&self) -> Vec<Happening> {
        self.phases.iter().map(|it| it.2).chain([self.base]).collect()
    }

    /// The part from `from` to `to` of memory of `pages` that `workers` write together.
    fn stretch(&mut self, pages: f64, from: f64, to: f64, workers: f64) {
        let bytes = ((pages * to).round() - (pages * from).round()) as u64 * PAGE as u64;
        if bytes == 0 {
            return;
        }
        let mine = bytes as f64 / PAGE;
        let patterns: Vec<Pattern> = self.happenings().iter().map(|it| it.pattern).collect();
        // Ranks are those of one worker's pages, and all workers have the same.
        let edges = ranks::edges(&patterns, pages / workers);
        let activity = |it: &Happening| self.activity(it, &edges, (pages, mine), from, workers);
        let phases = self.phases.iter().map(|it| activity(&it.2)).collect();
        let activity = activity(&self.base);
        let whole = pages / workers;
        let starts = std::iter::once(0.0).chain(edges.iter().copied());
        let classes: Vec<f64> = starts.zip(&edges).map(|(from, to)| (to - from) / whole).collect();
        let before =
            Region { bytes, content: Content::ZERO, written: Content::ZERO, classes, activity };
        let share = before.distinct_pages(self.warmup) / before.pages();
        let written = written(self.spec.method);
        self.regions.push((Region { content: mixed(share, written), written, ..before }, phases));
    }

    /// How a stretch of `mine` pages among `pages` is written.
    fn activity(
        &self,
        it: &Happening,
        edges: &[f64],
        (pages, mine): (f64, f64),
        from: f64,
        workers: f64,
    ) -> Activity {
        if from >= it.share {
            return Activity { rates: vec![0.0; edges.len()], ..Activity::default() };
        }
        let active = pages * it.share;
        let writes = it.writes_per_second * workers;
        let Some(order) = sweep_order(it.pattern) else {
            // Within a part of the memory ranks are stretched over fewer pages.
            let rates = ranks::rates(it.pattern, edges, it.writes_per_second);
            let rates: Vec<f64> = rates.into_iter().map(|rate| rate / it.share).collect();
            return Activity { rates, sweep: None, writes_per_second: writes * mine / active };
        };
        let once = it.pattern == Pattern::Once;
        let passed = if once { mine } else { writes * self.warmup };
        let sweep = Sweep { pages_per_second: writes, order, passed, once };
        let writes_per_second = if once { 0.0 } else { writes };
        Activity { rates: Vec::new(), sweep: Some(sweep), writes_per_second }
    }
}

fn sweep_order(pattern: Pattern) -> Option<SweepOrder> {
    match pattern {
        Pattern::Sequential | Pattern::Once => Some(SweepOrder::Linear),
        Pattern::Stride(step) if step.get() == 1 => Some(SweepOrder::Linear),
        Pattern::Stride(_) => Some(SweepOrder::Strided),
        Pattern::Random | Pattern::Zipf(_) | Pattern::HotSet(_) => None,
    }
}
