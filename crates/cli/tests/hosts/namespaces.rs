//! Two machines for as long as a test runs: network namespaces with a wire between them, which an unprivileged user can have, too.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What passes over the wire, frames counted whole.
pub const RATE_BITS: f64 = 50e6;

/// The machine on which the pilot runs has 10.77.0.1, the other one 10.77.0.2; both have an address of IPv6, too.
pub struct TwoMachines {
    ours: Child,
    theirs: Child,
}

impl TwoMachines {
    /// `None` when something is missing, which has been printed.
    pub fn new() -> Option<TwoMachines> {
        let mut ours = Command::new("unshare");
        ours.args(["--user", "--map-root-user", "--net", "sleep", "600"]);
        let ours = hold(&mut ours)?;
        let mut theirs = within(ours.id());
        theirs.args(["unshare", "--net", "sleep", "600"]);
        let Some(theirs) = hold(&mut theirs) else {
            end(ours);
            return None;
        };
        let machines = TwoMachines { ours, theirs };
        match machines.wire() {
            Ok(()) => Some(machines),
            Err(reason) => {
                eprintln!("skipped: no wire between two namespaces can be made: {reason}");
                None
            }
        }
    }

    /// A command on the machine of the pilot.
    pub fn here(&self) -> Command {
        within(self.ours.id())
    }

    /// A command on the other machine.
    pub fn there(&self) -> Command {
        within(self.theirs.id())
    }

    /// Cuts the wire: what is sent is lost, and neither side gets an error for it.
    #[allow(dead_code, reason = "not every test binary cuts it")]
    pub fn cut(&self) {
        run(self.there(), "ip link set wire down").unwrap();
    }

    fn wire(&self) -> Result<(), String> {
        let theirs = self.theirs.id();
        // Jumbo frames, as on networks that are made for migrations, so that headers are a hundredth.
        run(
            self.here(),
            &format!("ip link add wire mtu 9000 type veth peer name wire mtu 9000 netns {theirs}"),
        )?;
        for (side, number) in [(false, 1), (true, 2)] {
            let command = || if side { self.there() } else { self.here() };
            run(command(), "ip link set lo up")?;
            run(command(), &format!("ip address add 10.77.0.{number}/24 dev wire"))?;
            run(command(), &format!("ip address add fd77::{number}/64 dev wire nodad"))?;
            run(command(), "ip link set wire up")?;
            let rate = RATE_BITS as u64;
            run(
                command(),
                &format!("tc qdisc add dev wire root tbf rate {rate}bit burst 128kb latency 200ms"),
            )?;
        }
        Ok(())
    }
}

impl Drop for TwoMachines {
    fn drop(&mut self) {
        // The namespaces go with the last process in them.
        for child in [&mut self.theirs, &mut self.ours] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A command in the network namespace of a process; other processes do not notice.
fn within(pid: u32) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["--preserve-credentials", "--user", "--net", "--target", &pid.to_string()]);
    command
}

fn run(mut command: Command, line: &str) -> Result<(), String> {
    let output = command.args(line.split(' ')).stdin(Stdio::null()).output();
    let output = output.map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{line}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

/// A process that holds a namespace, once it is in it.
fn hold(command: &mut Command) -> Option<Child> {
    let mut child = match command.stdin(Stdio::null()).stderr(Stdio::null()).spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("skipped: no namespaces can be had: {error}");
            return None;
        }
    };
    for _ in 0..1000 {
        let line =
            std::fs::read_to_string(format!("/proc/{}/comm", child.id())).unwrap_or_default();
        if line.trim() == "sleep" {
            return Some(child);
        }
        if child.try_wait().unwrap().is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    eprintln!("skipped: no namespaces can be had here (unshare --user --map-root-user --net)");
    end(child);
    None
}

fn end(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}
