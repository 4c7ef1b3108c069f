//! Scrapes of a page of metrics, one after the other.

use std::net::SocketAddr;
use std::time::Duration;

use sterna_sys::clock::monotonic_ns;

use super::state::Shared;
use super::{Extra, Failure, Plan, words};
use crate::http::{HttpError, Url, get};
use crate::metrics::{MetricsSeen, Page};

pub(super) struct Scraper {
    url: Url,
    address: SocketAddr,
    timeout: Duration,
}

impl Scraper {
    pub fn new(url: &Url, address: SocketAddr, timeout: Duration) -> Scraper {
        Scraper { url: url.clone(), address, timeout }
    }

    /// While a scrape hangs, those that come due are missed, as those of a monitor are; each counts.
    pub fn run(self, shared: &Shared, plan: &Plan) -> Result<(), Failure> {
        shared.lock().extra = Extra::Metrics(Box::default());
        let began_ns = monotonic_ns();
        let patience_ns = u64::try_from(plan.patience.as_nanos()).unwrap_or(u64::MAX);
        let (mut numbers, mut was_scraped) = (Vec::new(), false);
        while shared.sends(monotonic_ns()) {
            shared.lock().take_due(monotonic_ns(), &mut numbers);
            if let Some(&number) = numbers.last() {
                was_scraped |= self.scrape(shared, number);
                numbers.clear();
            }
            let now_ns = monotonic_ns();
            if !was_scraped && now_ns.saturating_sub(began_ns) > patience_ns {
                return Err(silent(shared, plan));
            }
            let due_ns = shared.lock().schedule.due_ns().min(now_ns + 50_000_000);
            std::thread::sleep(Duration::from_nanos(due_ns.saturating_sub(now_ns)));
        }
        if was_scraped { Ok(()) } else { Err(silent(shared, plan)) }
    }

    /// Whether there was a page of metrics.
    fn scrape(&self, shared: &Shared, number: u64) -> bool {
        let page = get(&self.url, self.address, self.timeout);
        let now_ns = monotonic_ns();
        let page = match page {
            Ok(page) if page.status != 200 => Err(format!("status {}", page.status)),
            Ok(page) => match Page::parse(&String::from_utf8_lossy(&page.body)) {
                page if page.is_empty() => Err("a page without metrics".to_owned()),
                page => Ok(page),
            },
            Err(HttpError::Io(error)) => Err(words(&error)),
            Err(error) => Err(error.to_string()),
        };
        let mut state = shared.lock();
        let Extra::Metrics(seen) = &mut state.extra else { return false };
        let seen: &mut MetricsSeen = seen;
        match page {
            Ok(page) => {
                seen.scraped(page, now_ns);
                state.log.received(number, now_ns, None);
                true
            }
            Err(error) => {
                seen.failed(error.clone());
                state.complaint = Some(error);
                false
            }
        }
    }
}

fn silent(shared: &Shared, plan: &Plan) -> Failure {
    let complaint = shared.lock().complaint.take();
    let complaint = complaint.map(|it| format!(" ({it})")).unwrap_or_default();
    Failure::Silent(format!(
        "No metrics came from {}{complaint}; is the exporter running, and is that the path of its page?",
        plan.task.target()
    ))
}
