//! What client and server say before the first page.

use std::io;
use std::time::{Duration, Instant};

use sterna_pilot::Interrupt;
use sterna_wire::control::{self, ControlError, OLDEST_VERSION, Reply, Request, Welcome};
use sterna_wire::trial::ask::{Ask, Prepared, Tell};

use super::{ANSWER, ClientError, Told};
use crate::transport::Socket;

/// How long a server may take to get its memory ready.
const PREPARATION: Duration = Duration::from_secs(300);

/// The control connection.
pub(super) struct Server {
    pub at: String,
    pub socket: Socket,
}

impl Server {
    pub fn greet(&mut self, token: Option<&str>) -> Result<Welcome, ClientError> {
        let hello = Request::Hello {
            version: control::VERSION,
            oldest_version: OLDEST_VERSION,
            token: token.unwrap_or_default().to_owned(),
        };
        self.set_patience(ANSWER)?;
        if let Err(error) = control::send(&mut self.socket, &hello) {
            return Err(self.failed(error));
        }
        match control::receive(&mut self.socket) {
            Ok(Reply::Welcome(welcome)) => Ok(welcome),
            Ok(Reply::Refused { error, .. }) => {
                Err(ClientError::Refused { at: self.at.clone(), reason: error })
            }
            Ok(_) => Err(self.server("answers something else; is it `sterna stream serve`?")),
            Err(error) => Err(self.failed(error)),
        }
    }

    pub fn say(&mut self, ask: &Ask) -> Result<(), ClientError> {
        control::send(&mut self.socket, ask).map_err(|error| self.failed(error))
    }

    pub fn prepared(&mut self, interrupt: &Interrupt) -> Result<Prepared, ClientError> {
        let deadline = Instant::now() + PREPARATION;
        while !self.socket.is_readable(Duration::from_millis(50)).is_ok_and(|it| it) {
            if interrupt.requested() {
                return Err(ClientError::Interrupted);
            }
            if Instant::now() >= deadline {
                return Err(self.server("has not got its memory ready in time"));
            }
        }
        match control::receive::<Told>(&mut self.socket) {
            Ok(Tell::Prepared(prepared)) => Ok(prepared),
            Ok(Tell::Refused { error }) => {
                Err(ClientError::Refused { at: self.at.clone(), reason: error })
            }
            Ok(_) => Err(self.server("answers something else; is it `sterna stream serve`?")),
            Err(ControlError::Malformed(_)) => Err(self.server(
                "does not speak of trials; is it `sterna stream serve`, and of this release?",
            )),
            Err(error) => Err(self.failed(error)),
        }
    }

    pub fn begun(&mut self) -> Result<(), ClientError> {
        self.set_patience(ANSWER)?;
        match control::receive::<Told>(&mut self.socket) {
            Ok(Tell::Begun) => {
                self.set_no_limit()?;
                Ok(())
            }
            Ok(Tell::Refused { error }) => {
                Err(ClientError::Refused { at: self.at.clone(), reason: error })
            }
            Ok(_) => Err(self.server("does not begin")),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// A lane was not taken; the server may have said why.
    pub fn why_not(&mut self) -> ClientError {
        let has_words = self.socket.is_readable(Duration::from_secs(1)).is_ok_and(|it| it);
        match has_words.then(|| control::receive::<Told>(&mut self.socket)) {
            Some(Ok(Tell::Refused { error })) => {
                ClientError::Refused { at: self.at.clone(), reason: error }
            }
            Some(Err(error)) => self.failed(error),
            _ => self.server(
                "does not take a data connection; it may be overwhelmed by others, so try again",
            ),
        }
    }

    fn set_patience(&self, limit: Duration) -> Result<(), ClientError> {
        self.socket.set_write_timeout(Some(limit)).map_err(ClientError::Start)?;
        self.socket.set_read_timeout(Some(limit)).map_err(ClientError::Start)
    }

    fn set_no_limit(&self) -> Result<(), ClientError> {
        self.socket.set_read_timeout(None).map_err(ClientError::Start)
    }

    fn failed(&self, error: ControlError) -> ClientError {
        let what = match error {
            ControlError::Closed => {
                "hung up; is it `sterna stream serve`, of this release, and with the same certificates? It may also be overwhelmed by others".to_owned()
            }
            ControlError::Io(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                format!("has not answered within {} s", ANSWER.as_secs())
            }
            ControlError::Io(error) => format!("cannot be spoken to: {error}"),
            ControlError::TooLong(_) | ControlError::Malformed(_) => {
                "does not speak this protocol; is it `sterna stream serve`?".to_owned()
            }
        };
        self.server(&what)
    }

    fn server(&self, what: &str) -> ClientError {
        ClientError::Server { at: self.at.clone(), what: what.to_owned() }
    }
}
