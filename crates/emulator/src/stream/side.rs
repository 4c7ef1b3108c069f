//! What either program does once all lanes are there: threads that move pages, until time, bytes or a wish end them.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sterna_report::stream::StreamSide;
use sterna_sys::PAGE_BYTES;
use sterna_sys::clock::monotonic_ns;
use sterna_sys::region::Region;
use sterna_wire::trial::{Part, Way};

use crate::migration::bucket::TokenBucket;
use crate::migration::gate::Gate;
use crate::migration::pacer::Pacer;
use crate::transport::Socket;

use super::answer::Answer;
use super::bulk::Bulk;
use super::line::Line;
use super::meter::{LaneMeter, RequestMeter, THREAD, own_cpu_ns};
use super::plan::Plan;
use super::reader::LaneError;
use super::receive::Receive;
use super::store::{Store, StoreError, memory};

/// How long what is on its way may take to arrive when the time is over.
const GRACE: Duration = Duration::from_secs(10);

/// What all threads of a side see.
pub struct SideState {
    /// What is tried.
    pub plan: Arc<Plan>,
    /// When it began, on our clock.
    pub started_ns: u64,
    deadline_ns: u64,
    stop: AtomicBool,
    aborted: AtomicBool,
    failure: Mutex<Option<String>>,
    sockets: Vec<Socket>,
    /// Processor time of threads that have ended.
    pub cpu_done_ns: AtomicU64,
}

/// One direction.
pub struct WayState {
    /// Which.
    pub way: Way,
    /// Whether pages come from here.
    pub is_source: bool,
    /// Keeps to the limit.
    pub pacer: Pacer,
    gate: Arc<Gate>,
    store: Option<Store>,
    /// Where pages go that come; `None` when they are dropped.
    pub place: Option<Arc<Region>>,
    /// Requests that are made here.
    pub requests: RequestMeter,
    claimed_bytes: AtomicU64,
    most_bytes: Option<u64>,
    open_lanes: AtomicU32,
}

/// One connection.
pub struct LaneState {
    /// Which way pages travel on it.
    pub way: Way,
    /// What for.
    pub part: Part,
    /// Its number.
    pub index: u16,
    /// The connection.
    pub socket: Socket,
    /// Who writes next.
    pub line: Line,
    /// What was counted.
    pub meter: LaneMeter,
    /// Whether requests travel on it.
    pub has_requests: bool,
}

/// Memory for all directions of one side; takes a while to get.
pub struct Memory(Vec<(Way, Option<Store>, Option<Arc<Region>>)>);

/// A side at work.
pub struct Side {
    /// Which.
    pub kind: StreamSide,
    /// What its threads see.
    pub state: Arc<SideState>,
    /// Its directions.
    pub ways: Vec<Arc<WayState>>,
    /// Its connections.
    pub lanes: Vec<Arc<LaneState>>,
    threads: Vec<JoinHandle<()>>,
    over_since: Option<Instant>,
    /// Whether what was on its way when the time was over did not all arrive.
    pub was_cut: bool,
}

/// Whether pages come from a side.
fn is_source(kind: StreamSide, way: Way) -> bool {
    (kind == StreamSide::Client) == (way == Way::Up)
}

impl Memory {
    /// What a side needs for this plan.
    pub fn new(plan: &Plan, kind: StreamSide) -> Result<Memory, StoreError> {
        let one = |way| -> Result<_, StoreError> {
            if is_source(kind, way) {
                return Ok((way, Some(Store::new(plan)?), None));
            }
            let place = if plan.test.place { Some(memory(plan)?) } else { None };
            Ok((way, None, place))
        };
        Ok(Memory(plan.ways().map(one).collect::<Result<_, _>>()?))
    }
}

impl SideState {
    /// Whether nothing more is to be begun.
    pub fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || monotonic_ns() >= self.deadline_ns
    }

    /// What broke it first.
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fail(&self, reason: String) {
        let is_first = !self.aborted.swap(true, Ordering::AcqRel);
        if is_first {
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
        }
        self.stop.store(true, Ordering::Relaxed);
        self.sockets.iter().for_each(Socket::shut_down);
    }

    fn ended(&self, result: Result<(), LaneError>) {
        self.cpu_done_ns.fetch_add(own_cpu_ns(), Ordering::Relaxed);
        match result {
            Ok(()) => {}
            // The other side's clock, or its user, may have been quicker.
            Err(LaneError::Closed) if self.is_over() => {}
            Err(error) => self.fail(error.to_string()),
        }
    }
}

impl WayState {
    /// The source's memory.
    pub fn store(&self) -> Result<&Store, LaneError> {
        // A destination has none, and is never asked for it by a peer that keeps to the protocol.
        let none = || LaneError::Protocol("it asks a destination for pages".to_owned());
        self.store.as_ref().ok_or_else(none)
    }

    /// Pages that may still be sent, at most so many; `None` when all bytes were.
    pub fn claim(&self, pages: usize) -> Option<usize> {
        let Some(most) = self.most_bytes else { return Some(pages) };
        let bytes = (pages * PAGE_BYTES) as u64;
        let before = self.claimed_bytes.fetch_add(bytes, Ordering::Relaxed);
        let left = most.saturating_sub(before).div_ceil(PAGE_BYTES as u64) as usize;
        (left > 0).then(|| pages.min(left))
    }

