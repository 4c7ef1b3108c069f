//! The table: which technique needs which capability and which parameters.

use serde_json::{Value, json};
use sterna_scenario::{
    AutoConverge, Compress, Compression, DirtyLimit, Migration, Multifd, Postcopy, Scenario,
    TlsMode, Transport, ZeroPage,
};

use super::{Need, TLS_HOSTNAME, TLS_OBJECT, Wish, milliseconds};

/// Everything to set on both sides, in order.
pub(crate) fn wishes(scenario: &Scenario) -> Vec<Wish> {
    let migration = &scenario.migration;
    let mut list = List::default();
    list.may("engine", "events");
    answers(migration, &mut list);
    if let Some(postcopy) = &migration.postcopy {
        post_copy(postcopy, &mut list);
    }
    if let Some(multifd) = &migration.multifd {
        channels(multifd, &mut list);
    }
    file(migration, &mut list);
    if migration.zero_copy {
        list.capability("migration.zero-copy", "zero-copy-send");
    }
    if let Some(compress) = &migration.compress {
        compressing_threads(compress, &mut list);
    }
    if let Some(xbzrle) = &migration.xbzrle {
        let bytes = xbzrle.cache.of(scenario.guest.memory).0;
        list.capability("migration.xbzrle", "xbzrle");
        list.parameter("migration.xbzrle.cache", "xbzrle-cache-size", cache_bytes(bytes));
    }
    if let Some(converge) = &migration.auto_converge {
        throttle(converge, &mut list);
    }
    if let Some(limit) = &migration.dirty_limit {
        dirty_limit(limit, &mut list);
    }
    zero_pages(migration.zero_page, &mut list);
    encryption(migration, &mut list);
    limits(migration, &mut list);
    list.wishes
}

/// A file cannot answer; everything else tells the source how it went, where that was not switched off.
fn answers(migration: &Migration, list: &mut List) {
    if migration.return_path && migration.transport != Transport::File {
        list.may("migration.return-path", "return-path");
    }
    if migration.switchover_ack {
        list.capability("migration.switchover-ack", "switchover-ack");
    }
}

fn post_copy(postcopy: &Postcopy, list: &mut List) {
    list.capability("migration.postcopy", "postcopy-ram");
    list.may("migration.postcopy", "postcopy-blocktime");
    if postcopy.preempt {
        list.capability("migration.postcopy.preempt", "postcopy-preempt");
    }
    let rate = postcopy.max_bandwidth.map_or(0, |it| it.bytes_per_second());
    list.parameter("migration.postcopy.max-bandwidth", "max-postcopy-bandwidth", rate);
}

fn file(migration: &Migration, list: &mut List) {
    if migration.mapped_ram {
        list.capability("migration.mapped-ram", "mapped-ram");
    }
    if migration.direct_io {
        list.parameter("migration.direct-io", "direct-io", true);
    }
}

fn compressing_threads(compress: &Compress, list: &mut List) {
    list.capability("migration.compress", "compress");
    list.parameter("migration.compress.level", "compress-level", compress.level);
    list.parameter("migration.compress.threads", "compress-threads", compress.threads);
    let field = "migration.compress.decompress-threads";
    list.parameter(field, "decompress-threads", compress.decompress_threads);
}

fn throttle(converge: &AutoConverge, list: &mut List) {
    list.capability("migration.auto-converge", "auto-converge");
    // The highest first, for QEMU holds the first step against it.
    list.parameter("migration.auto-converge.max", "max-cpu-throttle", converge.max);
    list.parameter("migration.auto-converge.initial", "cpu-throttle-initial", converge.initial);
    let field = "migration.auto-converge.increment";
    list.parameter(field, "cpu-throttle-increment", converge.increment);
    let field = "migration.auto-converge.tail-slow";
    list.parameter(field, "cpu-throttle-tailslow", converge.tail_slow);
}

