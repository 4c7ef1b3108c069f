//! What may be built in: licences, sources and versions of all dependencies, against the rules in `deny.toml`.
//!
//! The same rules as `cargo deny` holds, for those who do not have it.

use std::collections::BTreeMap;

/// One crate that is built in.
#[derive(Clone, Debug)]
pub struct Dependency {
    pub name: String,
    pub version: String,
    /// As its manifest says it; `None` where it says nothing.
    pub license: Option<String>,
    /// `None` for a crate of this workspace.
    pub source: Option<String>,
    /// Names of crates that it asks for in any version.
    pub wildcards: Vec<String>,
}

/// What `deny.toml` says.
pub struct Rules {
    pub licenses: Vec<String>,
    pub registries: Vec<String>,
    pub denied: Vec<String>,
    /// As `name@version`, where the version may be a beginning.
    pub skipped: Vec<String>,
}

impl Rules {
    pub fn read(text: &str) -> Rules {
        let file: toml::Table = toml::from_str(text).expect("deny.toml is TOML");
        let texts = |table: &str, key: &str| -> Vec<String> {
            let list = file[table][key].as_array().expect("deny.toml has a list here");
            let text = |it: &toml::Value| {
                let text = it.as_str().or_else(|| it.get("crate")?.as_str());
                text.expect("a text, or a table with `crate`").to_owned()
            };
            list.iter().map(text).collect()
        };
        Rules {
            licenses: texts("licenses", "allow"),
            registries: texts("sources", "allow-registry"),
            denied: texts("bans", "deny"),
            skipped: texts("bans", "skip"),
        }
    }
}

pub fn license_breaches(all: &[Dependency], rules: &Rules) -> Vec<String> {
    let foreign = all.iter().filter(|it| it.source.is_some());
    let breaches = foreign.filter_map(|it| {
        let Some(license) = &it.license else {
            return Some(format!("{} {} names no licence", it.name, it.version));
        };
        let is_allowed = Expression { rest: license, allowed: &rules.licenses }.holds();
        (!is_allowed).then(|| format!("{} {} is licensed {license}", it.name, it.version))
    });
    breaches.collect()
}

pub fn source_breaches(all: &[Dependency], rules: &Rules) -> Vec<String> {
    let is_allowed = |source: &str| {
        rules.registries.iter().any(|it| source.strip_prefix("registry+") == Some(it))
    };
    let outside = all.iter().filter(|it| it.source.as_deref().is_some_and(|it| !is_allowed(it)));
    outside.map(|it| format!("{} {} comes from {:?}", it.name, it.version, it.source)).collect()
}

pub fn ban_breaches(all: &[Dependency], rules: &Rules) -> Vec<String> {
    let denied = all.iter().filter(|it| rules.denied.contains(&it.name));
    let denied = denied.map(|it| format!("{} {} is denied", it.name, it.version));
    let wildcards = all.iter().filter(|it| it.source.is_none()).flat_map(|it| {
        it.wildcards.iter().map(|name| format!("{} asks for any version of {name}", it.name))
    });
    denied.chain(wildcards).collect()
}

/// Crates in several versions that no line of the file explains, and lines that explain nothing.
pub fn duplicates(all: &[Dependency], rules: &Rules) -> Vec<String> {
    let is_skipped = |it: &Dependency, skip: &str| {
        let (name, version) = skip.split_once('@').expect("a skip is written name@version");
        it.name == name && (it.version == version || it.version.starts_with(&format!("{version}.")))
    };
    let mut kept: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for it in all.iter().filter(|it| !rules.skipped.iter().any(|skip| is_skipped(it, skip))) {
        kept.entry(&it.name).or_default().push(&it.version);
    }
    let several = kept.into_iter().filter(|(_, versions)| versions.len() > 1);
    let several =
        several.map(|(name, it)| format!("{name} is there in versions {}", it.join(", ")));
    let unused = rules.skipped.iter().filter(|skip| !all.iter().any(|it| is_skipped(it, skip)));
    several.chain(unused.map(|it| format!("nothing asks for {it} any more"))).collect()
}

/// An SPDX expression: AND binds closer than OR, and old manifests write `/` for OR.
struct Expression<'a> {
    rest: &'a str,
    allowed: &'a [String],
}

