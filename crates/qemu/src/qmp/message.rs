//! What comes out of a monitor, line by line.

use serde_json::Value;

use super::QmpError;

/// One message of QEMU.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Message {
    Greeting(Greeting),
    Answer {
        id: Option<u64>,
        outcome: Result<Value, Refusal>,
    },
    Event {
        name: String,
        data: Value,
        realtime_ns: Option<u64>,
    },
    /// The other end says something else before it has introduced itself.
    Garbled(QmpError),
    /// Something that later versions may say.
    Other,
}

/// A command that QEMU turned down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub class: String,
    pub text: String,
}

/// How QEMU introduces itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// `major.minor.micro`.
    pub version: String,
    /// What the packager adds, in brackets; may be empty.
    pub package: String,
    /// What the monitor itself can do, for example `oob`.
    pub capabilities: Vec<String>,
}

/// Something that happened in QEMU.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its name, for example `STOP`.
    pub name: String,
    /// Its arguments; null without any.
    pub data: Value,
    /// When it happened, by QEMU's stamp, on CLOCK_MONOTONIC.
    pub at_ns: u64,
    /// When it was read.
    pub received_ns: u64,
}

/// Reads one line.
pub(super) fn parse(line: &[u8]) -> Result<Message, QmpError> {
    let garbled = || {
        let shown: String = String::from_utf8_lossy(line).chars().take(200).collect();
        QmpError::Garbled(shown.trim_end().to_owned())
    };
    let value: Value = serde_json::from_slice(line).map_err(|_| garbled())?;
    let Value::Object(map) = value else { return Err(garbled()) };
    if let Some(greeting) = map.get("QMP") {
        return Ok(Message::Greeting(self::greeting(greeting)));
    }
    if let Some(name) = map.get("event").and_then(Value::as_str) {
        return Ok(Message::Event {
            name: name.to_owned(),
            data: map.get("data").cloned().unwrap_or_default(),
            realtime_ns: map.get("timestamp").and_then(realtime_ns),
        });
    }
    let id = map.get("id").and_then(Value::as_u64);
    if let Some(value) = map.get("return") {
        return Ok(Message::Answer { id, outcome: Ok(value.clone()) });
    }
    if let Some(error) = map.get("error") {
        let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
        let refusal = Refusal { class: text("class"), text: text("desc") };
        return Ok(Message::Answer { id, outcome: Err(refusal) });
    }
    Ok(Message::Other)
}

fn greeting(value: &Value) -> Greeting {
    let version = value.get("version");
    let number = |name: &str| {
        let part = version.and_then(|it| it.get("qemu")?.get(name)?.as_u64());
        part.map_or_else(|| "?".to_owned(), |it| it.to_string())
    };
    let package = version.and_then(|it| it.get("package")?.as_str()).unwrap_or("");
    let capabilities = value.get("capabilities").and_then(Value::as_array);
    Greeting {
        version: format!("{}.{}.{}", number("major"), number("minor"), number("micro")),
        package: package.trim().to_owned(),
        capabilities: capabilities
            .map(|list| list.iter().filter_map(|it| it.as_str().map(str::to_owned)).collect())
            .unwrap_or_default(),
    }
}

/// QEMU writes -1 where its clock failed.
fn realtime_ns(stamp: &Value) -> Option<u64> {
    let seconds = stamp.get("seconds")?.as_u64()?;
    let micros = stamp.get("microseconds")?.as_u64()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(micros.checked_mul(1_000)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(line: &str, expected: Message) {
        assert_eq!(parse(line.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn every_kind_of_message_is_read_and_unknown_fields_are_passed_over() {
        check(
            r#"{"QMP":{"version":{"qemu":{"micro":22,"minor":2,"major":7},"package":"Debian "},"capabilities":["oob","new"],"later":1}}"#,
            Message::Greeting(Greeting {
                version: "7.2.22".into(),
                package: "Debian".into(),
                capabilities: vec!["oob".into(), "new".into()],
            }),
        );
        check(
            r#"{"return":{"a":1},"id":7}"#,
            Message::Answer { id: Some(7), outcome: Ok(json!({"a": 1})) },
        );
        check(
            r#"{"id":8,"error":{"class":"GenericError","desc":"No way","hint":"x"}}"#,
            Message::Answer {
                id: Some(8),
                outcome: Err(Refusal { class: "GenericError".into(), text: "No way".into() }),
            },
        );
        check(
            r#"{"timestamp":{"seconds":2,"microseconds":5},"event":"STOP"}"#,
            Message::Event {
                name: "STOP".into(),
                data: Value::Null,
                realtime_ns: Some(2_000_005_000),
            },
        );
        check(
            r#"{"timestamp":{"seconds":-1,"microseconds":-1},"event":"RESUME","data":{"x":1}}"#,
            Message::Event { name: "RESUME".into(), data: json!({"x": 1}), realtime_ns: None },
        );
        check(r#"{"something":"new"}"#, Message::Other);
    }

    #[test]
    fn what_is_not_qmp_is_shown() {
        for line in ["qemu: oops", "[1]", ""] {
            let error = parse(line.as_bytes()).unwrap_err();
            assert_eq!(error, QmpError::Garbled(line.to_owned()));
        }
    }
}
