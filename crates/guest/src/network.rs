//! The network interface, and answers for probes.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sterna_probe::Responder;
use sterna_probe::disk::remote::DiskResponder;
use sterna_probe::serve;
use sterna_sys::interface;
use sterna_wire::guest_config::GuestConfig;

use crate::error::AgentError;

/// Where the kernel lists interfaces.
const INTERFACES: &str = "/sys/class/net";

/// How long an interface may take to appear.
const PATIENCE: Duration = Duration::from_secs(3);

/// The counts of at least so many probes are remembered.
const MOST_PROBES: usize = 64;

/// Connections to the echo at a time; one more closes the one that was silent for longest.
const MOST_CONNECTIONS: usize = 256;

/// Gives the interface its address if there is one to give, and answers whoever sends UDP or TCP: echoes, the time, pictures, records.
pub fn set_up(config: &GuestConfig) -> Result<(), AgentError> {
    if let Some((address, prefix)) = config.address {
        let interface = find(config.interface.as_deref())?;
        let failed = |source| AgentError::Interface { interface: interface.clone(), source };
        let _ = interface::bring_up("lo");
        interface::set_ipv4(&interface, address, prefix).map_err(failed)?;
        if let Some(gateway) = config.gateway {
            interface::add_default_route(gateway).map_err(failed)?;
        }
    }
    match config.echo_port {
        Some(port) => echo(port, disk(config)).map_err(|source| AgentError::Echo { port, source }),
        None => Ok(()),
    }
}

fn disk(config: &GuestConfig) -> DiskResponder {
    DiskResponder { directory: config.disk.as_ref().map(PathBuf::from) }
}

/// The interface of this name, or the first that is not the loopback.
fn find(name: Option<&str>) -> Result<String, AgentError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = match name {
            Some(name) => Path::new(INTERFACES).join(name).exists().then(|| name.to_owned()),
            None => first(),
        };
        match found {
            Some(found) => return Ok(found),
            None if Instant::now() >= deadline => return Err(AgentError::NoInterface),
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn first() -> Option<String> {
    let mut names: Vec<String> = fs::read_dir(INTERFACES)
        .ok()?
        .flatten()
        .filter_map(|it| it.file_name().into_string().ok())
        .filter(|it| it != "lo")
        .collect();
    names.sort();
    names.into_iter().next()
}

fn echo(port: u16, disk: DiskResponder) -> io::Result<()> {
    let (udp, tcp) = serve::bind((Ipv4Addr::UNSPECIFIED, port).into())?;
    // It ends only when the kernel does not let it go on.
    serve::spawn("udp-echo", move || {
        drop(serve::answer_datagrams(&udp, Responder::new(MOST_PROBES)));
    })?;
    let streams = serve::Streams::new(tcp, MOST_CONNECTIONS, Some(Box::new(disk)))?;
    serve::spawn("tcp-echo", move || drop(streams.run()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use sterna_probe::Message;

    use super::*;

    #[test]
    fn questions_are_answered_and_streams_come_back() {
        // A free port for both kinds, which somebody else may take in between.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        echo(port, disk(&GuestConfig::of("memory=1MiB"))).unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        udp.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        // Bytes that are no question get no answer, so the first answer is the question's.
        udp.send_to(b"who", ("127.0.0.1", port)).unwrap();
        udp.send_to(&Message::new(1, 2).to_bytes(), ("127.0.0.1", port)).unwrap();
        let mut buffer = [0; 64];
        let (length, from) = udp.recv_from(&mut buffer).unwrap();
        let answer = Message::from_bytes(&buffer[..length]).unwrap();
        assert_eq!((answer.number, answer.heard, from.port()), (2, 1, port));
        let mut tcp = TcpStream::connect(("127.0.0.1", port)).unwrap();
        tcp.write_all(b"there").unwrap();
        tcp.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        tcp.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"there");
    }
}
