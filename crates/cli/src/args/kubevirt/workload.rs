//! The parameters of the workload.

use clap::{Args, ValueEnum};
use sterna_kubevirt::policy::{ExperimentalField, PolicySpec};
use sterna_kubevirt::stress::{DataDisk, Parameters, Tool};
use sterna_units::{Bytes, ParseError, Rate};

/// The parameters of the workload.
#[derive(Clone, Debug, Args)]
pub struct WorkloadArgs {
    /// Marks every object [default: made up]
    #[arg(long, value_name = "ID")]
    pub run_id: Option<String>,
    /// What names begin with
    #[arg(long, value_name = "NAME", default_value = "migration-stress")]
    pub name: String,
    /// How many virtual machines
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub vm_count: u32,
    /// Memory of each; 8GiB is recommended
    #[arg(long, value_name = "SIZE", default_value = "8GiB", value_parser = Bytes::of_kubernetes)]
    pub memory: Bytes,
    /// Virtual processors of each
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub cores: u32,
    /// What dirties memory: Sterna's agent, which comes with the Secret, or stress-ng from the image's package source
    #[arg(long, value_name = "TOOL", default_value = "agent")]
    pub tool: ToolArg,
    /// Bytes written each second by all workers together [default: as fast as it goes]
    #[arg(long, value_name = "RATE")]
    pub dirty_rate_target: Option<Rate>,
    /// Workers that write
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub vm_workers: u32,
    /// How much of the memory all workers together write to
    #[arg(long, value_name = "PERCENT", default_value_t = 75)]
    pub vm_bytes_percent: u32,
    /// How they write
    #[arg(long, value_name = "METHOD", default_value = "write64")]
    pub vm_method: String,
    /// The image of the root disk
    #[arg(long, value_name = "IMAGE", default_value = "quay.io/containerdisks/fedora:42")]
    pub container_disk: String,
    /// A persistent disk of this size for each
    #[arg(long, value_name = "SIZE", value_parser = Bytes::of_kubernetes)]
    pub data_disk: Option<Bytes>,
    /// Its storage class, which must offer ReadWriteMany
    #[arg(long, value_name = "NAME", requires = "data_disk")]
    pub storage_class: Option<String>,
    /// Only nodes with this label; may be given more than once
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub node_selector: Vec<(String, String)>,
    /// What happens when a node is drained
    #[arg(long, value_name = "STRATEGY", default_value = "LiveMigrate")]
    pub eviction_strategy: String,
    /// A public key that may log in; may be given more than once
    #[arg(long, value_name = "KEY")]
    pub ssh_key: Vec<String>,
    /// An image with `sterna` in it, for a Pod that probes each guest
    #[arg(long, value_name = "IMAGE")]
    pub probe_image: Option<String>,
    /// Policy: slow the guest down where it dirties too fast
    #[arg(long, value_name = "BOOL", help_heading = "MigrationPolicy")]
    pub allow_auto_converge: Option<bool>,
    /// Policy: go over to post-copy at the completion timeout
    #[arg(long, value_name = "BOOL", help_heading = "MigrationPolicy")]
    pub allow_post_copy: Option<bool>,
    /// Policy: pause the guest, or go over to post-copy, at the completion timeout
    #[arg(long, value_name = "BOOL", help_heading = "MigrationPolicy")]
    pub allow_workload_disruption: Option<bool>,
    /// Policy: bandwidth of one migration, such as 64Mi, 64MiB/s or unlimited; KubeVirt keeps to whole MiB/s
    #[arg(long, value_name = "RATE", help_heading = "MigrationPolicy", value_parser = bandwidth)]
    pub bandwidth_per_migration: Option<Rate>,
    /// Policy: seconds for each decimal GB of the guest
    #[arg(long, value_name = "SECONDS", help_heading = "MigrationPolicy", value_parser = clap::value_parser!(i64).range(0..))]
    pub completion_timeout_per_gib: Option<i64>,
    /// Policy: longest standstill in milliseconds; KubeVirt 1.9 with a feature gate
    #[arg(long, value_name = "MS", help_heading = "MigrationPolicy", value_parser = clap::value_parser!(u64).range(1..=2_000_000))]
    pub max_downtime_ms: Option<u64>,
    /// Policy: a field of its spec.experimental, such as compression=zstd or downtimeTuning.steps=5; may be given more than once; KubeVirt 1.9
    #[arg(long, value_name = "FIELD=VALUE", help_heading = "MigrationPolicy")]
    pub experimental: Vec<ExperimentalField>,
}

