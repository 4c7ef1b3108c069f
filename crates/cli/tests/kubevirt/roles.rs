//! The printed roles are sufficient, and each of their rules is needed.

use serde_json::Value;
use sterna_kubevirt::rbac::{Command, objects};
use sterna_kubevirt::simulate::SimulateOptions;

use crate::ground::{Ground, Kind, ground};

/// A command and arguments that make it do all it can.
fn job(command: Command, records: &str) -> Vec<String> {
    let text = match command {
        Command::Apply => "apply --run-id roles --probe-image sterna --allow-post-copy true",
        Command::Migrate => "migrate --run-id roles --records",
        Command::Watch => "watch --once",
        Command::Drain => "drain sim-node-1 --records",
        Command::Explain => "explain migration-stress-1",
        Command::Cleanup => "cleanup --run-id roles",
    };
    let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    if words.last().is_some_and(|it| it == "--records") {
        words.push(records.to_owned());
    }
    words
}

/// Gives the tester the roles, but for one verb of one rule.
fn grant(ground: &Ground, command: Command, without: Option<(&str, &str)>) {
    let session = ground.session();
    for mut object in objects(command, "default", "sterna") {
        if let Some(rules) = object.get_mut("rules").and_then(Value::as_array_mut) {
            for rule in rules.iter_mut() {
                let resource = rule["resources"][0].as_str().unwrap().to_owned();
                let verbs = rule["verbs"].as_array_mut().unwrap();
                verbs.retain(|verb| without != Some((resource.as_str(), verb.as_str().unwrap())));
            }
            rules.retain(|rule| !rule["verbs"].as_array().unwrap().is_empty());
        }
        if object.get("subjects").is_some() {
            object["subjects"] = serde_json::json!([{
                "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "tester",
            }]);
        }
        session.block_on(session.cluster().apply(&object)).unwrap();
    }
}

#[test]
fn every_command_works_with_its_role_and_names_the_verb_that_is_missing() {
    let Some(ground) = ground(Kind::Full) else { return };
    let _simulated =
        ground.simulate(SimulateOptions { speed: 200.0, ..SimulateOptions::default() });
    ground.kubeconfig("tester", None);
    // In this order each finds what it needs.
    let all = [
        Command::Apply,
        Command::Explain,
        Command::Migrate,
        Command::Watch,
        Command::Drain,
        Command::Cleanup,
    ];
    for command in all {
        let words = job(command, "with-role");
        let arguments: Vec<&str> = words.iter().map(String::as_str).collect();
        let ran = ground.sterna("tester", &arguments);
        assert_ne!(ran.code, 0, "{} works without any role", command.name());
        for rule in command.rules() {
            for verb in rule.verbs {
                grant(&ground, command, Some((rule.resource, verb)));
                let ran = ground.sterna("tester", &["preflight", command.name()]);
                let named = format!("verb {verb} on {} of API group", rule.resource);
                assert!(ran.out.contains(&named), "{named} is not in {}", ran.out);
                let expected = if rule.optional.is_some() { 0 } else { 5 };
                assert_eq!(ran.code, expected, "{}\n{}", ran.out, ran.err);
            }
        }
        grant(&ground, command, None);
        ground.sterna("tester", &["preflight", command.name()]).ok();
        ground.sterna("tester", &arguments).ok();
        take_back(&ground, command);
    }
}

/// The next command shall not live on the rights of this one.
fn take_back(ground: &Ground, command: Command) {
    let session = ground.session();
    let group = "rbac.authorization.k8s.io";
    for (kind, plural, namespace) in [
        ("RoleBinding", "rolebindings", Some("default")),
        ("ClusterRoleBinding", "clusterrolebindings", None),
    ] {
        let resource = sterna_kubevirt::views::resource(group, "v1", kind, plural);
        let api = session.cluster().api::<sterna_kubevirt::AnyObject>(&resource, namespace);
        let name = format!("sterna-{}", command.name());
        session.block_on(session.cluster().delete(kind, &api, &name)).unwrap();
    }
}
