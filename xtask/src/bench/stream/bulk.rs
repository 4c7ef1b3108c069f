//! Bulk from a hot block and from real memory, against iperf3 and mig_mon.

use anyhow::Result;

use super::runs::{Pair, received};
use super::{Bench, peers};
use crate::bench::samples::Samples;
use crate::bench::table::Table;
use crate::bench::target;

/// iperf3's own; mig_mon's cannot be chosen: it sends 2 MiB at once, out of buffers that it has filled.
const BLOCK_BYTES: u64 = 128 << 10;

#[derive(Default)]
struct Figures {
    hot: Samples,
    real: Samples,
    placed: Samples,
    iperf3: Samples,
    mig_mon: Samples,
    best: Samples,
}

/// All of them in turn.
pub fn run(bench: &Bench) -> Result<()> {
    let (has_iperf3, has_mig_mon) = (bench.has("iperf3"), bench.has("mig_mon"));
    let pair = Pair::start(&bench.sterna)?;
    let (block, memory) = (BLOCK_BYTES.to_string() + "B", bench.memory.to_string());
    let lines = bench.seconds.ceil() as usize;
    let mut all = Figures::default();
    for number in 0..bench.pairs {
        for turn in bench.order(number, 5) {
            let ours = |flags: &[&str]| {
                received(&pair.run(&[&["--block", &block], flags].concat(), bench.seconds)?)
            };
            match turn {
                0 => all.hot.push(ours(&[])?),
                1 if has_iperf3 => all.iperf3.push(peers::iperf3(BLOCK_BYTES, bench.seconds)?),
                2 => all.real.push(ours(&["--memory", &memory])?),
                3 if has_mig_mon => all.mig_mon.push(peers::mig_mon_precopy(lines)?),
                4 => all.placed.push(ours(&["--memory", &memory, "--place"])?),
                _ => {}
            }
        }
    }
    let peers = [(has_iperf3, &all.iperf3), (has_mig_mon, &all.mig_mon)];
    for number in 0..bench.pairs as usize {
        let values = peers.iter().filter(|it| it.0).filter_map(|it| it.1.get(number));
        values.reduce(f64::max).into_iter().for_each(|it| all.best.push(it));
    }
    all.print(bench);
    Ok(())
}

impl Figures {
    fn print(&self, bench: &Bench) {
        let title = format!(
            "Bulk on loopback, blocks of {} KiB, {} rounds of {} s (GB/s)",
            BLOCK_BYTES >> 10,
            bench.pairs,
            bench.seconds
        );
        let mut table = Table::new(title);
        table.row("sterna, one block over and over", &self.hot.scaled(1e-9), 2);
        table.row(format!("sterna, {} of memory", bench.memory), &self.real.scaled(1e-9), 2);
        table.row("the same, placed in memory there", &self.placed.scaled(1e-9), 2);
        for (name, peer) in [("iperf3", &self.iperf3), ("mig_mon vm precopy", &self.mig_mon)] {
            if peer.count() > 0 {
                table.row(name, &peer.scaled(1e-9), 2);
            }
        }
        let ratios = [
            ("one block / the better peer", self.hot.ratios(&self.best), 1.05),
            ("memory / the better peer", self.real.ratios(&self.best), 0.8),
        ];
        if self.best.count() > 0 {
            for (name, ratio, _) in &ratios {
                table.row(format!("{name}, by round"), ratio, 3);
            }
        }
        table.print();
        for (name, ratio, least) in ratios.iter().filter(|it| it.1.count() > 0) {
            let found = ratio.median();
            target(name, &format!("{found:.3}"), &format!(">= {least}"), found >= *least);
        }
    }
}
