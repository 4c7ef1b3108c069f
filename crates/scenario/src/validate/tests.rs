use crate::{Builder, Origin, Scenario, ScenarioError};

fn problems(lines: &str) -> Vec<String> {
    match Scenario::from_toml(lines, "t") {
        Ok(_) => Vec::new(),
        Err(ScenarioError::Impossible(problems)) => {
            problems.iter().map(|problem| problem.message.clone()).collect()
        }
        Err(other) => panic!("{lines}: {other}"),
    }
}

#[track_caller]
fn refused(lines: &str, expected: &str) {
    let found = problems(lines);
    assert_eq!(found.len(), 1, "{lines}: {found:#?}");
    assert!(found[0].contains(expected), "{lines}: {found:#?}, wanted {expected}");
}

#[track_caller]
fn accepted(lines: &str) {
    assert_eq!(problems(lines), Vec::<String>::new(), "{lines}");
}

#[test]
fn the_defaults_can_be_run() {
    assert!(Scenario::default().validate().is_ok());
}

#[test]
fn guests_must_be_possible() {
    refused(
        "guest.vcpus = 0\nworkload.workers = 1",
        "`guest.vcpus` is 0; it must be from 1 to 1024",
    );
    refused("guest.vcpus = 1025\nworkload.workers = 1", "is 1025");
    refused("workload.workers = 0", "`workload.workers` is 0");
    refused(
        "guest.memory = \"10000B\"\nworkload = { memory = \"4KiB\", workers = 1 }",
        "is 10000B, not a multiple of 4KiB",
    );
    refused("guest.memory = \"512TiB\"", "must be from 4KiB to 256TiB");
    refused("guest = { memory = \"5MiB\", huge-pages = \"2MiB\" }", "not a multiple of the 2MiB");
    refused("guest = { memory = \"512MiB\", huge-pages = \"1GiB\" }", "not a multiple of the 1GiB");
    accepted("guest = { memory = \"256TiB\" }");
    accepted("guest = { memory = \"6MiB\", huge-pages = \"2MiB\" }");
    accepted("guest = { memory = \"4100KiB\", huge-pages = \"thp\" }");
    assert!(!problems("guest.memory = 0").is_empty());
}

#[test]
fn workload_and_ballast_must_fit() {
    refused("workload.memory = \"257MiB\"", "`workload.memory` is 257MiB, more than the 256MiB");
    refused("guest.ballast = \"257MiB\"", "`guest.ballast` is 257MiB, more than the 256MiB");
    refused("workload.memory = \"75%\"\nguest.ballast = \"65MiB\"", "take 257MiB together");
    refused(
        "workload.memory = \"8KiB\"\nworkload.workers = 3",
        "is 2 whole pages, fewer than `workload.workers` with 3",
    );
    refused("workload.memory = \"4095B\"\nworkload.workers = 1", "is 0 whole pages, fewer than");
    refused("workload.memory = \"0%\"", "at least one page");
    accepted("workload.memory = \"75%\"\nguest.ballast = \"25%\"");
    accepted("workload.memory = \"8KiB\"\nworkload.workers = 2");
    accepted("workload.memory = \"100%\"");
}

#[test]
fn rates_must_let_something_through() {
    refused("migration.max-bandwidth = \"0B/s\"", "lets nothing through; give a rate such as");
    refused("migration.max-bandwidth = \"7bit/s\"", "is 7bit/s, which lets nothing through");
    refused("link.bandwidth = \"0bit/s\"", "`link.bandwidth` is 0bit/s");
    refused(
        "migration.postcopy = { after-passes = 1, max-bandwidth = \"0B/s\" }",
        "postcopy.max-bandwidth",
    );
    accepted("migration.max-bandwidth = \"8bit/s\"");
}

#[test]
fn downtime_must_be_possible() {
    refused("migration.downtime-limit = \"2001s\"", "it must be at most 2000s");
    refused("migration.downtime.to = \"2001s\"", "`migration.downtime.to` is 33m 21s");
    refused(
        "migration.downtime.from = \"600ms\"",
        "above `migration.downtime.to` with 500ms; swap",
    );
    refused("migration.downtime.steps = 0", "`migration.downtime.steps` is 0");
    refused("migration.downtime.every = \"0s\"", "not grow but jump");
    accepted("migration.downtime-limit = \"2000s\"");
    accepted("migration.downtime = {}");
}

