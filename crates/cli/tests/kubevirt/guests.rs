//! What guests and probes tell of a migration, with processes of this machine in their place.
//!
//! The agent is the real one, at the address of every virt-launcher Pod, and the API server's own proxy leads to it. The
//! probe is the real one too; its output is the log of the probe's Pod. No guest is migrated: that the agent stands
//! still for a while is what a switchover would do to it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpStream, UdpSocket};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sterna_kubevirt::simulate::{SimulateOptions, StandIn};
use sterna_wire::guest_config::GuestConfig;
use sterna_wire::guest_disk::DiskPage;

use crate::ground::{Ground, Kind, Ran, api, free_port, ground, records};

/// Page writes a second that the agent is asked for.
const RATE: f64 = 1000.0;
const STANDSTILL: Duration = Duration::from_millis(800);

#[test]
fn a_report_has_the_guests_progress_the_check_of_its_memory_and_the_blackout_of_the_probe() {
    let Some(ground) = ground(Kind::Full) else { return };
    let Some(program) = sterna_agent::program() else {
        return eprintln!("skipped: the agent could not be built statically here");
    };
    let Some(ip) = own_address() else {
        return eprintln!("skipped: this machine has no address but the loopback's");
    };
    let (metrics, echo) = (free_port(), free_port());
    let agent = agent(&ground, program, metrics, echo);
    let logs = ground.path("logs");
    fs::create_dir(&logs).unwrap();
    let stand_in = StandIn { pod_ip: Some(ip), logs: Some(logs) };
    let _simulated =
        ground.simulate(SimulateOptions { speed: 3.0, stand_in, ..SimulateOptions::default() });
    ground.sterna("admin", &["apply", "--run-id", "a", "--probe-image", "sterna"]).ok();
    tell_port(&ground, metrics);
    let probe_pod = probe(&ground, echo);
    // As somebody leaves it who was killed in the middle: the records of theirs are ended, and ours begin.
    assert!(matches!(disk_page(metrics, "begin"), DiskPage::Begun { .. }));

    let report = migrate(&ground, "well", || {
        signal(&agent, Signal::STOP);
        std::thread::sleep(STANDSTILL);
        signal(&agent, Signal::CONT);
    });
    let summary = &report["summary"];
    assert_eq!(summary["verdict"], "completed", "{summary:#}");
    assert_eq!(summary["integrity"], "verified", "{:#}", report["warnings"]);
    assert_eq!(summary["integrity_detail"]["side"], "destination");
    assert!(summary["integrity_detail"]["pages_checked"].as_u64().unwrap() >= 4096, "{summary:#}");
    let baseline = summary["baseline_pages_per_second"].as_f64().unwrap();
    assert!((0.5 * RATE..1.2 * RATE).contains(&baseline), "{summary:#}");
    // A machine that is busy takes more from the agent than the standstill did.
    let lost = summary["lost_work_seconds"].as_f64().unwrap();
    assert!(lost > 0.5 * STANDSTILL.as_secs_f64() && lost < 20.0, "{summary:#}");
    let samples = report["guest"].as_array().unwrap();
    let is_before = |it: &Value| it["t_seconds"].as_f64().unwrap() < 0.0;
    assert!(samples.iter().any(is_before), "the warm-up is sampled: {samples:#?}");
    let of = |side: &str| samples.iter().filter(|it| it["side"] == side).count();
    assert!(of("source") > 3 && of("destination") > 0, "{samples:#?}");

    let [probe, disk] = &report["probes"].as_array().unwrap()[..] else { panic!("{report:#}") };
    assert_eq!((&probe["kind"], &probe["interval_seconds"]), (&json!("udp"), &json!(0.01)));
    let outages = probe["outages"].as_array().unwrap();
    let lengths = outages.iter().map(|it| it["length_seconds"].as_f64().unwrap());
    let longest = lengths.fold(0.0, f64::max);
    assert!(longest >= STANDSTILL.as_secs_f64() && longest < 20.0, "{outages:#?}");
    is_followed(disk, summary);
    let table = ground.sterna("admin", &["report", "well"]).ok();
    assert!(table.out.contains("BLACKOUT") && table.out.contains("verified"), "{}", table.out);
    assert!(table.out.contains("DISK STALL") && !table.out.contains("corrupt"), "{}", table.out);

    disk_that_loses(&ground);
    // Records of somebody else are no proof of ours, and nothing is claimed.
    let report = migrate(&ground, "anew", || {
        assert!(matches!(disk_page(metrics, "end"), DiskPage::Ended(_)));
        assert!(matches!(disk_page(metrics, "begin"), DiskPage::Begun { .. }));
    });
    assert_eq!(report["summary"]["integrity"], "verified", "{:#}", report["summary"]);
    assert_eq!(report["summary"].get("disk_integrity"), None, "{:#}", report["summary"]);
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("disk-not-followed"), "{warnings}");

    // One word of the memory that nobody writes to is changed behind the agent's back.
    if let Err(error) = corrupt(&agent) {
        return eprintln!("skipped: the agent's memory cannot be reached: {error}");
    }
    let report = migrate(&ground, "corrupt", || ());
    assert_eq!(report["summary"]["integrity"], "corrupt", "{:#}", report["summary"]);
    assert_eq!(report["summary"]["integrity_detail"]["corrupt_pages"], 1);
    let first = &report["summary"]["integrity_detail"]["first"][0];
    assert_eq!(first["found"], format!("{WRONG:#018x}"), "{first:#}");
    ground.sterna("admin", &["report", "corrupt"]).fails(4, "");

    // A guest that does not answer costs a warning, and nothing else. The end of its outage would be waited for.
    drop(probe_pod);
    drop(agent);
    let report = migrate(&ground, "silent", || ());
    assert_eq!(report["summary"]["integrity"], "unchecked");
    assert_eq!(report["guest"], json!([]));
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("no-guest-samples"), "{warnings}");
    let kinds = report["probes"].as_array().unwrap().iter().map(|it| &it["kind"]);
    assert!(kinds.eq([&json!("udp")]), "{report:#}");
}

