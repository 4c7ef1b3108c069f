//! Putting a scenario together from layers.

use std::collections::BTreeMap;

use crate::error::{Origin, ScenarioError};
use crate::tables::{self, Table};
use crate::types::Scenario;
use crate::value::{Value as _, ValueError};
use crate::{file, nearest, settings, words};

/// Puts a scenario together: defaults, then whatever is applied, each later layer winning over the earlier ones.
///
/// The builder remembers where each value came from. It needs this for three things: to say so in errors, to tell a
/// value that was asked for from a default, and to tell a contradiction from an override. `downtime-limit` and
/// `[migration.downtime]` in one file contradict each other and are refused; the flag `--downtime-limit` over a file
/// with `[migration.downtime]` is an override and replaces the table.
#[derive(Debug, Default)]
pub struct Builder {
    scenario: Scenario,
    /// By path, of fields and of optional tables.
    given: BTreeMap<&'static str, Origin>,
}

/// Paths that exclude each other. A table stands for all its fields.
const EXCLUSIVE: &[(&str, &str)] = &[
    ("migration.downtime-limit", "migration.downtime"),
    ("migration.postcopy.after-passes", "migration.postcopy.after"),
    ("migration.pause.after-passes", "migration.pause.after"),
];

impl Builder {
    /// All defaults.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// What holds already, to change something in it.
    pub fn over(scenario: Scenario) -> Builder {
        let held = Origin::Variable("the scenario as it was".to_owned());
        // Otherwise the workers would follow the processors once more.
        Builder { scenario, given: BTreeMap::from([("workload.workers", held)]) }
    }

    /// Applies a scenario file; `name` is what errors call it.
    ///
    /// # Errors
    /// The first thing in the file that is not TOML, not known or not readable, with line and column.
    pub fn file(mut self, name: &str, text: &str) -> Result<Builder, ScenarioError> {
        file::apply(&mut self, name, text)?;
        Ok(self)
    }

    /// Applies one value as text. `path` is that of a setting, or that of an optional table with `on` or `off`.
    ///
    /// # Errors
    /// Unknown paths and unreadable values, and what excludes something from the same layer.
    pub fn set(mut self, path: &str, text: &str, origin: Origin) -> Result<Builder, ScenarioError> {
        match (settings::find(path), tables::find(path)) {
            (Some(setting), _) => self.put(setting, text, origin)?,
            (None, Some(table)) if table.is_optional() => self.switch(table, text, origin)?,
            (None, _) => return Err(unknown_setting(path, origin)),
        }
        Ok(self)
    }

