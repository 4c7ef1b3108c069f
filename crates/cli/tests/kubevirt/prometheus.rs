//! KubeVirt's metrics of a migration, from a Prometheus that is a small server of this test.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex};

use sterna_kubevirt::simulate::SimulateOptions;

use crate::ground::{Kind, ground, records};

const SERIES: &str = r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"kubevirt_vmi_migration_dirty_memory_rate_bytes"},"values":[[1,"2048"]]}]}}"#;

/// Who has the token gets series; the heads of all requests are kept.
fn server() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let ours = Arc::clone(&heads);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let head: Vec<String> = lines.take_while(|it| !it.is_empty()).collect();
            let head = head.join("\n");
            let is_let_in = head.contains("Bearer the-token");
            ours.lock().unwrap().push(head);
            let (status, body) =
                if is_let_in { ("200 OK", SERIES) } else { ("401 Unauthorized", "who are you?") };
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
        }
    });
    (port, heads)
}

#[test]
fn the_series_of_a_migration_are_in_its_report_and_what_cannot_be_read_is_a_warning() {
    let Some(ground) = ground(Kind::Full) else { return };
    let _simulated = ground.simulate(SimulateOptions { speed: 60.0, ..SimulateOptions::default() });
    ground.sterna("admin", &["apply", "--run-id", "a"]).ok();
    let (port, heads) = server();
    let url = format!("http://127.0.0.1:{port}");
    std::fs::write(ground.path("token"), "the-token\n").unwrap();
    let migrate = |directory: &str, more: &[&str]| {
        let all = ["migrate", "--run-id", "a", "--records", directory, "--prometheus", &url];
        ground.sterna("admin", &[&all, more].concat())
    };
    migrate("let-in", &["--prometheus-token-file", "token"]).ok();
    let record = records(&ground, "let-in").remove(0);
    let series = &record["engine"]["details"]["prometheus"];
    assert_eq!(series[0]["values"][0][1], "2048", "{record:#}");
    let head = heads.lock().unwrap().remove(0);
    assert!(head.contains("namespace%3D%22default%22%2Cname%3D%22migration-stress-1%22"), "{head}");

    migrate("refused", &[]).ok();
    let record = records(&ground, "refused").remove(0);
    assert!(record["engine"]["details"].get("prometheus").is_none(), "{record:#}");
    let warnings = record["warnings"].as_array().unwrap();
    let ours = warnings.iter().find(|it| it["code"] == "no-prometheus").unwrap();
    let text = ours["text"].as_str().unwrap();
    assert!(text.contains("who are you?; give it a token"), "{text}");
    migrate("no-file", &["--prometheus-token-file", "nowhere"]).fails(2, "nowhere cannot be read");
}
