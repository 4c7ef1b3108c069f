//! From the scenario's techniques to QEMU's capabilities and parameters.
//!
//! One table, read twice: once against what the binary says it has, once to set it.
//! QEMU checks every setting against the others as it is set, so each is set alone and in order: a refusal then has one field to blame.

use serde_json::{Value, json};
use sterna_pilot::{EngineError, Unsupported};
use sterna_report::Side;
use sterna_scenario::{
    Compression, Multifd, Scenario, SwitchoverDecision, TlsMode, Transport, ZeroPage,
};

use crate::process::{QemuProcess, side_name};
use crate::qmp::{QmpError, Schema};

/// The object that holds the keys of an encrypted stream.
pub(crate) const TLS_OBJECT: &str = "sterna-tls";

/// One thing to set.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wish {
    /// The scenario's field that asks for it.
    pub field: &'static str,
    /// QEMU's name for it.
    pub name: &'static str,
    /// What to set; `None` is a capability to switch on.
    pub value: Option<Value>,
    /// What happens without it.
    pub need: Need,
}

/// What happens when a QEMU does not have something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// The scenario is refused.
    Must,
    /// The run tells less, or does the same in the only way that it can.
    May,
}

/// What no QEMU can do; nothing has been started yet.
pub(crate) fn impossible(scenario: &Scenario) -> Vec<Unsupported> {
    let migration = &scenario.migration;
    let table = [
        (
            scenario.link.is_some(),
            "link",
            "a wire is emulated by the engine emulator alone; shape a real one with `tc`, or drop [link]",
        ),
        (
            migration.limit_in_switchover,
            "migration.limit-in-switchover",
            "QEMU lifts its bandwidth limit while the guest is frozen; drop the field",
        ),
        (
            migration.switchover_decision == Some(SwitchoverDecision::Effective),
            "migration.switchover-decision",
            "QEMU compares raw pages with what it can send, and cannot be told otherwise; use \"qemu\" or drop the field",
        ),
        (
            migration.tls_mode() == TlsMode::X509,
            "migration.tls.mode",
            "certificates are not made by this version; use \"psk\"",
        ),
    ];
    let asked = table.into_iter().filter(|(is_asked_for, ..)| *is_asked_for);
    asked
        .map(|(_, field, reason)| Unsupported {
            field: field.to_owned(),
            reason: reason.to_owned(),
        })
        .collect()
}

/// Everything to set on both sides, in order.
pub(crate) fn wishes(scenario: &Scenario) -> Vec<Wish> {
    let migration = &scenario.migration;
    let mut list = List::default();
    list.may("engine", "events");
    list.may("engine", "return-path");
    if let Some(postcopy) = &migration.postcopy {
        list.capability("migration.postcopy", "postcopy-ram");
        list.may("migration.postcopy", "postcopy-blocktime");
        if postcopy.preempt {
            list.capability("migration.postcopy.preempt", "postcopy-preempt");
        }
        let rate = postcopy.max_bandwidth.map_or(0, |it| it.bytes_per_second());
        list.parameter("migration.postcopy.max-bandwidth", "max-postcopy-bandwidth", rate);
    }
    if let Some(multifd) = &migration.multifd {
        channels(multifd, &mut list);
    }
    if migration.zero_copy {
        list.capability("migration.zero-copy", "zero-copy-send");
    }
    if let Some(xbzrle) = &migration.xbzrle {
        let bytes = xbzrle.cache.of(scenario.guest.memory).0;
        list.capability("migration.xbzrle", "xbzrle");
        list.parameter("migration.xbzrle.cache", "xbzrle-cache-size", cache_bytes(bytes));
    }
    if let Some(converge) = &migration.auto_converge {
        let table = "migration.auto-converge";
        list.capability(table, "auto-converge");
        // The highest first, for QEMU holds the first step against it.
        list.parameter("migration.auto-converge.max", "max-cpu-throttle", converge.max);
        list.parameter("migration.auto-converge.initial", "cpu-throttle-initial", converge.initial);
        let field = "migration.auto-converge.increment";
        list.parameter(field, "cpu-throttle-increment", converge.increment);
        let field = "migration.auto-converge.tail-slow";
        list.parameter(field, "cpu-throttle-tailslow", converge.tail_slow);
    }
    if let Some(limit) = &migration.dirty_limit {
        list.capability("migration.dirty-limit", "dirty-limit");
        let megabytes = (limit.per_vcpu.bytes_per_second() >> 20).max(1);
        list.parameter("migration.dirty-limit.per-vcpu", "vcpu-dirty-limit", megabytes);
    }
    zero_pages(migration.zero_page, &mut list);
    if migration.tls_mode() == TlsMode::Psk {
        list.parameter("migration.tls.mode", "tls-creds", TLS_OBJECT);
    }
    let rate = migration.max_bandwidth.map_or(0, |it| it.bytes_per_second());
    list.parameter("migration.max-bandwidth", "max-bandwidth", rate);
    let downtime = milliseconds(migration.first_downtime_limit().0.as_nanos() as u64);
    list.parameter("migration.downtime-limit", "downtime-limit", downtime);
    list.wishes
}

