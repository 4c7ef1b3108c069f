//! Scenarios that follow from a seed: all patterns, techniques, links and limits.

use sterna_scenario::Scenario;

use crate::soak::dice::Dice;

const PATTERNS: &[&str] = &[
    "random",
    "sequential",
    "zipf(0.99)",
    "zipf(0.7)",
    "hot-set(10%,90%)",
    "hot-set(30%,70%)",
    "stride(7)",
];

const METHODS: &[&str] = &["counter", "counter", "fill-random", "compressible(3)", "write64"];

const TECHNIQUES: &[&str] = &[
    "",
    "",
    "[migration.auto-converge]",
    "[migration.auto-converge]\ninitial = 40\nincrement = 20",
    "[migration.multifd]\nchannels = 4",
    "[migration.multifd]\nchannels = 2\ncompression = \"zstd\"",
    "[migration.xbzrle]\ncache = \"100%\"",
    "[migration.postcopy]\nafter-passes = 1",
    "[migration.postcopy]\nafter = \"2s\"",
    "[migration.pause]\nafter-passes = 3",
    "[migration.dirty-limit]\nper-vcpu = \"5MB/s\"",
    "[migration.downtime]\nfrom = \"20ms\"\nto = \"800ms\"\nsteps = 5\nevery = \"1s\"",
    "[migration.hold]\nat-least-passes = 2",
];

/// The scenario of a seed.
pub fn scenario(seed: u64) -> String {
    let mut dice = Dice::new(seed);
    let technique = dice.one_of(TECHNIQUES);
    let downtime = match technique.contains("migration.downtime") {
        true => String::new(),
        false => {
            format!("downtime-limit = \"{}\"\n", dice.one_of(&["30ms", "100ms", "300ms", "600ms"]))
        }
    };
    format!(
        "[guest]\nmemory = \"{}\"\nballast = \"{}\"\n[workload]\nmemory = \"{}\"\npattern = \"{}\"\nmethod = \"{}\"\nrate = \"{}\"\n[migration]\nmax-bandwidth = \"{}\"\n{downtime}{technique}\n{}\n[limits]\nmax-time = \"25s\"\n[timing]\nwarmup = \"1500ms\"\ncooldown = \"500ms\"\n",
        dice.one_of(&["128MiB", "256MiB", "384MiB"]),
        dice.one_of(&["0%", "20%", "40%"]),
        dice.one_of(&["15%", "30%", "50%"]),
        dice.one_of(PATTERNS),
        dice.one_of(METHODS),
        dice.one_of(&["4MiB/s", "15MiB/s", "40MiB/s", "80MiB/s"]),
        dice.one_of(&["150Mbit/s", "300Mbit/s", "600Mbit/s", "1Gbit/s"]),
        dice.one_of(&["", "", "[link]\nlatency = \"2ms\"", "[link]\nbandwidth = \"800Mbit/s\""]),
    )
}

/// A scenario in a few words.
pub fn words(scenario: &Scenario) -> String {
    let (workload, migration) = (&scenario.workload, &scenario.migration);
    let technique = [
        (migration.auto_converge.is_some(), "auto-converge"),
        (
            migration.multifd.as_ref().is_some_and(|it| it.compression.to_string() == "none"),
            "multifd",
        ),
        (migration.multifd.as_ref().is_some_and(|it| it.compression.to_string() != "none"), "zstd"),
        (migration.xbzrle.is_some(), "xbzrle"),
        (migration.postcopy.is_some(), "post-copy"),
        (migration.pause.is_some(), "pause"),
        (migration.dirty_limit.is_some(), "dirty limit"),
        (migration.downtime.steps().is_some(), "downtime steps"),
        (migration.hold.is_some(), "hold"),
    ];
    let technique = technique.iter().find(|it| it.0).map_or("plain", |it| it.1);
    let bandwidth = migration.max_bandwidth.map_or("no limit".to_owned(), |it| it.to_string());
    format!(
        "{technique}, {} {} {} on {} of {}, {bandwidth}",
        workload.pattern, workload.method, workload.rate, workload.memory, scenario.guest.memory
    )
}
