//! `virsh migrate` and its commands at run time; names and units as virsh 9.0 and later have them.

use sterna_scenario::{Compression, LimitAction, Migration, Scenario, TlsMode, Trigger};
use sterna_units::Rate;

use super::Commands;

const MIB: u64 = 1 << 20;

/// One `virsh migrate`, the downtime limit before it, and what comes while it runs.
pub fn commands(scenario: &Scenario, domain: &str, destination: &str) -> Commands {
    let mut found = Commands::default();
    let migration = &scenario.migration;
    let mut flags = vec!["--live".to_owned(), "--p2p".to_owned()];
    bandwidth(migration, &mut flags);
    techniques(migration, &mut flags, &mut found);
    timeout(scenario, domain, &mut flags, &mut found);
    inexpressible(scenario, &mut found);
    let text = format!("virsh migrate {} {} {}", flags.join(" "), word(domain), word(destination));
    // libvirt takes the limit only while a job runs.
    let limit = (migration.first_downtime_limit().seconds() * 1e3).ceil() as u64;
    found.commands.insert(0, sterna_report::foresight::Command { text, when: None });
    let set = format!("virsh migrate-setmaxdowntime {} {}", word(domain), limit.max(1));
    let at = sterna_report::foresight::Command {
        text: set,
        when: Some("in another shell, as soon as the migration runs".to_owned()),
    };
    found.commands.insert(1, at);
    found
}

fn bandwidth(migration: &Migration, flags: &mut Vec<String>) {
    if let Some(rate) = migration.max_bandwidth {
        flags.push(format!("--bandwidth {}", mebibytes(rate)));
    }
    if let Some(rate) = migration.postcopy.as_ref().and_then(|it| it.max_bandwidth) {
        flags.push(format!("--postcopy-bandwidth {}", mebibytes(rate)));
    }
}

/// virsh takes whole MiB a second, and 0 would be no limit.
fn mebibytes(rate: Rate) -> u64 {
    (rate.bytes_per_second() / MIB).max(1)
}

fn techniques(migration: &Migration, flags: &mut Vec<String>, found: &mut Commands) {
    if let Some(converge) = &migration.auto_converge {
        flags.push("--auto-converge".to_owned());
        flags.push(format!("--auto-converge-initial {}", converge.initial));
        flags.push(format!("--auto-converge-increment {}", converge.increment));
        let by_default = sterna_scenario::AutoConverge::default();
        if converge.max != by_default.max || converge.tail_slow != by_default.tail_slow {
            found.cannot(
                "migration.auto-converge.max",
                "virsh has no flag for it; use qemu-monitor-command migrate-set-parameters",
            );
        }
    }
    if let Some(multifd) = &migration.multifd {
        flags.push("--parallel".to_owned());
        flags.push(format!("--parallel-connections {}", multifd.channels));
        match multifd.compression {
            Compression::None => {}
            Compression::Zlib | Compression::Zstd => {
                let name = multifd.compression.to_string();
                flags.push(format!("--comp-methods {name}"));
                if let Some(level) = multifd.level {
                    flags.push(format!("--comp-{name}-level {level}"));
                }
            }
            _ => found
                .cannot("migration.multifd.compression", "libvirt has zlib and zstd, from 9.4 on"),
        }
    }
    if let Some(xbzrle) = &migration.xbzrle {
        flags.push("--comp-methods xbzrle".to_owned());
        if let sterna_units::Size::Bytes(bytes) = &xbzrle.cache {
            flags.push(format!("--comp-xbzrle-cache {}", bytes.0));
        }
    }
    if let Some(postcopy) = &migration.postcopy {
        flags.push("--postcopy".to_owned());
        if postcopy.trigger == Some(Trigger::AfterPasses(1)) {
            flags.push("--postcopy-after-precopy".to_owned());
        }
    }
    if migration.zero_copy {
        flags.push("--zerocopy".to_owned());
    }
    if migration.tls_mode() == TlsMode::X509 {
        flags.push("--tls".to_owned());
    }
}