/// Sets everything on one side, and tells what was left out.
///
/// # Errors
/// [`EngineError::Unsupported`] with the field and the binary's own reason.
pub(crate) fn apply(
    qemu: &mut QemuProcess,
    side: Side,
    wishes: &[Wish],
    schema: &Schema,
) -> Result<Vec<&'static str>, EngineError> {
    let (capabilities, parameters) = (schema.capabilities(), schema.parameters());
    let mut left_out = Vec::new();
    for wish in wishes {
        let is_known = match wish.value {
            None => capabilities.contains(wish.name),
            Some(_) => parameters.contains(wish.name),
        };
        let outcome = match (is_known, &wish.value) {
            (false, _) => Err(format!("There is no `{}`", wish.name)),
            (true, None) => set(
                qemu,
                "migrate-set-capabilities",
                json!({ "capabilities": [{ "capability": wish.name, "state": true }] }),
            )?,
            (true, Some(value)) => {
                set(qemu, "migrate-set-parameters", json!({ wish.name: value }))?
            }
        };
        match outcome {
            Ok(()) => {}
            Err(_) if wish.need == Need::May => left_out.push(wish.name),
            Err(reason) => {
                let version = &qemu.greeting().version;
                return Err(EngineError::Unsupported(format!(
                    "{}: {reason} (QEMU {version}, {})",
                    wish.field,
                    side_name(side)
                )));
            }
        }
    }
    Ok(left_out)
}

/// Whether the transport goes through a file of the run's directory.
pub(crate) fn transport_word(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "tcp",
        Transport::Unix => "unix",
    }
}

/// QEMU counts limits of downtime in whole milliseconds, and 0 would end a migration at once.
pub(crate) fn milliseconds(ns: u64) -> u64 {
    ns.div_ceil(1_000_000).max(1)
}

/// The inner error is QEMU's refusal, the outer one its end.
fn set(
    qemu: &mut QemuProcess,
    command: &str,
    arguments: Value,
) -> Result<Result<(), String>, EngineError> {
    match qemu.try_execute(command, arguments) {
        Ok(_) => Ok(Ok(())),
        Err(error @ QmpError::Refused { .. }) => Ok(Err(error.text())),
        Err(error) => Err(qemu.explain(error)),
    }
}

fn channels(multifd: &Multifd, list: &mut List) {
    list.capability("migration.multifd", "multifd");
    list.parameter("migration.multifd.channels", "multifd-channels", multifd.channels);
    let word = multifd.compression.to_string();
    list.parameter("migration.multifd.compression", "multifd-compression", word);
    let level = match multifd.compression {
        Compression::None => return,
        Compression::Zlib => "multifd-zlib-level",
        Compression::Zstd => "multifd-zstd-level",
    };
    if let Some(value) = multifd.level {
        list.parameter("migration.multifd.level", level, value);
    }
}

/// Without the parameter (before 9.0) the main thread looks, and nobody else can.
fn zero_pages(zero_page: ZeroPage, list: &mut List) {
    let (word, need) = match zero_page {
        ZeroPage::Main => ("legacy", Need::May),
        ZeroPage::Multifd => ("multifd", Need::Must),
        ZeroPage::Off => ("none", Need::Must),
    };
    let value = Some(json!(word));
    let name = "zero-page-detection";
    list.wishes.push(Wish { field: "migration.zero-page", name, value, need });
}