    /// Applies those variables of an environment that belong to scenarios: `STERNA_` and a setting's path.
    ///
    /// Other variables are none of our business, even if they begin like this, unless they look like a slip.
    ///
    /// # Errors
    /// As [`set`](Self::set), and for names that nearly are a setting's.
    pub fn variables(
        mut self,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Builder, ScenarioError> {
        let known: BTreeMap<String, &'static str> = settings::settings()
            .iter()
            .map(|setting| (setting.variable(), setting.path()))
            .chain(optional_tables().map(|table| (table.variable(), table.path())))
            .collect();
        for (name, text) in environment {
            match known.get(&name) {
                Some(path) => self = self.set(path, &text, Origin::Variable(name))?,
                None => refuse_slip(&name)?,
            }
        }
        Ok(self)
    }

    /// The scenario, checked.
    ///
    /// # Errors
    /// What [`Scenario::validate`] finds, with the places where the values were given.
    pub fn build(self) -> Result<Scenario, ScenarioError> {
        let given = self.given.clone();
        let scenario = self.build_unchecked()?;
        let mut problems = scenario.problems();
        for problem in &mut problems {
            let origins = problem.fields.iter().filter_map(|field| given.get(field));
            problem.origins = origins.cloned().collect();
        }
        if problems.is_empty() { Ok(scenario) } else { Err(ScenarioError::Impossible(problems)) }
    }

    /// Fills in what depends on other fields.
    pub(crate) fn build_unchecked(mut self) -> Result<Scenario, ScenarioError> {
        if !self.given.contains_key("workload.workers") {
            self.scenario.workload.workers = self.scenario.guest.vcpus;
        }
        if let (None, Some(origin)) =
            (&self.scenario.migration.pause, self.given.get("migration.pause"))
        {
            return Err(ScenarioError::Incomplete {
                table: "migration.pause",
                origin: origin.clone(),
                needed: "`after-passes` or `after`, to say when the guest is stopped",
            });
        }
        Ok(self.scenario)
    }

    /// Gives a field its value.
    pub(crate) fn put(
        &mut self,
        setting: &'static settings::Setting,
        text: &str,
        origin: Origin,
    ) -> Result<(), ScenarioError> {
        let path = setting.path();
        self.claim(path, &origin)?;
        setting.set(&mut self.scenario, text).map_err(|error| {
            let error = words::instead(setting, text).unwrap_or(error);
            unusable(path, &origin, error)
        })?;
        self.scenario.written.remember(setting, text);
        self.given.insert(path, origin);
        Ok(())
    }

    /// Asks for an optional table.
    pub(crate) fn open(
        &mut self,
        table: &'static Table,
        origin: Origin,
    ) -> Result<(), ScenarioError> {
        let Some(switch) = &table.switch else { return Ok(()) };
        self.claim(table.path(), &origin)?;
        (switch.on)(&mut self.scenario);
        self.given.insert(table.path(), origin);
        Ok(())
    }

    /// Asks for an optional table, or drops it with everything in it.
    fn switch(
        &mut self,
        table: &'static Table,
        text: &str,
        origin: Origin,
    ) -> Result<(), ScenarioError> {
        let path = table.path();
        match on_or_off(text) {
            Ok(true) => return self.open(table, origin),
            Ok(false) => {}
            Err(error) => return Err(unusable(path, &origin, error)),
        }
        if let Some(switch) = &table.switch {
            (switch.off)(&mut self.scenario);
        }
        self.given.retain(|given, _| !covers(path, given));
        Ok(())
    }

    /// Makes sure that `path` may be given by `origin`, and forgets what it overrides.
    fn claim(&mut self, path: &'static str, origin: &Origin) -> Result<(), ScenarioError> {
        for rival in EXCLUSIVE.iter().filter_map(|pair| rival(*pair, path)) {
            let contradicted = self
                .given
                .iter()
                .find(|(given, at)| covers(rival, given) && at.is_same_layer(origin));
            if let Some((first, first_origin)) = contradicted {
                return Err(ScenarioError::Exclusive {
                    first,
                    first_origin: first_origin.clone(),
                    second: path,
                    second_origin: origin.clone(),
                });
            }
            self.given.retain(|given, _| !covers(rival, given));
        }
        Ok(())
    }
}

impl Scenario {
    /// The scenario of a file, over the defaults; `name` is what errors call the file.
    ///
    /// # Errors
    /// As [`Builder::file`] and [`Builder::build`].
    pub fn from_toml(text: &str, name: &str) -> Result<Scenario, ScenarioError> {
        Builder::new().file(name, text)?.build()
    }
}

/// The other path of the pair, if `path` belongs to one of the two.
fn rival((left, right): (&'static str, &'static str), path: &str) -> Option<&'static str> {
    if covers(left, path) {
        Some(right)
    } else if covers(right, path) {
        Some(left)
    } else {
        None
    }
}

/// Whether `path` is `whole` or lies within it.
fn covers(whole: &str, path: &str) -> bool {
    path.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn optional_tables() -> impl Iterator<Item = &'static Table> {
    tables::tables().iter().filter(|table| table.is_optional())
}

fn unusable(path: &'static str, origin: &Origin, error: ValueError) -> ScenarioError {
    ScenarioError::Value { path, origin: origin.clone(), source: Box::new(error) }
}

