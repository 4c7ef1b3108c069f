//! What a machine offers to an engine, as `probe_host()` of each engine tells it.

use std::collections::BTreeMap;

use serde_json::Value;

/// One thing that was looked for on this machine, and what came of it.
///
/// Whatever is not there comes with its [`Shortfall`]: what follows from that, and the way to get it.
/// So a user is never left with a bare "missing", and nothing is called missing that would make no difference.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What it belongs to; findings of one group are shown together.
    pub group: &'static str,
    /// Name in snake case, unique within one probing and the same in every version.
    pub name: String,
    /// Whether it can be used.
    pub availability: Availability,
    /// Whether the engine's default scenario cannot run without it.
    pub is_required: bool,
    /// What was seen, for people; `None` when it could not be found out.
    pub value: Option<String>,
    /// What was seen, for programs: quantities with their unit in the name, and `null` for what is unknown.
    pub facts: BTreeMap<&'static str, Value>,
}

/// Whether a thing can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Availability {
    /// As much as anybody needs.
    Ok,
    /// Partly, or with a drawback.
    Limited(Shortfall),
    /// Not at all.
    Missing(Shortfall),
}

/// What it means that something is not fully there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortfall {
    /// What cannot be done, or is done worse.
    pub consequence: String,
    /// The way to get it.
    pub remedy: String,
}

impl Finding {
    /// A finding that no default scenario depends on.
    pub fn new(
        group: &'static str,
        name: impl Into<String>,
        value: impl Into<String>,
        availability: Availability,
    ) -> Finding {
        Finding {
            group,
            name: name.into(),
            availability,
            is_required: false,
            value: Some(value.into()).filter(|it| !it.is_empty()),
            facts: BTreeMap::new(),
        }
    }

    /// The same, with the default scenario depending on it.
    #[must_use]
    pub fn required(self) -> Finding {
        Finding { is_required: true, ..self }
    }

    /// Adds a fact for programs; `None` becomes `null`.
    #[must_use]
    pub fn fact(mut self, name: &'static str, value: impl Into<Value>) -> Finding {
        self.facts.insert(name, value.into());
        self
    }
}

impl Availability {
    /// There with a drawback.
    pub fn limited(consequence: impl Into<String>, remedy: impl Into<String>) -> Availability {
        Availability::Limited(Shortfall { consequence: consequence.into(), remedy: remedy.into() })
    }

    /// Not there.
    pub fn missing(consequence: impl Into<String>, remedy: impl Into<String>) -> Availability {
        Availability::Missing(Shortfall { consequence: consequence.into(), remedy: remedy.into() })
    }

    /// Whether it cannot be used at all.
    pub fn is_missing(&self) -> bool {
        matches!(self, Availability::Missing(_))
    }

    /// The word for it: `ok`, `limited` or `missing`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Availability::Ok => "ok",
            Availability::Limited(_) => "limited",
            Availability::Missing(_) => "missing",
        }
    }

    /// What follows; `None` when all is well.
    pub fn shortfall(&self) -> Option<&Shortfall> {
        match self {
            Availability::Ok => None,
            Availability::Limited(shortfall) | Availability::Missing(shortfall) => Some(shortfall),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_not_ok_says_what_follows_and_what_to_do() {
        let check = |availability: Availability, word: &str, consequence: Option<&str>| {
            assert_eq!(availability.as_str(), word);
            let told = availability.shortfall().map(|it| it.consequence.as_str());
            assert_eq!(told, consequence, "{word}");
            assert_eq!(availability.is_missing(), word == "missing");
        };
        check(Availability::Ok, "ok", None);
        check(Availability::limited("slow", "buy more"), "limited", Some("slow"));
        check(Availability::missing("impossible", "buy one"), "missing", Some("impossible"));
    }

    #[test]
    fn what_could_not_be_found_out_is_null_and_never_zero() {
        let finding =
            Finding::new("memory", "pool", "", Availability::Ok).fact("free_pages", None::<u64>);
        assert_eq!(finding.value, None);
        assert_eq!(finding.facts["free_pages"], Value::Null);
        assert!(!finding.is_required);
        assert!(finding.required().is_required);
    }
}
