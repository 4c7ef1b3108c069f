//! Reports of `sterna dirty`, `sterna probe` and `sterna stream`: text and pages of one and of several.

use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{refused, report, sterna, words};

/// A program that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(arguments: &[&str]) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sterna"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    sterna_sys::process::die_with_parent(&mut command);
    Running(command.spawn().unwrap())
}

fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_there() {
        assert!(Instant::now() < deadline, "no {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// `dirty.json`, `probe.json` and `stream.json`, each of a short real run.
fn three(directory: &Path) {
    let path = |name: &str| directory.join(name);
    let done = sterna(&[
        "dirty",
        "--memory",
        "16MiB",
        "--rate",
        "20MB/s",
        "--duration",
        "400ms",
        "--interval",
        "100ms",
        "-o",
        text(&path("dirty.json")),
    ]);
    assert!(done.status.success(), "{}", words(&done.stderr));
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let target = format!("127.0.0.1:{port}");
    let _responder = start(&["probe", "serve", "--listen", &target]);
    wait_for("probe report", || {
        let done = sterna(&[
            "probe",
            "udp",
            &target,
            "--interval",
            "10ms",
            "--duration",
            "300ms",
            "-o",
            text(&path("probe.json")),
        ]);
        let Ok(json) = std::fs::read(path("probe.json")) else { return false };
        let report: Value = serde_json::from_slice(&json).unwrap();
        done.status.success() && report["probes"][0]["received"].as_u64().unwrap_or(0) > 0
    });
    let socket = path("socket");
    let _server = start(&["stream", "serve", "--listen", text(&socket)]);
    wait_for("stream server", || socket.exists());
    let done = sterna(&[
        "stream",
        text(&socket),
        "--duration",
        "400ms",
        "--interval",
        "100ms",
        "-o",
        text(&path("stream.json")),
    ]);
    assert!(done.status.success(), "{}", words(&done.stderr));
}

#[test]
fn reports_of_instruments_are_shown_alone_and_over_one_time_axis() {
    let directory = tempfile::tempdir().unwrap();
    three(directory.path());
    let path = |name: &str| directory.path().join(name);
    let (dirty, probe, stream) = (path("dirty.json"), path("probe.json"), path("stream.json"));
    let alone = report(&["summary", text(&dirty)]);
    assert!(alone.starts_with("dirty (sterna dirty)\n"), "{alone}");
    assert!(alone.contains("  asked for      20MB/s\n"), "{alone}");
    assert!(report(&["summary", text(&probe)]).contains("answered"));
    assert!(report(&["summary", text(&stream)]).contains("  client saw     sent"));
    // In the order in which they began, whatever the order of the arguments.
    let all = report(&["summary", text(&stream), text(&probe), text(&dirty)]);
    let at = |words: &str| all.find(words).unwrap_or_else(|| panic!("{words}: {all}"));
    assert!(at("dirty (sterna dirty, begins at 0.000 s)") < at("probe (sterna probe, begins at"));
    assert!(at("probe (sterna probe") < at("stream (sterna stream, begins at"));
    let offset: f64 = all
        .split("stream (sterna stream, begins at ")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(offset >= 0.4, "the stream began after the dirtier had ended: {offset}");

    report(&["html", text(&dirty)]);
    let page = std::fs::read_to_string(path("dirty.html")).unwrap();
    assert!(page.contains("Memory written") && page.contains("dirty: touch rate"));
    let out = path("page.html");
    report(&["html", text(&probe), text(&dirty), text(&stream), "-o", text(&out)]);
    let page = std::fs::read_to_string(&out).unwrap();
    for words in [
        "3 reports over one time axis",
        "dirty: dirty rate",
        "stream: sent by the client",
        "probe: udp",
    ] {
        assert!(page.contains(words), "{words}");
    }
    let said = refused(&["html", text(&probe), text(&dirty)], 2);
    assert!(said.contains("-o FILE.html makes one page"), "{said}");
    let said = refused(&["csv", text(&dirty)], 2);
    assert!(said.contains("`report summary` and `report html`"), "{said}");
}

#[test]
fn a_report_of_an_instrument_that_is_damaged_or_beside_another_kind_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let dirty = path("dirty.json");
    let done = sterna(&[
        "dirty",
        "--memory",
        "4MiB",
        "--rate",
        "1MB/s",
        "--duration",
        "50ms",
        "-o",
        text(&dirty),
    ]);
    assert!(done.status.success(), "{}", words(&done.stderr));
    let mut json: Value = serde_json::from_slice(&std::fs::read(&dirty).unwrap()).unwrap();
    json["schema_version"] = "2.0".into();
    let newer = path("newer.json");
    std::fs::write(&newer, json.to_string()).unwrap();
    let said = refused(&["summary", text(&newer)], 2);
    assert!(said.contains("schema version is 2.0"), "{said}");
    json["schema_version"] = "1.0".into();
    json["summary"] = Value::Null;
    std::fs::write(&newer, json.to_string()).unwrap();
    let said = refused(&["summary", text(&newer)], 2);
    assert!(said.contains("not as its schema says"), "{said}");
    let run = path("run.json");
    std::fs::write(&run, "{\"schema\": \"sterna-report\"}").unwrap();
    let said = refused(&["html", text(&dirty), text(&run), "-o", text(&path("page.html"))], 2);
    assert!(said.contains("dirty is a report of `sterna dirty`, and run is none"), "{said}");
}
