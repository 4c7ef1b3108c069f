//! What goes wrong on purpose on a connection beside the first.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sterna_scenario::{FaultAction, FaultChannel};
use sterna_sys::clock::monotonic_ns;
use sterna_wire::stream::{Channel, Role};

use super::channels::Further;
use crate::transport::Socket;

/// How often a stalled thread looks whether its connection is still there.
const LOOK: Duration = Duration::from_millis(5);

/// What was ordered for one connection, and is suffered by the thread that uses it, between two frames.
#[derive(Debug, Default)]
pub struct Trouble {
    stalled_until_ns: AtomicU64,
    delay_ns: AtomicU64,
    is_damaging: AtomicBool,
}

/// The further connections of a migration, for whoever knows when faults are due.
#[derive(Debug, Default)]
pub struct Troubles(Vec<(FaultChannel, Socket, Arc<Trouble>)>);

impl Trouble {
    /// Waits as was ordered; a connection that is gone ends the wait.
    pub fn suffer(&self, connection: &Socket) {
        let delay = Duration::from_nanos(self.delay_ns.load(Ordering::Relaxed));
        let delayed_until = Instant::now() + delay;
        while Instant::now() < delayed_until
            || monotonic_ns() < self.stalled_until_ns.load(Ordering::Acquire)
        {
            if connection.has_ended() {
                return;
            }
            std::thread::sleep(LOOK.min(delay.max(Duration::from_millis(1))));
        }
    }

    /// Whether the next thing that is sent shall be damaged.
    pub fn take_damage(&self) -> bool {
        self.is_damaging.swap(false, Ordering::AcqRel)
    }

    fn order(&self, action: FaultAction) {
        match action {
            FaultAction::Stall(span) => {
                let length_ns = span.map_or(u64::MAX, |it| it.0.as_nanos() as u64);
                let until_ns = monotonic_ns().saturating_add(length_ns);
                self.stalled_until_ns.store(until_ns, Ordering::Release);
            }
            FaultAction::Delay(span) => {
                self.delay_ns.store(span.0.as_nanos() as u64, Ordering::Relaxed);
            }
            FaultAction::Corrupt => self.is_damaging.store(true, Ordering::Release),
            // The first strikes the connection itself, the second the whole side.
            FaultAction::Drop | FaultAction::Kill => {}
        }
    }
}

impl Troubles {
    /// From now on this connection can be struck; it takes the place of an earlier one of its name.
    pub fn add(&mut self, further: &Further) -> std::io::Result<()> {
        let name = name(further.channel);
        self.0.retain(|it| it.0 != name);
        self.0.push((name, further.socket.try_clone()?, Arc::clone(&further.trouble)));
        Ok(())
    }

    /// Strikes; a connection that is not open is spared.
    pub fn strike(&self, channel: FaultChannel, action: FaultAction) {
        for (_, socket, trouble) in self.0.iter().filter(|it| it.0 == channel) {
            match action {
                FaultAction::Drop => socket.shut_down(),
                action => trouble.order(action),
            }
        }
    }
}

fn name(channel: Channel) -> FaultChannel {
    match channel.role {
        Role::Multifd => FaultChannel::Multifd(channel.index),
        Role::Urgent => FaultChannel::Preempt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;
    use sterna_units::Span;

    #[test]
    fn a_stall_ends_with_its_time_or_with_its_connection() {
        let (near, _far) = UnixStream::pair().unwrap();
        let near = Socket::Unix(near);
        let trouble = Trouble::default();
        trouble.suffer(&near);
        let length = Duration::from_millis(30);
        trouble.order(FaultAction::Stall(Some(Span(length))));
        let began = Instant::now();
        trouble.suffer(&near);
        assert!(began.elapsed() >= length);

        trouble.order(FaultAction::Stall(None));
        std::thread::scope(|scope| {
            let stalled = scope.spawn(|| trouble.suffer(&near));
            std::thread::sleep(length);
            assert!(!stalled.is_finished());
            near.shut_down();
        });
    }

    #[test]
    fn each_frame_waits_and_one_is_damaged() {
        let (near, _far) = UnixStream::pair().unwrap();
        let near = Socket::Unix(near);
        let trouble = Trouble::default();
        trouble.order(FaultAction::Corrupt);
        assert!(trouble.take_damage());
        assert!(!trouble.take_damage());
        trouble.order(FaultAction::Delay(Span(Duration::from_millis(10))));
        let began = Instant::now();
        trouble.suffer(&near);
        trouble.suffer(&near);
        assert!(began.elapsed() >= Duration::from_millis(20));
    }
}
