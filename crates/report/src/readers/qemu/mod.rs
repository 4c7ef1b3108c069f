//! What QEMU and those above it say of a migration: answers of QMP's `query-migrate` and of HMP's
//! `info migrate`, `virsh domjobinfo`, and the lines of a virt-launcher.
//!
//! All of them are answers to the same question in different words, so they become the same
//! [`QueryMigrate`], in bytes and seconds; one answer or many, in the order of the file.

mod hmp;
mod job_info;
mod launcher;
mod qmp;
mod quantity;
mod report;

use std::collections::BTreeMap;

use serde_json::Value;

use super::lenient::Documents;
pub(super) use report::report;

/// Where answers come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerSource {
    /// QMP's `query-migrate`.
    Qmp,
    /// HMP's `info migrate`.
    Hmp,
    /// `virsh domjobinfo`.
    JobInfo,
    /// The log of a virt-launcher.
    Launcher,
}

/// All that a file says of a migration.
#[derive(Clone, Debug, PartialEq)]
pub struct MigrationLog {
    /// What wrote it.
    pub source: AnswerSource,
    /// The answers in the order of the file; at least one.
    pub answers: Vec<Answer>,
    /// What was asked of the migration, where the file has it.
    pub parameters: MigrationParameters,
    /// Capabilities with whether they were on, where the file has them.
    pub capabilities: BTreeMap<String, bool>,
}

/// One answer, or an event that says no more than the status.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// When it was given, in seconds since 1970; `None` where its line does not say.
    pub at_epoch_seconds: Option<f64>,
    /// What it says.
    pub query: QueryMigrate,
}

/// What was asked of a migration.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MigrationParameters {
    /// `downtime-limit`, in seconds.
    pub downtime_limit_seconds: Option<f64>,
    /// `max-bandwidth`, in bytes per second; 0 is no limit.
    pub max_bandwidth_bytes_per_second: Option<f64>,
    /// `multifd-channels`.
    pub multifd_channels: Option<u64>,
}

/// One answer about a migration. What it does not say, or says in a way that is no number, is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueryMigrate {
    /// The status in QEMU's word, also one that is not known here; of libvirt's job types the word of
    /// QEMU that says the same.
    pub status: Option<String>,
    /// Why it failed, in the program's own words.
    pub error: Option<String>,
    /// Since the migration began; when it has ended, how long it took.
    pub total_time_seconds: Option<f64>,
    /// The downtime that is claimed.
    pub downtime_seconds: Option<f64>,
    /// What the downtime is expected to be.
    pub expected_downtime_seconds: Option<f64>,
    /// The time that the setup took.
    pub setup_seconds: Option<f64>,
    /// Memory of the guest, its ROMs and devices included.
    pub total_bytes: Option<u64>,
    /// Memory still to be sent.
    pub remaining_bytes: Option<u64>,
    /// Bytes that were sent.
    pub transferred_bytes: Option<u64>,
    /// Pages of zeros, or of one value all over.
    pub duplicate_pages: Option<u64>,
    /// Pages that were sent with their contents.
    pub normal_pages: Option<u64>,
    /// The same in bytes.
    pub normal_bytes: Option<u64>,
    /// Size of a page; where it is not said, one of 4 KiB is meant.
    pub page_bytes: Option<u64>,
    /// Distinct pages at the last synchronisation / time since the one before.
    pub dirty_pages_per_second: Option<f64>,
    /// The bandwidth that QEMU estimates.
    pub bandwidth_bytes_per_second: Option<f64>,
    /// Pages per second that are sent.
    pub pages_per_second: Option<f64>,
    /// How often the dirty bitmap was synchronised.
    pub dirty_sync_count: Option<u64>,
    /// Pages that the destination asked for in post-copy.
    pub postcopy_requests: Option<u64>,
    /// Bytes on the channels of multifd.
    pub multifd_bytes: Option<u64>,
    /// Bytes that were sent while the guest ran on the source.
    pub precopy_bytes: Option<u64>,
    /// Bytes that were sent while it was stopped.
    pub downtime_bytes: Option<u64>,
    /// Bytes that were sent after the switch to post-copy.
    pub postcopy_bytes: Option<u64>,
    /// How much auto-converge holds the guest back, in percent.
    pub throttle_percent: Option<f64>,
    /// Members and lines without a field here, by their path in the file's own words.
    pub other: BTreeMap<String, Value>,
}

impl QueryMigrate {
    /// Whether it says anything that shows a migration: more than a status.
    fn has_amounts(&self) -> bool {
        self.transferred_bytes.is_some() || self.total_bytes.is_some()
    }
}

impl MigrationLog {
    /// The last status that the file has.
    pub fn last_status(&self) -> Option<&str> {
        self.answers.iter().rev().find_map(|it| it.query.status.as_deref())
    }

    /// The last value of a field that any answer has.
    pub fn last<T>(&self, field: impl Fn(&QueryMigrate) -> Option<T>) -> Option<T> {
        self.answers.iter().rev().find_map(|it| field(&it.query))
    }
}

/// Reads lines of text: HMP, domjobinfo, or a virt-launcher's log; `None` where it is none of them.
pub(super) fn of_text(text: &str) -> Option<MigrationLog> {
    let (source, answers) = None
        .or_else(|| Some((AnswerSource::Launcher, launcher::answers(text)?)))
        .or_else(|| Some((AnswerSource::Hmp, hmp::answers(text)?)))
        .or_else(|| Some((AnswerSource::JobInfo, job_info::answers(text)?)))?;
    let (parameters, capabilities) = hmp::settings(text);
    Some(MigrationLog { source, answers, parameters, capabilities })
}

/// Reads answers of QMP among documents; `None` where there is none.
pub(super) fn of_documents(documents: &Documents) -> Option<MigrationLog> {
    qmp::log(documents)
}
