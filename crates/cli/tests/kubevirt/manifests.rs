//! The printed workload: what is in it, and whether the tools that will read it take it.

use std::process::{Command, Stdio};

use serde_json::Value;
use sterna_kubevirt::stress::{BUDGET_BYTES, DataDisk, Parameters, Tool, manifests, user_data};
use sterna_units::Bytes;

fn sterna(arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_sterna"))
        .arg("kubevirt")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[track_caller]
fn refused(arguments: &[&str], words: &str) {
    let output = sterna(arguments);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains(words), "{words:?} is not in {text}");
}

#[test]
fn what_cannot_work_is_refused_with_its_name_and_the_way_out() {
    refused(
        &["manifests", "--tool", "stress-ng", "--vm-method", "zero"],
        "vm-method cannot be zero",
    );
    refused(&["manifests", "--tool", "stress-ng", "--vm-method", "write1024"], "write1024v");
    refused(
        &["manifests", "--tool", "stress-ng", "--dirty-rate-target", "100MB/s"],
        "use --tool agent",
    );
    refused(&["manifests", "--vm-method", "wirte64"], "vm-method cannot be wirte64");
    refused(&["manifests", "--vm-bytes-percent", "120"], "give 1 to 95");
    refused(&["manifests", "--run-id", "Über"], "run-id cannot be");
    refused(&["manifests", "--memory", "8"], "did you mean `8MiB`?");
    refused(&["manifests", "--memory", "8B"], "memory cannot be 8B; give at least 64MiB");
    let small = ["manifests", "--data-disk", "0"];
    refused(&small, "data-disk cannot be 0B; give at least 64MiB: a file system");
    refused(&["manifests", "--eviction-strategy", "Maybe"], "LiveMigrateIfPossible");
    refused(&["cleanup"], "--run-id");
}

#[test]
fn a_small_guest_is_warned_about_and_the_header_says_how_to_apply() {
    let output = sterna(&["manifests", "--memory", "2GiB", "--run-id", "a"]);
    assert!(output.status.success());
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    assert!(err.contains("below 4GiB"), "{err}");
    assert!(out.starts_with("# The workload migration-stress, run a\n"), "{}", &out[..200]);
    assert!(out.contains("kubectl apply --server-side"));
    let names = sterna(&["manifests", "--run-id", "a", "--vm-count", "2", "-o", "name"]);
    assert_eq!(
        String::from_utf8_lossy(&names.stdout),
        "secret/migration-stress-cloudinit\nservice/migration-stress\nvirtualmachine.kubevirt.io/migration-stress-1\nvirtualmachine.kubevirt.io/migration-stress-2\n"
    );
}

#[test]
fn the_user_data_keeps_to_the_budget_and_a_secret_holds_it() {
    if sterna_agent::program().is_none() {
        eprintln!("skipped: the agent could not be built statically here");
        return;
    }
    let text = user_data(&with_tool(Tool::Agent)).unwrap();
    assert!(text.len() <= BUDGET_BYTES, "{}", text.len());
    assert!(text.starts_with("#cloud-config\n"));
    let objects = manifests(&Parameters::new("a", "b")).unwrap();
    assert_eq!(objects, manifests(&Parameters::new("a", "b")).unwrap(), "the same on every call");
}

fn with_tool(tool: Tool) -> Parameters {
    let mut parameters = Parameters::new("a", "b");
    parameters.tool = tool;
    parameters.data_disk = Some(DataDisk { size: Bytes(1 << 30), storage_class: None });
    parameters
}

