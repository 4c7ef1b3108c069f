//! The user data in a guest: its disk is mounted, its files are written, its commands are run, and the agent works.
//!
//! No cloud image is to be had without a network, so the guest is a kernel with a shell that does the steps of
//! cloud-init: `mounts`, of a disk that was formatted before, `write_files`, decoding what is encoded, and `runcmd`, with
//! a `systemctl` that starts what a unit says.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use sterna_kubevirt::stress::{
    DATA_DISK_SERIAL, DataDisk, ECHO_PORT, METRICS_PORT, Parameters, user_data,
};
use sterna_units::{Bytes, Rate};
use sterna_wire::guest_disk::{DiskEnded, DiskPage};

use crate::ground::free_port;

const SYSTEMCTL: &str = r#"#!/bin/sh
[ "$1" = enable ] || exit 0
command=$(sed -n 's/^ExecStart=//p' "/etc/systemd/system/$3")
$command </dev/null >/dev/null 2>/dev/console &
"#;

const BEGIN: &str = r"#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /usr/local/bin /etc/systemd/system
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in /mods/*; do insmod $module; done
ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2
mkdir -p /dev/disk/by-id
for disk in /sys/block/vd*; do
  ln -s /dev/${disk##*/} /dev/disk/by-id/virtio-$(cat $disk/serial)
done
";

struct Guest(Child);

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_agent_of_the_secret_dirties_at_the_asked_rate_answers_probes_and_proves_its_disk() {
    let tools = match tools() {
        Ok(tools) => tools,
        Err(reason) => return eprintln!("skipped: {reason}"),
    };
    let mut parameters = Parameters::new("boots", "default");
    parameters.memory = Bytes(128 << 20);
    parameters.vm_bytes_percent = 25;
    parameters.vm_workers = 1;
    let asked = 4 << 20;
    parameters.dirty_rate_target = Some(Rate::from_bytes_per_second(asked));
    parameters.data_disk = Some(DataDisk { size: Bytes(64 << 20), storage_class: None });
    let directory = tempfile::tempdir().unwrap();
    let disk = formatted_disk(directory.path());
    let initramfs = initramfs(directory.path(), &tools, &user_data(&parameters).unwrap());
    let (metrics, echo) = (free_port(), free_port());
    let log = directory.path().join("console");
    let _guest = boot(&tools, &initramfs, &disk, [metrics, echo], &log);

    let first = first_metrics(metrics, &log);
    std::thread::sleep(Duration::from_secs(5));
    let second = read_metrics(metrics).unwrap();
    let pages = value(&second, "page_writes_total") - value(&first, "page_writes_total");
    let seconds = value(&second, "monotonic_seconds") - value(&first, "monotonic_seconds");
    let rate = pages * 4096.0 / seconds;
    // The emulated processor has bad moments; it never writes more than is asked.
    let share = rate / asked as f64;
    assert!((0.3..1.1).contains(&share), "asked for {asked} B/s, got {rate:.0}");

    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut buffer = [0; 64];
    let answered = (0..10).any(|_| {
        let question = sterna_probe::Message::new(1, 2);
        socket.send_to(&question.to_bytes(), (Ipv4Addr::LOCALHOST, echo)).unwrap();
        let answer = socket.recv(&mut buffer).ok();
        let answer = answer.and_then(|it| sterna_probe::Message::from_bytes(&buffer[..it]));
        answer.is_some_and(|it| it.number == 2 && it.heard > 0)
    });
    assert!(answered, "probes are answered");

    let ended = records_on_the_disk(metrics, |_| ());
    assert!(ended.due >= 100 && ended.acknowledged == ended.due, "{ended:?}");
    assert_eq!((ended.proof, ended.error), (Ok(Default::default()), None));
    // What the guest's memory remembers is not asked: a record is changed where only the disk is.
    let ended = records_on_the_disk(metrics, |run| damage(&disk, run));
    let proof = ended.proof.unwrap();
    assert_eq!((proof.missing, proof.torn, proof.out_of_order), (0, 1, 0), "{proof:?}");
}

/// Has records written for a while.
fn records_on_the_disk(metrics: u16, meanwhile: impl FnOnce(u64)) -> DiskEnded {
    let page = |path: &str| get(metrics, path).unwrap().parse().unwrap();
    let run = match page("disk/begin") {
        DiskPage::Begun { run } => run,
        other => panic!("{other:?}"),
    };
    std::thread::sleep(Duration::from_secs(2));
    meanwhile(run);
    match page("disk/end") {
        DiskPage::Ended(ended) => *ended,
        other => panic!("{other:?}"),
    }
}

