//! A host: one process that holds a guest, at one end of a migration, and does what the pilot says.
//!
//! The control connection is served by one thread, a question at a time.
//! Workers, the sampler and the migration run in threads of their own, so that an answer never waits for memory to move.
//! When the control connection ends, the host ends.
//!
//! A guest that lacks memory after a broken post-copy cannot be ended: its workers wait in the kernel.
//! [`serve`] leaves them behind, so the process must end when it returns.

mod greeting;
pub mod guest;
mod network;
mod sampler;
pub mod server;
pub(crate) mod session;

use std::io::{Read, Write};
use std::path::PathBuf;

use sterna_wire::control::{self, ControlError, Reply, Request, Welcome};

use greeting::greet;
use session::Session;

pub use crate::host_process::token as new_token;
pub use greeting::machine;
pub(crate) use network::{ANNOUNCEMENT, KNOCK};

/// What a host is given when it is started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostOptions {
    /// The secret that a pilot has to know; `None` where whoever reaches the control connection is the one.
    pub token: Option<String>,
    /// Certificates for the migration's connections, as [`sterna_wire::tls`] names them; `None` where they will not be encrypted.
    pub tls_directory: Option<PathBuf>,
    /// This host's address and the pilot's, where the control connection came over a network that this process does not see.
    pub addresses: Option<(String, String)>,
    /// Where the wire is that this host's migration shares with others, if it does.
    pub shared_link: Option<PathBuf>,
}

/// Serves one control connection until the pilot says goodbye or is gone.
///
/// # Errors
/// The connection broke in the middle of a frame, or the pilot sent what is no request.
pub fn serve<S: Read + Write>(mut stream: S, options: &HostOptions) -> Result<(), ControlError> {
    let mut session = Session::new(options);
    let mut is_welcome = false;
    loop {
        let request = match control::receive(&mut stream) {
            Ok(request) => request,
            Err(ControlError::Closed) => return Ok(()),
            Err(error @ ControlError::Malformed(_)) => {
                // The frame was read whole, so the connection is still in step.
                control::send(&mut stream, &refused(&error))?;
                continue;
            }
            Err(error) => return Err(error),
        };
        let is_last = request == Request::Shutdown;
        let reply = match request {
            Request::Hello { version, oldest_version, token } => {
                let reply = greet((oldest_version, version), &token, options.token.as_deref());
                is_welcome = matches!(reply, Reply::Welcome(_));
                with_addresses(reply, options.addresses.clone())
            }
            _ if !is_welcome => Reply::Refused {
                error: "The first request must be `hello`".to_owned(),
                unsupported: false,
            },
            request => session.answer(request, &mut |progress| {
                // A pilot that is gone is noticed at the next read.
                let _ = control::send(&mut stream, &progress);
            }),
        };
        let sent = match control::send(&mut stream, &reply) {
            // Nothing of it has left.
            Err(error @ ControlError::TooLong(_)) => control::send(&mut stream, &refused(&error)),
            sent => sent,
        };
        match sent {
            // The pilot has left before its answer came, which is its affair.
            Err(ControlError::Closed) => return Ok(()),
            sent => sent?,
        }
        if is_last && is_welcome {
            return Ok(());
        }
    }
}

fn with_addresses(reply: Reply, addresses: Option<(String, String)>) -> Reply {
    match (reply, addresses) {
        (Reply::Welcome(welcome), Some((ours, theirs))) => {
            let (address, pilot_address) = (Some(ours), Some(theirs));
            Reply::Welcome(Welcome { address, pilot_address, ..welcome })
        }
        (reply, _) => reply,
    }
}

fn refused(error: &dyn std::error::Error) -> Reply {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    Reply::Refused { error: text, unsupported: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;
    use sterna_wire::control::VERSION;

    fn ask(stream: &mut UnixStream, request: &Request) -> Reply {
        control::send(stream, request).unwrap();
        control::receive(stream).unwrap()
    }

    /// A pilot that asks, and has gone when the answer comes.
    struct Gone<'a>(&'a [u8]);

    impl Read for Gone<'_> {
        fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(to)
        }
    }

    impl Write for Gone<'_> {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_pilot_that_leaves_before_its_answer_is_no_fault_of_the_host() {
        let hello = Request::Hello { version: VERSION, oldest_version: 0, token: String::new() };
        let asked = control::encode(&hello).unwrap();
        serve(Gone(&asked), &HostOptions::default()).unwrap();
    }

    #[test]
    fn nothing_is_answered_before_the_right_token() {
        let (mut pilot, host) = UnixStream::pair().unwrap();
        let server = std::thread::spawn(move || {
            serve(host, &HostOptions { token: Some("secret".to_owned()), ..HostOptions::default() })
        });
        let refused = |reply| match reply {
            Reply::Refused { error, .. } => error,
            other => panic!("{other:?}"),
        };
        let hello = |version, token: &str| Request::Hello {
            version,
            oldest_version: 0,
            token: token.to_owned(),
        };
        assert!(refused(ask(&mut pilot, &Request::Clock)).contains("first request"));
        assert!(refused(ask(&mut pilot, &hello(VERSION, "guess"))).contains("token"));
        assert!(refused(ask(&mut pilot, &hello(VERSION + 1, "secret"))).contains("version"));
        assert!(refused(ask(&mut pilot, &Request::Clock)).contains("first request"));
        assert!(matches!(ask(&mut pilot, &hello(VERSION, "secret")), Reply::Welcome(_)));
        assert!(matches!(ask(&mut pilot, &Request::Clock), Reply::Clock { .. }));
        pilot.write_all(b"\x03\0\0\0{?}").unwrap();
        assert!(refused(control::receive(&mut pilot).unwrap()).contains("cannot be understood"));
        assert!(refused(ask(&mut pilot, &Request::Start)).contains("prepare"));
        assert!(matches!(ask(&mut pilot, &Request::Shutdown), Reply::Done { .. }));
        server.join().unwrap().unwrap();
    }
}
