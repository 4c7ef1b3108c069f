//! Writing pages to a lane.

use std::io;
use std::os::fd::AsFd;

use rustix::net::SendFlags;
use sterna_sys::PAGE_BYTES;
use sterna_sys::region::Region;
use sterna_wire::compression::Compressor;
use sterna_wire::control::ChannelStatus;
use sterna_wire::stream::Compression;
use sterna_wire::trial::{HEAD_BYTES, Head};

use crate::migration::multifd::zero_copy::ZeroCopy;
use crate::transport::Socket;

use super::STALL;
use super::plan::Plan;

/// How one thread writes pages.
///
/// In clear, and not compressed, the kernel copies them from where they are, behind their head and by the same call.
/// Otherwise they are copied out first: they may change meanwhile, and a compressor has to read one content.
pub struct Packer {
    compressor: Option<Compressor>,
    zero_copy: Option<ZeroCopy>,
    counts: ChannelStatus,
    /// Head and content, copied or packed; empty where pages go straight to the kernel.
    raw: Vec<u8>,
    packed: Vec<u8>,
}

/// Pages that are ready to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    head: [u8; HEAD_BYTES],
    first: usize,
    pages: usize,
    content_bytes: usize,
    form: Form,
}

#[derive(Clone, Copy, Debug)]
enum Form {
    Memory,
    Raw,
    Packed,
}

/// What pages are sent for.
#[derive(Clone, Copy, Debug)]
pub enum For {
    /// Nobody waits for them.
    Bulk,
    /// One waits for this page.
    Waiter(u16),
}

impl Piece {
    /// Bytes that it takes on the lane.
    pub fn wire_bytes(&self) -> u64 {
        (HEAD_BYTES + self.content_bytes) as u64
    }
}

impl Packer {
    /// For one thread and one lane; `may_zero_copy` where pages are many.
    pub fn new(plan: &Plan, socket: &Socket, may_zero_copy: bool) -> io::Result<Packer> {
        let compressor = Compressor::new(plan.compression, plan.test.level)?;
        let copies = compressor.is_some() || matches!(socket, Socket::Tls(_));
        let room = HEAD_BYTES + plan.block_pages() * PAGE_BYTES;
        let zero_copy = match plan.test.zero_copy && may_zero_copy {
            true => Some(ZeroCopy::new(socket, STALL)?),
            false => None,
        };
        Ok(Packer {
            packed: vec![0; if compressor.is_some() { room } else { 0 }],
            raw: vec![0; if copies { room } else { 0 }],
            compressor,
            zero_copy,
            counts: ChannelStatus::default(),
        })
    }

    /// Makes a piece of pages; it has to be sent before the next one is made.
    pub fn pack(&mut self, region: &Region, first: usize, pages: usize, why: For) -> Piece {
        let raw_bytes = pages * PAGE_BYTES;
        let (form, compression, content_bytes) = if self.raw.is_empty() {
            (Form::Memory, Compression::None, raw_bytes)
        } else {
            let raw = &mut self.raw[HEAD_BYTES..HEAD_BYTES + raw_bytes];
            region.copy_out_run(first, pages, raw);
            let packed = self.compressor.as_mut().and_then(|it| {
                let to = &mut self.packed[HEAD_BYTES..HEAD_BYTES + raw_bytes - 1];
                Some((it.method(), it.compress(raw, to)?))
            });
            match packed {
                Some((method, bytes)) => (Form::Packed, method, bytes),
                None => (Form::Raw, Compression::None, raw_bytes),
            }
        };
        let (page, bytes) = (first as u64, content_bytes as u32);
        let head = match why {
            For::Bulk => Head::Bulk { page, pages: pages as u16, compression, bytes },
            For::Waiter(waiter) => Head::Page { page, waiter, compression, bytes },
        };
        Piece { head: head.encode(), first, pages, content_bytes, form }
    }

    /// Sends a piece.
    ///
    /// # Errors
    /// The connection failed, or took nothing for [`STALL`].
    pub fn send(&mut self, socket: &Socket, region: &Region, piece: &Piece) -> io::Result<()> {
        let end = HEAD_BYTES + piece.content_bytes;
        let staged = match piece.form {
            Form::Memory => return self.send_memory(socket, region, piece),
            Form::Raw => &mut self.raw[..end],
            Form::Packed => &mut self.packed[..end],
        };
        staged[..HEAD_BYTES].copy_from_slice(&piece.head);
        send_all(socket, staged)
    }

    /// Whether several pieces can be made before the first of them is sent: nothing of them is copied here.
    pub fn can_send_many(&self) -> bool {
        self.raw.is_empty() && self.zero_copy.is_none()
    }

    /// Sends pieces by one call, where [`Packer::can_send_many`].
    ///
    /// # Errors
    /// As [`Packer::send`].
    pub fn send_many(&self, socket: &Socket, region: &Region, pieces: &[Piece]) -> io::Result<()> {
        let fronted: Vec<(&[u8], (usize, usize))> =
            pieces.iter().map(|it| (&it.head[..], (it.first, it.pages))).collect();
        let total: usize = pieces.iter().map(|it| HEAD_BYTES + it.content_bytes).sum();
        let mut sent = 0;
        while sent < total {
            sent += region.send_fronted(socket.as_fd(), &fronted, sent)?;
        }
        Ok(())
    }

    /// Waits until the kernel needs no page any more, and tells what it did.
    pub fn finish(&mut self, socket: &Socket) -> io::Result<ChannelStatus> {
        if let Some(zero_copy) = &mut self.zero_copy {
            zero_copy.flush(socket, &mut self.counts)?;
        }
        Ok(self.counts.clone())
    }

    fn send_memory(&mut self, socket: &Socket, region: &Region, piece: &Piece) -> io::Result<()> {
        let runs = [(piece.first, piece.pages)];
        if let Some(zero_copy) = &mut self.zero_copy {
            // The pages follow at once, so the head does not leave alone.
            send_with(socket, &piece.head, SendFlags::MORE | SendFlags::NOSIGNAL)?;
            return zero_copy.send(socket, region, &runs, piece.content_bytes, &mut self.counts);
        }
        self.send_many(socket, region, std::slice::from_ref(piece))
    }
}

/// Sends bytes that were staged.
///
/// # Errors
/// The connection failed, or took nothing for [`STALL`].
pub fn send_all(socket: &Socket, bytes: &[u8]) -> io::Result<()> {
    send_with(socket, bytes, SendFlags::NOSIGNAL)
}

fn send_with(socket: &Socket, bytes: &[u8], flags: SendFlags) -> io::Result<()> {
    let mut sent = 0;
    while sent < bytes.len() {
        let rest = &bytes[sent..];
        sent += match socket {
            Socket::Tls(it) => it.send(rest)?,
            clear => match rustix::net::send(clear, rest, flags) {
                Err(rustix::io::Errno::INTR) => 0,
                other => other?,
            },
        };
    }
    Ok(())
}
