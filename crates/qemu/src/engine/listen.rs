//! How the stream gets from one QEMU to the other.

use std::net::IpAddr;

use serde_json::{Value, json};
use sterna_pilot::EngineError;
use sterna_report::Side;
use sterna_scenario::Transport;

use super::Qemu;
use crate::place::Place;

impl Qemu {
    /// Where the destination listens, as the source has to dial it.
    pub(super) fn listen(&mut self) -> Result<String, EngineError> {
        let transport = self.scenario.migration.transport;
        let directory = self.place(Side::Destination)?.directory().to_owned();
        let address = address(self.options.remotes.address.as_deref(), &self.places)?;
        let destination = &mut self.sides()?.destination;
        if transport == Transport::Unix {
            let uri = format!("unix:{}", directory.join("migration").display());
            destination.execute("migrate-incoming", json!({ "uri": uri }))?;
            return Ok(uri);
        }
        destination.execute("migrate-incoming", json!({ "uri": format!("tcp:{address}:0") }))?;
        let answer = destination.execute("query-migrate", Value::Null)?;
        let port = answer["socket-address"][0]["port"].as_str().map(str::to_owned);
        port.map(|port| format!("tcp:{address}:{port}")).ok_or_else(|| {
            EngineError::Failed("The destination does not say on which port it listens".to_owned())
        })
    }
}

/// The destination's address as the source sees it: that by which ssh came in, or went out.
fn address(asked: Option<&str>, places: &[Place]) -> Result<String, EngineError> {
    let known = match places {
        [_, Place::There(keeper)] => keeper.hello().server_address.clone(),
        [Place::There(keeper), Place::Here(_)] => keeper.hello().client_address.clone(),
        _ => Some("127.0.0.1".to_owned()),
    };
    let address = asked.map(str::to_owned).or(known).ok_or_else(|| {
        EngineError::Failed(
            "ssh does not tell by which address it came in; say by --migration-address where the destination shall listen".to_owned(),
        )
    })?;
    let is_ipv6 = address
        .split('%')
        .next()
        .is_some_and(|it| it.parse::<IpAddr>().is_ok_and(|it| it.is_ipv6()));
    Ok(if is_ipv6 { format!("[{address}]") } else { address })
}
