//! The simple rules that people use, to be better than.

use sterna_model::{Host, Plan, Rules};
use sterna_scenario::Scenario;

/// Passes after which a rule gives up.
const MOST_PASSES: u32 = 10_000;

/// What each rule says of the total time in seconds; or, later, by which part it was wrong.
pub struct Baselines {
    /// Memory by bandwidth.
    pub memory: f64,
    /// Memory with content by bandwidth.
    pub content: f64,
    /// A geometric series with the dirty rate of one second.
    pub geometric: f64,
    /// The loop over the dirty curve that was proposed for QEMU in 2023: time to send what is pending, then what is dirtied in that time, until it fits.
    pub curve: f64,
    /// Dirtied by sent, in passes of one second.
    pub ratio: f64,
}

impl Baselines {
    /// What they say of a scenario that the model knows.
    pub fn of(scenario: &Scenario) -> Baselines {
        let plan = Plan::of_scenario(scenario, Host::emulator(), Rules::EMULATOR);
        let Ok(plan) = plan else {
            let nan = f64::NAN;
            return Baselines { memory: nan, content: nan, geometric: nan, curve: nan, ratio: nan };
        };
        let limit = plan.settings.max_bytes_per_second.into_iter();
        let bandwidth = limit.chain(plan.link.bytes_per_second).min().unwrap_or(1_000_000_000);
        let bandwidth = bandwidth as f64;
        let longest = scenario.limits.max_time.map_or(f64::INFINITY, |it| it.0.as_secs_f64());
        let content = plan.guest.content_bytes() as f64;
        let dirty = &plan.guest.dirty;
        let threshold = bandwidth * plan.settings.downtime_limit_ns as f64 / 1e9;
        let scalar = dirty.distinct_bytes(1.0) as f64;
        let total = |dirtied: &dyn Fn(f64) -> f64| {
            let (mut pending, mut total) = (content, 0.0);
            for _ in 0..MOST_PASSES {
                let seconds = pending / bandwidth;
                total += seconds;
                if pending <= threshold || total > longest {
                    break;
                }
                pending = dirtied(seconds);
            }
            total.min(longest)
        };
        Baselines {
            memory: plan.guest.memory_bytes() as f64 / bandwidth,
            content: content / bandwidth,
            geometric: total(&|seconds| scalar * seconds),
            curve: total(&|seconds| dirty.distinct_bytes(seconds) as f64),
            ratio: scalar / bandwidth,
        }
    }

    /// By which part each was wrong, when it took `real` seconds.
    pub fn errors(self, real: f64) -> Baselines {
        let error = |said: f64| said / real - 1.0;
        Baselines {
            memory: error(self.memory),
            content: error(self.content),
            geometric: error(self.geometric),
            curve: error(self.curve),
            ratio: self.ratio,
        }
    }
}
