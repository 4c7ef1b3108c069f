//! The techniques and what they get along with.

use sterna_units::{Bytes, Rate, Span};

use super::Findings;
use crate::PAGE_BYTES;
use crate::types::{
    AutoConverge, Compression, Downtime, LimitAction, Migration, Multifd, Scenario, TlsMode,
    ZeroPage,
};

/// QEMU's limit of a downtime limit, kept for every engine.
const LONGEST_DOWNTIME: Span = Span::from_secs(2000);
/// Below this a dirty limit is no longer a limit but a stop.
const LEAST_DIRTY_LIMIT: Rate = Rate::from_bytes_per_second(1_000_000);

pub(super) fn check(scenario: &Scenario, found: &mut Findings) {
    let migration = &scenario.migration;
    let way_out = "give a rate such as 1Gbit/s, or `unlimited`";
    found.some_rate("migration.max-bandwidth", migration.max_bandwidth, way_out);
    downtime(&migration.downtime, found);
    postcopy_and_pause(scenario, found);
    slowing_down(migration, found);
    if let Some(multifd) = &migration.multifd {
        channels(multifd, found);
    }
    zero_copy(migration, found);
    xbzrle(scenario, found);
    found.refuse_if(
        migration.zero_page == ZeroPage::Multifd && migration.multifd.is_none(),
        &["migration.zero-page", "migration.multifd"],
        || {
            "Field `migration.zero-page` is multifd, but there is no [migration.multifd]; \
             ask for it or choose main"
                .to_owned()
        },
    );
    if let Some(hold) = &migration.hold {
        found.range("migration.hold.at-least-passes", hold.at_least_passes, 1, 1_000_000);
    }
}

fn downtime(downtime: &Downtime, found: &mut Findings) {
    let too_long = |field, span, found: &mut Findings| {
        found.refuse_if(span > LONGEST_DOWNTIME, &[field], || {
            format!("Field `{field}` is {span}; it must be at most 2000s")
        });
    };
    match downtime {
        Downtime::Limit(limit) => {
            too_long("migration.downtime-limit", *limit, found);
            never(*limit, "migration.downtime-limit", found);
        }
        Downtime::Steps(steps) => {
            too_long("migration.downtime.to", steps.to, found);
            never(steps.to, "migration.downtime.to", found);
            found.range("migration.downtime.steps", steps.steps, 1, 10_000);
            let fields = ["migration.downtime.from", "migration.downtime.to"];
            found.refuse_if(steps.from > steps.to, &fields, || {
                format!(
                    "Field `migration.downtime.from` is {}, above `migration.downtime.to` with {}; swap them",
                    steps.from, steps.to
                )
            });
            found.refuse_if(steps.every.is_zero(), &["migration.downtime.every"], || {
                "Field `migration.downtime.every` is 0s, so that the limit would not grow but jump; \
                 give it some time, such as 5s"
                    .to_owned()
            });
        }
    }
}

/// Nothing can be sent in no time.
fn never(limit: Span, field: &'static str, found: &mut Findings) {
    found.refuse_if(limit.is_zero(), &[field], || {
        format!(
            "Field `{field}` is 0s, in which no guest can be moved, so the migration would never finish; \
             give it some time, such as 300ms, or stop the guest at a moment of your choice with [migration.pause]"
        )
    });
}

fn postcopy_and_pause(scenario: &Scenario, found: &mut Findings) {
    let migration = &scenario.migration;
    found.refuse_if(
        migration.postcopy.is_some() && migration.pause.is_some(),
        &["migration.postcopy", "migration.pause"],
        || {
            "Tables [migration.postcopy] and [migration.pause] are two ways to end the same wait; \
             keep one"
                .to_owned()
        },
    );
    let by_limit = scenario.limits.then == LimitAction::Postcopy;
    found.refuse_if(
        by_limit && migration.postcopy.is_none(),
        &["limits.then", "migration.postcopy"],
        || {
            "Field `limits.then` is postcopy, which both sides must be prepared for; \
             add [migration.postcopy], or choose cancel or pause"
                .to_owned()
        },
    );
    let Some(postcopy) = &migration.postcopy else { return };
    found.refuse_if(postcopy.trigger.is_none() && !by_limit, &["migration.postcopy"], || {
        "Table [migration.postcopy] does not say when to switch; give `after-passes` or `after`, \
         or set `limits.then` to postcopy"
            .to_owned()
    });
    let way_out = "give a rate such as 1Gbit/s, or `unlimited`";
    found.some_rate("migration.postcopy.max-bandwidth", postcopy.max_bandwidth, way_out);
}