#[test]
fn a_data_disk_is_mounted_and_the_agent_is_told_where() {
    if sterna_agent::program().is_none() {
        eprintln!("skipped: the agent could not be built statically here");
        return;
    }
    let device = "/dev/disk/by-id/virtio-sterna-data";
    let document = |parameters: &Parameters| -> (Value, String) {
        let text = user_data(parameters).unwrap();
        (serde_saphyr::from_str(&text).unwrap(), written(&text, "/etc/sterna-guest"))
    };
    let (with, config) = document(&with_tool(Tool::Agent));
    let mount = &with["mounts"][0];
    assert_eq!((&mount[0], &mount[1]), (&device.into(), &"/var/lib/sterna-data".into()));
    assert!(mount[3].as_str().unwrap().contains("nofail"), "a guest boots without it: {mount}");
    let made = &with["fs_setup"][0];
    assert_eq!((&made["device"], &made["overwrite"]), (&device.into(), &false.into()));
    assert!(config.contains("\ndisk=/var/lib/sterna-data\ndisk-is-mount=true\n"), "{config}");
    let (without, config) = document(&Parameters::new("a", "b"));
    assert_eq!((&without["mounts"], &without["fs_setup"]), (&Value::Null, &Value::Null));
    assert!(config.contains("\ndisk=none\n"), "{config}");
    let disks = |parameters: &Parameters| {
        let objects = manifests(parameters).unwrap();
        let machine = objects.iter().find(|it| it["kind"] == "VirtualMachine").unwrap().clone();
        machine["spec"]["template"]["spec"]["domain"]["devices"]["disks"].to_string()
    };
    assert!(disks(&with_tool(Tool::Agent)).contains(r#""serial":"sterna-data""#));
}

/// The text of a file that the user data writes.
fn written(text: &str, path: &str) -> String {
    let document: Value = serde_saphyr::from_str(text).unwrap();
    let files = document["write_files"].as_array().unwrap();
    let file = files.iter().find(|it| it["path"] == path).unwrap();
    file["content"].as_str().unwrap().to_owned()
}

#[test]
fn systemd_takes_the_units() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("skipped: there is no systemd-analyze");
        return;
    }
    for (tool, name, program) in [
        (Tool::Agent, "sterna-guest.service", "/usr/local/bin/sterna-guest"),
        (Tool::StressNg, "sterna-stress-ng.service", "/usr/bin/stress-ng"),
    ] {
        if tool == Tool::Agent && sterna_agent::program().is_none() {
            eprintln!("skipped: the agent could not be built statically here");
            continue;
        }
        let data = user_data(&with_tool(tool)).unwrap();
        let unit = written(&data, &format!("/etc/systemd/system/{name}"));
        assert!(unit.contains(program), "{unit}");
        // The program itself need not be on this machine.
        let unit = unit.replace(program, "/bin/true");
        let check = |unit: &str| {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join(name);
            std::fs::write(&path, unit).unwrap();
            let verify = Command::new("systemd-analyze")
                .args(["verify", "--man=no"])
                .arg(&path)
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&verify.stderr).into_owned();
            (verify.status.success(), text.contains(name).then_some(text))
        };
        let (is_well, complaint) = check(&unit);
        assert!(is_well && complaint.is_none(), "{complaint:?}\n{unit}");
        let (_, complaint) = check(&unit.replace("Restart=always", "Restart=allways"));
        assert!(complaint.is_some(), "a mistake is seen");
    }
    assert!(
        user_data(&with_tool(Tool::StressNg))
            .unwrap()
            .contains("--vm-bytes 75%% --vm-method write64 --vm-keep")
    );
}

#[test]
fn cloud_init_takes_the_user_data() {
    let program = crate::ground::cache().map(|it| it.join("sterna/cloud-init/cloud-init"));
    let Some(program) = program.filter(|it| it.exists()) else {
        eprintln!("skipped: there is no cloud-init; `cargo xtask cloud-init` fetches it");
        return;
    };
    let check = |text: &str| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let ran = Command::new(&program)
            .args(["schema", "--config-file"])
            .arg(file.path())
            .env("LC_ALL", "C.UTF-8")
            .output()
            .unwrap();
        let text = [ran.stdout, ran.stderr].concat();
        (ran.status.success(), String::from_utf8_lossy(&text).into_owned())
    };
    for tool in [Tool::Agent, Tool::StressNg] {
        if tool == Tool::Agent && sterna_agent::program().is_none() {
            eprintln!("skipped: the agent could not be built statically here");
            continue;
        }
        let mut parameters = with_tool(tool);
        parameters.ssh_keys.push("ssh-ed25519 AAAA somebody".to_owned());
        let text = user_data(&parameters).unwrap();
        let (is_well, words) = check(&text);
        assert!(is_well && words.contains("Valid cloud-config"), "{words}");
        let mistakes: &[(&str, &str)] = match tool {
            Tool::Agent => &[("permissions", "permisions"), ("filesystem:", "filesytem:")],
            Tool::StressNg => &[("permissions", "permisions")],
        };
        for (right, wrong) in mistakes {
            let (is_well, words) = check(&text.replace(right, wrong));
            let is_seen = !is_well || words.contains(wrong.trim_end_matches(':'));
            assert!(is_seen, "a mistake is seen: {words}");
        }
    }
}