/// What the agent answers to somebody beside us.
fn disk_page(metrics: u16, what: &str) -> DiskPage {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, metrics)).unwrap();
    let request = format!("GET /disk/{what} HTTP/1.1\r\nHost: guest\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text.parse().unwrap()
}

/// Records were written, stood still with the guest, and are all there.
fn is_followed(disk: &Value, summary: &Value) {
    assert_eq!((&disk["kind"], &disk["interval_seconds"]), (&json!("disk"), &json!(0.01)));
    let count = |name: &str| disk[name].as_u64().unwrap();
    assert!(count("sent") > 100 && count("sent") == count("received"), "{disk:#}");
    let stalls = disk["outages"].as_array().unwrap();
    let length = |it: &Value| it["length_seconds"].as_f64().unwrap();
    let longest = stalls.iter().max_by(|a, b| length(a).total_cmp(&length(b))).unwrap();
    assert!(length(longest) >= STANDSTILL.as_secs_f64() && length(longest) < 20.0, "{disk:#}");
    // The agent was stopped after the migration had begun, and before it was over.
    let start = longest["start_seconds"].as_f64().unwrap();
    let total = summary["total_time_seconds"].as_f64().unwrap();
    assert!(start > 0.0 && start < total, "{start} of {total}: {disk:#}");
    let found = &summary["disk_integrity"];
    assert_eq!(found["records_checked"], disk["received"], "{summary:#}");
    for wrong in ["missing_records", "torn_records", "misplaced_records"] {
        assert_eq!(found[wrong], 0, "{summary:#}");
    }
    assert_eq!(found["side"], "destination");
}

/// What a disk had acknowledged is damaged, or is gone, while the guest is migrated.
fn disk_that_loses(ground: &Ground) {
    let records = || {
        let file = ground.path("disk/sterna-migration.records");
        fs::OpenOptions::new().write(true).open(file).unwrap()
    };
    let lost = |directory: &str, sort: &str, meanwhile: &dyn Fn()| {
        let report = migrate(ground, directory, meanwhile);
        let summary = &report["summary"];
        assert_eq!(summary["integrity"], "corrupt", "{summary:#}");
        assert!(summary["disk_integrity"][sort].as_u64().unwrap() > 0, "{summary:#}");
        assert_eq!(summary["integrity_detail"]["corrupt_pages"], 0, "{summary:#}");
        let warnings = report["warnings"].to_string();
        assert!(warnings.contains("disk-lost-records"), "{warnings}");
        let shown = ground.sterna("admin", &["report", directory]).fails(4, "").out;
        assert!(shown.contains("disk corrupt"), "{shown}");
    };
    lost("torn", "torn_records", &|| records().write_all_at(b"damaged", 512 * 3 + 99).unwrap());
    lost("cut", "missing_records", &|| records().set_len(512 * 2).unwrap());
}

