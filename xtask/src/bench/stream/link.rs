//! Two namespaces with a link of 1 Gbit/s between them, for as long as a benchmark runs.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use sterna_report::stream::StreamReport;
use sterna_sys::process;

use super::runs::Pair;

/// A secret among processes of one machine.
const TOKEN: &str = "a token for a benchmark";

/// The queue in front of the link has bands by priority, as most systems' have by default.
const QUEUE: [&str; 2] = [
    "tc qdisc add dev wire root handle 1: tbf rate 1gbit burst 128kb latency 50ms",
    "tc qdisc add dev wire parent 1: pfifo_fast",
];

/// A server at one end, and a place for clients at the other.
pub struct Link {
    pair: Pair,
    here: Namespace,
    _there: Namespace,
    certificates: tempfile::TempDir,
    sterna: PathBuf,
}

/// A process that holds a namespace.
struct Namespace(Child);

impl Link {
    /// Takes the right to make namespaces, and the programs ip, tc, unshare and nsenter.
    pub fn new(sterna: &Path) -> Result<Link> {
        let here = Namespace::new(Command::new("unshare").args(["--user", "--map-root-user"]))?;
        let there = Namespace::new(here.command().arg("unshare"))?;
        let other = there.0.id();
        here.run(&format!(
            "ip link add wire mtu 9000 type veth peer name wire mtu 9000 netns {other}"
        ))?;
        for (namespace, number) in [(&here, 1), (&there, 2)] {
            namespace.run("ip link set lo up")?;
            namespace.run(&format!("ip address add 10.77.0.{number}/24 dev wire"))?;
            namespace.run("ip link set wire up")?;
            QUEUE.iter().try_for_each(|line| namespace.run(line))?;
        }
        let certificates = tempfile::tempdir()?;
        let directory = certificates.path().join("certificates");
        let directory = directory.to_str().context("A directory has no name")?;
        let made =
            Command::new(sterna).args(["certs", directory, "--host", "10.77.0.2"]).output()?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut command = there.command();
        command.arg(sterna).env("STERNA_HOST_TOKEN", TOKEN);
        let flags = ["--listen", "10.77.0.2:0", "--tls-dir", directory];
        let pair = Pair::of(command, &flags, sterna)?;
        Ok(Link { pair, here, _there: there, certificates, sterna: sterna.to_owned() })
    }

    /// A client, to its end; pages go in clear.
    pub fn run(&self, flags: &[&str], seconds: f64) -> Result<StreamReport> {
        let mut command = self.here.command();
        command.arg(&self.sterna).env("STERNA_HOST_TOKEN", TOKEN);
        let directory = self.certificates.path().join("certificates");
        let directory = directory.to_str().context("A directory has no name")?;
        self.pair.run_by(command, &[&["--tls-dir", directory], flags].concat(), seconds)
    }
}

impl Namespace {
    /// By a command that goes on with the flags of `unshare`.
    fn new(command: &mut Command) -> Result<Namespace> {
        command.args(["--net", "sleep", "3600"]).stdin(Stdio::null()).stderr(Stdio::null());
        process::die_with_parent(command);
        let mut child = command.spawn().context("No namespace can be had")?;
        for _ in 0..1000 {
            let name = std::fs::read_to_string(format!("/proc/{}/comm", child.id()));
            if name.is_ok_and(|it| it.trim() == "sleep") {
                return Ok(Namespace(child));
            }
            if child.try_wait()?.is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("No namespace can be had here")
    }

    /// A command in it.
    fn command(&self) -> Command {
        let mut command = Command::new("nsenter");
        let target = self.0.id().to_string();
        command.args(["--preserve-credentials", "--user", "--net", "--target", &target]);
        command
    }

    fn run(&self, line: &str) -> Result<()> {
        let output = self.command().args(line.split(' ')).stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{line}: {said}");
        Ok(())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
