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

/// Where Prometheus is.
#[derive(Clone)]
pub struct Prometheus {
    client: Client,
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
        config.read_timeout = Some(Duration::from_secs(30));
        config.auth_info.token = token.map(|it| it.trim().to_owned().into());
        let client = Client::try_from(config).map_err(|error| wrong(error.to_string()))?;
        Ok(Prometheus { client })
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
        let what = "ask Prometheus";
        let request = http::Request::get(path)
            .body(Vec::new())
            .map_err(|error| KubevirtError::of(what, 1, &kube::Error::HttpError(error)))?;
        let answer: Value = self
            .client
            .request(request)
            .await
            .map_err(|error| KubevirtError::of(what, 1, &error))?;
        let result = &answer["data"]["result"];
        if answer["status"] != "success" || !result.is_array() {
            let reason = answer["error"].as_str().unwrap_or("it has no result").to_owned();
            return Err(KubevirtError::Answer { what: what.to_owned(), reason });
        }
        Ok(result.clone())
    }
}

/// For the query of an address.
fn percent(text: &str) -> String {
    let keep = |it: u8| it.is_ascii_alphanumeric() || b"-_.~".contains(&it);
    text.bytes()
        .map(|it| if keep(it) { char::from(it).to_string() } else { format!("%{it:02X}") })
        .collect()
}
