//! What a link carries, from a measurement of it: `sterna stream` or iperf3 over TCP.

use std::path::Path;

use sterna_report::Report;
use sterna_report::readers::{AnyReadError, read_any_bytes};
use sterna_report::statistics::median;
use sterna_report::stream::{STREAM_SCHEMA_NAME, StreamReport};

use super::Evidence;

/// A link that seems steadier than this was not watched for long.
const LEAST_SPREAD: f64 = 0.02;

/// A link whose intervals scatter more is no link that a migration can be predicted for; so much is drawn.
const MOST_SPREAD: f64 = 0.5;

/// A measured link.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasuredLink {
    /// The middle of its intervals, in bytes a second.
    pub bytes_per_second: f64,
    /// How much its intervals scatter, as a share of that.
    pub spread: f64,
    /// Who measured it and when, as part of a sentence.
    pub source: String,
}

/// Why a file says nothing of a link.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// It is no file of ours or of another program.
    #[error(transparent)]
    Read(#[from] AnyReadError),
    /// It is the report of something else.
    #[error(
        "{file} is no measurement of a link: give what `sterna stream SERVER -o FILE` or `iperf3 -J` wrote, or --link-bandwidth, as in --link-bandwidth 10Gbit/s"
    )]
    NoLink {
        /// The file.
        file: String,
    },
    /// Datagrams leave at a rate of their own.
    #[error(
        "{file} is of iperf3 with UDP, which sends at the rate that it was given and does not show what the link carries: measure with TCP, or give --link-bandwidth"
    )]
    Datagrams {
        /// The file.
        file: String,
    },
    /// It broke, or nothing arrived.
    #[error(
        "{file} measured nothing: no interval has bytes that arrived; measure again, or give --link-bandwidth"
    )]
    Nothing {
        /// The file.
        file: String,
    },
}

impl MeasuredLink {
    /// From the content of a file.
    ///
    /// # Errors
    /// It is no measurement of a link, or of nothing.
    pub fn read(path: &Path, bytes: &[u8]) -> Result<MeasuredLink, LinkError> {
        let file = path.display().to_string();
        if let Ok(report) = serde_json::from_slice::<StreamReport>(bytes)
            && report.start.schema == STREAM_SCHEMA_NAME
        {
            return of_stream(&report).ok_or(LinkError::Nothing { file });
        }
        let report = read_any_bytes(path, bytes)?.report;
        let kind = report.probes.first().map(|it| it.kind.as_str());
        match kind.filter(|_| report.engine.is_instrument) {
            Some("iperf3-tcp") => of_iperf3(&report).ok_or(LinkError::Nothing { file }),
            Some("iperf3-udp") => Err(LinkError::Datagrams { file }),
            _ => Err(LinkError::NoLink { file }),
        }
    }
}

impl Evidence {
    /// The link as it was measured.
    pub fn set_measured_link(&mut self, link: &MeasuredLink) {
        self.link_bytes_per_second = Some(link.bytes_per_second);
        self.link_is_measured = true;
        self.link_spread = link.spread;
        self.assumptions.push(format!("the link is as {} measured it", link.source));
    }
}

fn of_stream(report: &StreamReport) -> Option<MeasuredLink> {
    let rates = report.intervals.iter().filter_map(|it| it.received_bytes_per_second);
    let source = format!("sterna stream to {}", report.start.server_address);
    of_rates(&rates.collect::<Vec<_>>(), source)
}

/// The timeline's first row has no rate: it says when the stream began.
fn of_iperf3(report: &Report) -> Option<MeasuredLink> {
    let rates = report.timeline.iter().filter_map(|it| it.bandwidth_bytes_per_second);
    let rates: Vec<f64> = rates.collect();
    of_rates(&rates, "iperf3".to_owned()).or_else(|| {
        let mean = report.summary.bandwidth_mean_bytes_per_second.filter(|it| *it > 0.0)?;
        of_rates(&[mean], "iperf3".to_owned())
    })
}

fn of_rates(rates: &[f64], source: String) -> Option<MeasuredLink> {
    let rates: Vec<f64> = rates.iter().copied().filter(|it| it.is_finite() && *it > 0.0).collect();
    let bytes_per_second = median(&rates)?;
    let squares = rates.iter().map(|it| (it / bytes_per_second - 1.0).powi(2));
    let spread = (squares.sum::<f64>() / rates.len() as f64).sqrt();
    Some(MeasuredLink { bytes_per_second, spread: spread.clamp(LEAST_SPREAD, MOST_SPREAD), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<MeasuredLink, LinkError> {
        MeasuredLink::read(Path::new("link.json"), text.as_bytes())
    }

    fn iperf3(protocol: &str, rates: &[f64]) -> String {
        let row = |(second, rate): (usize, &f64)| {
            format!(
                r#"{{"sum": {{"start": {second}, "end": {}, "bytes": {}, "bits_per_second": {}}}}}"#,
                second + 1,
                rate,
                rate * 8.0
            )
        };
        let rows: Vec<String> = rates.iter().enumerate().map(row).collect();
        format!(
            r#"{{"start": {{"version": "iperf 3.12", "test_start": {{"protocol": "{protocol}"}}}},
                "intervals": [{}], "end": {{}}}}"#,
            rows.join(",")
        )
    }

    #[test]
    fn a_link_is_the_middle_of_its_intervals_and_scatters_as_they_do() {
        let found = read(&iperf3("TCP", &[1e9, 1.1e9, 0.9e9, 1e9])).unwrap();
        assert_eq!(found.bytes_per_second, 1e9);
        assert!((found.spread - 0.0707).abs() < 0.001, "{}", found.spread);
        // One interval shows no scatter, and none is not known.
        assert_eq!(read(&iperf3("TCP", &[5e8])).unwrap().spread, LEAST_SPREAD);
    }

    #[test]
    fn what_measures_no_link_is_refused_with_the_way_out() {
        let refused = |text: &str| read(text).unwrap_err().to_string();
        assert!(refused(&iperf3("UDP", &[1e9])).contains("measure with TCP"));
        assert!(refused(&iperf3("TCP", &[0.0])).contains("measured nothing"));
        let migration = r#"{"return": {"status": "completed", "total-time": 5}}"#;
        assert!(refused(migration).contains("iperf3 -J"));
        assert!(refused("{}").contains("no result that can be read"));
    }
}
