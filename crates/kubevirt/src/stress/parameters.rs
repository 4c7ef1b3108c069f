//! What can be asked of the workload, and what cannot.

use std::collections::BTreeMap;
use std::str::FromStr;

use sterna_units::{Bytes, Rate};
use sterna_workload::{Method, Pace, Spec};
use thiserror::Error;

use crate::policy::PolicySpec;

/// Everything that decides the objects.
#[derive(Clone, Debug)]
pub struct Parameters {
    /// Marks every object; what has it is ours.
    pub run_id: String,
    /// Where the objects go.
    pub namespace: String,
    /// What the names of the virtual machines begin with.
    pub name: String,
    /// How many virtual machines.
    pub count: u32,
    /// Memory of each.
    pub memory: Bytes,
    /// Virtual processors of each.
    pub cores: u32,
    /// What dirties memory in the guest.
    pub tool: Tool,
    /// How many bytes are to be written each second, all workers together; None is as fast as it goes.
    pub dirty_rate_target: Option<Rate>,
    /// Workers that write.
    pub vm_workers: u32,
    /// How much of the memory all workers together write to.
    pub vm_bytes_percent: u32,
    /// How they write, in the tool's words.
    pub vm_method: String,
    /// The agent's workload in full, in place of the five above; from a scenario.
    pub workload: Option<Spec>,
    /// The image of the root disk.
    pub container_disk: String,
    /// A disk beside it.
    pub data_disk: Option<DataDisk>,
    /// Only nodes with these labels.
    pub node_selector: BTreeMap<String, String>,
    /// What is to happen when the node is drained.
    pub eviction_strategy: String,
    /// Keys that may log in as the image's user.
    pub ssh_keys: Vec<String>,
    /// How to migrate; None leaves that to the cluster.
    pub policy: Option<PolicySpec>,
    /// An image with `sterna` in it, for the Pod that probes the guests; None makes no such Pod.
    pub probe_image: Option<String>,
}

/// What dirties memory in the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tool {
    /// Sterna's agent, which the Secret brings along: needs no package and keeps a rate.
    #[default]
    Agent,
    /// stress-ng, from the image's package source.
    StressNg,
}

/// A persistent disk of each virtual machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDisk {
    /// How large.
    pub size: Bytes,
    /// The storage class; None is the cluster's default.
    pub storage_class: Option<String>,
}

/// Why the parameters make no workload.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParametersError {
    /// A number out of its range.
    #[error("{field} cannot be {value}; {way_out}")]
    Value {
        /// The parameter.
        field: &'static str,
        /// What was given.
        value: String,
        /// What would do.
        way_out: String,
    },
    /// The agent is not part of this build.
    #[error(
        "This build of Sterna has no agent for guests, since it was made without a static libc; use --tool stress-ng"
    )]
    NoAgent,
    /// The user data would not fit into a Secret.
    #[error(
        "The user data is {size} bytes long, but at most {BUDGET} bytes fit beside the rest into a Secret; use --tool stress-ng",
        BUDGET = super::BUDGET_BYTES
    )]
    TooLarge {
        /// How long.
        size: usize,
    },
}

/// Room for an ext4 and for records.
const SMALLEST_DATA_DISK: u64 = 64 << 20;

/// The methods of stress-ng's `--vm-method`.
pub const STRESS_NG_METHODS: &[&str] = &[
    "all",
    "cache-lines",
    "cache-stripe",
    "checkerboard",
    "flip",
    "fwdrev",
    "galpat-0",
    "galpat-1",
    "gray",
    "grayflip",
    "incdec",
    "inc-nybble",
    "lfsr32",
    "modulo-x",
    "move-inv",
    "mscan",
    "one-zero",
    "prime-0",
    "prime-1",
    "prime-gray-0",
    "prime-gray-1",
    "prime-incdec",
    "rand-set",
    "rand-sum",
    "read64",
    "ror",
    "rowhammer",
    "swap",
    "walk-0a",
    "walk-0d",
    "walk-1a",
    "walk-1d",
    "walk-flush",
    "write64",
    "write64ds",
    "write64nt",
    "write1024v",
    "wrrd128nt",
    "zero-one",
];

impl Parameters {
    /// The recommended workload: one virtual machine of 8 GiB, two workers that write three quarters of it as fast as
    /// they can.
    pub fn new(run_id: &str, namespace: &str) -> Parameters {
        Parameters {
            run_id: run_id.to_owned(),
            namespace: namespace.to_owned(),
            name: "migration-stress".to_owned(),
            count: 1,
            memory: Bytes(8 << 30),
            cores: 2,
            tool: Tool::Agent,
            dirty_rate_target: None,
            vm_workers: 2,
            vm_bytes_percent: 75,
            vm_method: "write64".to_owned(),
            workload: None,
            container_disk: "quay.io/containerdisks/fedora:42".to_owned(),
            data_disk: None,
            node_selector: BTreeMap::new(),
            eviction_strategy: "LiveMigrate".to_owned(),
            ssh_keys: Vec::new(),
            policy: None,
            probe_image: None,
        }
    }

    /// The name of the virtual machine of this number, from 1.
    pub fn vm_name(&self, number: u32) -> String {
        format!("{}-{number}", self.name)
    }

    /// Memory that the workers write to, in whole pages.
    pub fn vm_bytes(&self) -> Bytes {
        Bytes(self.memory.0 / 100 * u64::from(self.vm_bytes_percent) / 4096 * 4096)
    }

