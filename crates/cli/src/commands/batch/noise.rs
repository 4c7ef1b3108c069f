//! How quiet the machine is: what a batch measures before, between and after its runs.
//!
//! Two things spoil a measurement without a trace in it: processor time that the hypervisor below
//! gives to others, which `/proc/stat` calls stolen, and a processor that is slower than it was,
//! which shows in a loop that always has the same to do.

use std::hint::black_box;
use std::time::Instant;

use serde_json::{Value, json};
use sterna_report::statistics::median;

/// A run is called noisy from this share of stolen time on.
const MOST_STOLEN: f64 = 0.02;
/// And from this slowdown of the loop on.
const MOST_SLOWDOWN: f64 = 1.15;

/// Steps of the loop: about 4 ms.
const STEPS: u64 = 2_000_000;
/// The loop's time is the median of so many.
const TURNS: u32 = 7;

/// Measures, each time against the time before.
pub struct Meter {
    times: Option<Times>,
    least_seconds: f64,
}

/// What was seen at one moment.
#[derive(Clone, Debug)]
pub struct Noise {
    /// Of all processor time since the measurement before, what was stolen.
    stolen_share: Option<f64>,
    /// The loop's time.
    loop_seconds: f64,
    /// The same by the least that was seen in this batch.
    slowdown: f64,
}

/// Processor time in ticks.
#[derive(Clone, Copy)]
struct Times {
    all: u64,
    stolen: u64,
}

impl Meter {
    /// A meter that has seen nothing yet.
    pub fn new() -> Meter {
        Meter { times: Times::read(), least_seconds: f64::INFINITY }
    }

    /// Measures for about 30 ms.
    pub fn measure(&mut self) -> Noise {
        let turns: Vec<f64> = (0..TURNS).map(|_| turn()).collect();
        let loop_seconds = median(&turns).unwrap_or(f64::NAN);
        self.least_seconds = self.least_seconds.min(loop_seconds);
        let now = Times::read();
        let stolen_share = self.times.zip(now).and_then(|(before, now)| now.stolen_since(before));
        self.times = now;
        let slowdown = loop_seconds / self.least_seconds;
        Noise { stolen_share, loop_seconds, slowdown }
    }
}

impl Noise {
    /// What a run had around it: the worse of before and after.
    pub fn around(before: &Noise, after: &Noise) -> Noise {
        Noise {
            // That of the time between the two, which was the run.
            stolen_share: after.stolen_share,
            loop_seconds: before.loop_seconds.max(after.loop_seconds),
            slowdown: before.slowdown.max(after.slowdown),
        }
    }

    /// What is wrong with it, in words; `None` when it is quiet enough.
    pub fn complaint(&self) -> Option<String> {
        let stolen = self.stolen_share.filter(|it| *it > MOST_STOLEN);
        let stolen =
            stolen.map(|it| format!("{:.0} % of the processors' time was stolen", it * 100.0));
        let is_slow = self.slowdown > MOST_SLOWDOWN;
        let slow = is_slow.then(|| format!("the processor was {:.2} times slower", self.slowdown));
        let words: Vec<String> = stolen.into_iter().chain(slow).collect();
        (!words.is_empty()).then(|| words.join(", and "))
    }

    /// As it stands in the manifest.
    pub fn json(&self) -> Value {
        json!({
            "stolen_share": self.stolen_share,
            "loop_seconds": self.loop_seconds,
            "slowdown": self.slowdown,
        })
    }

    /// The same back, of a run that an earlier batch has made.
    pub fn from_json(value: &Value) -> Option<Noise> {
        Some(Noise {
            stolen_share: value["stolen_share"].as_f64(),
            loop_seconds: value["loop_seconds"].as_f64()?,
            slowdown: value["slowdown"].as_f64()?,
        })
    }
}

fn turn() -> f64 {
    let began = Instant::now();
    let mut state: u64 = black_box(0x9e37_79b9_7f4a_7c15);
    for _ in 0..STEPS {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    black_box(state);
    began.elapsed().as_secs_f64()
}

impl Times {
    fn read() -> Option<Times> {
        Times::parse(&std::fs::read_to_string("/proc/stat").ok()?)
    }

    /// `cpu  user nice system idle iowait irq softirq steal guest guest_nice`, where guests' time is
    /// in user and nice already.
    fn parse(text: &str) -> Option<Times> {
        let line = text.lines().find_map(|it| it.strip_prefix("cpu "))?;
        let ticks =
            line.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>().ok()?;
        Some(Times { all: ticks.iter().take(8).sum(), stolen: *ticks.get(7)? })
    }

    fn stolen_since(self, before: Times) -> Option<f64> {
        let all = self.all.checked_sub(before.all).filter(|it| *it > 0)?;
        Some(self.stolen.saturating_sub(before.stolen) as f64 / all as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stolen_time_is_the_eighth_number() {
        let before = Times::parse("cpu  100 0 50 800 5 0 5 40 7 0\ncpu0 1 2\n").unwrap();
        let after = Times::parse("cpu  150 0 60 820 5 0 5 60 7 0\n").unwrap();
        assert_eq!(after.stolen_since(before), Some(0.2));
        assert_eq!(after.stolen_since(after), None);
        assert!(Times::parse("cpu  1 2 3\n").is_none());
    }

    #[test]
    fn a_quiet_machine_is_not_complained_of_and_a_noisy_one_is() {
        let noise = |stolen_share, slowdown| Noise { stolen_share, loop_seconds: 0.004, slowdown };
        assert_eq!(noise(Some(0.01), 1.1).complaint(), None);
        assert_eq!(noise(None, 1.0).complaint(), None);
        let both = noise(Some(0.25), 1.5).complaint().unwrap();
        assert_eq!(
            both,
            "25 % of the processors' time was stolen, and the processor was 1.50 times slower"
        );
        let around = Noise::around(&noise(Some(0.5), 1.3), &noise(Some(0.0), 1.0));
        assert_eq!((around.stolen_share, around.slowdown), (Some(0.0), 1.3));
        let back = Noise::from_json(&around.json()).unwrap();
        assert_eq!(back.json(), around.json());
    }

    #[test]
    fn the_first_measurement_is_the_least_so_far() {
        let noise = Meter::new().measure();
        assert_eq!(noise.slowdown, 1.0);
        assert!(noise.loop_seconds > 0.0);
    }
}
