//! The one table of everything that can be set.

use super::Setting;
use crate::types::{Downtime, Pause, Scenario, Trigger};
use crate::value::{Kind, Value, ValueError};

/// One row. `peek` finds the value in a scenario, `set` puts one there; everything else follows from its type.
macro_rules! row {
    ($path:literal, $example:expr, $none:expr, $peek:expr, $set:expr, $about:literal) => {
        Setting {
            path: $path,
            about: $about,
            example: $example,
            none: $none,
            kind: kind($peek),
            is_list: is_list($peek),
            is_quantity: is_quantity($peek),
            choices: choices($peek),
            get: |scenario| show($peek, scenario),
            set: $set,
        }
    };
}

/// A field that always has a value.
macro_rules! plain {
    ($path:literal, $($field:ident).+, $about:literal) => {
        row!($path, None, None, |s| Some(&s.$($field).+), |s, text| put(&mut s.$($field).+, text), $about)
    };
}

/// A field that may have no value: an example, and the word that takes a value away.
macro_rules! maybe {
    ($path:literal, $($field:ident).+, $example:literal, $none:expr, $about:literal) => {
        row!(
            $path,
            Some($example),
            $none,
            |s| s.$($field).+.as_ref(),
            |s, text| put_option(&mut s.$($field).+, $none, text),
            $about
        )
    };
}

/// A field of an optional table within `[migration]`.
macro_rules! technique {
    ($path:literal, $table:ident.$field:ident, $about:literal) => {
        row!(
            $path,
            None,
            None,
            |s| s.migration.$table.as_ref().map(|table| &table.$field),
            |s, text| put(&mut s.migration.$table.get_or_insert_default().$field, text),
            $about
        )
    };
    ($path:literal, $table:ident.$field:ident, $example:literal, $none:literal, $about:literal) => {
        row!(
            $path,
            Some($example),
            Some($none),
            |s| s.migration.$table.as_ref().and_then(|table| table.$field.as_ref()),
            |s, text| {
                let table = s.migration.$table.get_or_insert_default();
                put_option(&mut table.$field, Some($none), text)
            },
            $about
        )
    };
}

/// A field of `[migration.downtime]`.
macro_rules! downtime {
    ($path:literal, $field:ident, $about:literal) => {
        row!(
            $path,
            None,
            None,
            |s| s.migration.downtime.steps().map(|steps| &steps.$field),
            |s, text| put(&mut s.migration.downtime.steps_or_default().$field, text),
            $about
        )
    };
}