    /// The workload that the agent is told.
    pub fn spec(&self) -> Result<Spec, ParametersError> {
        if let Some(spec) = &self.workload {
            return Ok(spec.clone());
        }
        let method = Method::from_str(&self.vm_method)
            .map_err(|error| value("vm-method", &self.vm_method, &error.to_string()))?;
        let pace = self.dirty_rate_target.map_or(Pace::Unlimited, Pace::BytesPerSecond);
        let mut spec = Spec::of(self.vm_bytes());
        (spec.workers, spec.method, spec.pace) = (self.vm_workers, method, pace);
        // Writes that are not timed are cheaper, and nobody reads the times.
        spec.latency = false;
        Ok(spec)
    }

    /// Refuses what cannot work.
    pub fn check(&self) -> Result<(), ParametersError> {
        name("name", &self.name, 50)?;
        name("run-id", &self.run_id, 40)?;
        name("namespace", &self.namespace, 63)?;
        range("count", self.count, 1..=1000)?;
        range("cores", self.cores, 1..=512)?;
        range("vm-workers", self.vm_workers, 1..=512)?;
        range("vm-bytes-percent", self.vm_bytes_percent, 1..=95)?;
        if self.memory.0 < 64 << 20 {
            return Err(value("memory", &self.memory.to_string(), "give at least 64MiB"));
        }
        if let Some(disk) = self.data_disk.as_ref().filter(|it| it.size.0 < SMALLEST_DATA_DISK) {
            let way_out =
                "give at least 64MiB: a file system and some minutes of records take that";
            return Err(value("data-disk", &disk.size.to_string(), way_out));
        }
        let strategies = ["LiveMigrate", "LiveMigrateIfPossible", "External", "None"];
        one_of("eviction-strategy", &self.eviction_strategy, &strategies)?;
        if self.dirty_rate_target.is_some_and(|it| it.bytes_per_second_f64() <= 0.0) {
            return Err(value("dirty-rate-target", "0", "leave it out for as fast as it goes"));
        }
        self.policy.as_ref().map_or(Ok(()), PolicySpec::check)?;
        match self.tool {
            Tool::Agent => self.spec().map(drop),
            Tool::StressNg => self.check_stress_ng(),
        }
    }

    fn check_stress_ng(&self) -> Result<(), ParametersError> {
        if let Some(rate) = self.dirty_rate_target {
            let way_out = "stress-ng has no rate for --vm; use --tool agent, which keeps one";
            return Err(value("dirty-rate-target", &rate.to_string(), way_out));
        }
        one_of("vm-method", &self.vm_method, STRESS_NG_METHODS)
    }

    /// What is allowed and yet hardly meant.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.memory.0 < 4 << 30 {
            let size = self.memory;
            warnings.push(format!(
                "memory is {size}: below 4GiB the guest's system takes a large part of it and a migration is over within seconds, so that neither limits nor the cluster's samples (one in 5 s) get to act; 8GiB is recommended"
            ));
        }
        warnings.extend(self.policy.iter().flat_map(PolicySpec::notes));
        if self.tool == Tool::StressNg && self.vm_method == "all" {
            warnings.push("vm-method all turns through some seventy methods, many of which mostly read; write64 dirties more, and steadily".to_owned());
        }
        if self.tool == Tool::StressNg {
            warnings.push("stress-ng is installed from the image's package source when the guest boots, which needs a network; its rate depends on the processor".to_owned());
        }
        if self.vm_workers > self.cores {
            warnings.push(format!(
                "{} workers share {} virtual processors; they will write no more than {} would",
                self.vm_workers, self.cores, self.cores
            ));
        }
        if self.eviction_strategy == "None" {
            warnings.push("eviction-strategy None shuts the guest down when its node is drained, instead of migrating it".to_owned());
        }
        if self.vm_bytes_percent > 85 {
            warnings.push(format!(
                "vm-bytes-percent is {}: little is left for the guest's system, which may end the workload",
                self.vm_bytes_percent
            ));
        }
        warnings
    }
}

fn value(field: &'static str, value: &str, way_out: &str) -> ParametersError {
    ParametersError::Value { field, value: value.to_owned(), way_out: way_out.to_owned() }
}

fn range(
    field: &'static str,
    given: u32,
    allowed: std::ops::RangeInclusive<u32>,
) -> Result<(), ParametersError> {
    if allowed.contains(&given) {
        return Ok(());
    }
    let way_out = format!("give {} to {}", allowed.start(), allowed.end());
    Err(value(field, &given.to_string(), &way_out))
}

fn one_of(field: &'static str, given: &str, known: &[&str]) -> Result<(), ParametersError> {
    if known.contains(&given) {
        return Ok(());
    }
    Err(value(field, given, &format!("known are {}", known.join(", "))))
}

/// Names become labels and parts of host names.
fn name(field: &'static str, given: &str, most: usize) -> Result<(), ParametersError> {
    let inner = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
    let is_well = given.bytes().all(inner)
        && given.bytes().next().is_some_and(|it| it.is_ascii_lowercase() || it.is_ascii_digit())
        && !given.ends_with('-')
        && given.len() <= most;
    if is_well {
        return Ok(());
    }
    let way_out = format!(
        "use at most {most} small letters, digits and dashes, with a letter or digit at both ends"
    );
    Err(value(field, given, &way_out))
}
