//! What the reader of a report should know about its numbers.

use sterna_report::Warning;

use super::Emulator;
use super::hold::Hold;
use super::places::clear_warning;

impl Emulator {
    pub(super) fn all_warnings(&self) -> Vec<Warning> {
        let mut warnings: Vec<Warning> =
            clear_warning(self.data.as_ref(), self.is_encrypted).into_iter().collect();
        let mut warn = |code: &str, text: String, advice: Option<&str>| {
            warnings.push(Warning {
                code: code.to_owned(),
                text,
                advice: advice.map(str::to_owned),
            });
        };
        if let Some(prepared) = &self.prepared {
            if prepared.tracker == "cooperative" {
                warn(
                    "tracking-cost",
                    format!(
                        "Dirty pages were found by a bitmap that the workload keeps ({}), so the guest paid nothing for tracking",
                        prepared.tracker_reason
                    ),
                    Some(
                        "Use a kernel with asynchronous write protection; `sterna doctor` tells what is missing",
                    ),
                );
            }
            if prepared.tracking_page_bytes > sterna_report::PAGE_BYTES {
                warn(
                    "tracking-page",
                    format!(
                        "One write dirties {} bytes, since pages are tracked as a whole",
                        prepared.tracking_page_bytes
                    ),
                    Some("Use guest.huge-pages = \"none\" or \"thp\" to track pages of 4 KiB"),
                );
            }
        }
        if self.hold.as_ref().is_some_and(Hold::is_holding) {
            warn(
                "hold-unproven",
                "The migration ended before memory was seen to be sent, written and sent again; the passes that were asked for are not proven".to_owned(),
                Some("Let the workload write faster, or lower the bandwidth"),
            );
        }
        if self.gaps_lost > 0 {
            warn(
                "gaps-lost",
                format!("{} standstills of workers were not recorded", self.gaps_lost),
                Some("The machine is overloaded; the blackout may be longer than stated"),
            );
        }
        warnings.extend(self.parallel.warnings());
        warnings
    }
}
