//! What Prometheus, or Thanos before it, has of a migration: KubeVirt's own series, as they are.

use std::time::Duration;

use kube::{Client, Config};
use serde_json::Value;

use crate::error::KubevirtError;
use crate::record::MigrationRecord;

/// The series that are asked for, in the names of all releases.
const SERIES: [&str; 8] = [
    "kubevirt_vmi_migration_data_processed_bytes",
    "kubevirt_vmi_migration_data_remaining_bytes",
    "kubevirt_vmi_migration_data_bytes_total",
    "kubevirt_vmi_migration_data_total_bytes",
    "kubevirt_vmi_migration_dirty_memory_rate_bytes",
    "kubevirt_vmi_migration_memory_transfer_rate_bytes",
    "kubevirt_vmi_migration_disk_transfer_rate_bytes",
    "kubevirt_vmi_dirty_rate_bytes_per_second",
];

/// KubeVirt samples every 5 s, and tells a sample late.
const MARGIN_SECONDS: i64 = 10;

/// How long an answer may take: a query over some minutes of eight series takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// More of what an error says is not repeated: a proxy answers with a whole page.
const MOST_WORDS: usize = 200;

/// Where Prometheus is.
#[derive(Clone)]
pub struct Prometheus {
    client: Client,
    patience: Duration,
}

impl Prometheus {
    /// By its address, with a bearer token where it wants one.
    pub fn new(url: &str, token: Option<&str>) -> Result<Prometheus, KubevirtError> {
        let wrong = |reason: String| {
            KubevirtError::Config(format!(
                "--prometheus {url} is no address of Prometheus: {reason}"
            ))
        };
        let uri: http::Uri = url.parse().map_err(|error| wrong(format!("{error}")))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(wrong("it begins with neither http:// nor https://".to_owned()));
        }
        let mut config = Config::new(uri);
        config.default_retry = false;
        config.connect_timeout = Some(Duration::from_secs(5));
        config.auth_info.token = token.map(|it| it.trim().to_owned().into());
        let client = Client::try_from(config).map_err(|error| wrong(error.to_string()))?;
        Ok(Prometheus { client, patience: PATIENCE })
    }

    /// The series of a migration's guest over its time.
    pub async fn of(&self, record: &MigrationRecord) -> Result<Value, KubevirtError> {
        let matching = format!(
            "{{__name__=~\"{}\",namespace=\"{}\",name=\"{}\"}}",
            SERIES.join("|"),
            record.namespace,
            record.vmi
        );
        let begin: jiff::Timestamp = record.began_at.parse().unwrap_or_default();
        let length = record.ended_ns.unwrap_or(record.began_ns).saturating_sub(record.began_ns);
        let begin = begin.as_second();
        let end = begin + i64::try_from(length / 1_000_000_000).unwrap_or(0) + MARGIN_SECONDS;
        let path = format!(
            "/api/v1/query_range?query={}&start={}&end={end}&step=5",
            percent(&matching),
            begin - MARGIN_SECONDS
        );
        let answer = self.get(&path).await?;
        let result = &answer["data"]["result"];
        if answer["status"] != "success" || !result.is_array() {
            let reason = answer["error"].as_str().unwrap_or("it has no result").to_owned();
            return Err(KubevirtError::Answer { what: WHAT.to_owned(), reason });
        }
        Ok(result.clone())
    }

    async fn get(&self, path: &str) -> Result<Value, KubevirtError> {
        let request = http::Request::get(path).body(Vec::new());
        let request =
            request.map_err(|error| KubevirtError::of(WHAT, 1, &kube::Error::HttpError(error)))?;
        let answer = tokio::time::timeout(self.patience, self.client.request(request)).await;
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(kube::Error::Api(status))) => Err(refusal(status.code, &status.message)),
            Ok(Err(error)) => Err(unreachable(&crate::error::chain(&error))),
            Err(_) => {
                let seconds = self.patience.as_secs_f64();
                Err(unreachable(&format!("there was no answer within {seconds} s")))
            }
        }
    }
}

const WHAT: &str = "ask Prometheus";

fn unreachable(reason: &str) -> KubevirtError {
    let reason = reason.to_owned();
    KubevirtError::Answer { what: WHAT.to_owned(), reason }
}

/// Prometheus says why in JSON; what stands before it, in whatever form it likes.
fn refusal(code: u16, said: &str) -> KubevirtError {
    let own = serde_json::from_str::<Value>(said).ok();
    let own = own.and_then(|it| it["error"].as_str().map(str::to_owned));
    let first = || said.lines().next().unwrap_or_default().chars().take(MOST_WORDS).collect();
    let mut message = own.unwrap_or_else(first);
    if matches!(code, 401 | 403) {
        message += "; give it a token that may read metrics with --prometheus-token-file";
    }
    let known = http::StatusCode::from_u16(code).ok().and_then(|it| it.canonical_reason());
    KubevirtError::Refused {
        what: WHAT.to_owned(),
        message,
        code,
        reason: known.unwrap_or_default().to_owned(),
    }
}

