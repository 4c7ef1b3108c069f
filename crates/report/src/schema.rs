//! The JSON Schema of the report.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::Report;

/// The JSON Schema (draft 2020-12) of the reports that this version writes.
///
/// Titles and descriptions are the doc comments of the types. Every field is required, because a
/// report always has all of them; unknown additional fields are allowed, because later minor
/// versions bring some.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut schema = settings.into_generator().into_root_schema_for::<Report>();
    schema.insert("title".to_owned(), "Sterna migration report".into());
    schema.to_value()
}
