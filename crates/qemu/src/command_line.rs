//! From a scenario to QEMU's arguments.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use sterna_report::Side;
use sterna_scenario::{HugePages, Placement, Scenario, TlsMode, Verify};
use sterna_wire::guest_line::PORT_NAME;

use crate::QemuOptions;
use crate::guest_image::GuestImage;
use crate::network::{GUEST_MAC, Plug};

/// Everything that decides how one side is started.
pub(crate) struct Start<'a> {
    pub side: Side,
    pub scenario: &'a Scenario,
    pub options: &'a QemuOptions,
    pub image: &'a GuestImage,
    pub machine: &'a str,
    pub accelerator: &'static str,
    /// The guest's memory as QEMU is to give it; see [`crate::memory_size`].
    pub memory_bytes: u64,
    /// Entries of KVM's dirty ring, where there shall be one.
    pub dirty_ring_entries: Option<u32>,
    pub files: Files,
    /// Where the guest's network card is plugged in, if it has one.
    pub network: Option<&'a Plug>,
}

/// The number of the descriptor under which a QEMU finds what its network card is plugged into.
pub(crate) const NETWORK_NUMBER: i32 = 9;

/// The number of the descriptor under which a QEMU of this machine finds the guest line.
pub(crate) const GUEST_LINE_NUMBER: i32 = 10;

/// The files of one side.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    /// The socket of the guest line; `None` where QEMU inherits it.
    pub guest_line: Option<PathBuf>,
    /// What the guest's kernel says.
    pub console: PathBuf,
    /// What QEMU writes down of itself, where it is asked to.
    pub log: PathBuf,
}

impl Files {
    /// Those in a directory, for a side on another machine.
    pub fn within(directory: &Path, side: Side) -> Files {
        let name = crate::process::side_name(side);
        Files {
            guest_line: Some(directory.join(format!("{name}.guest"))),
            console: directory.join(format!("{name}.console")),
            log: directory.join(format!("{name}.log")),
        }
    }
}

/// Both sides must get the same devices in the same order, or the stream does not fit.
pub(crate) fn arguments(start: &Start) -> Vec<OsString> {
    let Start { side, scenario, options, image, files, .. } = start;
    let guest = &scenario.guest;
    let mut line = Line::default();
    line.pair("-name", format!("sterna-{},debug-threads=on", crate::process::side_name(*side)));
    for word in ["-nodefaults", "-no-user-config", "-no-reboot"] {
        line.word(word);
    }
    line.pair("-display", "none");
    line.pair("-machine", format!("{},memory-backend=ram", start.machine));
    line.pair("-accel", accelerator(start.accelerator, start.dirty_ring_entries));
    line.pair("-cpu", options.cpu.as_deref().unwrap_or(cpu_model(start.accelerator)));
    line.pair("-smp", guest.vcpus.to_string());
    line.pair("-m", format!("{}k", start.memory_bytes / 1024));
    line.pair("-object", memory(*side, scenario, start.memory_bytes));
    if guest.locked {
        line.pair("-overcommit", "mem-lock=on");
    }
    line.pair("-kernel", &image.kernel);
    line.pair("-initrd", &image.initramfs);
    line.pair("-append", kernel_parameters(options));
    line.pair("-chardev", with_path("file,id=console,path=", &files.console));
    line.pair("-serial", "chardev:console");
    line.pair("-chardev", guest_line(files.guest_line.as_deref()));
    line.pair("-device", "virtio-serial-pci");
    line.pair("-device", format!("virtserialport,chardev=guest,name={PORT_NAME}"));
    if let Some(plug) = start.network {
        line.pair("-netdev", netdev(plug));
        let mac = GUEST_MAC.map(|it| format!("{it:02x}")).join(":");
        // Without a ROM to boot from the network, which would have to be found first.
        line.pair("-device", format!("virtio-net-pci,netdev=net,mac={mac},romfile="));
    }
    if scenario.migration.tls_mode() != TlsMode::Off {
        line.pair("-D", &files.log);
    }
    line.pair("-chardev", "socket,id=qmp,fd=0");
    line.pair("-mon", "chardev=qmp,mode=control");
    match side {
        // Settings may be refused, and then no guest shall have run.
        Side::Source => line.word("-S"),
        Side::Destination => line.pair("-incoming", "defer"),
    }
    // The guest arrives paused, so that both sides stand still while their memory is compared.
    if *side == Side::Destination && scenario.verify == Verify::AllMemory {
        line.word("-S");
    }
    line.words.extend(options.extra_arguments.iter().cloned());
    line.words
}

/// What the guest's kernel is told.
///
/// On a machine that is busy enough an emulated timer looks broken to a kernel that checks it, which then panics.
/// Tests of cryptography and a second internet protocol are nothing that the agent needs, and take a tenth of an emulated boot.
fn kernel_parameters(options: &QemuOptions) -> String {
    let usual = "console=ttyS0 panic=-1 quiet mitigations=off no_timer_check cryptomgr.notests ipv6.disable=1";
    match options.breakage.as_deref() {
        // The engine sends an interrupt that nobody expects.
        Some("guest-panic") => format!("{usual} unknown_nmi_panic"),
        _ => usual.to_owned(),
    }
}