/// For the query of an address.
fn percent(text: &str) -> String {
    let keep = |it: u8| it.is_ascii_alphanumeric() || b"-_.~".contains(&it);
    text.bytes()
        .map(|it| if keep(it) { char::from(it).to_string() } else { format!("%{it:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::{Ipv4Addr, TcpListener};
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    /// Answers one request; None says nothing for as long as anybody listens. The heads of requests come out.
    fn server(answer: Option<(&'static str, &'static str)>) -> (String, Receiver<String>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (to_test, heads) = channel();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let head: Vec<String> = lines.take_while(|it| !it.is_empty()).collect();
            to_test.send(head.join("\n")).unwrap();
            let Some((status, body)) = answer else { return std::thread::park() };
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
        });
        (format!("http://127.0.0.1:{port}"), heads)
    }

    fn ask(url: &str, token: Option<&str>) -> Result<Value, KubevirtError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut prometheus = Prometheus::new(url, token)?;
            prometheus.patience = Duration::from_secs(if url.contains("hang") { 1 } else { 30 });
            let record = MigrationRecord {
                namespace: "vms".to_owned(),
                vmi: "guest-1".to_owned(),
                began_at: "2026-01-02T03:04:05Z".to_owned(),
                began_ns: 1_000_000_000,
                ended_ns: Some(61_000_000_000),
                ..MigrationRecord::default()
            };
            prometheus.of(&record).await
        })
    }

    const SERIES_OF_ONE: &str = r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"kubevirt_vmi_migration_data_remaining_bytes","name":"guest-1"},"values":[[1767323045,"1024"]]}]}}"#;

    #[test]
    fn the_guests_series_over_its_migration_are_asked_for_with_the_token_and_come_as_they_are() {
        let (url, heads) = server(Some(("200 OK", SERIES_OF_ONE)));
        let series = ask(&format!("{url}/thanos"), Some("a-token\n")).unwrap();
        assert_eq!(series[0]["values"][0][1], "1024");
        let head = heads.recv().unwrap();
        let first = head.lines().next().unwrap();
        assert!(first.starts_with("GET /thanos/api/v1/query_range?query="), "{first}");
        assert!(first.contains("namespace%3D%22vms%22%2Cname%3D%22guest-1%22"), "{first}");
        assert!(first.contains("kubevirt_vmi_migration_data_remaining_bytes"), "{first}");
        // A minute, with ten seconds on both sides.
        assert!(first.contains("&start=1767323035&end=1767323115&step=5"), "{first}");
        let has_token = |it: &str| it.eq_ignore_ascii_case("authorization: Bearer a-token");
        assert!(head.lines().any(has_token), "{head}");
    }

    #[track_caller]
    fn fails(answer: Option<(&'static str, &'static str)>, path: &str, words: &[&str]) {
        let (url, _heads) = server(answer);
        let error = ask(&format!("{url}{path}"), None).unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "{word:?} is not in {error}");
        }
    }

    #[test]
    fn errors_are_told_in_the_words_of_whoever_answers() {
        let bad = r#"{"status":"error","errorType":"bad_data","error":"parse error: unexpected character"}"#;
        fails(Some(("400 Bad Request", bad)), "", &["parse error: unexpected character (400"]);
        fails(Some(("200 OK", bad)), "", &["parse error: unexpected character"]);
        let busy = r#"{"status":"error","errorType":"timeout","error":"query timed out"}"#;
        fails(Some(("503 Service Unavailable", busy)), "", &["query timed out (503 Service"]);
        fails(Some(("502 Bad Gateway", "<html>\n<p>no</p>")), "", &["<html> (502 Bad Gateway)"]);
        fails(Some(("200 OK", "hello")), "", &["Cannot ask Prometheus"]);
        let vector = r#"{"status":"success","data":{}}"#;
        fails(Some(("200 OK", vector)), "", &["it has no result"]);
    }

    #[test]
    fn who_is_not_let_in_learns_how_to_give_a_token() {
        let way_out = "--prometheus-token-file";
        fails(Some(("401 Unauthorized", "Unauthorized")), "", &["401 Unauthorized", way_out]);
        fails(Some(("403 Forbidden", "no")), "", &["403 Forbidden", way_out]);
    }

    #[test]
    fn silence_and_absence_are_told_and_no_address_is_refused() {
        fails(None, "/hang", &["there was no answer within 1 s"]);
        let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = nobody.local_addr().unwrap().port();
        drop(nobody);
        let error = ask(&format!("http://127.0.0.1:{port}"), None).unwrap_err().to_string();
        assert!(error.contains("Cannot ask Prometheus"), "{error}");
        for url in ["ftp://somewhere", "somewhere", ""] {
            let error = ask(url, None).unwrap_err().to_string();
            assert!(error.contains("is no address of Prometheus"), "{error}");
        }
    }
}
