//! The matrix of a suite: fields, the values to try, and all their combinations.

use toml::Value;

/// One field and the values to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Axis {
    /// The dotted path of the field.
    pub(super) path: String,
    /// The values as texts.
    pub(super) values: Vec<String>,
}

impl Axis {
    /// The last part of the path.
    pub(super) fn key(&self) -> &str {
        crate::tables::key(&self.path)
    }
}

/// Reads the `[matrix]` table. Fields come in the order of the file, where `a.b = […]` counts like `"a.b" = […]`.
pub(super) fn axes(value: Option<Value>) -> Result<Vec<Axis>, String> {
    let mut axes = Vec::new();
    match value {
        None => {}
        Some(Value::Table(table)) => collect("", table, &mut axes)?,
        Some(_) => return Err("`matrix` must be a table of lists, written [matrix]".to_owned()),
    }
    Ok(axes)
}

fn collect(path: &str, table: toml::Table, axes: &mut Vec<Axis>) -> Result<(), String> {
    for (key, value) in table {
        let path = if path.is_empty() { key } else { format!("{path}.{key}") };
        match value {
            Value::Array(values) if values.is_empty() => {
                return Err(format!("In [matrix], `{path}` has no values"));
            }
            Value::Array(values) => {
                let values = values.iter().map(text).collect::<Option<Vec<_>>>();
                let values = values.ok_or_else(|| not_a_list(&path))?;
                axes.push(Axis { path, values });
            }
            Value::Table(inner) => collect(&path, inner, axes)?,
            _ => return Err(not_a_list(&path)),
        }
    }
    Ok(())
}

fn not_a_list(path: &str) -> String {
    format!("In [matrix], `{path}` must be a list of values, as in [1, 4] or [\"1Gbit/s\"]")
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Boolean(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// All combinations, the last axis changing fastest; one empty combination where there is no axis.
pub(super) fn points(axes: &[Axis]) -> Vec<Vec<(&Axis, &String)>> {
    let mut points = vec![Vec::new()];
    for axis in axes {
        let longer = points.iter().flat_map(|point| {
            axis.values.iter().map(move |value| {
                let mut point = point.clone();
                point.push((axis, value));
                point
            })
        });
        points = longer.collect();
    }
    points
}