fn on_or_off(text: &str) -> Result<bool, ValueError> {
    match text.trim() {
        "on" => Ok(true),
        "off" => Ok(false),
        other => bool::read(other)
            .map_err(|_| ValueError::Boolean { text: text.to_owned(), words: ["on", "off"] }),
    }
}

fn unknown_setting(path: &str, origin: Origin) -> ScenarioError {
    let known = settings::settings().iter().map(settings::Setting::path);
    let nearest = nearest::nearest(path, known.chain(optional_tables().map(Table::path)));
    let hint = match nearest {
        Some(name) => format!("did you mean `{name}`?"),
        None => "a setting is named by table and field, as `migration.max-bandwidth`".to_owned(),
    };
    ScenarioError::UnknownSetting { name: path.to_owned(), origin, hint }
}

/// Programs around us have variables of their own that begin with our name, so only what is nearly a setting's is
/// refused.
fn refuse_slip(name: &str) -> Result<(), ScenarioError> {
    /// Two letters wrong, missing, doubled or exchanged.
    const SLIP: usize = 2;
    if !name.starts_with("STERNA_") || name.len() > 100 {
        return Ok(());
    }
    let meant = settings::settings()
        .iter()
        .map(settings::Setting::variable)
        .find(|known| strsim::osa_distance(known, name) <= SLIP);
    match meant {
        None => Ok(()),
        Some(known) => Err(ScenarioError::UnknownSetting {
            name: name.to_owned(),
            origin: Origin::Variable("the environment".to_owned()),
            hint: format!("did you mean `{known}`?"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    fn flag(name: &str) -> Origin {
        Origin::Flag(name.to_owned())
    }

    fn chain(error: &dyn Error) -> String {
        match error.source() {
            Some(source) => format!("{error}: {}", chain(source)),
            None => error.to_string(),
        }
    }

    #[test]
    fn later_layers_win() {
        let environment = [
            ("STERNA_GUEST_MEMORY".to_owned(), "2GiB".to_owned()),
            ("STERNA_WORKLOAD_SEED".to_owned(), "7".to_owned()),
            ("PATH".to_owned(), "/bin".to_owned()),
        ];
        let scenario = Builder::new()
            .file("run.toml", "[guest]\nmemory = \"1GiB\"\nvcpus = 3\n[workload]\nseed = 5\n")
            .and_then(|builder| builder.variables(environment))
            .and_then(|builder| builder.set("guest.memory", "4GiB", flag("--memory")))
            .and_then(Builder::build)
            .unwrap();
        assert_eq!(scenario.guest.memory.to_string(), "4GiB");
        assert_eq!((scenario.workload.seed, scenario.guest.vcpus), (7, 3));
    }

    #[test]
    fn workers_follow_vcpus_until_they_are_given() {
        let built = |text| Scenario::from_toml(text, "run.toml").unwrap().workload.workers;
        assert_eq!(built(""), 2);
        assert_eq!(built("guest.vcpus = 8"), 8);
        assert_eq!(built("guest.vcpus = 8\nworkload.workers = 3"), 3);
    }

    #[test]
    fn what_excludes_each_other_is_refused_within_a_layer() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            let error = Scenario::from_toml(text, "run.toml").unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
        check(
            "[migration]\ndowntime-limit = \"1s\"\n[migration.downtime]\n",
            "Fields `migration.downtime-limit` (run.toml:2:18) and `migration.downtime` (run.toml:3:12) \
             exclude each other; leave one of them out",
        );
        check(
            "[migration.postcopy]\nafter-passes = 2\nafter = \"1s\"\n",
            "Fields `migration.postcopy.after-passes` (run.toml:2:16) and `migration.postcopy.after` \
             (run.toml:3:9) exclude each other; leave one of them out",
        );
        let flags = Builder::new()
            .set("migration.downtime.to", "1s", flag("--downtime-to"))
            .unwrap()
            .set("migration.downtime-limit", "1s", flag("--downtime-limit"));
        assert!(matches!(flags, Err(ScenarioError::Exclusive { .. })));
    }

    #[test]
    fn what_excludes_each_other_is_an_override_between_layers() {
        let file = "[migration.downtime]\nto = \"2s\"\n[migration.pause]\nafter-passes = 3\n";
        let scenario = Builder::new()
            .file("run.toml", file)
            .unwrap()
            .set("migration.downtime-limit", "1s", Origin::Variable("STERNA_X".into()))
            .unwrap()
            .set("migration.pause.after", "9s", flag("--pause-after"))
            .unwrap()
            .build()
            .unwrap();
        assert_eq!(scenario.migration.downtime.limit().unwrap().to_string(), "1s");
        let pause = scenario.migration.pause.unwrap();
        assert_eq!(pause.trigger.after().unwrap().to_string(), "9s");
    }

    #[test]
    fn optional_tables_are_switched() {
        let scenario = Builder::new()
            .file(
                "run.toml",
                "[migration.postcopy]\nafter-passes = 3\n[migration.multifd]\nchannels = 8\n",
            )
            .unwrap()
            .set("migration.postcopy", "off", flag("--postcopy"))
            .unwrap()
            .set("migration.auto-converge", "on", flag("--auto-converge"))
            .unwrap()
            .build()
            .unwrap();
        assert_eq!(scenario.migration.postcopy, None);
        assert!(scenario.migration.auto_converge.is_some());
        assert_eq!(scenario.migration.multifd.unwrap().channels, 8);

        let error = Builder::new().set("migration.xbzrle", "please", flag("--xbzrle")).unwrap_err();
        assert_eq!(
            chain(&error),
            "Field `migration.xbzrle` has an unusable value at --xbzrle: `please` is neither `on` nor `off`"
        );
    }

    #[test]
    fn a_pause_needs_its_moment() {
        let error = Scenario::from_toml("[migration.pause]", "run.toml").unwrap_err();
        assert_eq!(
            error.to_string(),
            "Table [migration.pause] at run.toml:1:12 needs `after-passes` or `after`, to say when the guest is \
             stopped"
        );
    }

    #[test]
    fn unknown_settings_are_refused() {
        let error = Builder::new().set("migration.max-bandwith", "1", flag("--set")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Unknown setting `migration.max-bandwith` given by --set; did you mean `migration.max-bandwidth`?"
        );
        let tables = Builder::new().set("guest", "on", flag("--set"));
        assert!(matches!(tables, Err(ScenarioError::UnknownSetting { .. })));
    }

    #[test]
    fn variables_that_nearly_are_ours_are_refused_and_others_left_alone() {
        let apply = |name: &str| Builder::new().variables([(name.to_owned(), "1GiB".to_owned())]);
        let error = apply("STERNA_GUEST_MEMROY").unwrap_err();
        assert_eq!(
            error.to_string(),
            "Unknown setting `STERNA_GUEST_MEMROY` given by the environment; did you mean `STERNA_GUEST_MEMORY`?"
        );
        for other in ["STERNA_KUBEVIRT_CRDS", "STERNA_", "STERNA_GUEST_AGENT", "HOME"] {
            assert!(apply(other).is_ok(), "{other}");
        }
    }

    #[test]
    fn problems_say_where_their_values_came_from() {
        let error = Builder::new()
            .file("run.toml", "[guest]\nmemory = \"1MiB\"\n")
            .and_then(|builder| builder.set("workload.memory", "1GiB", flag("--workload-memory")))
            .and_then(Builder::build)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "Scenario cannot be run: Field `workload.memory` is 1GiB, more than the 1MiB of `guest.memory`; \
             make it smaller or the guest larger (given at --workload-memory, run.toml:2:10)"
        );
    }
}