pub(super) const SETTINGS: &[Setting] = &[
    maybe!("name", name, "a bare run", None, "What to call the run in reports"),
    plain!(
        "verify",
        verify,
        "What of memory is compared: the workload's pages, or on QEMU all memory of both sides while the guest runs on neither, which leaves no downtime to measure"
    ),
    plain!(
        "probes",
        probes,
        "Who watches the guest's network, as in kind=udp,interval=1ms;kind=icmp with kinds udp, tcp, icmp and playout, each every 1ms to 1s; default is udp every 10ms where the engine has a network, else none; the same as tables [[probe]]"
    ),
    maybe!(
        "faults",
        faults,
        "at-pass=2,side=source,action=drop;at=5s,side=destination,action=stall,for=500ms",
        Some("none"),
        "What goes wrong on purpose: drop, stall, corrupt, delay or kill; the same as tables [[fault]]"
    ),
    plain!(
        "guest.paused",
        guest.paused,
        "Whether the guest is paused before the migration and goes on only after it: there is no downtime then"
    ),
    plain!("guest.vcpus", guest.vcpus, "Virtual processors, 1 to 1024"),
    plain!("guest.memory", guest.memory, "Guest memory"),
    plain!(
        "guest.ballast",
        guest.ballast,
        "Memory that holds data but is never written; a percentage is of guest memory"
    ),
    plain!("guest.huge-pages", guest.huge_pages, "The pages that back guest memory"),
    plain!("guest.prealloc", guest.prealloc, "Whether all memory is populated before the run"),
    plain!("guest.locked", guest.locked, "Whether memory is locked against swapping"),
    maybe!(
        "guest.source.cpus",
        guest.source.cpus,
        "0-3",
        Some("any"),
        "Processors that the source runs on"
    ),
    maybe!(
        "guest.source.numa-nodes",
        guest.source.numa_nodes,
        "0",
        Some("any"),
        "NUMA nodes that the source takes memory from"
    ),
    maybe!(
        "guest.destination.cpus",
        guest.destination.cpus,
        "4-7",
        Some("any"),
        "Processors that the destination runs on"
    ),
    maybe!(
        "guest.destination.numa-nodes",
        guest.destination.numa_nodes,
        "1",
        Some("any"),
        "NUMA nodes that the destination takes memory from"
    ),
    plain!(
        "workload.memory",
        workload.memory,
        "How much memory is written; a percentage is of guest memory"
    ),
    plain!(
        "workload.workers",
        workload.workers,
        "How many threads write; by default as many as virtual processors"
    ),
    plain!(
        "workload.pattern",
        workload.pattern,
        "In which order pages are written: sequential, random, zipf(0.99), hot-set(10%,90%), stride(7) or once"
    ),
    plain!(
        "workload.method",
        workload.method,
        "What a write does to its page: touch, write64, write64nt, write1024, zero, xor-random, fill-random, compressible(3) or counter"
    ),
    plain!(
        "workload.rate",
        workload.rate,
        "How fast all workers together write, each page counted as 4 KiB, as in 32MiB/s, 5000pages/s, 25% (of what is reached without a limit), or unlimited or idle"
    ),
    plain!("workload.seed", workload.seed, "Decides page order and content"),
    plain!("workload.latency", workload.latency, "Whether each write is timed"),
    plain!(
        "workload.catch-up",
        workload.catch_up,
        "Whether writes that a stall or a pause kept back are made up for in a burst"
    ),
    maybe!(
        "workload.phases",
        workload.phases,
        "at=0s,for=4s,rate=10MB/s;at=4s,for=1s,pattern=random,rate=100MB/s..200MB/s,memory=50%",
        Some("none"),
        "What to do instead at certain times; the same as tables [[workload.phase]]"
    ),
    plain!("workload.repeat", workload.repeat, "Whether the phases begin again after the last"),
    plain!("migration.transport", migration.transport, "What carries the stream"),
    maybe!(
        "migration.max-bandwidth",
        migration.max_bandwidth,
        "1Gbit/s",
        Some("unlimited"),
        "What the stream may use until the switchover, or unlimited"
    ),
    maybe!(
        "migration.switchover-bandwidth",
        migration.switchover_bandwidth,
        "1Gbit/s",
        Some("estimate"),
        "What the switchover is planned with, or estimate: from what was sent lately"
    ),
    row!(
        "migration.downtime-limit",
        Some("300ms"),
        None,
        |s| s.migration.downtime.limit(),
        |s, text| {
            s.migration.downtime = Downtime::Limit(Value::read(text)?);
            Ok(())
        },
        "How long the guest may be frozen, at most 2000s"
    ),
    maybe!(
        "migration.switchover-decision",
        migration.switchover_decision,
        "qemu",
        Some("default"),
        "What must fit into the downtime limit: pending pages as they will travel (effective), in full (qemu), or whatever the engine does (default)"
    ),
    plain!("migration.zero-page", migration.zero_page, "Who looks for pages of zeros"),
    plain!(
        "migration.hops",
        migration.hops,
        "How often the guest moves, 1 to 16: 2 is there and back, each hop a migration of its own in the report"
    ),
    plain!(
        "migration.zero-copy",
        migration.zero_copy,
        "Whether pages are sent without a copy; needs multifd"
    ),
    plain!(
        "migration.mapped-ram",
        migration.mapped_ram,
        "Whether each page has a place of its own in the file; needs transport file"
    ),
    plain!(
        "migration.direct-io",
        migration.direct_io,
        "Whether the file is written past the page cache; needs mapped-ram and multifd"
    ),
    plain!(
        "migration.return-path",
        migration.return_path,
        "Whether the destination answers on the stream; a file cannot"
    ),
    plain!(
        "migration.switchover-ack",
        migration.switchover_ack,
        "Whether the destination's devices must agree to the switchover; needs return-path"
    ),
    plain!(
        "migration.limit-in-switchover",
        migration.limit_in_switchover,
        "Whether max-bandwidth also holds while the guest is frozen"
    ),
    downtime!("migration.downtime.from", from, "The first limit"),
    downtime!("migration.downtime.to", to, "The last limit, at most 2000s"),
    downtime!("migration.downtime.steps", steps, "How many limits, first and last included"),
    downtime!("migration.downtime.every", every, "How long each limit stands before the next"),
    row!(
        "migration.postcopy.after-passes",
        Some("2"),
        None,
        |s| s.migration.postcopy.as_ref()?.trigger.as_ref()?.after_passes(),
        |s, text| {
            let trigger = Trigger::AfterPasses(Value::read(text)?);
            s.migration.postcopy.get_or_insert_default().trigger = Some(trigger);
            Ok(())
        },
        "Switch as soon as this many passes are complete"
    ),
    row!(
        "migration.postcopy.after",
        Some("10s"),
        None,
        |s| s.migration.postcopy.as_ref()?.trigger.as_ref()?.after(),
        |s, text| {
            let trigger = Trigger::After(Value::read(text)?);
            s.migration.postcopy.get_or_insert_default().trigger = Some(trigger);
            Ok(())
        },
        "Instead of after-passes: switch so long after the migration began"
    ),
    technique!(
        "migration.postcopy.preempt",
        postcopy.preempt,
        "Whether requested pages travel on a connection of their own"
    ),
    technique!(
        "migration.postcopy.max-bandwidth",
        postcopy.max_bandwidth,
        "1Gbit/s",
        "unlimited",
        "What the background stream may use after the switch, or unlimited"
    ),
    technique!(
        "migration.postcopy.recover",
        postcopy.recover,
        "Whether a link that is lost after the switch is connected again; otherwise the guest is lost with it"
    ),
    row!(
        "migration.pause.after-passes",
        Some("5"),
        None,
        |s| s.migration.pause.as_ref()?.trigger.after_passes(),
        |s, text| {
            let trigger = Trigger::AfterPasses(Value::read(text)?);
            s.migration.pause = Some(Pause { trigger });
            Ok(())
        },
        "Stop the guest as soon as this many passes are complete"
    ),
    row!(
        "migration.pause.after",
        Some("30s"),
        None,
        |s| s.migration.pause.as_ref()?.trigger.after(),
        |s, text| {
            let trigger = Trigger::After(Value::read(text)?);
            s.migration.pause = Some(Pause { trigger });
            Ok(())
        },
        "Instead of after-passes: stop the guest so long after the migration began"
    ),
    technique!(
        "migration.auto-converge.initial",
        auto_converge.initial,
        "Percent of processor time taken away at first, 1 to 99"
    ),
    technique!(
        "migration.auto-converge.increment",
        auto_converge.increment,
        "Percent that each further step adds, 1 to 99"
    ),
    technique!("migration.auto-converge.max", auto_converge.max, "Percent at most, 1 to 99"),
    technique!(
        "migration.auto-converge.tail-slow",
        auto_converge.tail_slow,
        "Whether the last steps are only as large as the dirty rate asks for"
    ),
    technique!(
        "migration.dirty-limit.per-vcpu",
        dirty_limit.per_vcpu,
        "The dirty rate that each virtual processor may have, at least 1MB/s"
    ),
    technique!(
        "migration.dirty-limit.period",
        dirty_limit.period,
        "500ms",
        "default",
        "How often the rate is looked at, 1ms to 1s"
    ),
    technique!("migration.multifd.channels", multifd.channels, "How many connections, 1 to 255"),
    technique!("migration.multifd.compression", multifd.compression, "How pages are compressed"),
    technique!(
        "migration.multifd.level",
        multifd.level,
        "1",
        "default",
        "How hard the compressor tries: zlib 0 to 9, zstd 0 to 20, qatzip 1 to 9"
    ),
    technique!("migration.compress.level", compress.level, "How hard the compressor tries, 0 to 9"),
    technique!("migration.compress.threads", compress.threads, "How many threads compress"),
    technique!(
        "migration.compress.decompress-threads",
        compress.decompress_threads,
        "How many threads of the destination take it apart"
    ),
    technique!(
        "migration.xbzrle.cache",
        xbzrle.cache,
        "Size of the cache of former content; a percentage is of guest memory"
    ),
    technique!("migration.tls.mode", tls.mode, "How the two sides know each other"),
    technique!(
        "migration.tls.credentials",
        tls.credentials,
        "/etc/pki/qemu",
        "generated",
        "The directory with keys.psk, or with ca-cert.pem and server- and client-cert.pem and -key.pem, or generated: made for the run"
    ),
    technique!(
        "migration.tls.hostname",
        tls.hostname,
        "host.example.org",
        "default",
        "The name that the destination's certificate must carry"
    ),
    technique!(
        "migration.hold.at-least-passes",
        hold.at_least_passes,
        "How many passes must be complete before it may finish"
    ),
    row!(
        "link.latency",
        None,
        None,
        |s| s.link.as_ref().map(|link| &link.latency),
        |s, text| put(&mut s.link.get_or_insert_default().latency, text),
        "How long each byte is under way, in one direction, at most 10s"
    ),
    row!(
        "link.bandwidth",
        Some("10Gbit/s"),
        Some("unlimited"),
        |s| s.link.as_ref()?.bandwidth.as_ref(),
        |s, text| {
            put_option(&mut s.link.get_or_insert_default().bandwidth, Some("unlimited"), text)
        },
        "What the wire carries"
    ),
    row!(
        "fleet.guests",
        None,
        None,
        |s| s.fleet.as_ref().map(|fleet| &fleet.guests),
        |s, text| put(&mut s.fleet.get_or_insert_default().guests, text),
        "How many guests there are, 2 to 64"
    ),
    row!(
        "fleet.parallel",
        None,
        None,
        |s| s.fleet.as_ref().map(|fleet| &fleet.parallel),
        |s, text| put(&mut s.fleet.get_or_insert_default().parallel, text),
        "How many of them migrate at the same time; 1 for one after the other"
    ),
    maybe!(
        "limits.max-time",
        limits.max_time,
        "300s",
        Some("none"),
        "Total time at which to act, or none"
    ),
    maybe!(
        "limits.max-passes",
        limits.max_passes,
        "30",
        Some("none"),
        "Completed passes at which to act, or none"
    ),
    plain!("limits.then", limits.then, "What to do at a limit"),
    maybe!(
        "limits.abandon-postcopy-after",
        limits.abandon_postcopy_after,
        "10m",
        Some("none"),
        "Time in post-copy after which the guest is given up, which loses it, or none; other limits never do that"
    ),
    maybe!(
        "slo.fail-if",
        slo.fail_if,
        "downtime>300ms;blackout>1s",
        Some("none"),
        "Fail with exit code 4 when the run completes and this is true of a number of its summary, such as downtime>300ms, blackout>1s or bandwidth-mean<500Mbit/s; may be repeated"
    ),
    plain!(
        "timing.warmup",
        timing.warmup,
        "How long the guest is watched before, for the baseline"
    ),
    plain!("timing.cooldown", timing.cooldown, "How long the guest is watched afterwards"),
    plain!(
        "timing.sample-interval",
        timing.sample_interval,
        "Time between two samples, at least 1ms"
    ),
];

