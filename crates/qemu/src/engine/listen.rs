//! How the stream gets from one QEMU to the other.

use serde_json::{Value, json};
use sterna_pilot::EngineError;
use sterna_scenario::Transport;

use super::Qemu;

impl Qemu {
    /// Where the destination listens, as the source has to dial it.
    pub(super) fn listen(&mut self) -> Result<String, EngineError> {
        let directory = self.runtime.as_ref().map(|it| it.path().to_owned()).unwrap_or_default();
        let transport = self.scenario.migration.transport;
        let destination = &mut self.sides()?.destination;
        if transport == Transport::Unix {
            let uri = format!("unix:{}", directory.join("migration").display());
            destination.execute("migrate-incoming", json!({ "uri": uri }))?;
            return Ok(uri);
        }
        destination.execute("migrate-incoming", json!({ "uri": "tcp:127.0.0.1:0" }))?;
        let answer = destination.execute("query-migrate", Value::Null)?;
        let port = answer["socket-address"][0]["port"].as_str().map(str::to_owned);
        port.map(|port| format!("tcp:127.0.0.1:{port}")).ok_or_else(|| {
            EngineError::Failed("The destination does not say on which port it listens".to_owned())
        })
    }
}
