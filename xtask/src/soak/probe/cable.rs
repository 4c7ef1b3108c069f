//! Two network namespaces with a cable between them, which is pulled and plugged in again.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::Trial;
use super::child::{Running, longest, probe, report, serve, start};

const LENGTH: Duration = Duration::from_millis(500);
const MARGIN: Duration = Duration::from_millis(500);

/// The other machine's.
const MAC: &str = "02:00:00:00:00:02";

/// Pulls the cable again and again; `None` where there are no namespaces.
pub fn run(program: &Path, count: u32) -> Result<Option<Vec<Trial>>> {
    let Some(ours) = hold(Command::new("unshare"), &["--user", "--map-root-user", "--net"])? else {
        return Ok(None);
    };
    let mut unshare = within(&ours);
    unshare.arg("unshare");
    let Some(theirs) = hold(unshare, &["--net"])? else { return Ok(None) };
    let pid = theirs.0.id();
    ip(
        within(&ours),
        &format!("link add wire type veth peer name wire address {MAC} netns {pid}"),
    )?;
    for (machine, number) in [(&ours, 1), (&theirs, 2)] {
        ip(within(machine), &format!("address add 10.77.0.{number}/24 dev wire"))?;
        ip(within(machine), "link set wire up")?;
    }
    // A neighbour that was lost is asked for once a second only, which is longer than the cable is out.
    ip(within(&ours), &format!("neigh replace 10.77.0.2 lladdr {MAC} nud permanent dev wire"))?;
    let at = |machine: &Running| {
        let mut command = within(machine);
        command.arg(program);
        command
    };
    let (_responder, address) = serve(at(&theirs), "10.77.0.2:12323")?;
    // One program that waits for orders: starting one would take longer than what is measured.
    let mut hand = within(&theirs);
    hand.args(["ip", "-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut hand = Running(hand.spawn().context("Cannot start ip")?);
    let mut trials = Vec::new();
    for _ in 0..count {
        let running = probe(at(&ours), &address, (2 * MARGIN + LENGTH).as_secs_f64())?;
        sleep(MARGIN);
        let truth = pull(&mut hand.0)?;
        trials.push(Trial { truth, reported: longest(&report(running)?) });
    }
    Ok(Some(trials))
}

/// The orders are carried out some hundred microseconds after they are given, both of them.
fn pull(hand: &mut Child) -> Result<(f64, f64)> {
    let orders = hand.stdin.as_mut().context("There is no way to give orders")?;
    orders.write_all(b"link set wire down\n")?;
    orders.flush()?;
    let down = Instant::now();
    sleep(LENGTH);
    orders.write_all(b"link set wire up\n")?;
    orders.flush()?;
    let length = down.elapsed().as_secs_f64();
    Ok((length, length))
}

/// A process that holds a namespace.
fn hold(mut command: Command, flags: &[&str]) -> Result<Option<Running>> {
    command.args(flags).args(["sleep", "3600"]);
    let mut held = start(command)?;
    for _ in 0..1000 {
        let name = std::fs::read_to_string(format!("/proc/{}/comm", held.0.id()));
        if name.is_ok_and(|it| it.trim() == "sleep") {
            return Ok(Some(held));
        }
        if held.0.try_wait()?.is_some() {
            return Ok(None);
        }
        sleep(Duration::from_millis(5));
    }
    Ok(None)
}

fn within(machine: &Running) -> Command {
    let mut command = Command::new("nsenter");
    let pid = machine.0.id().to_string();
    command.args(["--preserve-credentials", "--user", "--net", "--target", &pid]);
    command
}

fn ip(mut command: Command, line: &str) -> Result<()> {
    let status = command.arg("ip").args(line.split(' ')).status()?;
    ensure!(status.success(), "ip {line} ended with {status}");
    Ok(())
}