fn slowing_down(migration: &Migration, found: &mut Findings) {
    found.refuse_if(
        migration.auto_converge.is_some() && migration.dirty_limit.is_some(),
        &["migration.auto-converge", "migration.dirty-limit"],
        || {
            "Tables [migration.auto-converge] and [migration.dirty-limit] would both slow the guest down; \
             keep one"
                .to_owned()
        },
    );
    if let Some(AutoConverge { initial, increment, max, tail_slow: _ }) = migration.auto_converge {
        found.range("migration.auto-converge.initial", initial, 1, 99);
        found.range("migration.auto-converge.increment", increment, 1, 99);
        found.range("migration.auto-converge.max", max, 1, 99);
        let fields = ["migration.auto-converge.initial", "migration.auto-converge.max"];
        found.refuse_if(initial > max, &fields, || {
            format!(
                "Field `migration.auto-converge.initial` is {initial}, above `migration.auto-converge.max` with \
                 {max}; lower the first or raise the second"
            )
        });
    }
    if let Some(limit) = &migration.dirty_limit {
        let field = "migration.dirty-limit.per-vcpu";
        found.refuse_if(limit.per_vcpu < LEAST_DIRTY_LIMIT, &[field], || {
            format!(
                "Field `{field}` is {}; it must be at least {LEAST_DIRTY_LIMIT}",
                limit.per_vcpu
            )
        });
        let field = "migration.dirty-limit.period";
        if let Some(period) = limit.period {
            found.range(field, period, Span::from_millis(1), Span::from_secs(1));
        }
    }
}

fn channels(multifd: &Multifd, found: &mut Findings) {
    found.range("migration.multifd.channels", multifd.channels, 1, u8::MAX);
    let Some(level) = multifd.level else { return };
    let field = "migration.multifd.level";
    match multifd.compression {
        Compression::None => {
            found.refuse_if(true, &[field, "migration.multifd.compression"], || {
                format!("Field `{field}` is {level}, but nothing is compressed; choose zlib or zstd as `compression`")
            });
        }
        Compression::Zlib => found.range(field, level, 0, 9),
        Compression::Zstd => found.range(field, level, 0, 20),
        Compression::Qatzip => found.range(field, level, 1, 9),
        Compression::Qpl | Compression::Uadk => {
            found.refuse_if(true, &[field, "migration.multifd.compression"], || {
                format!(
                    "Field `{field}` is {level}, but {} has no levels; drop it",
                    multifd.compression
                )
            });
        }
    }
}

/// Without a copy there is nothing that could be compressed, compared or encrypted while the guest goes on writing.
fn zero_copy(migration: &Migration, found: &mut Findings) {
    if !migration.zero_copy {
        return;
    }
    let field = "migration.zero-copy";
    let compressed = migration.multifd.as_ref().map(|multifd| multifd.compression);
    found.refuse_if(compressed.is_none(), &[field, "migration.multifd"], || {
        format!("Field `{field}` needs [migration.multifd]; ask for both or none")
    });
    let is_compressed = compressed.is_some_and(|compression| compression != Compression::None);
    let rivals = [
        (is_compressed, "migration.multifd.compression"),
        (migration.xbzrle.is_some(), "migration.xbzrle"),
        (migration.tls_mode() != TlsMode::Off, "migration.tls"),
    ];
    for (is_there, rival) in rivals {
        found.refuse_if(is_there, &[field, rival], || {
            format!("Field `{field}` cannot be had with `{rival}`, which needs a copy of each page; drop one")
        });
    }
}

fn xbzrle(scenario: &Scenario, found: &mut Findings) {
    let Some(xbzrle) = &scenario.migration.xbzrle else { return };
    found.refuse_if(
        scenario.migration.multifd.is_some(),
        &["migration.xbzrle", "migration.multifd"],
        || {
            "Tables [migration.xbzrle] and [migration.multifd] exclude each other, since the cache belongs to one \
             sender; keep one"
                .to_owned()
        },
    );
    let cache = xbzrle.cache.of(scenario.guest.memory);
    found.refuse_if(cache < Bytes(PAGE_BYTES), &["migration.xbzrle.cache"], || {
        format!("Field `migration.xbzrle.cache` is {cache}, less than one page; give at least 4KiB")
    });
    found.refuse_if(
        cache > scenario.guest.memory,
        &["migration.xbzrle.cache", "guest.memory"],
        || {
            format!(
                "Field `migration.xbzrle.cache` is {cache}, more than the {} of `guest.memory`; make it smaller",
                scenario.guest.memory
            )
        },
    );
}
