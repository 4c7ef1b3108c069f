//! The user data from which cloud-init sets the guest up.

use serde_json::{Value, json};
use sterna_wire::guest_config::GuestConfig;

use super::{DATA_DISK_SERIAL, ECHO_PORT, METRICS_PORT, Parameters, ParametersError, Tool, units};
use crate::encode::base64;
use crate::yaml;

/// A Secret holds 1 MiB; this leaves room for what else is in it.
pub const BUDGET_BYTES: usize = 900 << 10;

/// Where the data disk is mounted for the agent.
pub const DATA_DIRECTORY: &str = "/var/lib/sterna-data";

/// The whole `#cloud-config` document.
pub fn user_data(parameters: &Parameters) -> Result<String, ParametersError> {
    let unit = units::name(parameters.tool);
    let mut files = vec![json!({
        "path": format!("/etc/systemd/system/{unit}"),
        "permissions": "0644",
        "content": units::text(parameters),
    })];
    let mut document = json!({
        "runcmd": [["systemctl", "daemon-reload"], ["systemctl", "enable", "--now", unit]],
    });
    match parameters.tool {
        Tool::Agent => {
            files.extend(agent(parameters)?);
            if parameters.data_disk.is_some() {
                mount_data_disk(&mut document);
            }
        }
        Tool::StressNg => {
            document["package_update"] = true.into();
            document["packages"] = json!(["stress-ng"]);
        }
    }
    document["write_files"] = Value::Array(files);
    if !parameters.ssh_keys.is_empty() {
        document["ssh_authorized_keys"] = json!(parameters.ssh_keys);
    }
    let text = format!("#cloud-config\n{}", yaml::document(&document));
    if text.len() > BUDGET_BYTES {
        return Err(ParametersError::TooLarge { size: text.len() });
    }
    Ok(text)
}

/// A file system at the first boot, unless there is one, and a mount at each: cloud-init does both before it runs any
/// command, so before the agent is started. A disk that is missing or broken keeps no guest from booting.
fn mount_data_disk(document: &mut Value) {
    let device = format!("/dev/disk/by-id/virtio-{DATA_DISK_SERIAL}");
    document["fs_setup"] = json!([{
        "label": DATA_DISK_SERIAL,
        "filesystem": "ext4",
        "device": device,
        // The whole disk; one that has this label and file system already keeps them.
        "partition": "auto",
        "overwrite": false,
    }]);
    document["mounts"] = json!([[device, DATA_DIRECTORY, "ext4", "defaults,nofail", "0", "2"]]);
}

/// The program and its configuration.
fn agent(parameters: &Parameters) -> Result<[Value; 2], ParametersError> {
    let program = sterna_agent::gzipped().ok_or(ParametersError::NoAgent)?;
    let mut config = GuestConfig::of(&parameters.spec()?.to_string());
    config.start_at_once = true;
    config.port_name = "-".to_owned();
    config.serial = None;
    config.echo_port = Some(ECHO_PORT);
    config.metrics_port = Some(METRICS_PORT);
    config.disk = parameters.data_disk.as_ref().map(|_| DATA_DIRECTORY.to_owned());
    config.disk_is_mount = config.disk.is_some();
    Ok([
        json!({
            "path": "/etc/sterna-guest",
            "permissions": "0644",
            "content": config.to_string(),
        }),
        json!({
            "path": "/usr/local/bin/sterna-guest",
            "permissions": "0755",
            "encoding": "gzip+base64",
            "content": base64(program),
        }),
    ])
}