/// QEMU takes powers of two only; the next one holds what was asked for.
fn cache_bytes(bytes: u64) -> u64 {
    bytes.checked_next_power_of_two().unwrap_or(1 << 63)
}

#[derive(Default)]
struct List {
    wishes: Vec<Wish>,
}

impl List {
    fn capability(&mut self, field: &'static str, name: &'static str) {
        self.wishes.push(Wish { field, name, value: None, need: Need::Must });
    }

    fn may(&mut self, field: &'static str, name: &'static str) {
        self.wishes.push(Wish { field, name, value: None, need: Need::May });
    }

    fn parameter(&mut self, field: &'static str, name: &'static str, value: impl Into<Value>) {
        self.wishes.push(Wish { field, name, value: Some(value.into()), need: Need::Must });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(toml: &str) -> Scenario {
        Scenario::from_toml(toml, "test.toml").unwrap()
    }

    /// What is set beyond a bare scenario, as `name` or `name=value`.
    #[track_caller]
    fn check(toml: &str, expected: &[&str]) {
        let show = |wish: &Wish| match &wish.value {
            None => wish.name.to_owned(),
            Some(value) => format!("{}={value}", wish.name),
        };
        let bare: Vec<String> = wishes(&scenario("")).iter().map(show).collect();
        let found = wishes(&scenario(toml));
        let found: Vec<String> = found.iter().map(show).filter(|it| !bare.contains(it)).collect();
        assert_eq!(found, expected, "for {toml}");
    }

    #[test]
    fn techniques_become_settings() {
        check("", &[]);
        check("[migration]\nmax-bandwidth = \"unlimited\"", &["max-bandwidth=0"]);
        check("[migration]\ndowntime-limit = \"100us\"", &["downtime-limit=1"]);
        check("[migration.downtime]\nfrom = \"50ms\"", &["downtime-limit=50"]);
        check(
            "[migration.multifd]\nchannels = 8\ncompression = \"zstd\"\nlevel = 3",
            &[
                "multifd",
                "multifd-channels=8",
                "multifd-compression=\"zstd\"",
                "multifd-zstd-level=3",
            ],
        );
        check("[migration.xbzrle]\ncache = \"25%\"", &["xbzrle", "xbzrle-cache-size=67108864"]);
        check("[migration.xbzrle]\ncache = \"5MiB\"", &["xbzrle", "xbzrle-cache-size=8388608"]);
        check(
            "[migration.postcopy]\nafter-passes = 2\nmax-bandwidth = \"1MB/s\"",
            &[
                "postcopy-ram",
                "postcopy-blocktime",
                "postcopy-preempt",
                "max-postcopy-bandwidth=1000000",
            ],
        );
        check(
            "[migration.postcopy]\n[limits]\nmax-passes = 2\nthen = \"postcopy\"",
            &["postcopy-ram", "postcopy-blocktime", "postcopy-preempt", "max-postcopy-bandwidth=0"],
        );
        check(
            "[migration.auto-converge]\ninitial = 30",
            &[
                "auto-converge",
                "max-cpu-throttle=99",
                "cpu-throttle-initial=30",
                "cpu-throttle-increment=10",
                "cpu-throttle-tailslow=false",
            ],
        );
        check("[migration]\nzero-page = \"off\"", &["zero-page-detection=\"none\""]);
        check("[migration.tls]\nmode = \"psk\"", &["tls-creds=\"sterna-tls\""]);
    }

    #[test]
    fn what_no_qemu_can_do_is_named_by_its_field() {
        let found = impossible(&scenario("[link]\nlatency = \"1ms\""));
        assert_eq!(found[0].field, "link");
        let found = impossible(&scenario("[migration]\nswitchover-decision = \"effective\""));
        assert_eq!(found[0].field, "migration.switchover-decision");
        assert!(impossible(&scenario("[migration]\nswitchover-decision = \"qemu\"")).is_empty());
        assert!(impossible(&scenario("")).is_empty());
    }
}
