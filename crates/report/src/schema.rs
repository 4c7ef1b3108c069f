//! The JSON Schemas of the documents.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::Value;

use crate::comparison::{Comparison, Repeats};
use crate::dirty::{DirtyEvent, DirtyReport};
use crate::doctor::Findings;
use crate::foresight::{AdviceDocument, Prediction};
use crate::probing::{ProbeEvent, ProbeReport};
use crate::stream::{StreamEvent, StreamReport};
use crate::{Document, Report};

/// The JSON Schema (draft 2020-12) of the reports that this version writes.
///
/// Titles and descriptions are the doc comments of the types. Every field is required, because a
/// report always has all of them; unknown additional fields are allowed, because later minor
/// versions bring some.
pub fn schema() -> Value {
    schema_of(Document::Report)
}

/// The same for any document.
pub fn schema_of(document: Document) -> Value {
    match document {
        Document::Report => generate::<Report>("Sterna migration report"),
        Document::Dirty => generate::<DirtyReport>("Report of sterna dirty"),
        Document::DirtyStream => generate::<DirtyEvent>("Line of sterna dirty --json-stream"),
        Document::Stream => generate::<StreamReport>("Report of sterna stream"),
        Document::StreamLines => generate::<StreamEvent>("Line of sterna stream --json-stream"),
        Document::Doctor => generate::<Findings>("Findings of sterna doctor"),
        Document::Comparison => generate::<Comparison>("Comparison of runs"),
        Document::Repeats => generate::<Repeats>("Repeats of a run"),
        Document::Probe => generate::<ProbeReport>("Report of sterna probe"),
        Document::ProbeStream => generate::<ProbeEvent>("Line of sterna probe --format ndjson"),
        Document::Prediction => generate::<Prediction>("Prediction of sterna predict"),
        Document::Advice => generate::<AdviceDocument>("Advice of sterna advise"),
    }
}

fn generate<T: JsonSchema>(title: &str) -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    schema.insert("title".to_owned(), title.into());
    schema.to_value()
}
