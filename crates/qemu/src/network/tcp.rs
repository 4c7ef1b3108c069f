//! One long TCP connection to the guest's echo, as a client of the guest has it.
//!
//! The protocol itself is smoltcp's; here are the connection's life and the messages on it.
//! A client whose connection is reset opens the next, and what was under way is lost.

use std::collections::VecDeque;
use std::time::Duration;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpCidr};
use sterna_probe::{MESSAGE_BYTES, Message};

use super::{ECHO_PORT, GUEST_ADDRESS, OUR_ADDRESS};

const BUFFER_BYTES: usize = 256 << 10;

/// The largest packet that an Ethernet carries.
const MTU: usize = 1500;

/// A guest that boots drops what it does not know; with the protocol's own patience the first connection would come seconds late.
const DIAL_PATIENCE_NS: u64 = 100_000_000;

/// Between the end of one connection and the next.
const DIAL_AGAIN_NS: u64 = 10_000_000;

/// Each probe's connections begin at ports of its own, one after the other: from here on, and so many.
const FIRST_PORT: u16 = 41_000;
const PORTS: u16 = 1_000;

/// A client of the guest.
pub(super) struct Client {
    interface: Interface,
    packets: Packets,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    /// The first of our ports.
    first_port: u16,
    dials: u16,
    dialled_ns: u64,
    /// What is to be sent, and cannot be yet.
    outgoing: VecDeque<u8>,
    /// The beginning of a message whose rest has not come.
    incoming: Vec<u8>,
}

/// IP packets from the guest and to it.
#[derive(Default)]
struct Packets {
    received: VecDeque<Vec<u8>>,
    to_send: VecDeque<Vec<u8>>,
}

impl Client {
    /// A client that dials as soon as it is polled; each probe has its number.
    pub fn new(probe: u16, now_ns: u64) -> Client {
        let mut packets = Packets::default();
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = now_ns;
        let mut interface = Interface::new(config, &mut packets, instant(now_ns));
        interface.update_ip_addrs(|list| {
            // The list has room for several.
            let _ = list.push(IpCidr::new(OUR_ADDRESS.into(), GUEST_ADDRESS.1));
        });
        let buffer = || SocketBuffer::new(vec![0; BUFFER_BYTES]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        // A guest that stands still for long is still the same connection's.
        socket.set_timeout(None);
        let mut sockets = SocketSet::new(Vec::new());
        let handle = sockets.add(socket);
        Client {
            interface,
            packets,
            sockets,
            handle,
            first_port: FIRST_PORT + probe * PORTS,
            dials: 0,
            dialled_ns: 0,
            outgoing: VecDeque::new(),
            incoming: Vec::new(),
        }
    }

    /// Takes in an IP packet of the guest if it is for a connection of this client, also for one that has ended.
    pub fn hear(&mut self, packet: &[u8]) {
        let header = packet.first().map_or(0, |it| usize::from(it & 0x0f) * 4);
        let Some(&[high, low]) = packet.get(header + 2..header + 4) else { return };
        let port = u16::from_be_bytes([high, low]);
        if (self.first_port..self.first_port + PORTS).contains(&port) {
            self.packets.received.push_back(packet.to_vec());
        }
    }

    /// Sends a message as soon as the connection takes it; without a connection it is lost.
    pub fn say(&mut self, message: Message) {
        if self.sockets.get::<Socket>(self.handle).may_send() {
            self.outgoing.extend(message.to_bytes());
        }
    }

    /// Does what is due, and tells the messages that came back and the packets that are to be sent.
    pub fn poll(&mut self, now_ns: u64) -> (Vec<Message>, Vec<Vec<u8>>) {
        self.keep_connected(now_ns);
        self.interface.poll(instant(now_ns), &mut self.packets, &mut self.sockets);
        self.write();
        let messages = self.read();
        self.interface.poll(instant(now_ns), &mut self.packets, &mut self.sockets);
        (messages, self.packets.to_send.drain(..).collect())
    }

    /// When there is something to do although nothing came.
    pub fn poll_at_ns(&mut self, now_ns: u64) -> u64 {
        let delay = self.interface.poll_delay(instant(now_ns), &self.sockets);
        let delay = delay.map_or(DIAL_AGAIN_NS, |it| Duration::from(it).as_nanos() as u64);
        now_ns + delay.clamp(100_000, DIAL_AGAIN_NS)
    }

    fn keep_connected(&mut self, now_ns: u64) {
        let socket = self.sockets.get_mut::<Socket>(self.handle);
        let age_ns = now_ns.saturating_sub(self.dialled_ns);
        match socket.state() {
            State::SynSent if age_ns > DIAL_PATIENCE_NS => socket.abort(),
            // The guest has said goodbye; there is nothing to wait for.
            State::CloseWait => socket.abort(),
            State::Closed if age_ns > DIAL_AGAIN_NS => {
                self.dialled_ns = now_ns;
                self.outgoing.clear();
                self.incoming.clear();
                self.dials = (self.dials + 1) % PORTS;
                let port = self.first_port + self.dials;
                let guest = (GUEST_ADDRESS.0, ECHO_PORT);
                // Fails only for a connection that is open, or for addresses that are none.
                let _ = socket.connect(self.interface.context(), guest, port);
            }
            _ => {}
        }
    }

    fn write(&mut self) {
        let socket = self.sockets.get_mut::<Socket>(self.handle);
        while socket.can_send() && !self.outgoing.is_empty() {
            match socket.send_slice(self.outgoing.as_slices().0) {
                Ok(count) if count > 0 => drop(self.outgoing.drain(..count)),
                _ => return,
            }
        }
    }

    fn read(&mut self) -> Vec<Message> {
        let socket = self.sockets.get_mut::<Socket>(self.handle);
        while socket.can_recv() {
            let taken = socket.recv(|bytes| {
                self.incoming.extend_from_slice(bytes);
                (bytes.len(), bytes.len())
            });
            if !taken.is_ok_and(|it| it > 0) {
                break;
            }
        }
        let whole = self.incoming.len() - self.incoming.len() % MESSAGE_BYTES;
        let bytes: Vec<u8> = self.incoming.drain(..whole).collect();
        bytes.chunks(MESSAGE_BYTES).filter_map(Message::from_bytes).collect()
    }
}

impl Device for Packets {
    type RxToken<'a> = Received;
    type TxToken<'a> = ToSend<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, ToSend<'_>)> {
        let packet = self.received.pop_front()?;
        Some((Received(packet), ToSend(&mut self.to_send)))
    }

    fn transmit(&mut self, _: Instant) -> Option<ToSend<'_>> {
        Some(ToSend(&mut self.to_send))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU;
        capabilities.checksum = ChecksumCapabilities::default();
        capabilities
    }
}

struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(&self.0)
    }
}

struct ToSend<'a>(&'a mut VecDeque<Vec<u8>>);

impl TxToken for ToSend<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let mut packet = vec![0; length];
        let result = fill(&mut packet);
        self.0.push_back(packet);
        result
    }
}

fn instant(ns: u64) -> Instant {
    Instant::from_micros(i64::try_from(ns / 1_000).unwrap_or(i64::MAX))
}
