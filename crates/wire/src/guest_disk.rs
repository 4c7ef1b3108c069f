//! What the agent in a guest tells of the records that it writes to a disk while the guest is migrated.
//!
//! ```text
//!   GET /disk/begin  ──►  Begun, or Refused
//!   GET /disk/end    ──►  Ended, or Refused; asked again, it tells the same again
//! ```
//!
//! Each answer is a page of lines `name{labels} value`, as Prometheus reads them, beside the agent's counters.

mod page;

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// An answer of the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskPage {
    /// Records are written from now on.
    Begun {
        /// Tells these records from those of any other time.
        run: u64,
    },
    /// No more are written, and these are told.
    Ended(Box<DiskEnded>),
    /// There is nothing to begin, or to end.
    Refused(DiskRefusal),
}

/// Records from their beginning to their end. Stamps are of the guest's monotonic clock, in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskEnded {
    /// As it was told at the beginning.
    pub run: u64,
    /// Time between two records.
    pub interval_ns: u64,
    /// Bytes of each.
    pub record_bytes: u64,
    /// Records that came due, whatever became of those before.
    pub due: u64,
    /// Records that the disk said were safe: the first so many.
    pub acknowledged: u64,
    /// How late the agent itself was at most with a record.
    pub late_ns: u64,
    /// The longest time in which no record became safe.
    pub longest_stall_ns: u64,
    /// Each such time that is long enough to be told, in order.
    pub stalls: Vec<DiskStall>,
    /// Stalls beyond those.
    pub stalls_untold: u64,
    /// How long it took from when a record was due until it was safe; None where none was.
    pub times: Option<DiskTimes>,
    /// What is left of the acknowledged records, or why that is not known.
    pub proof: Result<DiskProof, String>,
    /// What the disk answered to the write that it refused; nothing is written after that.
    pub error: Option<String>,
}

/// A time in which no record became safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskStall {
    /// The last moment at which one was.
    pub start_ns: u64,
    /// Until the next was, or until the end where there is none.
    pub length_ns: u64,
    /// Whether there is a next.
    pub has_ended: bool,
}

/// Times from when a record was due until it was safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskTimes {
    /// Half of them at most.
    pub p50_ns: u64,
    /// 99 % of them at most.
    pub p99_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

/// What reading every record again has shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskProof {
    /// Acknowledged records that are not there.
    pub missing: u64,
    /// Acknowledged records of which only a part is what was written.
    pub torn: u64,
    /// Others in the place of acknowledged records.
    pub out_of_order: u64,
    /// The first of all of them.
    pub first: Vec<DiskDefect>,
}

/// One record that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskDefect {
    /// The number of the record that should be there.
    pub record: u64,
    /// Where, in bytes.
    pub offset_bytes: u64,
    /// What is wrong, in words.
    pub what: String,
}

/// Why there is nothing to begin, or to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskRefusal {
    /// In one word.
    pub why: DiskRefused,
    /// In a sentence.
    pub text: String,
}

/// Sorts of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskRefused {
    /// The agent's configuration names no directory.
    NoDisk,
    /// Records are being written already.
    Runs,
    /// None were begun.
    NotBegun,
    /// Somebody else is just being answered.
    Busy,
    /// The disk does not take a record.
    Broken,
}

/// A page that says nothing of a disk, as an older agent's does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("The page tells nothing of records on a disk")]
pub struct NoDiskPage;

impl DiskProof {
    /// Whether every acknowledged record is there, whole and in its place.
    pub fn is_sound(&self) -> bool {
        (self.missing, self.torn, self.out_of_order) == (0, 0, 0)
    }
}

impl DiskRefused {
    const ALL: [DiskRefused; 5] = [
        DiskRefused::NoDisk,
        DiskRefused::Runs,
        DiskRefused::NotBegun,
        DiskRefused::Busy,
        DiskRefused::Broken,
    ];

    fn word(self) -> &'static str {
        match self {
            DiskRefused::NoDisk => "no-disk",
            DiskRefused::Runs => "runs",
            DiskRefused::NotBegun => "not-begun",
            DiskRefused::Busy => "busy",
            DiskRefused::Broken => "broken",
        }
    }
}

impl fmt::Display for DiskPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DiskPage::Begun { run } => page::line(f, "run", &[], *run),
            DiskPage::Ended(ended) => write_ended(f, ended),
            DiskPage::Refused(DiskRefusal { why, text }) => {
                page::line(f, "refused", &[("why", &why.word()), ("text", text)], 1)
            }
        }
    }
}

