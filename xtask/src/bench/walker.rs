//! The plain walker: what a migration's first pass is compared with.
//!
//! It moves the same amount of the same memory, between two processes, over the same kind of
//! connection, with the same size of writes; and it does nothing else. No copy, no checksum, no
//! tracking, no frames, no limits, no status. Whatever a migration needs longer than this is the
//! price of what it does besides moving bytes.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use sterna_sys::clock::monotonic_ns;
use sterna_sys::region::{HugePages, Region, RegionOptions};
use sterna_sys::{cpu, process};
use sterna_workload::fill;

/// Bytes of one write, as many as the migration's frames hold.
const WRITE_BYTES: usize = 1 << 20;

/// One half of the walker; the benchmark starts both.
#[derive(clap::Args)]
pub struct Options {
    /// Which half
    half: Half,
    /// How many bytes
    bytes: u64,
    /// Where to send them
    to: Option<String>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Half {
    Send,
    Receive,
}

/// What one half took.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Cost {
    /// From the first byte to the last, as this half saw it.
    pub wall_ns: u64,
    /// Processor time of the process meanwhile.
    pub cpu_ns: u64,
}

/// What one walk took.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    /// Until the last write returned: what the source of a migration sees, too.
    pub send: Cost,
    /// Until the last byte was in place.
    pub receive: Cost,
}

/// Runs one half: the receiver tells its address on stdout, and each half its cost.
pub fn run(options: &Options) -> Result<()> {
    let mut region = prepared(options.bytes)?;
    match (options.half, &options.to) {
        (Half::Receive, _) => tell(receive(&mut region)?),
        (Half::Send, Some(to)) => {
            fill(&region, 0..region.pages(), 1, cpu::online());
            tell(send(&mut region, to)?)
        }
        (Half::Send, None) => anyhow::bail!("`send` needs the address of the receiver"),
    }
}

/// One walk of two processes of their own.
pub fn walk(bytes: u64) -> Result<Walk> {
    let bytes = bytes.to_string();
    let mut receiver = half(&["receive", &bytes])?;
    let mut said = BufReader::new(receiver.stdout.take().context("The receiver has no stdout")?);
    let mut address = String::new();
    said.read_line(&mut address).context("The receiver says nothing")?;
    let mut sender = half(&["send", &bytes, address.trim()])?;
    let send = cost(BufReader::new(sender.stdout.take().context("The sender has no stdout")?))?;
    let receive = cost(said)?;
    for (mut child, name) in [(sender, "sender"), (receiver, "receiver")] {
        let status = child.wait().with_context(|| format!("Cannot wait for the {name}"))?;
        ensure!(status.success(), "The walker's {name} ended with {status}");
    }
    Ok(Walk { send, receive })
}

fn half(args: &[&str]) -> Result<Child> {
    let program = std::env::current_exe().context("Cannot find my own program file")?;
    let mut command = Command::new(program);
    command.arg("walker").args(args).stdin(Stdio::null()).stdout(Stdio::piped());
    process::die_with_parent(&mut command);
    command.spawn().context("Cannot start a half of the walker")
}

fn tell(cost: Cost) -> Result<()> {
    println!("{}", serde_json::to_string(&cost)?);
    Ok(())
}

fn cost(mut said: impl std::io::BufRead) -> Result<Cost> {
    let mut line = String::new();
    said.read_line(&mut line).context("A half of the walker says nothing")?;
    serde_json::from_str(&line).with_context(|| format!("Not a walker's cost: {line:?}"))
}

fn prepared(bytes: u64) -> Result<Arc<Region>> {
    let options = RegionOptions { bytes, huge_pages: HugePages::None, locked: false };
    let region = Region::new(&options)?;
    region.prealloc(cpu::online(), &AtomicU64::new(0))?;
    Ok(Arc::new(region))
}

fn send(region: &mut Arc<Region>, to: &str) -> Result<Cost> {
    let mut socket = TcpStream::connect(to).with_context(|| format!("Cannot connect to {to}"))?;
    socket.set_nodelay(true)?;
    let memory = region.exclusive().context("The region is shared")?;
    measured(|| {
        for part in memory.chunks(WRITE_BYTES) {
            socket.write_all(part)?;
        }
        Ok(())
    })
}

fn receive(region: &mut Arc<Region>) -> Result<Cost> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    let (mut socket, _) = listener.accept()?;
    socket.set_nodelay(true)?;
    let memory = region.exclusive().context("The region is shared")?;
    // Waits for the first byte, so that the connection's set-up is not counted.
    socket.read_exact(&mut memory[..1])?;
    measured(|| {
        let mut at = 1;
        while at < memory.len() {
            let end = memory.len().min((at / WRITE_BYTES + 1) * WRITE_BYTES);
            let count = socket.read(&mut memory[at..end])?;
            ensure!(count > 0, "The sender is gone");
            at += count;
        }
        Ok(())
    })
}

fn measured(work: impl FnOnce() -> Result<()>) -> Result<Cost> {
    let (start_ns, cpu_ns) = (monotonic_ns(), own_cpu_ns()?);
    work()?;
    Ok(Cost { wall_ns: monotonic_ns() - start_ns, cpu_ns: own_cpu_ns()? - cpu_ns })
}

fn own_cpu_ns() -> Result<u64> {
    let threads = process::thread_cpu_ns(std::process::id())?;
    Ok(threads.iter().map(|it| it.cpu_ns).sum())
}
