//! A wire between two machines: what is lost on it, on which way, and what else may happen to it.

use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Responder, Running, assert_lasted, long_outages, number, probe_by};
use crate::namespaces::TwoMachines;

const BROKEN: Duration = Duration::from_millis(600);

/// The other machine's place on the wire.
const MAC: &str = "02:00:00:00:00:02";

/// Two machines whose neighbours are known for good: one that was lost would be asked for once a second only, which is longer than the wire is cut.
fn machines() -> Option<TwoMachines> {
    let machines = TwoMachines::new()?;
    succeed(machines.there(), &format!("ip link set wire address {MAC}"));
    for line in [
        format!("ip neigh replace 10.77.0.2 lladdr {MAC} nud permanent dev wire"),
        "ip link set wire mtu 1400".to_owned(),
    ] {
        succeed(machines.here(), &line);
    }
    Some(machines)
}

/// `sterna` on one of them.
fn sterna(mut machine: Command) -> Command {
    machine.arg(env!("CARGO_BIN_EXE_sterna"));
    machine
}

fn serve(machines: &TwoMachines) -> Responder {
    Responder::of(sterna(machines.there()), "10.77.0.2:0", &[])
}

#[track_caller]
fn succeed(mut command: Command, line: &str) -> String {
    let output = command.args(line.split(' ')).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{line}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Drops what comes to a machine's port, or from it, until it is told to stop.
struct Drops<'a> {
    machine: &'a dyn Fn() -> Command,
}