    /// A lane has no more bulk.
    pub fn bulk_ended(&self) {
        self.open_lanes.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether no lane has bulk any more, of those that had.
    pub fn has_bulk_ended(&self) -> bool {
        self.open_lanes.load(Ordering::Acquire) == 0
    }
}

impl LaneState {
    /// Bytes were handed to the kernel.
    pub fn sent(&self, bytes: u64) {
        self.meter.wire_sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A second handle on the connection.
    pub fn socket_clone(&self) -> io::Result<Socket> {
        self.socket.try_clone()
    }
}

impl Side {
    /// Begins.
    ///
    /// # Errors
    /// No thread, or no descriptor.
    pub fn start(
        kind: StreamSide,
        plan: Arc<Plan>,
        memory: Memory,
        lanes: Vec<(Way, Part, u16, Socket)>,
    ) -> io::Result<Side> {
        let sockets = lanes.iter().map(|it| it.3.try_clone()).collect::<io::Result<_>>()?;
        let started_ns = monotonic_ns();
        let state = Arc::new(SideState {
            started_ns,
            deadline_ns: plan.test.duration_ns.map_or(u64::MAX, |it| started_ns.saturating_add(it)),
            stop: AtomicBool::new(false),
            aborted: AtomicBool::new(false),
            failure: Mutex::default(),
            sockets,
            cpu_done_ns: AtomicU64::new(0),
            plan: Arc::clone(&plan),
        });
        let ways = memory.0.into_iter().map(|(way, store, place)| {
            let gate = Arc::new(Gate::new(1, plan.test.max_bytes_per_second));
            let open_lanes = if plan.test.bulk { u32::from(plan.test.channels) } else { u32::MAX };
            Arc::new(WayState {
                way,
                is_source: store.is_some(),
                pacer: Pacer::new(Arc::clone(&gate), TokenBucket::new(None)),
                gate,
                store,
                place,
                requests: RequestMeter::default(),
                claimed_bytes: AtomicU64::new(0),
                most_bytes: plan.test.bytes,
                open_lanes: AtomicU32::new(open_lanes),
            })
        });
        let ways: Vec<_> = ways.collect();
        let lanes = lanes.into_iter().map(|(way, part, index, socket)| {
            let has_requests = plan.has_requests(part, index);
            let (line, meter) = (Line::default(), LaneMeter::default());
            Arc::new(LaneState { way, part, index, socket, line, meter, has_requests })
        });
        let lanes = lanes.collect();
        let threads = Vec::new();
        let mut side = Side { kind, state, ways, lanes, threads, over_since: None, was_cut: false };
        if let Err(error) = side.spawn_all() {
            side.abort("No thread could be had");
            return Err(error);
        }
        side.ways.iter().filter_map(|it| it.store.as_ref()).for_each(Store::begin);
        Ok(side)
    }

    /// Ends in good order: nothing more is begun.
    pub fn stop(&self) {
        self.state.stop.store(true, Ordering::Relaxed);
        for way in &self.ways {
            way.gate.cancel();
        }
    }

    /// Ends at once, as something that failed.
    pub fn abort(&self, reason: &str) {
        self.stop();
        self.state.fail(reason.to_owned());
    }

    /// Sees to the end: whether all threads have ended. To be called every few milliseconds.
    pub fn is_finished(&mut self) -> bool {
        if self.threads.iter().all(JoinHandle::is_finished) {
            return true;
        }
        if self.state.is_over() {
            // Also ends waits for the limit.
            self.stop();
            let since = *self.over_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= GRACE && !self.was_cut {
                self.was_cut = true;
                self.state.aborted.store(true, Ordering::Release);
                self.state.sockets.iter().for_each(Socket::shut_down);
            }
        }
        false
    }

    /// Pages that the workload has written here; `None` without one.
    pub fn touched_pages(&self) -> Option<u64> {
        self.ways.iter().filter_map(|it| it.store.as_ref()?.touched_pages()).reduce(|a, b| a + b)
    }

    fn spawn_all(&mut self) -> io::Result<()> {
        for (way, lane) in self.pairs() {
            if !way.is_source {
                self.spawn("receive", way, lane, |side, way, lane| {
                    Receive { side, way, lane }.run()
                })?;
                continue;
            }
            let has_bulk = self.state.plan.has_bulk(lane.part);
            let (done, bulk_done) = match lane.has_requests && has_bulk {
                true => Some(mpsc::channel()).unzip(),
                false => (None, None),
            };
            if lane.has_requests {
                let (way, lane) = (Arc::clone(&way), Arc::clone(&lane));
                self.spawn("answer", way, lane, |side, way, lane| {
                    Answer { side, way, lane, bulk_done }.run()
                })?;
            }
            if has_bulk {
                self.spawn("bulk", way, lane, |side, way, lane| {
                    Bulk { side, way, lane, done }.run()
                })?;
            }
        }
        Ok(())
    }

    fn pairs(&self) -> Vec<(Arc<WayState>, Arc<LaneState>)> {
        let of = |lane: &Arc<LaneState>| {
            let way = self.ways.iter().find(|it| it.way == lane.way)?;
            Some((Arc::clone(way), Arc::clone(lane)))
        };
        self.lanes.iter().filter_map(of).collect()
    }

    fn spawn(
        &mut self,
        name: &str,
        way: Arc<WayState>,
        lane: Arc<LaneState>,
        work: impl FnOnce(&SideState, &WayState, &LaneState) -> Result<(), LaneError> + Send + 'static,
    ) -> io::Result<()> {
        let state = Arc::clone(&self.state);
        let thread = std::thread::Builder::new().name(format!("{THREAD}{name}"));
        self.threads.push(thread.spawn(move || {
            let result = work(&state, &way, &lane);
            state.ended(result);
        })?);
        Ok(())
    }

    /// Waits for threads, all of which have been told to end.
    pub fn join(&mut self) {
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                self.state.fail("A thread that moves pages has panicked".to_owned());
            }
        }
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            self.abort("The trial was given up");
            self.join();
        }
    }
}
