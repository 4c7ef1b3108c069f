//! Objects as they are printed.

use serde_json::{Value, json};
use sterna_kubevirt::yaml;

use crate::args::kubevirt::ObjectFormat;

/// All objects, in the form that was asked for; `header` stands above YAML as a comment.
pub fn text(objects: &[Value], format: ObjectFormat, header: &[String]) -> String {
    match format {
        ObjectFormat::Yaml => {
            let comment: String = header.iter().map(|it| format!("# {it}\n")).collect();
            comment + &yaml::documents(objects)
        }
        ObjectFormat::Json => {
            let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
            format!("{list:#}\n")
        }
        ObjectFormat::Name => objects.iter().map(name).collect(),
    }
}

/// As kubectl names objects: kind, group and name.
fn name(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (version, kind) = (text(&object["apiVersion"]), text(&object["kind"]).to_lowercase());
    let group = version.split_once('/').map(|it| format!(".{}", it.0)).unwrap_or_default();
    format!("{kind}{group}/{}\n", text(&object["metadata"]["name"]))
}
