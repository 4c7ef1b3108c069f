//! Every answer to `query-migrate`, whole.
//!
//! Answers have the same few dozen fields again and again, so they are kept as a table: a column for each field that ever occurred, a row for each answer.

use serde_json::{Value, json};

/// The answers of one side.
#[derive(Clone, Debug, Default)]
pub struct RawPolls {
    /// Dotted paths, in the order of their first appearance.
    columns: Vec<String>,
    rows: Vec<(u64, Vec<Value>)>,
}

impl RawPolls {
    /// Takes in one answer.
    pub fn add(&mut self, at_ns: u64, answer: &Value) {
        let mut row = Vec::with_capacity(self.columns.len());
        self.flatten("", answer, &mut row);
        self.rows.push((at_ns, row));
    }

    /// As `{"columns": ["t_seconds", …], "rows": [[0.05, …], …]}`, stamps relative to `zero_ns`; what an answer did not have is null.
    pub fn to_table(&self, zero_ns: u64) -> Value {
        let columns: Vec<&str> =
            std::iter::once("t_seconds").chain(self.columns.iter().map(String::as_str)).collect();
        let rows = self.rows.iter().map(|(at_ns, values)| {
            let seconds = (*at_ns as f64 - zero_ns as f64) / 1e9;
            let mut row = vec![Value::from((seconds * 1e6).round() / 1e6)];
            row.extend(values.iter().cloned());
            row.resize(columns.len(), Value::Null);
            Value::Array(row)
        });
        json!({ "columns": columns, "rows": rows.collect::<Vec<_>>() })
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn flatten(&mut self, path: &str, value: &Value, row: &mut Vec<Value>) {
        let Value::Object(fields) = value else {
            self.put(path, value, row);
            return;
        };
        for (name, value) in fields {
            let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            self.flatten(&inner, value, row);
        }
    }

    fn put(&mut self, path: &str, value: &Value, row: &mut Vec<Value>) {
        let column = self.columns.iter().position(|it| it == path).unwrap_or_else(|| {
            self.columns.push(path.to_owned());
            self.columns.len() - 1
        });
        if row.len() <= column {
            row.resize(column + 1, Value::Null);
        }
        row[column] = value.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_become_rows_and_nothing_of_them_is_lost() {
        let mut polls = RawPolls::default();
        assert!(polls.is_empty());
        polls.add(1_000_000_000, &json!({"status": "setup"}));
        polls.add(1_500_000_000, &json!({"ram": {"total": 5, "new": 1.5}, "status": "active"}));
        polls.add(2_000_000_000, &json!({"status": "failed", "error-desc": "x", "list": [1]}));
        assert_eq!(
            polls.to_table(1_000_000_000),
            json!({
                "columns": ["t_seconds", "status", "ram.new", "ram.total", "error-desc", "list"],
                "rows": [
                    [0.0, "setup", null, null, null, null],
                    [0.5, "active", 1.5, 5, null, null],
                    [1.0, "failed", null, null, "x", [1]],
                ],
            })
        );
    }
}