fn dirty_limit(limit: &DirtyLimit, list: &mut List) {
    list.capability("migration.dirty-limit", "dirty-limit");
    let megabytes = (limit.per_vcpu.bytes_per_second() >> 20).max(1);
    list.parameter("migration.dirty-limit.per-vcpu", "vcpu-dirty-limit", megabytes);
    if let Some(period) = limit.period {
        let name = "x-vcpu-dirty-limit-period";
        let period = milliseconds(period.0.as_nanos() as u64);
        list.parameter("migration.dirty-limit.period", name, period);
    }
}

fn encryption(migration: &Migration, list: &mut List) {
    let Some(tls) = migration.tls.as_ref().filter(|it| it.mode != TlsMode::Off) else { return };
    list.parameter("migration.tls.mode", "tls-creds", TLS_OBJECT);
    let made_by_us = tls.mode == TlsMode::X509 && tls.credentials.is_none();
    let ours = made_by_us.then(|| TLS_HOSTNAME.to_owned());
    if let Some(name) = tls.hostname.clone().or(ours) {
        list.parameter("migration.tls.hostname", "tls-hostname", name);
    }
}

fn limits(migration: &Migration, list: &mut List) {
    let rate = migration.max_bandwidth.map_or(0, |it| it.bytes_per_second());
    list.parameter("migration.max-bandwidth", "max-bandwidth", rate);
    if let Some(rate) = migration.switchover_bandwidth {
        let field = "migration.switchover-bandwidth";
        list.parameter(field, "avail-switchover-bandwidth", rate.bytes_per_second());
    }
    let downtime = milliseconds(migration.first_downtime_limit().0.as_nanos() as u64);
    list.parameter("migration.downtime-limit", "downtime-limit", downtime);
}

fn channels(multifd: &Multifd, list: &mut List) {
    list.capability("migration.multifd", "multifd");
    list.parameter("migration.multifd.channels", "multifd-channels", multifd.channels);
    let word = multifd.compression.to_string();
    list.parameter("migration.multifd.compression", "multifd-compression", word);
    let level = match multifd.compression {
        Compression::None | Compression::Qpl | Compression::Uadk => return,
        Compression::Zlib => "multifd-zlib-level",
        Compression::Zstd => "multifd-zstd-level",
        Compression::Qatzip => "multifd-qatzip-level",
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
        check(
            "[migration.tls]\nmode = \"x509\"",
            &["tls-creds=\"sterna-tls\"", "tls-hostname=\"sterna-destination\""],
        );
        check(
            "[migration.tls]\nmode = \"x509\"\ncredentials = \"/certs\"",
            &["tls-creds=\"sterna-tls\""],
        );
        check(
            "[migration]\nswitchover-ack = true\nswitchover-bandwidth = \"8Mbit/s\"",
            &["switchover-ack", "avail-switchover-bandwidth=1000000"],
        );
        check(
            "[migration]\ntransport = \"file\"\nmapped-ram = true\ndirect-io = true\nmultifd = { channels = 2 }",
            &[
                "multifd",
                "multifd-channels=2",
                "multifd-compression=\"none\"",
                "mapped-ram",
                "direct-io=true",
            ],
        );
        check(
            "[migration.compress]\nthreads = 3",
            &["compress", "compress-level=1", "compress-threads=3", "decompress-threads=2"],
        );
        check(
            "[migration.dirty-limit]\nperiod = \"500ms\"",
            &["dirty-limit", "vcpu-dirty-limit=9", "x-vcpu-dirty-limit-period=500"],
        );
        check(
            "[migration.multifd]\ncompression = \"qatzip\"\nlevel = 2",
            &[
                "multifd",
                "multifd-channels=4",
                "multifd-compression=\"qatzip\"",
                "multifd-qatzip-level=2",
            ],
        );
    }

    #[test]
    fn nobody_answers_where_nobody_can() {
        let has_path =
            |toml: &str| wishes(&scenario(toml)).iter().any(|it| it.name == "return-path");
        assert!(has_path(""));
        assert!(!has_path("migration.return-path = false"));
        assert!(!has_path("migration.transport = \"file\""));
    }
}
