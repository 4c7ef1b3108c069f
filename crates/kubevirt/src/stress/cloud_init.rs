//! The user data from which cloud-init sets the guest up.

use serde_json::{Value, json};
use sterna_wire::guest_config::GuestConfig;

use super::{ECHO_PORT, METRICS_PORT, Parameters, ParametersError, Tool, units};
use crate::encode::base64;
use crate::yaml;

/// A Secret holds 1 MiB; this leaves room for what else is in it.
pub const BUDGET_BYTES: usize = 900 << 10;

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
        Tool::Agent => files.extend(agent(parameters)?),
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

/// The program and its configuration.
fn agent(parameters: &Parameters) -> Result<[Value; 2], ParametersError> {
    let program = sterna_agent::gzipped().ok_or(ParametersError::NoAgent)?;
    let mut config = GuestConfig::of(&parameters.spec()?.to_string());
    config.start_at_once = true;
    config.port_name = "-".to_owned();
    config.serial = None;
    config.echo_port = Some(ECHO_PORT);
    config.metrics_port = Some(METRICS_PORT);
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
