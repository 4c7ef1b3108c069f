//! `virsh domjobinfo`, once or in a loop.

use super::quantity::{bytes, bytes_rate, count, number, seconds};
use super::{Answer, QueryMigrate};

/// The answers in a text; `None` where there is none.
pub(super) fn answers(text: &str) -> Option<Vec<Answer>> {
    let mut answers: Vec<Answer> = Vec::new();
    for line in text.lines() {
        let Some((key, value)) = line.trim().split_once(':') else { continue };
        let (key, value) = (key.trim(), value.trim());
        if key == "Job type" {
            let query = QueryMigrate { status: Some(status(value)), ..QueryMigrate::default() };
            answers.push(Answer { at_epoch_seconds: None, query });
        } else if let Some(answer) = answers.last_mut() {
            add(key, value, &mut answer.query);
        }
    }
    // A domain without a job says so in one line, and that is no migration.
    answers.retain(|it| it.query.has_amounts() || it.query.total_time_seconds.is_some());
    (!answers.is_empty()).then_some(answers)
}

/// The types of libvirt's jobs in QEMU's words.
fn status(word: &str) -> String {
    match word {
        "Unbounded" | "Bounded" => "active".to_owned(),
        "Completed" | "Failed" | "Cancelled" | "None" => word.to_lowercase(),
        other => other.to_owned(),
    }
}

fn add(key: &str, value: &str, query: &mut QueryMigrate) {
    match key {
        "Time elapsed" => query.total_time_seconds = seconds(value),
        "Total downtime" | "Downtime" => query.downtime_seconds = seconds(value),
        "Expected downtime" => query.expected_downtime_seconds = seconds(value),
        "Setup time" => query.setup_seconds = seconds(value),
        // Memory, and with a disk that is copied the disk too: memory is what the others mean.
        "Memory total" => query.total_bytes = bytes(value),
        "Memory remaining" => query.remaining_bytes = bytes(value),
        "Memory processed" => query.transferred_bytes = bytes(value),
        "Data total" => query.total_bytes = query.total_bytes.or(bytes(value)),
        "Data remaining" => query.remaining_bytes = query.remaining_bytes.or(bytes(value)),
        "Data processed" => query.transferred_bytes = query.transferred_bytes.or(bytes(value)),
        "Memory bandwidth" => query.bandwidth_bytes_per_second = bytes_rate(value),
        "Dirty rate" => query.dirty_pages_per_second = number(value),
        "Page size" => query.page_bytes = count(value),
        "Iteration" => query.dirty_sync_count = count(value),
        "Postcopy requests" => query.postcopy_requests = count(value),
        "Constant pages" => query.duplicate_pages = count(value),
        "Normal pages" => query.normal_pages = count(value),
        "Normal data" => query.normal_bytes = bytes(value),
        "Auto converge throttle" => query.throttle_percent = number(value),
        "Error message" => query.error = Some(value.to_owned()),
        key if !value.is_empty() && key.len() < 60 => {
            query.other.insert(key.to_owned(), value.into());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_without_a_job_is_no_migration() {
        assert_eq!(answers("Job type:         None        \n\n"), None);
        assert_eq!(answers("no such line"), None);
    }
}
