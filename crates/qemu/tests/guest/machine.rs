//! One QEMU with a guest in it, without the engine.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sterna_qemu::guest_image::{self, ImageOptions};
use sterna_wire::guest_config::GuestConfig;
use sterna_wire::guest_line::{Decoder, Encoder, GuestCommand, GuestMessage};
use tempfile::TempDir;

const QEMU: &str = "qemu-system-x86_64";

/// Long for a guest, short for a test that hangs.
const PATIENCE: Duration = Duration::from_secs(90);

/// On which port the guest is spoken to.
pub enum Port {
    Virtio,
    Serial(&'static str),
    None,
}

pub struct Machine {
    child: Child,
    hardware: Vec<OsString>,
    qmp: Option<BufReader<UnixStream>>,
    line: Option<UnixStream>,
    decoder: Decoder<GuestMessage>,
    encoder: Encoder,
    waiting: VecDeque<GuestMessage>,
    echo: Option<u16>,
    console: PathBuf,
    /// Removed with the last machine that uses it.
    directory: Rc<TempDir>,
}

/// Whether guests can be booted here at all; says why not.
pub fn boots() -> bool {
    let directory = tempfile::tempdir().unwrap();
    let options = ImageOptions {
        kernel: None,
        agent: None,
        config: "workload=memory=1MiB",
        initramfs: &directory.path().join("initramfs"),
    };
    if let Err(error) = guest_image::build(&options) {
        eprintln!("skipped: {error}");
        return false;
    }
    let version = Command::new(QEMU).arg("--version").output();
    if version.is_err() {
        eprintln!("skipped: {QEMU} is not installed");
    }
    version.is_ok()
}

impl Machine {
    /// Boots a guest of 128 MiB; with `echo`, that port of the guest can be reached by [`Machine::connect`].
    pub fn boot(config: &GuestConfig, port: Port, echo: Option<u16>) -> Machine {
        // Somebody else may take the port in between; then QEMU ends and the test fails with its words.
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let echo = echo.map(|guest_port| (guest_port, free()));
        let user = echo.map(|(guest_port, host_port)| {
            let forward = |kind| format!("hostfwd={kind}:127.0.0.1:{host_port}-:{guest_port}");
            format!("user,id=net,{},{}", forward("tcp"), forward("udp"))
        });
        Machine::boot_on(2, config, port, user, echo.map(|it| it.1))
    }

    /// Boots one with a single processor, and with a tap device of this name for its network.
    pub fn boot_on_tap(config: &GuestConfig, port: Port, tap: &str) -> Machine {
        let tap = format!("tap,id=net,ifname={tap},script=no,downscript=no");
        Machine::boot_on(1, config, port, Some(tap), None)
    }

    fn boot_on(
        vcpus: u32,
        config: &GuestConfig,
        port: Port,
        network: Option<String>,
        echo: Option<u16>,
    ) -> Machine {
        let directory = tempfile::tempdir().unwrap();
        let config = config.to_string();
        let options = ImageOptions {
            kernel: None,
            agent: None,
            config: &config,
            initramfs: &directory.path().join("initramfs"),
        };
        let image = guest_image::build(&options).unwrap();
        let mut hardware: Vec<OsString> = ["-kernel".into(), image.kernel.into()].into();
        hardware.extend(["-initrd".into(), image.initramfs.into()]);
        let mut add = |words: &[&str]| hardware.extend(words.iter().map(OsString::from));
        add(&["-accel", "tcg", "-smp", &vcpus.to_string(), "-m", "128"]);
        add(&["-display", "none", "-nodefaults"]);
        add(&["-no-reboot", "-append", "console=ttyS0 panic=-1 quiet no_timer_check"]);
        match port {
            Port::Virtio => {
                add(&["-serial", "chardev:console", "-device", "virtio-serial-pci"]);
                add(&["-device", "virtserialport,chardev=line,name=org.sterna.guest"]);
            }
            Port::Serial("ttyS0") => add(&["-serial", "chardev:line"]),
            Port::Serial(_) => add(&["-serial", "chardev:console", "-serial", "chardev:line"]),
            Port::None => add(&["-serial", "chardev:console"]),
        }
        if let Some(network) = network {
            add(&["-netdev", &network, "-device", "virtio-net-pci,netdev=net,romfile="]);
        }
        Machine::spawn(Rc::new(directory), hardware, "source", echo)
    }

    /// A machine like this one, which waits for its guest at the path that is returned too.
    pub fn twin(&self) -> (Machine, PathBuf) {
        let incoming = self.directory.path().join("incoming");
        let mut hardware = self.hardware.clone();
        hardware.extend(["-incoming".into(), format!("unix:{}", incoming.display()).into()]);
        let directory = Rc::clone(&self.directory);
        (Machine::spawn(directory, hardware, "destination", self.echo), incoming)
    }

