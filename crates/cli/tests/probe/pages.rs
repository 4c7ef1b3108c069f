//! Web servers and exporters that stumble.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::Duration;

use crate::harness::{Running, assert_lasted, long_outages, number};

const BROKEN: Duration = Duration::from_millis(600);

/// What a server does with a request.
#[derive(Clone, Debug, PartialEq)]
enum Answer {
    Page(&'static str),
    Status(u16),
    /// Nothing, until it shall do something else.
    Hang,
}

/// A server that does as it is told.
struct Site {
    address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
}

impl Site {
    fn serving(page: &'static str) -> Site {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::new(Mutex::new(Answer::Page(page)));
        let ours = Arc::clone(&answer);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let answer = Arc::clone(&ours);
                std::thread::spawn(move || reply(stream, &answer));
            }
        });
        Site { address, answer }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn shall(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }
}

fn reply(mut stream: TcpStream, answer: &Mutex<Answer>) {
    let mut request = [0; 1024];
    let _ = stream.read(&mut request);
    let now = || answer.lock().unwrap().clone();
    while now() == Answer::Hang {
        sleep(Duration::from_millis(5));
    }
    let (status, page) = match now() {
        Answer::Page(page) => (200, page),
        Answer::Status(status) => (status, ""),
        Answer::Hang => return,
    };
    let length = page.len();
    let _ = write!(stream, "HTTP/1.1 {status} Told\r\nContent-Length: {length}\r\n\r\n{page}");
}

#[test]
fn a_server_that_hangs_or_fails_is_an_outage() {
    let site = Site::serving("here");
    let mut running = Running::start(&["http", &site.url("/"), "--interval", "20ms"]);
    site.shall(Answer::Hang);
    sleep(BROKEN);
    site.shall(Answer::Page("here"));
    assert_lasted(&running.wait_for_outage(BROKEN), BROKEN);
    // The other requests that hung are answered, too.
    sleep(Duration::from_millis(300));
    site.shall(Answer::Status(503));
    sleep(BROKEN);
    // There, and says so; what it says of the page is not the network's business.
    site.shall(Answer::Status(404));
    assert_lasted(&running.wait_for_outage(BROKEN), BROKEN);
    sleep(Duration::from_millis(100));
    let (code, report) = running.end();
    assert_eq!(code, Some(0));
    let seen = &report["probes"][0];
    let outages = long_outages(seen, BROKEN);
    assert_eq!(outages.len(), 2, "{seen:#}");
    // Requests that hung were answered in the end, those that failed never.
    assert!(outages[0]["lost"] == 0 && number(&outages[1], "/lost") > 10.0, "{outages:#?}");
    assert!(number(seen, "/round_trip/max_ns") > 0.7 * BROKEN.as_nanos() as f64, "{seen:#}");
    let statuses = &seen["http"]["statuses"];
    for status in ["/200", "/404", "/503"] {
        assert!(number(statuses, status) > 0.0, "{statuses:#}");
    }
    assert!(number(statuses, "/200") > number(statuses, "/404"), "{statuses:#}");
}

const WHOLE: &str = "# TYPE work counter\nwork_total{vm=\"a\"} 100\nup 1\ntemperature 7\n";

#[test]
fn what_changes_between_scrapes_and_should_not_is_told() {
    let site = Site::serving(WHOLE);
    let mut running = Running::start(&["metrics", &site.url("/metrics"), "--interval", "100ms"]);
    let show = |page: &'static str| {
        site.shall(Answer::Page(page));
        sleep(BROKEN);
    };
    // A counter that began anew. A gauge may fall.
    show("# TYPE work counter\nwork_total{vm=\"a\"} 5\nup 1\ntemperature 3\n");
    // The series goes by another name.
    show("# TYPE work counter\nwork_total{vm=\"b\"} 6\nup 1\ntemperature 3\n");
    // One is missing, and comes back.
    show("# TYPE work counter\nwork_total{vm=\"b\"} 7\nup 1\n");
    show("# TYPE work counter\nwork_total{vm=\"b\"} 8\nup 1\ntemperature 3\n");
    // The same sample again, one twice on a page, and a line that is none.
    show("work_total{vm=\"b\"} 9 1700000000\nup 1\nup 1\ntemperature 3\nnonsense\n");
    site.shall(Answer::Hang);
    sleep(2 * BROKEN);
    site.shall(Answer::Page(WHOLE));
    assert_lasted(&running.wait_for_outage(2 * BROKEN), 2 * BROKEN);
    let (code, report) = running.end();
    assert_eq!(code, Some(0));
    let metrics = &report["probes"][0]["metrics"];
    let reset = &metrics["resets"][0];
    assert_eq!(metrics["reset_count"], 1, "{metrics:#}");
    assert_eq!(reset["series"], "work_total{vm=\"a\"}");
    assert_eq!((number(reset, "/from"), number(reset, "/to")), (100.0, 5.0));
    let change = &metrics["label_changes"][0];
    let labels = (change["before"].as_str().unwrap(), change["after"].as_str().unwrap());
    assert_eq!(labels, ("work_total{vm=\"a\"}", "work_total{vm=\"b\"}"), "{metrics:#}");
    let gap = &metrics["gaps"][0];
    assert_eq!((&metrics["gap_count"], &gap["series"]), (&1.into(), &"temperature".into()));
    assert!(number(gap, "/back_seconds") > number(gap, "/t_seconds"), "{metrics:#}");
    assert!(number(metrics, "/duplicate_samples") >= 2.0, "{metrics:#}");
    assert!(number(metrics, "/unreadable_lines") >= 1.0, "{metrics:#}");
    let kinds: Vec<&str> = report["timeline"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["kind"].as_str().unwrap())
        .collect();
    for kind in ["counter-reset", "label-change", "series-gap", "outage-start", "outage-end"] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }
}