impl<'a> Drops<'a> {
    /// `None` where the kernel or the program for it is missing, which has been printed.
    fn begin(machine: &'a dyn Fn() -> Command, what: &str) -> Option<Drops<'a>> {
        let rules = [
            "add table inet loss".to_owned(),
            "add chain inet loss in { type filter hook input priority 0; }".to_owned(),
            format!("add rule inet loss in {what} counter drop"),
        ];
        let output = machine().arg("nft").arg(rules.join("\n")).output();
        match output {
            Ok(output) if output.status.success() => Some(Drops { machine }),
            Ok(output) => {
                let reason = String::from_utf8_lossy(&output.stderr).into_owned();
                eprintln!("skipped: nftables cannot be used here: {reason}");
                None
            }
            Err(error) => {
                eprintln!("skipped: nft does not run ({error}); install nftables");
                None
            }
        }
    }

    /// How many were dropped; from now on none are.
    fn end(self) -> u64 {
        succeed((self.machine)(), "nft insert rule inet loss in accept");
        let listed = succeed((self.machine)(), "nft list table inet loss");
        succeed((self.machine)(), "nft delete table inet loss");
        let mut words = listed.split_whitespace().skip_while(|it| *it != "packets");
        words.nth(1).unwrap().parse().unwrap()
    }
}

#[test]
fn loss_on_one_way_is_told_to_be_on_that_way() {
    let Some(machines) = machines() else { return };
    let responder = serve(&machines);
    let port = responder.port();
    let (here, there) = (|| machines.here(), || machines.there());
    let there_way = format!("udp dport {port}");
    let back_way = format!("udp sport {port}");
    let ways: [(&dyn Fn() -> Command, &str, &str); 2] =
        [(&there, &there_way, "to-responder"), (&here, &back_way, "from-responder")];
    for (machine, what, direction) in ways {
        let flags = ["udp", &responder.address, "--interval", "2ms"];
        let mut running = Running::of(sterna(machines.here()), &flags);
        let Some(drops) = Drops::begin(machine, what) else { return };
        sleep(BROKEN);
        let dropped = drops.end();
        let outage = running.wait_for_outage(BROKEN);
        assert_lasted(&outage, BROKEN);
        // The end of a silence is told before it is known what was counted in it.
        sleep(Duration::from_millis(200));
        let (_, report) = running.end();
        let seen = &report["probes"][0];
        let outages = long_outages(seen, BROKEN);
        assert_eq!(outages.len(), 1, "{outages:#?}");
        assert_eq!(outages[0]["direction"], direction, "{outages:#?}");
        assert_eq!(outages[0]["lost"], dropped, "{outages:#?}");
        let lost = [&seen["lost_to_responder"], &seen["lost_from_responder"]];
        let expected = if direction == "to-responder" { [dropped, 0] } else { [0, dropped] };
        assert_eq!(lost.map(|it| it.as_u64().unwrap()), expected, "{seen:#}");
    }
}

#[test]
fn a_wire_that_is_cut_is_one_outage_on_every_way() {
    let Some(machines) = machines() else { return };
    let responder = serve(&machines);
    let start = |kind: &str, target: &str| {
        let flags = [kind, target, "--interval", "5ms"];
        Running::of(sterna(machines.here()), &flags)
    };
    let mut running = [
        start("udp", &responder.address),
        start("tcp", &responder.address),
        start("icmp", "10.77.0.2"),
    ];
    succeed(machines.there(), "ip link set wire down");
    sleep(BROKEN);
    succeed(machines.there(), "ip link set wire up");
    for running in &mut running {
        assert_lasted(&running.wait_for_outage(BROKEN), BROKEN);
    }
    sleep(Duration::from_millis(200));
    let reports = running.map(|it| it.end().1);
    for report in &reports {
        let seen = &report["probes"][0];
        assert_eq!(long_outages(seen, BROKEN).len(), 1, "{seen:#}");
    }
    let lost = reports.each_ref().map(|it| number(it, "/probes/0/lost"));
    // What was sent on the connection was sent again.
    assert!(lost[0] > 50.0 && lost[1] == 0.0 && lost[2] > 50.0, "{lost:?}");
    let udp = &reports[0]["probes"][0];
    assert_eq!(udp["lost_to_responder"], udp["lost"], "{udp:#}");
    assert_eq!(reports[1]["probes"][0]["tcp"]["established"], 1, "{:#}", reports[1]);
}

#[test]
fn pings_are_counted_as_ping_prints_them() {
    let Some(machines) = machines() else { return };
    let here = || machines.here();
    let flags = ["icmp", "10.77.0.2", "--interval", "10ms", "--duration", "1s"];
    let outcome = probe_by(sterna(machines.here()), &flags);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    for part in
        ["--- 10.77.0.2 ping statistics ---", "packets transmitted, ", "received, 0% packet loss"]
    {
        assert!(outcome.stdout.contains(part), "no `{part}` in {}", outcome.stdout);
    }
    assert!(outcome.stdout.contains("rtt min/avg/max/mdev = "), "{}", outcome.stdout);
    let mut running =
        Running::of(sterna(machines.here()), &["icmp", "10.77.0.2", "--interval", "10ms"]);
    let Some(drops) = Drops::begin(&here, "icmp type echo-reply") else { return };
    sleep(BROKEN);
    let dropped = drops.end();
    running.wait_for_outage(BROKEN);
    sleep(Duration::from_millis(100));
    let (_, report) = running.end();
    assert_eq!(report["probes"][0]["lost"], dropped, "{:#}", report["probes"]);
}

#[test]
fn the_owner_of_an_address_is_known_and_its_move_is_seen() {
    let Some(machines) = machines() else { return };
    // As a guest does after a move: it says unasked where it is.
    let mut tell = machines.there();
    tell.args(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/wire/arp_notify"]);
    let tells = tell.status().unwrap().success();
    let flags = ["arp", "10.77.0.2", "--interval", "20ms"];
    let mut running = Running::of(sterna(machines.here()), &flags);
    succeed(machines.there(), "ip link set wire down");
    sleep(BROKEN);
    succeed(machines.there(), "ip link set wire address 02:00:00:00:00:03");
    succeed(machines.there(), "ip link set wire up");
    assert_lasted(&running.wait_for_outage(BROKEN), BROKEN);
    sleep(Duration::from_millis(200));
    let (code, report) = running.end();
    assert_eq!(code, Some(0));
    let arp = &report["probes"][0]["arp"];
    assert_eq!((&arp["mac"], &arp["mac_changes"]), (&"02:00:00:00:00:03".into(), &1.into()));
    match tells {
        true => assert!(number(arp, "/announcements") >= 1.0, "{arp:#}"),
        false => eprintln!("skipped: this kernel does not let a namespace announce itself"),
    }
}

#[test]
fn ways_that_lead_nowhere_are_told() {
    let Some(machines) = machines() else { return };
    let responder = serve(&machines);
    let check = |flags: &[&str], expected: &[&str]| {
        let patience = ["--patience", "4s", "--duration", "6s"];
        let outcome = probe_by(sterna(machines.here()), &[flags, &patience].concat());
        let said = outcome.stderr;
        assert_eq!(outcome.code, Some(1), "{flags:?}: {said}");
        expected.iter().for_each(|it| assert!(said.contains(it), "no `{it}` in {said}"));
    };
    // All at once, for each takes the time that a link takes to say that nobody has an address.
    std::thread::scope(|scope| {
        let told: [(&[&str], &[&str]); 6] = [
            (
                &["udp", "10.77.0.77"],
                &["10.77.0.77", "No answer from", "no machine has that address"],
            ),
            (
                &["tcp", "10.77.0.77"],
                &["10.77.0.77", "No answer from", "no machine has that address"],
            ),
            (&["icmp", "10.77.0.77"], &["10.77.0.77", "No answer from"]),
            (&["arp", "10.77.0.77"], &["10.77.0.77", "same link"]),
            (&["http", "http://10.77.0.77/"], &["10.77.0.77", "No page came"]),
            // No network leads there.
            (&["udp", "192.0.2.1"], &["192.0.2.1", "Network is unreachable", "ip route get"]),
        ];
        let check = &check;
        for (flags, expected) in told {
            scope.spawn(move || check(flags, expected));
        }
    });
    // The wire takes 1400 bytes.
    for (kind, target) in [("udp", &*responder.address), ("icmp", "10.77.0.2")] {
        check(&[kind, target, "--size", "3000"], &["MTU is smaller", "--size"]);
        let fits = [kind, target, "--size", "1300", "--duration", "300ms"];
        let outcome = probe_by(sterna(machines.here()), &fits);
        assert_eq!(outcome.code, Some(0), "{kind}: {}", outcome.stderr);
    }
}

/// A name that leads where the test says, without touching the machine's own names.
struct Name {
    file: tempfile::NamedTempFile,
}

impl Name {
    fn leading_to(address: &str) -> Name {
        let name = Name { file: tempfile::NamedTempFile::new().unwrap() };
        name.lead_to(address);
        name
    }

    fn lead_to(&self, address: &str) {
        // In place, for what is mounted elsewhere is the file and not its name.
        std::fs::write(self.file.path(), format!("{address} guest.example\n")).unwrap();
    }

    /// A command that knows the name.
    fn known_to(&self, mut machine: Command) -> Command {
        let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
        machine.args(["unshare", "--mount", "sh", "-c", script]).arg(self.file.path());
        machine
    }
}

#[test]
fn a_probe_goes_where_the_name_leads_when_it_is_told_to() {
    let Some(machines) = machines() else { return };
    let name = Name::leading_to("10.77.0.2");
    let mut known = name.known_to(machines.here());
    let found = known.args(["getent", "hosts", "guest.example"]).output().unwrap();
    if !String::from_utf8_lossy(&found.stdout).contains("10.77.0.2") {
        return eprintln!("skipped: no file of names can be mounted, or it is not asked");
    }
    succeed(machines.there(), "ip address add 10.77.0.3/24 dev wire");
    let old = Responder::of(sterna(machines.there()), "10.77.0.2:12323", &[]);
    let _new = Responder::of(sterna(machines.there()), "10.77.0.3:12323", &[]);
    let start = |kind: &str, flags: &[&str]| {
        let flags = [&[kind, "guest.example", "--interval", "10ms"], flags].concat();
        Running::of(sterna(name.known_to(machines.here())), &flags)
    };
    let mut following = [start("udp", &["--follow"]), start("tcp", &["--follow"])];
    let staying = start("udp", &[]);
    drop(old);
    name.lead_to("10.77.0.3");
    for running in &mut following {
        running.wait_for_outage(Duration::from_millis(20));
    }
    for (running, kind) in following.into_iter().zip(["udp", "tcp"]) {
        let (_, report) = running.end();
        let notes = report["timeline"].to_string();
        assert!(notes.contains("the name leads to 10.77.0.3:12323 now"), "{kind}: {notes}");
    }
    let (_, report) = staying.end();
    let outages = report["probes"][0]["outages"].as_array().unwrap();
    assert_eq!(outages.last().unwrap()["has_ended"], Value::Bool(false), "{outages:#?}");
}