impl<'a> Expression<'a> {
    fn holds(mut self) -> bool {
        let holds = self.any();
        holds && self.rest.trim().is_empty()
    }

    fn any(&mut self) -> bool {
        let mut holds = self.every();
        while self.takes("OR") || self.takes("/") {
            holds |= self.every();
        }
        holds
    }

    fn every(&mut self) -> bool {
        let mut holds = self.one();
        while self.takes("AND") {
            holds &= self.one();
        }
        holds
    }

    fn one(&mut self) -> bool {
        if self.takes("(") {
            let holds = self.any();
            return self.takes(")") && holds;
        }
        let mut name = self.word().to_owned();
        if self.takes("WITH") {
            name = format!("{name} WITH {}", self.word());
        }
        self.allowed.contains(&name)
    }

    fn takes(&mut self, token: &str) -> bool {
        let Some(rest) = self.rest.trim_start().strip_prefix(token) else { return false };
        self.rest = rest;
        true
    }

    fn word(&mut self) -> &'a str {
        let rest = self.rest.trim_start();
        let end = rest.find(|it: char| it.is_whitespace() || "()/".contains(it));
        let (word, rest) = rest.split_at(end.unwrap_or(rest.len()));
        self.rest = rest;
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crate_of(name: &str, version: &str, license: &str, source: &str) -> Dependency {
        Dependency {
            name: name.to_owned(),
            version: version.to_owned(),
            license: Some(license.to_owned()).filter(|it| !it.is_empty()),
            source: Some(source.to_owned()).filter(|it| !it.is_empty()),
            wildcards: Vec::new(),
        }
    }

    fn rules() -> Rules {
        let list = |it: &[&str]| it.iter().map(|it| (*it).to_owned()).collect();
        Rules {
            licenses: list(&["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"]),
            registries: list(&["https://good"]),
            denied: list(&["bad"]),
            skipped: list(&["old@1"]),
        }
    }

    #[test]
    fn a_licence_that_is_not_allowed_is_found() {
        let check = |license: &str, breaches: usize| {
            let it = crate_of("a", "1.0.0", license, "registry+https://good");
            assert_eq!(license_breaches(&[it], &rules()).len(), breaches, "{license}");
        };
        for license in ["MIT", "GPL-3.0 OR MIT", "GPL-3.0/MIT", "(MIT OR GPL-3.0) AND Apache-2.0"] {
            check(license, 0);
        }
        check("Apache-2.0 WITH LLVM-exception", 0);
        for license in ["", "GPL-3.0", "MIT AND GPL-3.0", "MIT WITH surprise", "(MIT", "MIT extra"]
        {
            check(license, 1);
        }
        check("MIT OR Apache-2.0 AND GPL-3.0", 0);
        assert!(license_breaches(&[crate_of("a", "1.0.0", "", "")], &rules()).is_empty());
    }

    #[test]
    fn another_source_a_denied_crate_and_a_wildcard_are_found() {
        let check = |source: &str, breaches: usize| {
            let it = crate_of("a", "1.0.0", "MIT", source);
            assert_eq!(source_breaches(&[it], &rules()).len(), breaches, "{source}");
        };
        check("registry+https://good", 0);
        check("", 0);
        check("registry+https://evil", 1);
        check("git+https://good/repository", 1);
        assert_eq!(ban_breaches(&[crate_of("bad", "1.0.0", "MIT", "")], &rules()).len(), 1);
        let mut careless = crate_of("ours", "1.0.0", "MIT", "");
        careless.wildcards.push("any".to_owned());
        assert_eq!(ban_breaches(&[careless], &rules()), ["ours asks for any version of any"]);
    }

    #[test]
    fn a_second_version_and_an_idle_exception_are_found() {
        let of =
            |name: &str, version: &str| crate_of(name, version, "MIT", "registry+https://good");
        let check = |all: &[Dependency], expected: &[&str]| {
            assert_eq!(duplicates(all, &rules()), expected);
        };
        check(&[of("old", "1.2.0"), of("old", "2.0.0")], &[]);
        check(
            &[of("old", "1.2.0"), of("new", "1.0.0"), of("new", "2.0.0")],
            &["new is there in versions 1.0.0, 2.0.0"],
        );
        check(&[of("old", "10.0.0")], &["nothing asks for old@1 any more"]);
    }
}