/// What dirties memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ToolArg {
    /// Sterna's agent.
    Agent,
    /// stress-ng.
    StressNg,
}

impl WorkloadArgs {
    /// The parameters, for a namespace and a run.
    pub fn parameters(&self, namespace: &str, run_id: &str) -> Parameters {
        let mut parameters = Parameters::new(run_id, namespace);
        parameters.name.clone_from(&self.name);
        parameters.count = self.vm_count;
        parameters.memory = self.memory;
        parameters.cores = self.cores;
        parameters.tool = match self.tool {
            ToolArg::Agent => Tool::Agent,
            ToolArg::StressNg => Tool::StressNg,
        };
        parameters.dirty_rate_target = self.dirty_rate_target;
        parameters.vm_workers = self.vm_workers;
        parameters.vm_bytes_percent = self.vm_bytes_percent;
        parameters.vm_method.clone_from(&self.vm_method);
        parameters.container_disk.clone_from(&self.container_disk);
        let storage_class = self.storage_class.clone();
        parameters.data_disk = self.data_disk.map(|size| DataDisk { size, storage_class });
        parameters.node_selector = self.node_selector.iter().cloned().collect();
        parameters.eviction_strategy.clone_from(&self.eviction_strategy);
        parameters.ssh_keys.clone_from(&self.ssh_key);
        parameters.policy = self.policy();
        parameters.probe_image.clone_from(&self.probe_image);
        parameters
    }

    /// A policy, if any of its flags was given.
    fn policy(&self) -> Option<PolicySpec> {
        let bandwidth = self.bandwidth_per_migration.map(|it| it.bytes_per_second_f64() as u64);
        let policy = PolicySpec {
            allow_auto_converge: self.allow_auto_converge,
            allow_post_copy: self.allow_post_copy,
            allow_workload_disruption: self.allow_workload_disruption,
            bandwidth_bytes_per_second: bandwidth,
            completion_timeout_per_gib: self.completion_timeout_per_gib,
            max_downtime_ms: self.max_downtime_ms,
            experimental: self.experimental.clone(),
        };
        (policy != PolicySpec::default()).then_some(policy)
    }
}

/// A rate, or a quantity of Kubernetes, which counts bytes a second.
fn bandwidth(text: &str) -> Result<Rate, ParseError> {
    if ["0", "unlimited", "none"].contains(&text.trim()) {
        return Ok(Rate::default());
    }
    let is_quantity = text.trim().ends_with('i');
    match Bytes::of_kubernetes(text) {
        Ok(bytes) if is_quantity => Ok(Rate::from_bytes_per_second(bytes.0)),
        _ => text.parse(),
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) =
        text.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or_else(|| {
            format!("`{text}` is not of the form key=value, as in kubernetes.io/arch=amd64")
        })?;
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bandwidth_is_a_rate_or_a_quantity_of_kubernetes() {
        let table = [
            ("64Mi", 64 << 20),
            ("1Gi", 1 << 30),
            ("64MiB/s", 64 << 20),
            ("1Gbit/s", 125_000_000),
            ("0", 0),
            ("unlimited", 0),
            ("none", 0),
        ];
        for (text, expected) in table {
            let rate = bandwidth(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(rate.bytes_per_second(), expected, "{text}");
        }
        for text in ["64M", "64", "64MB", "fast"] {
            let error = bandwidth(text).unwrap_err().to_string();
            assert!(error.contains("MB/s") || error.contains("B/s"), "{text}: {error}");
        }
    }
}
