//! Errors that migrations end with, and what to look at. The texts are those that QEMU and libvirt print.

/// A part of an error, in lower case, what it means, and where to look.
struct Cause {
    parts: &'static [&'static str],
    means: &'static str,
}

/// The first that fits counts, so the narrower one stands above.
const CAUSES: &[Cause] = &[
    Cause {
        parts: &["unsafe migration"],
        means: "libvirt refuses since a disk could be written by both hosts: use shared storage with cache=none (or directsync), copy the disk with --copy-storage-all, or give --unsafe where the storage is coherent",
    },
    Cause {
        parts: &["certificate", "tls handshake", "tls session", "x509"],
        means: "The two ends do not accept each other's certificates: both need one of the same authority, with the name by which the other end is called, and clocks that agree",
    },
    Cause {
        parts: &[
            "connection refused",
            "no route to host",
            "network is unreachable",
            "unable to connect",
            "failed to connect",
            "connection timed out",
        ],
        means: "The destination was not reached: nothing listens on that address and port, or a firewall is between (libvirt takes ports 49152 to 49215 unless qemu.conf says otherwise)",
    },
    Cause {
        parts: &[
            "guest cpu doesn't match",
            "cpu is incompatible",
            "host doesn't support requested feature",
            "missing features",
            "unsupported cpu",
        ],
        means: "The destination's processor lacks what the guest was given: choose a processor model that both hosts have, and start the guest again with it",
    },
    Cause {
        parts: &[
            "unknown savevm section",
            "missing section footer",
            "error while loading state",
            "state for instance",
            "unsupported version",
            "does not support migration",
            "machine type mismatch",
        ],
        means: "The destination was started with another machine than the source, or its QEMU is older: compare machine type, devices and versions of both sides; the destination's log names the device",
    },
    Cause {
        parts: &["length mismatch", "size mismatch"],
        means: "A memory region or a ROM has another size at the destination: both sides need the same memory and the same firmware files",
    },
    Cause {
        parts: &["cannot allocate memory", "out of memory", "insufficient memory", "hugepages"],
        means: "The destination had not enough memory, or not enough huge pages, for the guest",
    },
    Cause {
        parts: &[
            "connection reset",
            "broken pipe",
            "unable to write to socket",
            "unable to read from socket",
            "input/output error",
            "channel error",
            "unexpected end of file",
            "end-of-file",
        ],
        means: "The other end closed the connection: the cause is in the log of the destination's QEMU, or in the network between",
    },
    Cause {
        parts: &[
            "migration_completiontimeout",
            "completion timeout",
            "not completed after",
            "completiontimeout",
        ],
        means: "The time that the platform allows was over before the migration: KubeVirt allows completionTimeoutPerGiB seconds for each GiB",
    },
    Cause {
        parts: &["progress timeout", "stuck for", "no progress", "is stuck"],
        means: "The platform ended it since what was left did not become less for longer than it allows: the guest writes as fast as the link carries",
    },
    Cause {
        parts: &[
            "canceled by client",
            "cancelled by client",
            "migration cancelled",
            "aborted by user",
            "operation aborted",
        ],
        means: "An operator or a platform cancelled it",
    },
    Cause {
        parts: &[
            "is not migratable",
            "migration is blocked",
            "migration blocker",
            "non-migratable",
            "cannot migrate a domain with",
        ],
        means: "A device of the guest cannot be migrated: the text names it; take it out or replace it (for example a passed-through device)",
    },
];

/// What an error means and where to look; `None` for one that is not known.
pub fn meaning(error: &str) -> Option<&'static str> {
    let error = error.to_lowercase();
    CAUSES.iter().find(|it| it.parts.iter().any(|part| error.contains(part))).map(|it| it.means)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(error: &str, expected: &str) {
        assert!(meaning(error).unwrap().contains(expected), "{error}");
    }

    #[test]
    fn errors_of_qemu_and_libvirt_say_where_to_look() {
        check("Unable to write to socket: Connection reset by peer", "log of the destination");
        check("Unable to write to socket: Broken pipe", "log of the destination");
        check("Failed to connect to '10.0.0.2:49152': Connection refused", "firewall");
        check("Failed to connect to '10.0.0.2:4444': No route to host", "firewall");
        check("unable to connect to server at 'b:49152': Connection timed out", "firewall");
        check("Unknown savevm section or instance '0000:00:05.0/virtio-net' 0", "machine type");
        check("error while loading state for instance 0x0 of device 'cpu'", "machine type");
        check("Length mismatch: pc.rom: 0x20000 in != 0x40000", "same firmware");
        check(
            "Unsafe migration: Migration may lead to data corruption if disks use cache",
            "cache=none",
        );
        check("The certificate hasn't got a known issuer", "same authority");
        check(
            "guest CPU doesn't match specification: missing features: avx512f",
            "processor model",
        );
        check("operation aborted: migration out: canceled by client", "cancelled");
        check(
            "Live migration is not completed after 900 seconds and has been aborted",
            "completionTimeoutPerGiB",
        );
        check("cannot migrate a domain with <hostdev> PCI device", "cannot be migrated");
        assert_eq!(meaning("everything is well"), None);
    }
}
