//! Virtual processors that wait for pages.

use std::sync::atomic::Ordering;

use sterna_sys::clock::monotonic_ns;
use sterna_wire::trial::{HEAD_BYTES, Head, Urgency};

use super::meter::{RequestMeter, record};
use super::packer::send_all;
use super::reader::LaneError;
use super::side::LaneState;

/// Processors of a guest in post-copy: each wants a page at random, waits for it, and wants the next one at once.
///
/// A processor that waits wants nothing else, so that a slow answer is one long time and no more; that is how a guest feels it.
pub struct Asker<'a> {
    lane: &'a LaneState,
    meter: &'a RequestMeter,
    pages: u64,
    vcpus: u16,
    prefetch: u16,
    /// By waiter: page and time of the request. Those of the processors come first, then those asked for ahead.
    waits: Vec<Option<(u64, u64)>>,
    outstanding: u64,
    random: u64,
    heads: Vec<u8>,
    has_ended: bool,
}

impl<'a> Asker<'a> {
    /// Nobody waits yet.
    pub fn new(
        lane: &'a LaneState,
        meter: &'a RequestMeter,
        pages: usize,
        (vcpus, prefetch): (u16, u16),
    ) -> Asker<'a> {
        let waiters = usize::from(vcpus) * (usize::from(prefetch) + 1);
        Asker {
            lane,
            meter,
            pages: pages as u64,
            vcpus,
            prefetch,
            waits: vec![None; waiters],
            outstanding: 0,
            random: 0x9e37_79b9_7f4a_7c15,
            heads: Vec::new(),
            has_ended: false,
        }
    }

    /// All processors begin.
    pub fn begin(&mut self) -> Result<(), LaneError> {
        (0..self.vcpus).try_for_each(|vcpu| self.fault(vcpu))
    }

    /// A page has come; when it is not `over`, its processor wants the next one.
    pub fn came(&mut self, page: u64, waiter: u16, is_over: bool) -> Result<(), LaneError> {
        let wait = self.waits.get_mut(usize::from(waiter)).and_then(Option::take);
        let Some((_, sent_ns)) = wait.filter(|it| it.0 == page) else {
            return Err(LaneError::Protocol(format!("page {page} came without a request")));
        };
        let is_awaited = waiter < self.vcpus;
        let times = if is_awaited { &self.meter.awaited } else { &self.meter.ahead };
        record(times, monotonic_ns().saturating_sub(sent_ns));
        self.set_outstanding(self.outstanding - 1);
        match is_over {
            false if is_awaited => self.fault(waiter),
            true => self.end(),
            false => Ok(()),
        }
    }

    /// Says that no more is wanted, as soon as nobody waits.
    pub fn end(&mut self) -> Result<(), LaneError> {
        if self.outstanding == 0 && !self.has_ended {
            self.has_ended = true;
            self.send(&Head::End.encode())?;
        }
        Ok(())
    }

    /// Whether the other side knows that no more is wanted.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// A processor wants a page, and those behind it as far as they are not on their way already.
    fn fault(&mut self, vcpu: u16) -> Result<(), LaneError> {
        let page = self.draw();
        let now_ns = monotonic_ns();
        self.heads.clear();
        self.want(page, vcpu, Urgency::Awaited, now_ns);
        for ahead in 1..=self.prefetch {
            let waiter = self.vcpus + vcpu * self.prefetch + ahead - 1;
            let next = (page + u64::from(ahead)) % self.pages;
            if self.waits[usize::from(waiter)].is_none() {
                self.want(next, waiter, Urgency::Ahead, now_ns);
            }
        }
        let heads = std::mem::take(&mut self.heads);
        let sent = self.send(&heads);
        self.heads = heads;
        sent
    }

    fn want(&mut self, page: u64, waiter: u16, urgency: Urgency, now_ns: u64) {
        self.waits[usize::from(waiter)] = Some((page, now_ns));
        self.set_outstanding(self.outstanding + 1);
        self.heads.extend(Head::Request { page, waiter, urgency }.encode());
    }

    fn send(&self, heads: &[u8]) -> Result<(), LaneError> {
        debug_assert!(heads.len().is_multiple_of(HEAD_BYTES));
        send_all(&self.lane.socket, heads)?;
        self.lane.sent(heads.len() as u64);
        Ok(())
    }

    fn set_outstanding(&mut self, outstanding: u64) {
        self.outstanding = outstanding;
        self.meter.outstanding.store(outstanding, Ordering::Relaxed);
    }

    /// Any page, each as likely as the others.
    fn draw(&mut self) -> u64 {
        // Marsaglia's xorshift: no page is left out, and there is nothing to be guessed.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        ((u128::from(self.random) * u128::from(self.pages)) >> 64) as u64
    }
}