fn write_ended(f: &mut fmt::Formatter<'_>, ended: &DiskEnded) -> fmt::Result {
    let numbers = [
        ("run", ended.run),
        ("interval_ns", ended.interval_ns),
        ("record_bytes", ended.record_bytes),
        ("records_due", ended.due),
        ("records_acknowledged", ended.acknowledged),
        ("late_ns", ended.late_ns),
        ("longest_stall_ns", ended.longest_stall_ns),
        ("stalls_untold", ended.stalls_untold),
    ];
    numbers.iter().try_for_each(|(name, value)| page::line(f, name, &[], *value))?;
    for DiskStall { start_ns, length_ns, has_ended } in &ended.stalls {
        page::line(f, "stall_ns", &[("start", start_ns), ("ended", has_ended)], *length_ns)?;
    }
    if let Some(DiskTimes { p50_ns, p99_ns, max_ns }) = ended.times {
        for (quantile, value) in [("0.5", p50_ns), ("0.99", p99_ns), ("1", max_ns)] {
            page::line(f, "safe_after_ns", &[("quantile", &quantile)], value)?;
        }
    }
    match &ended.proof {
        Ok(proof) => write_proof(f, proof)?,
        Err(reason) => page::line(f, "unproven", &[("text", reason)], 1)?,
    }
    match &ended.error {
        Some(error) => page::line(f, "error", &[("text", error)], 1),
        None => Ok(()),
    }
}

fn write_proof(f: &mut fmt::Formatter<'_>, proof: &DiskProof) -> fmt::Result {
    page::line(f, "records_missing", &[], proof.missing)?;
    page::line(f, "records_torn", &[], proof.torn)?;
    page::line(f, "records_out_of_order", &[], proof.out_of_order)?;
    proof.first.iter().try_for_each(|DiskDefect { record, offset_bytes, what }| {
        let labels: [(&str, &dyn fmt::Display); 3] =
            [("record", record), ("offset", offset_bytes), ("what", what)];
        page::line(f, "defect", &labels, 1)
    })
}

impl FromStr for DiskPage {
    type Err = NoDiskPage;

    fn from_str(text: &str) -> Result<DiskPage, NoDiskPage> {
        let lines: Vec<page::Line> = text.lines().filter_map(page::Line::read).collect();
        if let Some(refused) = lines.iter().find(|it| it.name == "refused") {
            let word = refused.label("why").ok_or(NoDiskPage)?;
            let known = DiskRefused::ALL.into_iter().find(|it| it.word() == word);
            let text = refused.label("text").unwrap_or_default().to_owned();
            return known.map(|why| DiskPage::Refused(DiskRefusal { why, text })).ok_or(NoDiskPage);
        }
        let run = page::number(&lines, "run").ok_or(NoDiskPage)?;
        if page::number(&lines, "records_due").is_none() {
            return Ok(DiskPage::Begun { run });
        }
        read_ended(&lines).map(|it| DiskPage::Ended(Box::new(it))).ok_or(NoDiskPage)
    }
}

fn read_ended(lines: &[page::Line]) -> Option<DiskEnded> {
    let number = |name: &str| page::number(lines, name);
    let of = |name: &'static str| lines.iter().filter(move |it| it.name == name);
    let text = |name: &'static str| Some(of(name).next()?.label("text")?.to_owned());
    let stalls = of("stall_ns").map(|it| {
        let has_ended = it.label("ended")? == "true";
        Some(DiskStall { start_ns: it.number("start")?, length_ns: it.value, has_ended })
    });
    let quantile = |wanted: &str| {
        of("safe_after_ns").find(|it| it.label("quantile") == Some(wanted)).map(|it| it.value)
    };
    let times =
        |p50_ns| Some(DiskTimes { p50_ns, p99_ns: quantile("0.99")?, max_ns: quantile("1")? });
    let proof = match text("unproven") {
        Some(reason) => Err(reason),
        None => Ok(read_proof(lines)?),
    };
    Some(DiskEnded {
        run: number("run")?,
        interval_ns: number("interval_ns")?,
        record_bytes: number("record_bytes")?,
        due: number("records_due")?,
        acknowledged: number("records_acknowledged")?,
        late_ns: number("late_ns")?,
        longest_stall_ns: number("longest_stall_ns")?,
        stalls: stalls.collect::<Option<_>>()?,
        stalls_untold: number("stalls_untold")?,
        times: quantile("0.5").and_then(times),
        proof,
        error: text("error"),
    })
}