    fn spawn(
        directory: Rc<TempDir>,
        hardware: Vec<OsString>,
        name: &str,
        echo: Option<u16>,
    ) -> Machine {
        let path = |what: &str| directory.path().join(format!("{name}-{what}"));
        let (socket, qmp, console) = (path("line"), path("qmp"), path("console"));
        let mut qemu = Command::new(QEMU);
        qemu.args(&hardware);
        let chardev = format!("socket,id=line,server=on,wait=off,path={}", socket.display());
        let to_file = format!("file,id=console,path={}", console.display());
        qemu.args(["-chardev", &chardev, "-chardev", &to_file]);
        qemu.arg("-qmp").arg(format!("unix:{},server=on,wait=off", qmp.display()));
        sterna_sys::process::die_with_parent(&mut qemu);
        let child = qemu.stdin(Stdio::null()).spawn().unwrap();
        let mut machine = Machine {
            child,
            hardware,
            line: None,
            qmp: None,
            decoder: Decoder::default(),
            encoder: Encoder::default(),
            waiting: VecDeque::new(),
            echo,
            console,
            directory,
        };
        machine.line = Some(machine.retry(|| UnixStream::connect(&socket).ok()));
        let qmp = machine.retry(|| UnixStream::connect(&qmp).ok());
        machine.qmp = Some(BufReader::new(qmp));
        machine.qmp("qmp_capabilities", json!({}));
        machine
    }

    /// What the command returns; events that come before are dropped.
    pub fn qmp(&mut self, command: &str, arguments: Value) -> Value {
        let qmp = self.qmp.as_mut().unwrap();
        let line = json!({ "execute": command, "arguments": arguments }).to_string();
        qmp.get_mut().write_all(line.as_bytes()).unwrap();
        loop {
            let mut line = String::new();
            assert_ne!(qmp.read_line(&mut line).unwrap(), 0, "QEMU has ended");
            let mut answer: Value = serde_json::from_str(&line).unwrap();
            assert!(answer.get("error").is_none(), "{command}: {answer}");
            if let Some(value) = answer.get_mut("return") {
                return value.take();
            }
        }
    }

    /// A page of guest memory, as QEMU sees it.
    pub fn page(&mut self, gpa: u64) -> Vec<u8> {
        let file = self.directory.path().join("page");
        self.qmp("pmemsave", json!({ "val": gpa, "size": 4096, "filename": file }));
        fs::read(file).unwrap()
    }

    /// Goes on with what was heard from the machine where the guest was before.
    pub fn take_over(&mut self, from: &mut Machine) {
        self.decoder = std::mem::take(&mut from.decoder);
        self.encoder = std::mem::take(&mut from.encoder);
        self.waiting = std::mem::take(&mut from.waiting);
    }

    /// Takes all that is still to be heard, until nothing comes for `quiet`.
    pub fn drain(&mut self, quiet: Duration) {
        let line = self.line.as_mut().unwrap();
        line.set_read_timeout(Some(quiet)).unwrap();
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = line.read(&mut buffer) {
            self.waiting.extend(self.decoder.push(&buffer[..length]));
        }
    }

    pub fn say(&mut self, command: GuestCommand) {
        let bytes = self.encoder.encode(&command);
        self.line.as_mut().unwrap().write_all(&bytes).unwrap();
    }

    /// The next message that fits; those before it are dropped.
    pub fn wait(&mut self, fits: impl Fn(&GuestMessage) -> bool) -> GuestMessage {
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = [0; 4096];
        loop {
            while let Some(message) = self.waiting.pop_front() {
                if fits(&message) {
                    return message;
                }
                assert!(
                    !matches!(message, GuestMessage::Fatal(_) | GuestMessage::Bye),
                    "{message:?}"
                );
            }
            assert!(Instant::now() < deadline, "no answer; console:\n{}", self.console());
            let line = self.line.as_mut().unwrap();
            line.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            match line.read(&mut buffer) {
                Ok(0) => panic!("QEMU has ended; console:\n{}", self.console()),
                Ok(length) => self.waiting.extend(self.decoder.push(&buffer[..length])),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Lines that the guest numbered and that never came.
    pub fn missed(&self) -> u64 {
        self.decoder.missed()
    }

    /// Waits for QEMU to end, taking what still comes over the line.
    pub fn has_ended_within(&mut self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if self.child.try_wait().unwrap().is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    /// What the kernel and the agent wrote on the console, if that is not the line.
    pub fn console(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.console).unwrap_or_default()).into_owned()
    }

    /// Where the guest's echo is on our loopback.
    pub fn echo_port(&self) -> u16 {
        self.echo.unwrap()
    }

    /// A connection to the guest's echo.
    pub fn connect(&mut self) -> TcpStream {
        let port = self.echo_port();
        let stream = self.retry(|| TcpStream::connect(("127.0.0.1", port)).ok());
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn retry<T>(&mut self, mut attempt: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(value) = attempt() {
                return value;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "QEMU did not come up: {ended:?}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