#[test]
fn techniques_must_get_along() {
    refused("migration = { postcopy.after-passes = 1, pause.after-passes = 2 }", "two ways to end");
    refused("limits.then = \"postcopy\"", "add [migration.postcopy]");
    refused("[migration.postcopy]", "does not say when to switch");
    refused(
        "migration = { auto-converge = {}, dirty-limit = {} }",
        "would both slow the guest down",
    );
    refused("migration = { xbzrle = {}, multifd = {} }", "exclude each other");
    refused("migration.zero-page = \"multifd\"", "there is no [migration.multifd]");
    accepted("limits.then = \"postcopy\"\n[migration.postcopy]");
    accepted("migration = { zero-page = \"multifd\", multifd = {} }");
    accepted(
        "migration = { postcopy.after-passes = 0, multifd = {}, auto-converge = {}, tls = {}, hold = {} }",
    );
}

#[test]
fn transports_carry_what_they_can() {
    refused("migration = { transport = \"fd\", multifd = {} }", "the transport fd is one");
    refused("migration = { transport = \"file\", multifd = {} }", "set `migration.mapped-ram`");
    refused(
        "migration = { transport = \"exec\", postcopy.after-passes = 1 }",
        "set it to false, or choose tcp or unix",
    );
    accepted(
        "migration = { transport = \"exec\", postcopy = { after-passes = 1, preempt = false } }",
    );
    refused("migration = { transport = \"file\", hold = {} }", "read when all is written");
    refused("migration = { transport = \"file\", tls = {} }", "read when all is written");
    refused("migration.mapped-ram = true", "`migration.transport` is tcp");
    refused(
        "migration = { transport = \"file\", mapped-ram = true, multifd.compression = \"zstd\" }",
        "a page has its full size",
    );
    refused(
        "migration = { transport = \"file\", mapped-ram = true, direct-io = true }",
        "ask for all three",
    );
    accepted(
        "migration = { transport = \"file\", mapped-ram = true, direct-io = true, multifd = {} }",
    );
    refused("migration = { return-path = false, switchover-ack = true }", "set both or none");
    refused("migration.tls.hostname = \"a\"", "choose x509 or drop the name");
    refused("migration.switchover-bandwidth = \"0B/s\"", "or `estimate`");
}

#[test]
fn zero_copy_needs_multifd_and_nothing_that_copies() {
    refused("migration.zero-copy = true", "needs [migration.multifd]");
    refused(
        "migration = { zero-copy = true, multifd.compression = \"zstd\" }",
        "`migration.multifd.compression`",
    );
    refused("migration = { zero-copy = true, multifd = {}, tls = {} }", "`migration.tls`");
    accepted("migration = { zero-copy = true, multifd = {}, tls.mode = \"off\" }");
    assert_eq!(problems("migration = { zero-copy = true, multifd = {}, xbzrle = {} }").len(), 2);
}

#[test]
fn knobs_have_ranges() {
    refused("migration.auto-converge.initial = 0", "it must be from 1 to 99");
    refused("migration.auto-converge.increment = 100", "is 100");
    refused("migration.auto-converge.max = 10", "above `migration.auto-converge.max` with 10");
    refused("migration.dirty-limit.per-vcpu = \"999kB/s\"", "it must be at least 1MB/s");
    refused("migration.multifd.channels = 0", "it must be from 1 to 255");
    refused("migration.multifd.level = 3", "choose zlib or zstd");
    refused("migration.multifd = { level = 10, compression = \"zlib\" }", "from 0 to 9");
    refused("migration.multifd = { level = 21, compression = \"zstd\" }", "from 0 to 20");
    refused("migration.multifd = { level = 1, compression = \"uadk\" }", "uadk has no levels");
    refused("migration.multifd = { level = 0, compression = \"qatzip\" }", "from 1 to 9");
    refused("migration.dirty-limit.period = \"2s\"", "it must be from 1ms to 1s");
    refused("migration.compress.threads = 0", "from 1 to 255");
    refused("migration.xbzrle.cache = \"4095B\"", "less than one page");
    refused("migration.xbzrle.cache = \"1GiB\"", "more than the 256MiB");
    refused("migration.hold.at-least-passes = 0", "is 0");
    accepted("migration.multifd = { channels = 255, level = 20, compression = \"zstd\" }");
}