/// Migrates once, does something while memory moves, and returns the report.
fn migrate(ground: &Ground, directory: &str, meanwhile: impl FnOnce()) -> Value {
    let mut command =
        ground.command("admin", &["migrate", "--run-id", "a", "--records", directory]);
    let running = command.stderr(Stdio::piped()).spawn().unwrap();
    let session = ground.session();
    let kind = "VirtualMachineInstanceMigration";
    let all = api(&session, "kubevirt.io", kind, "virtualmachineinstancemigrations");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !session
        .block_on(session.cluster().list("migrations", &all, None))
        .unwrap()
        .iter()
        .any(|it| it.data["status"]["phase"] == "Running")
    {
        assert!(Instant::now() < deadline, "no migration begins");
        std::thread::sleep(Duration::from_millis(50));
    }
    meanwhile();
    let ran = Ran::of(running.wait_with_output().unwrap());
    let report = records(ground, directory).remove(0);
    let is_corrupt = report["summary"]["integrity"] == "corrupt";
    assert_eq!(ran.code, if is_corrupt { 4 } else { 0 }, "{}", ran.err);
    report
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn signal(running: &Running, signal: Signal) {
    kill_process(Pid::from_raw(running.0.id().cast_signed()).unwrap(), signal).unwrap();
}

/// The address by which this machine would go out; nothing is sent.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}

/// Idle memory of the agent, as much as its workload has.
const BALLAST_BYTES: u64 = 8 << 20;

fn agent(ground: &Ground, program: &[u8], metrics: u16, echo: u16) -> Running {
    let file = ground.path("sterna-guest");
    fs::write(&file, program).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    let rate = RATE as u64 * 4096;
    let mut config = GuestConfig::of(&format!("memory=8MiB workers=1 rate={rate}B/s"));
    config.start_at_once = true;
    config.port_name = "-".to_owned();
    config.serial = None;
    config.ballast_bytes = BALLAST_BYTES;
    config.echo_port = Some(echo);
    config.metrics_port = Some(metrics);
    fs::create_dir(ground.path("disk")).unwrap();
    config.disk = Some(ground.path("disk").display().to_string());
    fs::write(ground.path("guest.conf"), config.to_string()).unwrap();
    let mut command = Command::new(file);
    command.arg("--config").arg(ground.path("guest.conf"));
    command.stdin(Stdio::null()).stdout(Stdio::null());
    sterna_sys::process::die_with_parent(&mut command);
    Running(command.spawn().unwrap())
}

fn tell_port(ground: &Ground, port: u16) {
    let session = ground.session();
    let guests = session
        .cluster()
        .api::<sterna_kubevirt::AnyObject>(&sterna_kubevirt::views::vmis(), Some("default"));
    let change = json!({"metadata": {"annotations": {"sterna/metrics-port": port.to_string()}}});
    session.block_on(session.cluster().merge(&guests, "migration-stress-1", &change)).unwrap();
}

/// What the probe's Pod would run, with its output where the simulated kubelet looks for it.
fn probe(ground: &Ground, echo: u16) -> Running {
    let log = fs::File::create(ground.path("logs/migration-stress-1-probe.log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sterna"));
    command.args(["probe", "udp", &format!("127.0.0.1:{echo}"), "--interval", "10ms"]);
    command.args(["--patience", "1min", "--format", "ndjson"]);
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    sterna_sys::process::die_with_parent(&mut command);
    Running(command.spawn().unwrap())
}

const WRONG: u64 = 0x0BAD_0BAD_0BAD_0BAD;

/// Overwrites a word of the last page of the agent's memory, where its ballast is.
fn corrupt(agent: &Running) -> std::io::Result<()> {
    let pid = agent.0.id();
    let memory = fs::OpenOptions::new().write(true).open(format!("/proc/{pid}/mem"))?;
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let end = maps.lines().find_map(|line| {
        let (from, rest) = line.split_once('-')?;
        let (to, _) = rest.split_once(' ')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        let (from, to) = (number(from)?, number(to)?);
        (to - from == BALLAST_BYTES + (8 << 20)).then_some(to)
    });
    let end = end.unwrap_or_else(|| panic!("its memory is not found:\n{maps}"));
    memory.write_all_at(&WRONG.to_le_bytes(), end - 4096 + 64)
}