/// virsh has one timeout and three things to do then; the others are commands for the right moment.
fn timeout(scenario: &Scenario, domain: &str, flags: &mut Vec<String>, found: &mut Commands) {
    let migration = &scenario.migration;
    let domain = word(domain);
    let postcopy = migration.postcopy.as_ref().and_then(|it| it.trigger);
    match postcopy {
        Some(Trigger::After(span)) => {
            flags.push(format!("--timeout {} --timeout-postcopy", whole(span)));
        }
        Some(Trigger::AfterPasses(passes)) if passes != 1 => found.add_at(
            format!("when domjobinfo shows more than {passes} iterations"),
            format!("virsh migrate-postcopy {domain}"),
        ),
        Some(Trigger::AfterPasses(_)) | None => {}
    }
    match migration.pause.as_ref().map(|it| it.trigger) {
        Some(Trigger::After(span)) => {
            flags.push(format!("--timeout {} --timeout-suspend", whole(span)));
        }
        Some(Trigger::AfterPasses(passes)) => found.add_at(
            format!("when domjobinfo shows more than {passes} iterations"),
            format!("virsh suspend {domain}"),
        ),
        None => {}
    }
    let has_timeout = flags.iter().any(|it| it.starts_with("--timeout"));
    let Some(time) = scenario.limits.max_time else { return };
    let after = format!("{time} after the migration began, if it has not ended");
    match scenario.limits.then {
        LimitAction::Cancel => found.add_at(after, format!("virsh domjobabort {domain}")),
        LimitAction::Pause if !has_timeout => {
            flags.push(format!("--timeout {} --timeout-suspend", whole(time)));
        }
        LimitAction::Postcopy if !has_timeout => {
            flags.push(format!("--timeout {} --timeout-postcopy", whole(time)));
        }
        LimitAction::Pause => found.add_at(after, format!("virsh suspend {domain}")),
        LimitAction::Postcopy => found.add_at(after, format!("virsh migrate-postcopy {domain}")),
    }
}

fn inexpressible(scenario: &Scenario, found: &mut Commands) {
    let migration = &scenario.migration;
    let monitor = "virsh has no flag for it; use qemu-monitor-command migrate-set-parameters";
    if migration.dirty_limit.is_some() {
        found.cannot("migration.dirty-limit", monitor);
    }
    if migration.switchover_bandwidth.is_some() {
        found.cannot("migration.switchover-bandwidth", monitor);
    }
    if scenario.limits.max_passes.is_some() {
        found.cannot("limits.max-passes", "virsh counts no passes; use limits.max-time");
    }
    if let Some(steps) = migration.downtime.steps() {
        found.cannot(
            "migration.downtime",
            format!("only by hand: migrate-setmaxdowntime every {}", steps.every),
        );
    }
}

/// virsh takes whole seconds.
fn whole(span: sterna_units::Span) -> u64 {
    (span.seconds().ceil() as u64).max(1)
}

/// As a shell takes it for one word.
fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+?&[]".contains(c);
    if text.chars().all(is_plain) && !text.contains(['?', '&', '[', ']']) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) -> Commands {
        let scenario = Scenario::from_toml(text, "x").unwrap();
        let found = commands(&scenario, "vm", "qemu+ssh://b/system");
        let texts: Vec<&str> = found.commands.iter().map(|it| it.text.as_str()).collect();
        assert_eq!(texts, expected, "{text}");
        found
    }

    #[test]
    fn techniques_become_flags_of_virsh() {
        check(
            "[migration]\nmax-bandwidth = \"1GiB/s\"\n[migration.postcopy]\nafter-passes = 1\n[limits]\nmax-time = \"none\"\n",
            &[
                "virsh migrate --live --p2p --bandwidth 1024 --postcopy --postcopy-after-precopy vm qemu+ssh://b/system",
                "virsh migrate-setmaxdowntime vm 300",
            ],
        );
        check(
            "[migration]\nmax-bandwidth = \"unlimited\"\ndowntime-limit = \"50ms\"\n[migration.multifd]\nchannels = 8\ncompression = \"zstd\"\n[limits]\nmax-time = \"5m\"\n",
            &[
                "virsh migrate --live --p2p --parallel --parallel-connections 8 --comp-methods zstd vm qemu+ssh://b/system",
                "virsh migrate-setmaxdowntime vm 50",
                "virsh domjobabort vm",
            ],
        );
    }

    #[test]
    fn what_virsh_cannot_say_is_listed() {
        let text = "[migration]\nswitchover-bandwidth = \"1Gbit/s\"\n[limits]\nmax-passes = 9\nmax-time = \"none\"\n";
        let scenario = Scenario::from_toml(text, "x").unwrap();
        let found = commands(&scenario, "vm", "qemu+ssh://b/system");
        let fields: Vec<&str> = found.not_expressible.keys().map(String::as_str).collect();
        assert_eq!(fields, ["limits.max-passes", "migration.switchover-bandwidth"]);
    }

    #[test]
    fn a_name_with_a_blank_is_one_word() {
        let found = commands(&Scenario::default(), "my vm", "qemu+ssh://b/system?no_tty=1");
        assert!(found.commands[0].text.ends_with("'my vm' 'qemu+ssh://b/system?no_tty=1'"));
    }
}
