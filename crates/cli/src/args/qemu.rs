//! The flags of `sterna run` that only the engine QEMU heeds.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, value_parser};
use sterna_qemu::{Accelerator, DEFAULT_PROGRAM, Network, QemuOptions};

/// The flags.
pub fn args() -> Vec<Arg> {
    let word =
        |name: &'static str, value: &'static str| Arg::new(name).long(name).value_name(value);
    let args = [
        path("kernel", "STERNA_KERNEL").help("The guest's kernel [default: one of this machine]"),
        path("guest-agent", "STERNA_GUEST_AGENT")
            .help("A program to run in the guest in place of the built-in agent"),
        word("accelerator", "NAME")
            .value_parser(["auto", "kvm", "tcg"])
            .default_value("auto")
            .help("How the guest's processors run; auto takes KVM where it works"),
        word("machine", "TYPE").help(
            "The machine type, such as pc-i440fx-7.2 [default: the newest that both QEMUs have]",
        ),
        word("cpu", "MODEL").help("The processor model [default: host with KVM, else qemu64]"),
        word("network", "KIND")
            .value_parser(|text: &str| text.parse::<Network>())
            .default_value("switch")
            .help("How the guest is reached by probes: switch, one inside Sterna; tap=BRIDGE, a bridge of this machine, which takes CAP_NET_ADMIN; or none"),
        Arg::new("stream-directory")
            .long("stream-directory")
            .value_name("DIR")
            .value_parser(value_parser!(PathBuf))
            .help("Where --transport file writes its stream, which is removed afterwards [default: the temporary directory]"),
        Arg::new("rdma-address")
            .long("rdma-address")
            .value_name("ADDRESS")
            .value_parser(value_parser!(IpAddr))
            .help("The address of an RDMA device, for --transport rdma [default: 127.0.0.1]"),
        Arg::new("dirty-ring-size")
            .long("dirty-ring-size")
            .value_name("ENTRIES")
            .value_parser(value_parser!(u32).range(1024..=65536))
            .help("Entries of KVM's dirty ring, a power of two [default: a bitmap; 4096 with --dirty-limit]"),
        Arg::new("qemu-arg")
            .long("qemu-arg")
            .value_name("ARGUMENT")
            .value_parser(value_parser!(OsString))
            .action(ArgAction::Append)
            .allow_hyphen_values(true)
            .help("One more argument for both QEMUs; may be given several times"),
    ];
    let programs = program_args().into_iter();
    programs.chain(args).map(|it| it.help_heading("Engine QEMU")).collect()
}

/// The flags that name the QEMUs of both sides.
pub fn program_args() -> [Arg; 2] {
    [
        path("qemu-source", "STERNA_QEMU_SOURCE")
            .help(format!("The QEMU that runs the guest first [default: {DEFAULT_PROGRAM}]")),
        path("qemu-destination", "STERNA_QEMU_DESTINATION")
            .help("The QEMU that the guest goes to [default: the same]"),
    ]
}

/// The QEMUs of both sides.
pub fn programs(matches: &ArgMatches) -> [PathBuf; 2] {
    let path = |id: &str| matches.get_one::<PathBuf>(id).cloned();
    let source = path("qemu-source").unwrap_or_else(|| DEFAULT_PROGRAM.into());
    let destination = path("qemu-destination").unwrap_or_else(|| source.clone());
    [source, destination]
}

fn path(name: &'static str, variable: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .env(variable)
        .hide_env_values(true)
}

/// What was given.
pub fn options(matches: &ArgMatches) -> QemuOptions {
    let path = |id: &str| matches.get_one::<PathBuf>(id).cloned();
    let text = |id: &str| matches.get_one::<String>(id).cloned();
    let [source, destination] = programs(matches);
    QemuOptions {
        source,
        destination,
        kernel: path("kernel"),
        guest_agent: path("guest-agent"),
        accelerator: match text("accelerator").as_deref() {
            Some("kvm") => Accelerator::Kvm,
            Some("tcg") => Accelerator::Tcg,
            _ => Accelerator::Auto,
        },
        machine: text("machine"),
        cpu: text("cpu"),
        extra_arguments: matches.get_many("qemu-arg").into_iter().flatten().cloned().collect(),
        network: matches.get_one::<Network>("network").cloned().unwrap_or_default(),
        stream_directory: path("stream-directory"),
        rdma_address: matches.get_one("rdma-address").copied(),
        dirty_ring_entries: matches.get_one("dirty-ring-size").copied(),
        remotes: sterna_qemu::Remotes::default(),
        breakage: None,
    }
}
