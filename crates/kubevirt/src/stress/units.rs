//! The systemd units that keep the workload running.

use super::{Parameters, Tool};

/// The unit's name, with its suffix.
pub fn name(tool: Tool) -> &'static str {
    match tool {
        Tool::Agent => "sterna-guest.service",
        Tool::StressNg => "sterna-stress-ng.service",
    }
}

/// The unit's text.
pub fn text(parameters: &Parameters) -> String {
    let (description, command, rest) = match parameters.tool {
        // Its samples are for an engine at the other end of a line; here there is none, and its metrics tell.
        Tool::Agent => (
            "Dirties memory as /etc/sterna-guest says",
            "/usr/local/bin/sterna-guest --config /etc/sterna-guest".to_owned(),
            "StandardInput=null\nStandardOutput=null\nStandardError=journal\n",
        ),
        Tool::StressNg => ("Dirties memory with stress-ng", stress_ng(parameters), ""),
    };
    format!(
        "[Unit]\n\
         Description={description}\n\
         After=network-online.target\n\
         Wants=network-online.target\n\
         StartLimitIntervalSec=0\n\
         \n\
         [Service]\n\
         ExecStart={command}\n\
         Restart=always\n\
         RestartSec=5\n\
         {rest}\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    )
}

/// `--vm-bytes` is the total of all workers, a percent sign is doubled in a unit, and without `--timeout 0` stress-ng
/// ends after a day.
fn stress_ng(parameters: &Parameters) -> String {
    format!(
        "/usr/bin/stress-ng --vm {} --vm-bytes {}%% --vm-method {} --vm-keep --timeout 0",
        parameters.vm_workers, parameters.vm_bytes_percent, parameters.vm_method
    )
}