#[test]
fn times_and_limits_must_make_sense() {
    refused("timing.sample-interval = \"0s\"", "it must be from 1ms to 1m");
    refused("timing.sample-interval = \"2m\"", "is 2m");
    refused("timing.warmup = \"31days\"", "at most 30 days");
    refused("limits.max-time = \"0s\"", "or say `none`");
    refused("limits.max-passes = 0", "or say `none`");
    refused("link.latency = \"11s\"", "it must be from 0s to 10s");
    accepted("timing = { warmup = \"0s\", cooldown = \"0s\" }");
    accepted("limits = { max-time = \"none\", max-passes = \"none\" }");
    accepted("[link]");
}

#[test]
fn what_a_limit_makes_impossible_is_refused() {
    refused(
        "limits.max-passes = 3\nmigration.postcopy.after-passes = 4",
        "`migration.postcopy.after-passes` is 4, but `limits.max-passes` ends the wait at 3",
    );
    refused("migration.pause.after = \"6m\"", "`limits.max-time` ends the wait at 5m");
    refused("limits.max-passes = 1\nmigration.hold = {}", "`migration.hold.at-least-passes` is 2");
    accepted("limits.max-passes = 4\nmigration.postcopy.after-passes = 4");
    accepted(
        "limits = { max-passes = 3, then = \"postcopy\" }\nmigration.postcopy.after-passes = 4",
    );
    accepted("limits.max-time = \"none\"\nmigration.pause.after = \"6m\"");
}

#[test]
fn faults_strike_only_what_is_there() {
    let on = |channel: &str, action: &str| {
        format!("faults = \"at-pass=1,side=destination,channel={channel},action={action}\"\n")
    };
    refused(&on("multifd-0", "drop"), "see `migration.multifd.channels`");
    let parallel = "[migration.multifd]\nchannels = 2";
    refused(&(on("multifd-2", "drop") + parallel), "the channel multifd-2, which this migration");
    accepted(&(on("multifd-1", "drop") + parallel));
    refused(&(on("multifd-1", "corrupt") + parallel), "where it sends nothing");
    refused(&on("preempt", "stall"), "see `migration.postcopy.preempt`");
    let postcopy = "[migration.postcopy]\nafter-passes = 1\n";
    accepted(&(on("preempt", "corrupt") + postcopy));
    refused(&(on("preempt", "stall") + postcopy + "preempt = false"), "with preempt = true");
}

#[test]
fn a_fleet_is_more_than_one_and_no_more_migrate_than_there_are() {
    refused("fleet.guests = 1", "`fleet.guests` is 1; it must be from 2 to 64");
    refused("fleet.guests = 65", "`fleet.guests` is 65");
    refused("fleet = { guests = 4, parallel = 0 }", "`fleet.parallel` is 0; it must be from 1");
    refused("fleet = { guests = 4, parallel = 5 }", "to the 4 of `fleet.guests`");
    accepted("[fleet]");
    accepted("fleet = { guests = 4, parallel = 1 }");
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let error = Builder::new()
        .file("run.toml", "guest.vcpus = 0\nworkload.workers = 1\ntiming.sample-interval = \"0s\"")
        .and_then(|builder| {
            builder.set("limits.max-passes", "0", Origin::Flag("--max-passes".into()))
        })
        .and_then(Builder::build)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "Scenario cannot be run: \
         \n  - Field `guest.vcpus` is 0; it must be from 1 to 1024 (given at run.toml:1:15)\
         \n  - Field `limits.max-passes` is 0, so that the migration would end before it begins; \
         raise it, or say `none` (given at --max-passes)\
         \n  - Field `timing.sample-interval` is 0s; it must be from 1ms to 1m (given at run.toml:3:26)"
    );
}
