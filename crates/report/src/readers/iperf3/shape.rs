//! The JSON of iperf3 3.0 to 3.19. Any value may be odd, and is unknown then.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::readers::lenient::{list, maybe, or_default};

pub(super) type Rest = BTreeMap<String, Value>;

#[derive(Deserialize)]
pub(super) struct File {
    #[serde(default, deserialize_with = "or_default")]
    pub start: Start,
    #[serde(default, deserialize_with = "list")]
    pub intervals: Vec<Interval>,
    #[serde(default, deserialize_with = "or_default")]
    pub end: End,
    #[serde(default, deserialize_with = "maybe")]
    pub error: Option<String>,
    #[serde(default, deserialize_with = "maybe")]
    pub title: Option<String>,
    #[serde(flatten)]
    pub rest: Rest,
}

#[derive(Default, Deserialize)]
pub(super) struct Start {
    #[serde(default, deserialize_with = "maybe")]
    pub version: Option<String>,
    #[serde(default, deserialize_with = "maybe")]
    pub system_info: Option<String>,
    #[serde(default, deserialize_with = "maybe")]
    pub timestamp: Option<Timestamp>,
    #[serde(default, deserialize_with = "maybe")]
    pub test_start: Option<Rest>,
}

#[derive(Deserialize)]
pub(super) struct Timestamp {
    #[serde(default, deserialize_with = "maybe")]
    pub timesecs: Option<f64>,
}

#[derive(Deserialize)]
pub(super) struct Interval {
    #[serde(default, deserialize_with = "maybe")]
    sum: Option<Sum>,
    #[serde(default, deserialize_with = "list")]
    streams: Vec<Sum>,
    sum_bidir_reverse: Option<Value>,
    /// Releases up to about 3.10 give the other way under the same name.
    #[serde(rename = "sum#2")]
    second_sum: Option<Value>,
}

impl Interval {
    /// Its sum over all streams; added up where the file has none.
    pub fn sum(&self) -> Option<Sum> {
        if let Some(sum) = &self.sum {
            return Some(sum.clone());
        }
        let mut streams = self.streams.iter();
        let first = streams.next()?.clone();
        // The streams of one way: with --bidir there are those of the other beside them.
        let is_sender = first.is_sender;
        let same_way = streams.filter(|it| it.is_sender == is_sender);
        Some(same_way.fold(Sum { bits_per_second: None, ..first }, |sum, it| Sum {
            start: sum.start.min(it.start),
            end: sum.end.max(it.end),
            bytes: sum.bytes.zip(it.bytes).map(|(a, b)| a.saturating_add(b)),
            ..sum
        }))
    }

    pub fn has_other_way(&self) -> bool {
        self.sum_bidir_reverse.is_some() || self.second_sum.is_some()
    }
}

#[derive(Clone, Deserialize)]
pub(super) struct Sum {
    pub start: f64,
    pub end: f64,
    #[serde(default, deserialize_with = "maybe")]
    pub bytes: Option<u64>,
    #[serde(default, deserialize_with = "maybe")]
    bits_per_second: Option<f64>,
    #[serde(default, deserialize_with = "or_default")]
    pub omitted: bool,
    /// Whether its bytes are those that were sent, and not those that arrived.
    #[serde(default, rename = "sender", deserialize_with = "or_default")]
    pub is_sender: bool,
}

impl Sum {
    /// In bytes per second.
    pub fn rate(&self) -> Option<f64> {
        let length = self.end - self.start;
        let counted = self.bytes.filter(|_| length > 0.0).map(|it| it as f64 / length);
        self.bits_per_second.filter(|it| *it >= 0.0).map(|it| it / 8.0).or(counted)
    }
}

#[derive(Default, Deserialize)]
pub(super) struct End {
    #[serde(default, deserialize_with = "maybe")]
    pub sum: Option<Rest>,
    #[serde(default, deserialize_with = "maybe")]
    pub sum_sent: Option<Rest>,
    #[serde(default, deserialize_with = "maybe")]
    pub sum_received: Option<Rest>,
    pub cpu_utilization_percent: Option<Value>,
}
