//! The numbers behind the summary: pure functions over the raw series.
