//! The first pass of an idle guest, against that of a real QEMU on the same machine.

use anyhow::{Context as _, Result};
use sterna_report::Report;
use sterna_units::Bytes;

use super::first_pass::{idle_flight, wire_bytes_per_second};
use super::samples::Samples;
use super::table::Table;
use super::{Options, target};
use crate::flight::Flights;
use crate::qemu;

/// How much faster one connection of ours shall be.
const LEAST_RATIO: f64 = 1.2;

/// The part of memory that holds random bytes. A real guest's kernel needs some of the rest, and what is empty travels as marks on both.
const FILLED: f64 = 0.75;

/// One of those that are compared.
struct Way {
    name: &'static str,
    engine: &'static str,
    channels: Option<&'static str>,
}

const fn way(name: &'static str, engine: &'static str, channels: Option<&'static str>) -> Way {
    Way { name, engine, channels }
}

const WAYS: [Way; 4] = [
    way("sterna, one connection", "emulator", None),
    way("QEMU, one connection", "qemu", None),
    way("sterna, multifd, 4 channels", "emulator", Some("4")),
    way("QEMU, multifd, 4 channels", "qemu", Some("4")),
];

/// Flies all of them next to each other, each time beginning with another one.
pub fn run(options: &Options, flights: &Flights) -> Result<()> {
    let program = qemu::program()?;
    if !program.exists() {
        println!("\nAgainst QEMU: not measured; `cargo xtask qemu` fetches the program first");
        return Ok(());
    }
    let program = program.to_str().context("The cache has a name that is no text")?;
    let memory = options.guest_memory();
    let mut found: Vec<Samples> = WAYS.iter().map(|_| Samples::default()).collect();
    let mut version = None;
    for round in 0..options.pairs as usize {
        for turn in 0..WAYS.len() {
            let index = (round + turn) % WAYS.len();
            let report = flight(flights, memory, &WAYS[index], program)?;
            found[index].push(wire_bytes_per_second(&report)?);
            if WAYS[index].engine == "qemu" {
                version = report.engine.peer_versions.source.clone().or(version);
            }
        }
    }
    let mut table = Table::new(format!(
        "First pass of an idle guest of {memory} with {:.0} % random bytes, beside QEMU {}, {} rounds (GB/s)",
        FILLED * 100.0,
        version.as_deref().unwrap_or("of an unknown version"),
        options.pairs
    ));
    for (way, samples) in WAYS.iter().zip(&found) {
        table.row(way.name, &samples.scaled(1e-9), 2);
    }
    let one = found[0].ratios(&found[1]);
    table.row("sterna / QEMU, one connection, by round", &one, 2);
    table.row("sterna / QEMU, multifd, by round", &found[2].ratios(&found[3]), 2);
    table.print();
    println!(
        "Counted: bytes on the wire over the length of the first pass, each by its own engine's count; QEMU's ends at the poll that sees its next synchronisation"
    );
    target(
        "One connection, sterna / QEMU, median of the rounds",
        &format!("{:.2}", one.median()),
        &format!(">= {LEAST_RATIO}"),
        one.median() >= LEAST_RATIO,
    );
    Ok(())
}

fn flight(flights: &Flights, memory: Bytes, way: &Way, program: &str) -> Result<Report> {
    let ballast = Bytes((memory.0 as f64 * FILLED) as u64 / 4096 * 4096).to_string();
    let mut more = vec![
        ("engine", way.engine),
        ("ballast", &ballast),
        // A real guest always writes a little more than nothing.
        ("downtime-limit", "5ms"),
        ("warmup", "500ms"),
        ("cooldown", "200ms"),
    ];
    if way.engine == "qemu" {
        more.extend([("qemu-source", program), ("qemu-destination", program)]);
    }
    more.extend(way.channels.map(|it| ("multifd-channels", it)));
    idle_flight(flights, memory, &more).with_context(|| format!("On {}", way.name))
}
