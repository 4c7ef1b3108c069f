//! A viewer of a stream: asks for it, keeps asking, and hands what comes to the player.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sterna_sys::clock::monotonic_ns;
use sterna_sys::datagram;

use super::messages::{Trouble, nonce};
use super::state::Shared;
use super::{Failure, Plan, explained};
use crate::playout::{Frame, PlayAnswer, PlayRequest};

/// How often a viewer says that it is still there.
const ASK_EVERY_NS: u64 = 500_000_000;
/// Before the first frame more often.
const KNOCK_EVERY_NS: u64 = 50_000_000;

pub(super) struct Viewer {
    socket: UdpSocket,
    request: PlayRequest,
}

impl Viewer {
    pub fn open(
        address: SocketAddr,
        interval: Duration,
        frame_bytes: usize,
        _buffer: Duration,
    ) -> Result<Viewer, Failure> {
        let socket = super::udp::connect(address, true)?;
        let request = PlayRequest {
            cookie: 0,
            session: nonce(),
            interval_ns: interval.as_nanos() as u64,
            frame_bytes: frame_bytes as u64,
        };
        Ok(Viewer { socket, request })
    }

    pub fn run(mut self, shared: &Shared, plan: &Plan) -> Result<(), Failure> {
        let began_ns = monotonic_ns();
        let patience_ns = u64::try_from(plan.patience.as_nanos()).unwrap_or(u64::MAX);
        let (mut ask_ns, mut is_playing) = (began_ns, false);
        loop {
            let now_ns = monotonic_ns();
            // Frames still on the way belong to the time after the end.
            if !shared.sends(now_ns) {
                break;
            }
            if now_ns >= ask_ns {
                // Lost requests are made up for by the next.
                let _ = self.socket.send(&self.request.to_bytes());
                ask_ns = now_ns + if is_playing { ASK_EVERY_NS } else { KNOCK_EVERY_NS };
            }
            self.wait(ask_ns.min(now_ns + KNOCK_EVERY_NS))?;
            is_playing |= self.hear(shared, plan)?;
            if !is_playing && now_ns.saturating_sub(began_ns) > patience_ns {
                return Err(self.silent(shared, plan));
            }
        }
        if is_playing { Ok(()) } else { Err(self.silent(shared, plan)) }
    }

    /// Whether a frame came.
    fn hear(&mut self, shared: &Shared, plan: &Plan) -> Result<bool, Failure> {
        let mut buffer = [0; 2048];
        let mut was_frame = false;
        loop {
            let arrival = match datagram::receive(&self.socket, &mut buffer) {
                Ok(arrival) => arrival,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(was_frame),
                Err(error) => {
                    shared.lock().complaint = Some(explained(&error));
                    return Ok(was_frame);
                }
            };
            let bytes = &buffer[..arrival.length];
            if let Err(Trouble::Final(failure)) = super::udp::check_version(bytes) {
                return Err(failure);
            }
            match PlayAnswer::from_bytes(bytes) {
                Some(PlayAnswer::Cookie { session, cookie }) if session == self.request.session => {
                    self.request.cookie = cookie;
                    let _ = self.socket.send(&self.request.to_bytes());
                    continue;
                }
                Some(PlayAnswer::Busy { .. }) => {
                    return Err(Failure::Broken(format!(
                        "{} plays to as many viewers as it can; try again later",
                        plan.task.target()
                    )));
                }
                _ => {}
            }
            if PlayRequest::from_bytes(bytes).is_some() {
                return Err(Failure::Broken(format!(
                    "{} is a plain echo and no source of pictures; run `sterna probe serve` there",
                    plan.task.target()
                )));
            }
            let Some(frame) = Frame::from_bytes(bytes) else { continue };
            if frame.session == self.request.session
                && let Some(player) = shared.lock().player()
            {
                player.hear(&frame, arrival.at_ns);
                was_frame = true;
            }
        }
    }

    fn wait(&self, due_ns: u64) -> Result<(), Failure> {
        let left_ns = due_ns.saturating_sub(monotonic_ns());
        let timeout = Timespec { tv_sec: 0, tv_nsec: left_ns.min(999_999_999).cast_signed() };
        match poll(
            &mut [PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN)],
            Some(&timeout),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(Failure::Broken(format!("Cannot wait: {error}"))),
        }
    }

    fn silent(&self, shared: &Shared, plan: &Plan) -> Failure {
        let complaint = shared.lock().complaint.take();
        let complaint = complaint.map(|it| format!(" ({it})")).unwrap_or_default();
        Failure::Silent(format!(
            "Nothing plays at {}{complaint}; is `sterna probe serve --listen ADDRESS` running there, and no firewall between?",
            plan.task.target()
        ))
    }
}
