//! The JSON documents that have a schema.

/// A kind of document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Document {
    /// The report of a migration.
    Report,
    /// The report of `sterna dirty`.
    Dirty,
    /// Each line that `sterna dirty --json-stream` prints.
    DirtyStream,
    /// The findings of `sterna doctor`.
    Doctor,
    /// What `sterna compare` says.
    Comparison,
    /// What `sterna run --repeat` says.
    Repeats,
    /// The report of `sterna probe`.
    Probe,
    /// Each line that `sterna probe --format ndjson` prints.
    ProbeStream,
    /// The report of `sterna stream`.
    Stream,
    /// Each line that `sterna stream --json-stream` prints.
    StreamLines,
    /// What `sterna predict` says.
    Prediction,
    /// What `sterna advise` says.
    Advice,
}

impl Document {
    /// All of them.
    pub const ALL: [Document; 12] = [
        Document::Report,
        Document::Dirty,
        Document::DirtyStream,
        Document::Doctor,
        Document::Comparison,
        Document::Repeats,
        Document::Probe,
        Document::ProbeStream,
        Document::Stream,
        Document::StreamLines,
        Document::Prediction,
        Document::Advice,
    ];

    /// Its name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Document::Report => "report",
            Document::Dirty => "dirty",
            Document::DirtyStream => "dirty-stream",
            Document::Doctor => "doctor",
            Document::Comparison => "comparison",
            Document::Repeats => "repeats",
            Document::Probe => "probe",
            Document::ProbeStream => "probe-stream",
            Document::Stream => "stream",
            Document::StreamLines => "stream-lines",
            Document::Prediction => "prediction",
            Document::Advice => "advice",
        }
    }
}