fn put<T: Value>(place: &mut T, text: &str) -> Result<(), ValueError> {
    *place = T::read(text)?;
    Ok(())
}

fn put_option<T: Value>(
    place: &mut Option<T>,
    none: Option<&str>,
    text: &str,
) -> Result<(), ValueError> {
    let is_none = none.is_some_and(|none| means_none(none, text.trim()));
    *place = if is_none { None } else { Some(T::read(text)?) };
    Ok(())
}

/// Whether a text asks for no value, where `none` is the word for it. Limits are taken away by either of two words.
pub(super) fn means_none(none: &str, text: &str) -> bool {
    let limit = ["unlimited", "none"];
    text == none || limit.contains(&none) && limit.contains(&text)
}

fn show<T: Value>(peek: fn(&Scenario) -> Option<&T>, scenario: &Scenario) -> Option<String> {
    peek(scenario).map(T::to_string)
}

const fn kind<T: Value>(_: fn(&Scenario) -> Option<&T>) -> Kind {
    T::KIND
}

const fn is_list<T: Value>(_: fn(&Scenario) -> Option<&T>) -> bool {
    T::IS_LIST
}

const fn is_quantity<T: Value>(_: fn(&Scenario) -> Option<&T>) -> bool {
    T::IS_QUANTITY
}

const fn choices<T: Value>(_: fn(&Scenario) -> Option<&T>) -> fn() -> &'static [&'static str] {
    T::choices
}
