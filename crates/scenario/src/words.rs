//! Words for "no value" and "no limit". Each field has its own; others are answered with the right one.

use crate::settings::Setting;
use crate::value::ValueError;

/// What people write where they want nothing to hold, or nothing to be there.
const WORDS: [&str; 10] =
    ["unlimited", "none", "infinite", "infinity", "inf", "off", "never", "no", "0", "-1"];

/// The error for such a word, where the field does not take it; None for every other text.
pub(crate) fn instead(setting: &Setting, text: &str) -> Option<ValueError> {
    let text = text.trim().trim_matches('"');
    if !WORDS.contains(&text) {
        return None;
    }
    let example = setting.example_text();
    let way_out = match (setting.path(), setting.none_word()) {
        ("workload.rate", _) => {
            "write `unlimited` for as fast as possible, or `idle` for no writes".to_owned()
        }
        ("migration.downtime-limit", _) => {
            "write a time such as `300ms`; at most `2000s`, which is as good as no limit".to_owned()
        }
        (_, Some(none)) => format!("write `{none}`, or a value such as `{example}`"),
        ("guest.ballast", None) => "write `0B` for none".to_owned(),
        ("timing.warmup" | "timing.cooldown" | "link.latency", None) => {
            "write `0s` for none".to_owned()
        }
        (_, None) if setting.is_quantity() => format!("write a value such as `{example}`"),
        (_, None) => return None,
    };
    Some(ValueError::NoValue { text: text.to_owned(), way_out })
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use crate::{Builder, Origin, Scenario, settings};

    fn set(path: &str, text: &str) -> Result<Scenario, String> {
        let flag = Origin::Flag("--x".to_owned());
        let built = Builder::new().set(path, text, flag).and_then(Builder::build);
        built.map_err(|error| {
            let cause = error.source().map_or_else(String::new, |it| format!(": {it}"));
            format!("{error}{cause}")
        })
    }

    fn shown(path: &str, scenario: &Scenario) -> Option<String> {
        settings().iter().find(|it| it.path() == path).unwrap().get(scenario)
    }

    #[test]
    fn words_for_no_limit_mean_what_is_expected_or_the_message_names_the_right_word() {
        let taken = [
            ("migration.max-bandwidth", "unlimited", None),
            ("migration.max-bandwidth", "none", None),
            ("link.bandwidth", "none", None),
            ("limits.max-time", "none", None),
            ("limits.max-time", "unlimited", None),
            ("limits.max-passes", "unlimited", None),
            ("workload.rate", "unlimited", Some("unlimited")),
            ("workload.rate", "idle", Some("idle")),
            ("guest.ballast", "0", Some("0")),
            ("timing.warmup", "0", Some("0")),
            ("faults", "none", None),
            ("guest.huge-pages", "none", Some("none")),
        ];
        for (path, text, expected) in taken {
            let scenario = set(path, text).unwrap_or_else(|error| panic!("{path} {text}: {error}"));
            assert_eq!(shown(path, &scenario).as_deref(), expected, "{path} {text}");
        }
        let refused = [
            ("migration.max-bandwidth", "0", "write `unlimited`"),
            ("migration.max-bandwidth", "0B/s", "`unlimited`"),
            ("migration.max-bandwidth", "infinite", "write `unlimited`"),
            ("migration.max-bandwidth", "-1", "write `unlimited`"),
            ("migration.postcopy.max-bandwidth", "0", "write `unlimited`"),
            ("migration.switchover-bandwidth", "unlimited", "write `estimate`"),
            ("migration.switchover-bandwidth", "none", "write `estimate`"),
            ("link.bandwidth", "0", "write `unlimited`"),
            ("link.latency", "none", "write `0s` for none"),
            ("limits.max-time", "0", "`none`"),
            ("limits.max-time", "never", "write `none`"),
            ("limits.max-passes", "0", "`none`"),
            ("limits.max-passes", "never", "write `none`"),
            ("workload.rate", "none", "`idle` for no writes"),
            ("workload.rate", "0", "`idle` for no writes"),
            ("workload.rate", "0B/s", "`idle`"),
            ("guest.ballast", "none", "write `0B`"),
            ("guest.memory", "unlimited", "write a value such as `256MiB`"),
            ("migration.downtime-limit", "unlimited", "at most `2000s`"),
            ("timing.warmup", "none", "write `0s` for none"),
            ("timing.warmup", "off", "write `0s` for none"),
            ("migration.dirty-limit.period", "none", "write `default`"),
        ];
        for (path, text, words) in refused {
            match set(path, text) {
                Ok(scenario) => panic!("{path} took {text} as {:?}", shown(path, &scenario)),
                Err(error) => assert!(error.contains(words), "{path} {text}: {error}"),
            }
        }
    }

    #[test]
    fn a_forgotten_unit_of_memory_is_asked_for() {
        for text in ["256", "64"] {
            let error = set("guest.memory", text).unwrap_err();
            assert!(error.contains(&format!("did you mean `{text}MiB`?")), "{error}");
        }
        let error = Scenario::from_toml("[guest]\nmemory = 64", "a.toml").unwrap_err();
        let cause = error.source().unwrap().to_string();
        assert!(error.to_string().contains("a.toml:2:10"), "{error}");
        assert!(cause.contains("did you mean `64MiB`?"), "{cause}");
        assert!(set("guest.memory", "268435456").is_ok());
    }
}
