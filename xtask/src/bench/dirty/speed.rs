//! Pages per second, next to those of peers, and of two workers next to one.

use anyhow::Result;
use sterna_sys::cpu;
use sterna_units::Bytes;

use super::Bench;
use super::peers::{self, mig_mon, stress_ng};
use super::runs::Speed;
use crate::bench::samples::Samples;
use crate::bench::table::Table;
use crate::bench::target;

/// A way of writing that is compared.
struct Comparison<'a> {
    title: &'a str,
    memory: Bytes,
    ours: &'a [&'a str],
    theirs: &'a [&'a str],
    /// The least ratio of ours to theirs.
    least: f64,
}

/// Pages per second in pairs, and the same for each second of processor time.
#[derive(Default)]
struct Pairs {
    ours: Samples,
    theirs: Samples,
    ours_by_cpu: Samples,
    theirs_by_cpu: Samples,
}

/// Against every peer that is here.
pub fn run(bench: &Bench) -> Result<()> {
    against_mig_mon(bench)?;
    against_stress_ng(bench)?;
    two_workers(bench)
}

fn against_mig_mon(bench: &Bench) -> Result<()> {
    let of = |title, memory, ours, theirs, least| Comparison { title, memory, ours, theirs, least };
    let comparisons = [
        of("sequential", bench.memory, &[][..], &[][..], 2.0),
        of("random", bench.memory, &["-p", "random"], &["-p", "random"], 3.5),
        of("sequential, each write timed", bench.memory, &["--latency"], &["-L"], 2.5),
        of("random", bench.large, &["-p", "random"], &["-p", "random"], 2.0),
    ];
    let is_there = peers::is_installed("mig_mon") && peers::is_installed("stdbuf");
    if !is_there {
        println!(
            "\nskipped: mig_mon or stdbuf is not installed, so there is nothing to compare with"
        );
    } else if !bench.is_short {
        println!(
            "\nPages: ours has transparent huge pages (its default), mig_mon what the kernel gives without being asked: {}",
            thp_setting()
        );
    }
    // In the short form a peer would cost more time than all of ours.
    let is_compared = is_there && !bench.is_short;
    for comparison in &comparisons {
        comparison.run(bench, is_compared)?;
    }
    Ok(())
}

impl Comparison<'_> {
    fn run(&self, bench: &Bench, is_compared: bool) -> Result<()> {
        let memory = self.memory.to_string();
        let flags = [self.ours, &["--memory", &memory]].concat();
        let ours = || bench.sterna.speed(&flags, bench.seconds);
        let theirs = || mig_mon(self.memory, self.theirs, bench.seconds as usize);
        if !is_compared {
            println!("{} on {memory}: {:.1} million pages/s", self.title, ours()?.millions());
            return Ok(());
        }
        let pairs = Pairs::measure(bench.pairs, ours, theirs)?;
        pairs.tell(&format!("{}, {memory}", self.title), "mig_mon", Some(self.least));
        Ok(())
    }
}

/// stress-ng writes whole pages, and so do we here.
fn against_stress_ng(bench: &Bench) -> Result<()> {
    if bench.is_short || !peers::is_installed("stress-ng") {
        println!("skipped: stress-ng is not installed, or this is the short form");
        return Ok(());
    }
    let memory = bench.memory.to_string();
    let flags = ["--method", "write64", "--memory", &memory];
    let ours = || bench.sterna.speed(&flags, bench.seconds);
    let theirs = || stress_ng(bench.memory, bench.seconds as u32 + 1);
    let pairs = Pairs::measure(bench.pairs, ours, theirs)?;
    pairs.tell(&format!("write64, sequential, {memory}"), "stress-ng", None);
    Ok(())
}

fn two_workers(bench: &Bench) -> Result<()> {
    const LEAST: f64 = 1.8;
    if cpu::online() < 2 {
        println!("skipped: two workers need two processors");
        return Ok(());
    }
    for pattern in ["sequential", "random"] {
        let memory = bench.memory.to_string();
        let run = |workers: &str| {
            let flags = ["-p", pattern, "--memory", &memory, "--workers", workers];
            bench.sterna.speed(&flags, bench.seconds)
        };
        // Processor time is that of both, so that each second of it is to bring as much as one worker's.
        let two = || {
            let Speed { pages_per_second, pages_per_cpu_second } = run("2")?;
            Ok(Speed { pages_per_second, pages_per_cpu_second: 2.0 * pages_per_cpu_second })
        };
        let pairs = Pairs::measure(bench.pairs, two, || run("1"))?;
        let least = (!bench.is_short).then_some(LEAST);
        pairs.tell(&format!("two workers, {pattern}, {memory}"), "one worker", least);
    }
    Ok(())
}

impl Pairs {
    /// Both next to each other, in turn first.
    fn measure(
        pairs: u32,
        ours: impl Fn() -> Result<Speed>,
        theirs: impl Fn() -> Result<Speed>,
    ) -> Result<Pairs> {
        let mut all = Pairs::default();
        for pair in 0..pairs {
            let (our, their) = if pair % 2 == 0 {
                let our = ours()?;
                (our, theirs()?)
            } else {
                let their = theirs()?;
                (ours()?, their)
            };
            all.ours.push(our.pages_per_second);
            all.theirs.push(their.pages_per_second);
            all.ours_by_cpu.push(our.pages_per_cpu_second);
            all.theirs_by_cpu.push(their.pages_per_cpu_second);
        }
        Ok(all)
    }

    fn tell(&self, title: &str, peer: &str, least: Option<f64>) {
        let millions = |samples: &Samples| samples.scaled(1e-6);
        let mut table =
            Table::new(format!("{title}, {} pairs (million pages/s)", self.ours.count()));
        table.row("ours", &millions(&self.ours), 1);
        table.row(peer, &millions(&self.theirs), 1);
        table.row("ours / second of processor time", &millions(&self.ours_by_cpu), 1);
        table.row(format!("{peer} / second of processor time"), &millions(&self.theirs_by_cpu), 1);
        let (ratios, by_cpu) =
            (self.ours.ratios(&self.theirs), self.ours_by_cpu.ratios(&self.theirs_by_cpu));
        table.row(format!("ours / {peer}, by pair"), &ratios, 2);
        table.row("the same by processor time", &by_cpu, 2);
        table.print();
        let Some(least) = least else { return };
        let wanted = format!(">= {least}");
        for (of, ratios) in [("", ratios), (", by processor time", by_cpu)] {
            let ratio = ratios.median();
            let what = format!("{title}: ours / {peer}{of}, median of the pairs");
            target(&what, &format!("{ratio:.2}"), &wanted, ratio >= least);
        }
    }
}

impl Speed {
    fn millions(self) -> f64 {
        self.pages_per_second / 1e6
    }
}

fn thp_setting() -> String {
    let setting = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    let chosen = setting.ok().and_then(|it| {
        let (_, rest) = it.split_once('[')?;
        Some(rest.split_once(']')?.0.to_owned())
    });
    match chosen.as_deref() {
        Some("always") => "huge pages, too".to_owned(),
        Some(other) => format!("4 KiB pages (transparent_hugepage is `{other}`)"),
        None => "4 KiB pages".to_owned(),
    }
}
