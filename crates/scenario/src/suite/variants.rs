//! The `[[variant]]` tables of a suite.

use toml::Value;

/// A variant: its name, and its fields as a file of their own.
#[derive(Debug, Default)]
pub(super) struct Variant {
    pub(super) name: String,
    pub(super) group: String,
    pub(super) text: String,
}

pub(super) fn variants(value: Option<Value>) -> Result<Vec<Variant>, String> {
    let tables = match value {
        None => return Ok(vec![Variant::default()]),
        Some(Value::Array(tables)) if !tables.is_empty() => tables,
        Some(_) => return Err("`variant` must be tables, written [[variant]]".to_owned()),
    };
    tables.into_iter().map(variant).collect()
}

fn variant(value: Value) -> Result<Variant, String> {
    let Value::Table(mut fields) = value else {
        return Err("`variant` must be tables, written [[variant]]".to_owned());
    };
    let Some(Value::String(name)) = fields.remove("name").filter(is_some_text) else {
        return Err("Each [[variant]] needs a name, as in name = \"precopy\"".to_owned());
    };
    let group = match fields.remove("group") {
        None => String::new(),
        Some(Value::String(group)) => group,
        Some(_) => return Err(format!("`group` of variant {name} must be a text")),
    };
    let text = toml::to_string(&fields).map_err(|error| error.to_string())?;
    Ok(Variant { name, group, text })
}

fn is_some_text(value: &Value) -> bool {
    value.as_str().is_some_and(|it| !it.trim().is_empty())
}