/// The processors of the machine that a side may use; none for all.
pub(crate) fn cpus(side: Side, scenario: &Scenario) -> Vec<usize> {
    let cpus = placement(side, scenario).cpus.as_ref();
    cpus.map(|it| it.iter().map(|id| id as usize).collect()).unwrap_or_default()
}

/// What one side is bound to.
pub(crate) fn placement(side: Side, scenario: &Scenario) -> &Placement {
    match side {
        Side::Source => &scenario.guest.source,
        Side::Destination => &scenario.guest.destination,
    }
}

#[derive(Default)]
struct Line {
    words: Vec<OsString>,
}

impl Line {
    fn word(&mut self, word: impl Into<OsString>) {
        self.words.push(word.into());
    }

    fn pair(&mut self, name: &str, value: impl Into<OsString>) {
        self.word(name);
        self.word(value);
    }
}

fn guest_line(path: Option<&Path>) -> OsString {
    match path {
        Some(path) => with_path("socket,id=guest,server=on,wait=off,path=", path),
        None => format!("socket,id=guest,fd={GUEST_LINE_NUMBER}").into(),
    }
}

fn netdev(plug: &Plug) -> OsString {
    match plug {
        Plug::Path(path) => with_path("stream,id=net,server=off,addr.type=unix,addr.path=", path),
        Plug::Socket(_) => {
            format!("stream,id=net,server=off,addr.type=fd,addr.str={NETWORK_NUMBER}").into()
        }
        Plug::Tap(_) => format!("tap,id=net,fd={NETWORK_NUMBER}").into(),
    }
}

fn accelerator(name: &str, dirty_ring_entries: Option<u32>) -> String {
    let threads = if name == "tcg" { ",thread=multi" } else { "" };
    let ring = dirty_ring_entries.map(|it| format!(",dirty-ring-size={it}")).unwrap_or_default();
    format!("{name}{threads}{ring}")
}

/// Every version has `qemu64`, with the same features; that lets a guest move between versions.
fn cpu_model(accelerator: &str) -> &'static str {
    if accelerator == "kvm" { "host,migratable=on" } else { "qemu64" }
}

fn memory(side: Side, scenario: &Scenario, bytes: u64) -> String {
    let guest = &scenario.guest;
    let kind = match guest.huge_pages {
        HugePages::None | HugePages::Thp => "memory-backend-ram,id=ram".to_owned(),
        HugePages::Size2Mib => {
            "memory-backend-memfd,id=ram,hugetlb=on,hugetlbsize=2M,share=off".to_owned()
        }
        HugePages::Size1Gib => {
            "memory-backend-memfd,id=ram,hugetlb=on,hugetlbsize=1G,share=off".to_owned()
        }
    };
    let prealloc = if guest.prealloc { "on" } else { "off" };
    let nodes = placement(side, scenario).numa_nodes.as_ref();
    let nodes: String = nodes
        .map(|set| {
            let list: String = set.iter().map(|id| format!(",host-nodes={id}")).collect();
            format!("{list},policy=bind")
        })
        .unwrap_or_default();
    format!("{kind},size={}k,prealloc={prealloc}{nodes}", bytes / 1024)
}

/// In QEMU's option lists a comma is written twice.
fn with_path(prefix: &str, path: &Path) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut bytes = prefix.as_bytes().to_vec();
    for byte in path.as_os_str().as_bytes() {
        bytes.push(*byte);
        if *byte == b',' {
            bytes.push(b',');
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(side: Side, toml: &str) -> String {
        let scenario = Scenario::from_toml(toml, "test.toml").unwrap();
        let image = GuestImage {
            kernel: "/k".into(),
            initramfs: "/i".into(),
            kernel_release: "1".to_owned(),
            missing: Vec::new(),
        };
        let options = QemuOptions::default();
        let words = arguments(&Start {
            side,
            scenario: &scenario,
            options: &options,
            image: &image,
            machine: "pc",
            accelerator: "tcg",
            memory_bytes: scenario.guest.memory.0,
            dirty_ring_entries: None,
            files: Files::within(Path::new("/run,x"), side),
            network: None,
        });
        words.iter().map(|it| it.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[track_caller]
    fn check(toml: &str, expected: &str) {
        let line = line(Side::Source, toml);
        assert!(line.contains(expected), "{expected} is not in {line}");
    }

    #[test]
    fn settings_become_arguments() {
        check("", "-smp 2 -m 262144k -object memory-backend-ram,id=ram,size=262144k,prealloc=on");
        check("[guest]\nlocked = true", "-overcommit mem-lock=on");
        check("[guest]\nprealloc = false", "prealloc=off");
        check("[guest]\nhuge-pages = \"2MiB\"", "hugetlbsize=2M");
        check("[guest.source]\nnuma-nodes = \"0,2\"", "host-nodes=0,host-nodes=2,policy=bind");
        check("", "path=/run,,x/source.guest");
    }

    #[test]
    fn a_destination_waits_where_all_memory_is_compared() {
        let all = line(Side::Destination, "verify = \"all-memory\"");
        assert!(all.contains(" -incoming defer -S"), "{all}");
        assert!(!line(Side::Destination, "").contains(" -S"));
    }

    #[test]
    fn the_sides_differ_in_names_and_in_what_they_wait_for() {
        let source = line(Side::Source, "");
        let destination = line(Side::Destination, "");
        let expected = source.replace("source", "destination").replace(" -S", " -incoming defer");
        assert_eq!(destination, expected);
    }
}
