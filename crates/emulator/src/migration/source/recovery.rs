//! A new link in post-copy, after one was lost.
//!
//! ```text
//!  serve ─ lost ─► paused ─ ordered ─► connect ─ Resume ─ Received … ─► serve what is still missing
//!                    ▲                    │
//!                    └──── any failure ───┘
//! ```
//!
//! Nothing leads back to a guest that runs here, so there is nothing to do but to wait for an order, or for the end of the host.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sterna_wire::control::Phase;
use sterna_wire::stream::{Message, ReceivedMap};

use super::Stop;
use super::connection::{ANSWER_TIMEOUT, Connection, unexpected};
use super::run::Run;
use crate::migration::breakage::{Defect, Moment};
use crate::migration::page_set::PageSet;
use crate::migration::postcopy::Backlog;
use crate::migration::ram::RamSender;

/// How often a source without a link looks whether a new one was ordered.
const SLICE: Duration = Duration::from_millis(5);

impl Run<'_> {
    /// Keeps the guest's pages until there is a new link, on which the destination has told what it has.
    pub(super) fn recover(&mut self, why: String, backlog: &Backlog) -> Result<(), Stop> {
        let began = Instant::now();
        let mut lost = Stop::Cut(why);
        loop {
            // The destination's own words are better than "broken pipe", and may be the end.
            match self.connection.explain(lost) {
                Stop::Cut(why) => self.pause(&why)?,
                ended => return Err(ended),
            }
            let linked = self.link_again(backlog, began);
            self.gate.end_recovery();
            match linked {
                Err(stop @ Stop::Cut(_)) => lost = stop,
                other => return other,
            }
        }
    }

    fn pause(&mut self, why: &str) -> Result<(), Stop> {
        self.connection.socket.shut_down();
        self.urgent = None;
        self.progress.update(|it| {
            it.phase = Phase::PostcopyPaused;
            it.error = Some(why.to_owned());
        });
        while !self.gate.wants_recovery() {
            if self.gate.is_left() {
                return Err(Stop::Failed(why.to_owned()));
            }
            std::thread::sleep(SLICE);
        }
        Ok(())
    }

    fn link_again(&mut self, backlog: &Backlog, began: Instant) -> Result<(), Stop> {
        let connection = Connection::open(self.dialer)?;
        std::mem::replace(self.connection, connection).close();
        self.connection.send(&Message::Resume(self.session))?;
        self.suffer(0)?;
        self.strike(Moment::Recovery);
        // It strikes once, or no link would ever do.
        self.defects.retain(|it| *it != Defect::Disconnect(Moment::Recovery));
        self.open_urgent()?;
        let missing = self.hear_what_is_missing()?;
        let paused_ns = began.elapsed().as_nanos() as u64;
        backlog.restart(missing, paused_ns).map_err(|page| {
            Stop::Failed(format!("The destination lacks page {page}, which it had"))
        })?;
        // What was taken for the lost link and did not leave is missing, and will be taken again.
        self.ram = RamSender::idle(Arc::clone(&self.guest.region), self.config.zero_page);
        self.progress.update(|it| {
            it.phase = Phase::Postcopy;
            it.error = None;
        });
        Ok(())
    }

    fn hear_what_is_missing(&self) -> Result<PageSet, Stop> {
        let pages = self.guest.region.pages();
        let mut received = ReceivedMap::new(pages as u64);
        while !received.is_whole() {
            let heard = self.connection.wait(ANSWER_TIMEOUT, "what it has", &|| self.check_left());
            // A refusal may be about a connection that is gone by now.
            match heard.map_err(|stop| Stop::Cut(stop.text()))? {
                Message::Received(part) => {
                    received.add(&part).map_err(|error| Stop::Failed(error.to_string()))?;
                }
                other => return Err(unexpected(&other, "what it has")),
            }
        }
        Ok(PageSet::full(pages).without(&PageSet::from_marks(pages, received.marks())))
    }

    fn check_left(&self) -> Result<(), Stop> {
        match self.gate.is_left() {
            true => Err(Stop::Failed("The host ends".to_owned())),
            false => Ok(()),
        }
    }
}
