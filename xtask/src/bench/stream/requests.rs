//! Page requests on loopback, against mig_mon and sockperf.

use anyhow::Result;

use super::runs::{Pair, awaited};
use super::{Bench, peers};
use crate::bench::samples::Samples;
use crate::bench::table::Table;
use crate::bench::target;

/// sockperf's message goes and comes at this size; a request of ours is smaller and its answer a head larger.
const MESSAGE_BYTES: u64 = 4096;

#[derive(Default)]
struct Figures {
    mean: Samples,
    p50: Samples,
    p99: Samples,
    mig_mon: Samples,
    sockperf: Samples,
}

/// All of them in turn.
pub fn run(bench: &Bench) -> Result<()> {
    let (has_mig_mon, has_sockperf) = (bench.has("mig_mon"), bench.has("sockperf"));
    let pair = Pair::start(&bench.sterna)?;
    let lines = bench.seconds.ceil() as usize;
    let mut all = Figures::default();
    for number in 0..bench.pairs {
        for turn in bench.order(number, 3) {
            match turn {
                0 => {
                    let times = awaited(&pair.run(&["--mode", "postcopy"], bench.seconds)?)?;
                    all.mean.push(times.mean_ns.unwrap_or(f64::NAN));
                    all.p50.push(times.p50_ns.map_or(f64::NAN, |it| it as f64));
                    all.p99.push(times.p99_ns.map_or(f64::NAN, |it| it as f64));
                }
                1 if has_mig_mon => all.mig_mon.push(peers::mig_mon_postcopy(lines)?),
                2 if has_sockperf => {
                    all.sockperf.push(peers::sockperf(MESSAGE_BYTES, bench.seconds)?);
                }
                _ => {}
            }
        }
    }
    all.print(bench);
    Ok(())
}

impl Figures {
    fn print(&self, bench: &Bench) {
        let title = format!(
            "A requested page on loopback, {} rounds of {} s (us)",
            bench.pairs, bench.seconds
        );
        let mut table = Table::new(title);
        for (name, samples) in [
            ("sterna, mean", &self.mean),
            ("sterna, median", &self.p50),
            ("sterna, 99th percentile", &self.p99),
            ("mig_mon vm postcopy, mean", &self.mig_mon),
            ("sockperf ping-pong, mean of round trips", &self.sockperf),
        ] {
            if samples.count() > 0 {
                table.row(name, &samples.scaled(1e-3), 1);
            }
        }
        let ratios = [
            ("sterna / mig_mon, means", self.mean.ratios(&self.mig_mon), 0.8),
            ("sterna / sockperf, means", self.mean.ratios(&self.sockperf), 1.15),
        ];
        for (name, ratio, _) in ratios.iter().filter(|it| it.1.count() > 0) {
            table.row(format!("{name}, by round"), ratio, 3);
        }
        table.print();
        for (name, ratio, most) in ratios.iter().filter(|it| it.1.count() > 0) {
            let found = ratio.median();
            target(name, &format!("{found:.3}"), &format!("<= {most}"), found <= *most);
        }
    }
}
