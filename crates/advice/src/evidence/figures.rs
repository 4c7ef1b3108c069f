//! Evidence from what the owner of a guest knows by heart.

use sterna_model::{Host, Rules};
use sterna_report::foresight::EvidenceKind;
use sterna_scenario::Scenario;
use sterna_units::{human_bytes, human_bytes_per_second};

use super::{Evidence, EvidenceError, Load};

/// A guest and a link in a few numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// Guest memory.
    pub memory_bytes: Option<u64>,
    /// Distinct bytes written within a second.
    pub dirty_bytes_per_second: Option<u64>,
    /// What the link carries.
    pub link_bytes_per_second: Option<u64>,
    /// All memory that the guest ever writes.
    pub working_set_bytes: Option<u64>,
    /// Virtual processors.
    pub vcpus: Option<u32>,
}

/// The scatter of a link of which only the nominal rate is known.
const LINK_SPREAD: f64 = 0.1;

impl Evidence {
    /// From figures alone: a migration by QEMU's defaults under KVM, with wide intervals.
    ///
    /// # Errors
    /// A figure is missing, or contradicts another.
    pub fn from_figures(figures: &Figures) -> Result<Evidence, EvidenceError> {
        let memory_bytes = figures.memory_bytes.ok_or(EvidenceError::NoMemory)?;
        let link = figures.link_bytes_per_second.ok_or(EvidenceError::NoLink)?;
        let rate = figures.dirty_bytes_per_second.ok_or(EvidenceError::NoPass)?;
        check(figures, memory_bytes, link)?;
        let host = Host::qemu_kvm();
        let mut assumptions = vec![
            format!(
                "{} is what the guest writes within one second; how much it writes in longer windows is unknown, so sweeps and hot sets of many sizes were drawn",
                human_bytes_per_second(rate as f64)
            ),
            "all memory has content, none is zero".to_owned(),
            "QEMU 10 under KVM moves the guest".to_owned(),
        ];
        assumptions.extend(host.assumptions());
        let mut scenario = Scenario::default();
        scenario.migration.max_bandwidth = None;
        let evidence = Evidence {
            kind: EvidenceKind::Figures,
            file: None,
            scenario,
            own: None,
            memory_bytes,
            content_bytes: None,
            vcpus: figures.vcpus,
            load: Load::Rate {
                bytes_per_second: rate as f64,
                working_set_bytes: figures.working_set_bytes.map(|it| it as f64),
            },
            content: None,
            link_bytes_per_second: Some(link as f64),
            link_is_measured: false,
            link_spread: LINK_SPREAD,
            host,
            rules: Rules::QEMU_10_KVM,
            assumptions,
        };
        Ok(evidence.settle())
    }

    /// Figures that are given beside a report replace what the report says.
    pub fn overrule(&mut self, figures: &Figures) -> Result<(), EvidenceError> {
        let link = figures.link_bytes_per_second.unwrap_or(1);
        check(figures, figures.memory_bytes.unwrap_or(self.memory_bytes), link)?;
        if let Some(bytes) = figures.link_bytes_per_second {
            self.set_link(bytes as f64);
        }
        if let Some(rate) = figures.dirty_bytes_per_second {
            self.load = Load::Rate {
                bytes_per_second: rate as f64,
                working_set_bytes: figures.working_set_bytes.map(|it| it as f64),
            };
        }
        self.vcpus = figures.vcpus.or(self.vcpus);
        Ok(())
    }
}

fn check(figures: &Figures, memory_bytes: u64, link: u64) -> Result<(), EvidenceError> {
    let wrong = |field, value, reason| Err(EvidenceError::Figure { field, value, reason });
    if memory_bytes < sterna_scenario::PAGE_BYTES {
        let reason = "a guest has at least one page; give it as in --memory 16GiB";
        return wrong("--memory", human_bytes(memory_bytes as f64), reason);
    }
    if link == 0 {
        let reason = "nothing ever arrives; give it as in --link-bandwidth 10Gbit/s";
        return wrong("--link-bandwidth", "0B/s".to_owned(), reason);
    }
    if let Some(bytes) = figures.working_set_bytes.filter(|it| *it > memory_bytes) {
        let reason =
            "the guest has less memory than that; leave --working-set out, or raise --memory";
        return wrong("--working-set", human_bytes(bytes as f64), reason);
    }
    if figures.vcpus == Some(0) {
        return wrong("--vcpus", "0".to_owned(), "a guest has at least one");
    }
    Ok(())
}