/// An empty file system.
fn formatted_disk(directory: &Path) -> PathBuf {
    let disk = directory.join("disk");
    fs::File::create(&disk).unwrap().set_len(64 << 20).unwrap();
    let made = Command::new("mkfs.ext4").arg("-q").arg(&disk).status();
    assert!(made.unwrap().success());
    disk
}

/// Changes a byte of the first record of a run, wherever the guest's file system has put it.
fn damage(disk: &Path, run: u64) {
    let bytes = fs::read(disk).unwrap();
    let head = [&b"StrnRec1"[..], &run.to_be_bytes(), &0_u64.to_be_bytes()].concat();
    let at = bytes.windows(head.len()).position(|it| it == head).expect("the first record");
    let file = fs::OpenOptions::new().write(true).open(disk).unwrap();
    file.write_all_at(&[!bytes[at + 300]], at as u64 + 300).unwrap();
}

struct Tools {
    kernel: PathBuf,
    modules: Vec<PathBuf>,
}

fn tools() -> Result<Tools, String> {
    if sterna_agent::program().is_none() {
        return Err("the agent could not be built statically here".to_owned());
    }
    for (program, flag) in [
        ("qemu-system-x86_64", "--version"),
        ("cpio", "--version"),
        ("ldd", "--version"),
        ("mkfs.ext4", "-V"),
    ] {
        let ran =
            Command::new(program).arg(flag).stdout(Stdio::null()).stderr(Stdio::null()).status();
        ran.map_err(|_| format!("there is no {program}"))?;
    }
    if !Path::new("/usr/bin/busybox").exists() {
        return Err("there is no /usr/bin/busybox; Debian's package is busybox-static".to_owned());
    }
    let boot = fs::read_dir("/boot").map_err(|_| "there is no /boot")?;
    let mut kernels: Vec<PathBuf> = boot.flatten().map(|it| it.path()).collect();
    kernels.sort();
    for kernel in kernels.into_iter().rev() {
        let name = kernel.file_name().unwrap().to_string_lossy().into_owned();
        let Some(release) = name.strip_prefix("vmlinuz-") else { continue };
        let mut modules = Vec::new();
        for driver in ["virtio_pci", "virtio_net", "virtio_blk", "ext4"] {
            let needs = Command::new("/usr/sbin/modprobe")
                .args(["-S", release, "--show-depends", driver])
                .output()
                .map_err(|_| "there is no modprobe")?;
            let text = String::from_utf8_lossy(&needs.stdout).into_owned();
            let files = text
                .lines()
                .filter_map(|it| it.strip_prefix("insmod "))
                .map(|it| PathBuf::from(it.trim()));
            modules.extend(files);
        }
        if modules.iter().all(|it| it.extension().is_some_and(|it| it == "ko")) {
            return Ok(Tools { kernel, modules });
        }
    }
    Err("there is no kernel in /boot whose modules busybox can load".to_owned())
}

/// A tree with busybox, modules and the steps of the user data, as an archive.
fn initramfs(directory: &Path, tools: &Tools, user_data: &str) -> PathBuf {
    let tree = directory.join("tree");
    for name in ["bin", "mods", "steps"] {
        fs::create_dir_all(tree.join(name)).unwrap();
    }
    install_busybox(&tree);
    let mut seen = std::collections::BTreeSet::new();
    let modules = tools.modules.iter().filter(|it| seen.insert((*it).clone()));
    for (number, module) in modules.enumerate() {
        fs::copy(module, tree.join(format!("mods/{number:02}.ko"))).unwrap();
    }
    executable(&tree.join("bin/systemctl"), SYSTEMCTL);
    executable(&tree.join("init"), &format!("{BEGIN}{}sleep 100000\n", steps(&tree, user_data)));
    let archive = directory.join("initramfs");
    let made = Command::new("sh")
        .args(["-c", "find . | cpio --quiet -o -H newc > ../initramfs"])
        .current_dir(&tree)
        .status();
    assert!(made.unwrap().success());
    archive
}

