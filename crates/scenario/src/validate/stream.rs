//! What a transport can carry.

use super::Findings;
use crate::types::{Compression, Migration, Scenario, TlsMode, Transport, Verify};

/// More hops say nothing new.
const MOST_HOPS: u32 = 16;

pub(super) fn check(scenario: &Scenario, found: &mut Findings) {
    let migration = &scenario.migration;
    found.range("migration.hops", migration.hops, 1, MOST_HOPS);
    if migration.hops > 1 {
        several_hops(scenario, found);
    }
    let way_out = "give a rate such as 1Gbit/s, or `estimate`";
    found.some_rate("migration.switchover-bandwidth", migration.switchover_bandwidth, way_out);
    if !matches!(migration.transport, Transport::Tcp | Transport::Unix | Transport::Rdma) {
        one_connection(migration, found);
    }
    if migration.transport == Transport::File {
        one_way(scenario, found);
    }
    mapped(migration, found);
    found.refuse_if(
        migration.switchover_ack && !migration.return_path,
        &["migration.switchover-ack", "migration.return-path"],
        || {
            "Field `migration.switchover-ack` needs `migration.return-path`, on which the destination answers; \
             set both or none"
                .to_owned()
        },
    );
    if let Some(compress) = &migration.compress {
        found.range("migration.compress.level", compress.level, 0, 9);
        found.range("migration.compress.threads", compress.threads, 1, u8::MAX);
        let field = "migration.compress.decompress-threads";
        found.range(field, compress.decompress_threads, 1, u8::MAX);
    }
    if let Some(tls) = &migration.tls {
        found.refuse_if(
            tls.hostname.is_some() && tls.mode != TlsMode::X509,
            &["migration.tls.hostname", "migration.tls.mode"],
            || {
                format!(
                    "Field `migration.tls.hostname` is for certificates, but `migration.tls.mode` is {}; \
                     choose x509 or drop the name",
                    tls.mode
                )
            },
        );
    }
}

/// What leaves nothing that could be migrated again.
fn several_hops(scenario: &Scenario, found: &mut Findings) {
    found.refuse_if(scenario.fleet.is_some(), &["migration.hops", "fleet"], || {
        "Field `migration.hops` is for one guest; drop [fleet], or leave it at 1".to_owned()
    });
    found.refuse_if(
        scenario.verify == Verify::AllMemory,
        &["migration.hops", "verify"],
        || {
            "Field `migration.hops` needs a guest that goes on, and `verify` = \"all-memory\" holds it between the sides; \
             leave one of them out"
                .to_owned()
        },
    );
}

/// What needs more connections than such a transport has.
fn one_connection(migration: &Migration, found: &mut Findings) {
    let transport = migration.transport;
    let has_places = transport == Transport::File && migration.mapped_ram;
    let way_out = if transport == Transport::File {
        "choose tcp or unix, or set `migration.mapped-ram`, or drop it"
    } else {
        "choose tcp or unix, or drop it"
    };
    let field = "migration.multifd";
    found.refuse_if(
        migration.multifd.is_some() && !has_places,
        &["migration.transport", field],
        || format!("Table [{field}] needs several connections, and the transport {transport} is one; {way_out}"),
    );
    let preempts = migration.postcopy.as_ref().is_some_and(|it| it.preempt);
    let field = "migration.postcopy.preempt";
    found.refuse_if(
        preempts && transport != Transport::File,
        &["migration.transport", field],
        || {
            format!(
                "Field `{field}` needs a second connection, and the transport {transport} is one; \
                 set it to false, or choose tcp or unix"
            )
        },
    );
}

/// What needs an answer of the destination while the source still sends.
fn one_way(scenario: &Scenario, found: &mut Findings) {
    let migration = &scenario.migration;
    let asked = [
        (migration.postcopy.is_some(), "migration.postcopy"),
        (migration.hold.is_some(), "migration.hold"),
        (migration.switchover_ack, "migration.switchover-ack"),
        (migration.tls_mode() != TlsMode::Off, "migration.tls"),
    ];
    for (is_asked_for, field) in asked {
        found.refuse_if(is_asked_for, &["migration.transport", field], || {
            format!(
                "`{field}` needs a destination that takes part, and the transport file is read when all is written; \
                 choose another transport, or drop it"
            )
        });
    }
}

/// Pages at fixed places in a file travel as they are.
fn mapped(migration: &Migration, found: &mut Findings) {
    let field = "migration.mapped-ram";
    let is_mapped = migration.mapped_ram;
    let transport = migration.transport;
    found.refuse_if(
        is_mapped && transport != Transport::File,
        &[field, "migration.transport"],
        || format!("Field `{field}` needs the transport file, and `migration.transport` is {transport}; choose file or drop it"),
    );
    let compression = migration.multifd.as_ref().map_or(Compression::None, |it| it.compression);
    let rivals = [
        (compression != Compression::None, "migration.multifd.compression"),
        (migration.xbzrle.is_some(), "migration.xbzrle"),
        (migration.compress.is_some(), "migration.compress"),
    ];
    for (is_there, rival) in rivals {
        found.refuse_if(is_mapped && is_there, &[field, rival], || {
            format!("Field `{field}` cannot be had with `{rival}`: at its place a page has its full size; drop one")
        });
    }
    let field = "migration.direct-io";
    found.refuse_if(
        migration.direct_io && !(is_mapped && migration.multifd.is_some()),
        &[field, "migration.mapped-ram", "migration.multifd"],
        || format!("Field `{field}` needs `migration.mapped-ram` and [migration.multifd]; ask for all three, or drop it"),
    );
}