fn read_proof(lines: &[page::Line]) -> Option<DiskProof> {
    let first = lines.iter().filter(|it| it.name == "defect").map(|it| {
        let what = it.label("what")?.to_owned();
        Some(DiskDefect { record: it.number("record")?, offset_bytes: it.number("offset")?, what })
    });
    Some(DiskProof {
        missing: page::number(lines, "records_missing")?,
        torn: page::number(lines, "records_torn")?,
        out_of_order: page::number(lines, "records_out_of_order")?,
        first: first.collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ended() -> DiskEnded {
        DiskEnded {
            run: 7,
            interval_ns: 10,
            record_bytes: 512,
            due: 100,
            acknowledged: 90,
            late_ns: 3,
            longest_stall_ns: 40,
            stalls: vec![
                DiskStall { start_ns: 1, length_ns: 40, has_ended: true },
                DiskStall { start_ns: 50, length_ns: 35, has_ended: false },
            ],
            stalls_untold: 2,
            times: Some(DiskTimes { p50_ns: 1, p99_ns: 2, max_ns: 50 }),
            proof: Ok(DiskProof {
                missing: 1,
                first: vec![DiskDefect { record: 4, offset_bytes: 2048, what: "gone".to_owned() }],
                ..DiskProof::default()
            }),
            error: Some("No space left, it says \"full\"\\\nand more".to_owned()),
        }
    }

    #[test]
    fn the_lines_of_a_page_are_these() {
        let page = DiskPage::Ended(Box::new(DiskEnded { stalls_untold: 0, ..ended() }));
        let expected = "sterna_guest_disk_run 7
sterna_guest_disk_interval_ns 10
sterna_guest_disk_record_bytes 512
sterna_guest_disk_records_due 100
sterna_guest_disk_records_acknowledged 90
sterna_guest_disk_late_ns 3
sterna_guest_disk_longest_stall_ns 40
sterna_guest_disk_stalls_untold 0
sterna_guest_disk_stall_ns{start=\"1\",ended=\"true\"} 40
sterna_guest_disk_stall_ns{start=\"50\",ended=\"false\"} 35
sterna_guest_disk_safe_after_ns{quantile=\"0.5\"} 1
sterna_guest_disk_safe_after_ns{quantile=\"0.99\"} 2
sterna_guest_disk_safe_after_ns{quantile=\"1\"} 50
sterna_guest_disk_records_missing 1
sterna_guest_disk_records_torn 0
sterna_guest_disk_records_out_of_order 0
sterna_guest_disk_defect{record=\"4\",offset=\"2048\",what=\"gone\"} 1
sterna_guest_disk_error{text=\"No space left, it says \\\"full\\\"\\\\\\nand more\"} 1
";
        assert_eq!(page.to_string(), expected);
        assert_eq!(DiskPage::Begun { run: 9 }.to_string(), "sterna_guest_disk_run 9\n");
        let refusal = DiskRefusal { why: DiskRefused::NoDisk, text: "none".to_owned() };
        let line = "sterna_guest_disk_refused{why=\"no-disk\",text=\"none\"} 1\n";
        assert_eq!(DiskPage::Refused(refusal).to_string(), line);
    }

    #[test]
    fn every_page_round_trips() {
        let round_trip = |page: DiskPage| assert_eq!(page.to_string().parse(), Ok(page));
        round_trip(DiskPage::Begun { run: u64::MAX });
        for why in DiskRefused::ALL {
            round_trip(DiskPage::Refused(DiskRefusal { why, text: "a, \"b\"} \\ c\n".to_owned() }));
        }
        round_trip(DiskPage::Ended(Box::new(ended())));
        round_trip(DiskPage::Ended(Box::new(DiskEnded {
            proof: Err("it, cannot=\"be\" read".to_owned()),
            times: None,
            error: None,
            ..ended()
        })));
    }

    #[test]
    fn other_pages_are_none_of_a_disks() {
        for other in [
            "",
            "<html>",
            "sterna_guest_page_writes_total{worker=\"0\"} 5\nsterna_guest_memory_bytes 9\n",
            "sterna_guest_disk_run seven\n",
            "sterna_guest_disk_refused{why=\"mood\",text=\"\"} 1\n",
            "sterna_guest_disk_run 7\nsterna_guest_disk_records_due 5\n",
        ] {
            assert_eq!(other.parse::<DiskPage>(), Err(NoDiskPage), "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_what_is_read_is_written_so_that_it_reads_the_same(text: String) {
            let name = "sterna_guest_disk_refused{why=\"runs\",text=\"";
            for text in [text.clone(), format!("{name}{text}\"}} 1"), format!("{name}{text}")] {
                if let Ok(page) = text.parse::<DiskPage>() {
                    prop_assert_eq!(page.to_string().parse(), Ok(page));
                }
            }
        }
    }
}