/// `mounts`, `write_files` and `runcmd` as a shell does them; the content of each file travels as it stands in the user data.
fn steps(tree: &Path, user_data: &str) -> String {
    let document: Value = serde_saphyr::from_str(user_data).unwrap();
    let mut script = String::new();
    for mount in document["mounts"].as_array().unwrap() {
        let [device, directory, kind, options, ..] = &mount.as_array().unwrap()[..] else {
            panic!("{mount}")
        };
        writeln!(script, "mkdir -p {directory}; mount -t {kind} -o {options} {device} {directory}")
            .unwrap();
    }
    for (number, file) in document["write_files"].as_array().unwrap().iter().enumerate() {
        let text = |key: &str| file[key].as_str().unwrap_or_default().to_owned();
        fs::write(tree.join(format!("steps/{number}")), text("content")).unwrap();
        let decode = match text("encoding").as_str() {
            "" => "cat".to_owned(),
            "gzip+base64" => "base64 -d | gunzip".to_owned(),
            other => panic!("cloud-init may know the encoding {other}, this test does not"),
        };
        let (path, mode) = (text("path"), text("permissions"));
        writeln!(script, "cat /steps/{number} | {decode} > {path} && chmod {mode} {path}").unwrap();
    }
    for command in document["runcmd"].as_array().unwrap() {
        let words =
            command.as_array().unwrap().iter().map(|it| format!("'{}'", it.as_str().unwrap()));
        writeln!(script, "{}", words.collect::<Vec<_>>().join(" ")).unwrap();
    }
    script
}

fn install_busybox(tree: &Path) {
    fs::copy("/usr/bin/busybox", tree.join("bin/busybox")).unwrap();
    symlink("busybox", tree.join("bin/sh")).unwrap();
    let needs = Command::new("ldd").arg("/usr/bin/busybox").output().unwrap();
    for word in String::from_utf8_lossy(&needs.stdout).split_whitespace() {
        if word.starts_with('/') {
            let inside = tree.join(word.trim_start_matches('/'));
            fs::create_dir_all(inside.parent().unwrap()).unwrap();
            fs::copy(word, inside).unwrap();
        }
    }
}

fn executable(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn boot(tools: &Tools, initramfs: &Path, disk: &Path, ports: [u16; 2], log: &Path) -> Guest {
    let [metrics, echo] = ports;
    let forward = format!(
        "user,id=net,hostfwd=tcp:127.0.0.1:{metrics}-:{METRICS_PORT},hostfwd=udp:127.0.0.1:{echo}-:{ECHO_PORT}"
    );
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args([
            "-machine",
            "q35",
            "-accel",
            "tcg",
            "-cpu",
            "max",
            "-m",
            "256",
            "-nographic",
            "-no-reboot",
        ])
        .arg("-kernel")
        .arg(&tools.kernel)
        .arg("-initrd")
        .arg(initramfs)
        .args(["-append", "console=ttyS0 panic=-1 no_timer_check", "-netdev", &forward])
        .args(["-device", "virtio-net-pci,netdev=net,romfile="])
        .args(["-drive", &format!("id=data,if=none,format=raw,file={}", disk.display())])
        .args(["-device", &format!("virtio-blk-pci,drive=data,serial={DATA_DISK_SERIAL}")]);
    let console = fs::File::create(log).unwrap();
    command.stdin(Stdio::null()).stdout(console.try_clone().unwrap()).stderr(console);
    sterna_sys::process::die_with_parent(&mut command);
    Guest(command.spawn().unwrap())
}

fn first_metrics(port: u16, log: &Path) -> String {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        if let Some(text) = read_metrics(port).filter(|it| value(it, "page_writes_total") > 0.0) {
            return text;
        }
        let console = || fs::read_to_string(log).unwrap_or_default();
        assert!(Instant::now() < deadline, "the agent does not answer:\n{}", console());
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn read_metrics(port: u16) -> Option<String> {
    get(port, "metrics").filter(|it| it.contains("sterna_guest_monotonic_seconds"))
}

fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    stream.write_all(format!("GET /{path} HTTP/1.1\r\nHost: guest\r\n\r\n").as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

fn value(text: &str, name: &str) -> f64 {
    let line = text.lines().find(|it| it.starts_with(&format!("sterna_guest_{name}")));
    line.and_then(|it| it.split_whitespace().last()?.parse().ok()).unwrap_or(0.0)
}
