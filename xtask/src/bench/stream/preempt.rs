//! Requested pages beside bulk, with a connection of their own and without.

use anyhow::Result;

use super::Bench;
use super::link::Link;
use super::runs::{Pair, awaited};
use crate::bench::samples::Samples;
use crate::bench::table::Table;
use crate::bench::target;

const BOTH: [&str; 2] = ["--mode", "both"];

/// What is limited to 1 Gbit/s.
#[derive(Clone, Copy)]
enum Where {
    /// The sender, on a loopback that could carry far more.
    Loopback,
    /// The link, between two namespaces.
    Link,
}

#[derive(Default)]
struct Figures {
    with: Samples,
    without: Samples,
    with_p99: Samples,
    without_p99: Samples,
}

/// Each with and without, in turn first.
pub fn run(bench: &Bench) -> Result<()> {
    let link = match Link::new(&bench.sterna) {
        Ok(link) => Some(link),
        Err(error) => {
            println!(
                "No link of 1 Gbit/s between two namespaces: {error:#}; its figures are missing"
            );
            None
        }
    };
    let loopback = Pair::start(&bench.sterna)?;
    let mut all = [Figures::default(), Figures::default()];
    let places = [Where::Loopback, Where::Link];
    for number in 0..bench.pairs {
        for (place, figures) in places.into_iter().zip(&mut all) {
            for turn in bench.order(number, 2) {
                let preempt: &[&str] = if turn == 0 { &["--preempt"] } else { &[] };
                let report = match (place, &link) {
                    (Where::Loopback, _) => {
                        let flags = [&BOTH, &["--bandwidth", "1Gbit/s"], preempt].concat();
                        loopback.run(&flags, bench.seconds)?
                    }
                    (Where::Link, Some(link)) => {
                        link.run(&[&BOTH, preempt].concat(), bench.seconds)?
                    }
                    (Where::Link, None) => continue,
                };
                figures.add(turn == 0, awaited(&report)?);
            }
        }
    }
    for (place, figures) in places.into_iter().zip(&all) {
        figures.print(bench, place);
    }
    Ok(())
}

impl Figures {
    fn add(&mut self, is_with: bool, times: sterna_report::stream::StreamTimes) {
        let p99 = times.p99_ns.map_or(f64::NAN, |it| it as f64);
        let mean = times.mean_ns.unwrap_or(f64::NAN);
        let (means, p99s) = match is_with {
            true => (&mut self.with, &mut self.with_p99),
            false => (&mut self.without, &mut self.without_p99),
        };
        means.push(mean);
        p99s.push(p99);
    }

    fn print(&self, bench: &Bench, place: Where) {
        if self.with.count() == 0 {
            return;
        }
        let what = match place {
            Where::Loopback => "bulk limited to 1 Gbit/s by its sender, on loopback",
            Where::Link => "bulk on a link of 1 Gbit/s",
        };
        let mut table = Table::new(format!(
            "A requested page beside {what}, {} rounds of {} s (us)",
            bench.pairs, bench.seconds
        ));
        table.row("without preempt, mean", &self.without.scaled(1e-3), 1);
        table.row("with preempt, mean", &self.with.scaled(1e-3), 1);
        table.row("without preempt, 99th percentile", &self.without_p99.scaled(1e-3), 1);
        table.row("with preempt, 99th percentile", &self.with_p99.scaled(1e-3), 1);
        let ratio = self.with.ratios(&self.without);
        table.row("with / without, means, by round", &ratio, 3);
        table.print();
        if let Where::Link = place {
            let found = ratio.median();
            let name = "with / without preempt, means, on the link";
            target(name, &format!("{found:.3}"), "<= 0.3", found <= 0.3);
        }
    }
}
