//! Another machine: a network namespace with an ssh server of its own, gone with the value.
//!
//! Nothing of this machine's ssh is read or written: keys, configuration and known hosts lie in a temporary directory.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A machine that takes ssh connections of the present user.
pub struct Machine {
    directory: TempDir,
    namespace: String,
    number: u32,
    server: Option<Child>,
}

impl Machine {
    /// `None` when something is missing, which has been printed.
    pub fn new() -> Option<Machine> {
        if let Some(reason) = obstacle() {
            eprintln!("skipped: {reason}");
            return None;
        }
        let mut machine = Machine {
            directory: tempfile::tempdir().unwrap(),
            namespace: format!("sterna-{}", std::process::id()),
            // Processes have different numbers, and there are fewer of them than such networks.
            number: std::process::id(),
            server: None,
        };
        if let Err(reason) = machine.build() {
            eprintln!("skipped: no network of two machines can be made: {reason}");
            return None;
        }
        Some(machine)
    }

    /// How it is called.
    pub fn address(&self) -> String {
        format!("ssh://root@{}", self.ip(2))
    }

    /// The configuration with which it is reached.
    pub fn config(&self) -> String {
        self.path("config").to_str().unwrap().to_owned()
    }

    /// The arguments that send the destination there.
    pub fn destination(&self) -> [String; 4] {
        ["--destination".to_owned(), self.address(), "--ssh-config".to_owned(), self.config()]
    }

    /// The server's key is no longer known here.
    pub fn forget(&self) {
        fs::write(self.path("known_hosts"), "").unwrap();
    }

    /// Our key is no longer known there.
    pub fn lock_out(&self) {
        fs::write(self.path("authorized_keys"), "").unwrap();
    }

    /// Cuts the cable.
    pub fn cut(&self) {
        run("ip", &["link", "set", &self.interface("a"), "down"]).unwrap();
    }

    fn build(&mut self) -> Result<(), String> {
        let (ours, theirs) = (self.interface("a"), self.interface("b"));
        let namespace = self.namespace.clone();
        run("ip", &["netns", "add", &namespace])?;
        let pair = ["type", "veth", "peer", "name", &theirs, "netns", &namespace];
        run("ip", &[&["link", "add", &ours][..], &pair].concat())?;
        let here = format!("{}/30", self.ip(1));
        let there = format!("{}/30", self.ip(2));
        run("ip", &["addr", "add", &here, "dev", &ours])?;
        run("ip", &["link", "set", &ours, "up"])?;
        run("ip", &["-n", &namespace, "addr", "add", &there, "dev", &theirs])?;
        run("ip", &["-n", &namespace, "link", "set", &theirs, "up"])?;
        run("ip", &["-n", &namespace, "link", "set", "lo", "up"])?;
        self.keys()?;
        self.serve()
    }

    fn keys(&self) -> Result<(), String> {
        for name in ["host_key", "user_key"] {
            let path = self.path(name);
            run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", path.to_str().unwrap()])?;
        }
        fs::copy(self.path("user_key.pub"), self.path("authorized_keys")).unwrap();
        let key = fs::read_to_string(self.path("host_key.pub")).unwrap();
        fs::write(self.path("known_hosts"), format!("{} {key}", self.ip(2))).unwrap();
        let folder = self.directory.path().display();
        let server = format!(
            "Port 22\nHostKey {folder}/host_key\nAuthorizedKeysFile {folder}/authorized_keys\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nPidFile none\n\
             PermitRootLogin prohibit-password\nAcceptEnv RUN_MARK TMPDIR\n"
        );
        fs::write(self.path("sshd_config"), server).unwrap();
        // What runs over there shall carry the run's mark, and use its directory.
        let client = format!(
            "IdentityFile {folder}/user_key\nIdentitiesOnly yes\nIdentityAgent none\n\
             UserKnownHostsFile {folder}/known_hosts\nGlobalKnownHostsFile /dev/null\n\
             StrictHostKeyChecking yes\nSendEnv RUN_MARK TMPDIR\n"
        );
        fs::write(self.path("config"), client).unwrap();
        Ok(())
    }

    /// The server wants a directory in `/run`, so it gets a `/run` of its own.
    fn serve(&mut self) -> Result<(), String> {
        let script = format!(
            "mount -t tmpfs tmpfs /run && mkdir -m 755 /run/sshd && exec /usr/sbin/sshd -D -e -f {}",
            self.path("sshd_config").display()
        );
        let log = fs::File::create(self.path("log")).unwrap();
        let mut server = Command::new("ip");
        server.args(["netns", "exec", &self.namespace, "sh", "-c", &script]);
        server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.server = Some(server.spawn().map_err(|error| error.to_string())?);
        let address: SocketAddr = format!("{}:22", self.ip(2)).parse().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
            if Instant::now() > deadline {
                return Err(fs::read_to_string(self.path("log")).unwrap());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Address 1 is this machine's, 2 the other's, in a network of their own.
    fn ip(&self, host: u32) -> String {
        let network = (self.number % (1 << 20)) << 2;
        format!("10.{}.{}.{}", 192 + (network >> 16), (network >> 8) & 255, (network & 255) + host)
    }

    fn interface(&self, end: &str) -> String {
        format!("st{}{end}", self.number)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
        // A session whose cable was cut would wait for hours.
        let inside = Command::new("ip").args(["netns", "pids", &self.namespace]).output();
        let inside = inside.map(|it| String::from_utf8_lossy(&it.stdout).into_owned());
        for pid in inside.unwrap_or_default().split_whitespace() {
            let _ = run("kill", &["-9", pid]);
        }
        let _ = run("ip", &["link", "del", &self.interface("a")]);
        let _ = run("ip", &["netns", "del", &self.namespace]);
    }
}

fn obstacle() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("another network namespace takes root".to_owned());
    }
    let missing = |it: &&str| {
        let tried = Command::new("sh").args(["-c", &format!("command -v {it}")]).output().unwrap();
        !tried.status.success()
    };
    let tools = ["ip", "ssh", "ssh-keygen", "/usr/sbin/sshd"];
    let name = tools.iter().find(|it| missing(it))?;
    Some(format!("there is no {name} (Debian: iproute2, openssh-client, openssh-server)"))
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("{program} {}: {words}", arguments.join(" ")))
}
