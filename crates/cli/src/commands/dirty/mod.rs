//! `sterna dirty`: the workload library on this machine's own memory, and what is seen of it.

mod begin;
mod compress;
mod files;
mod json;
mod look;
mod memory;
mod metrics;
mod plan;
mod report;
mod session;
mod signals;
mod tell;
mod text;

use anyhow::Result;
use sterna_sys::region::RegionError;

use crate::args::DirtyOptions;
use crate::output::Output;
use crate::progress;

use files::Files;
use plan::Plan;
use tell::Teller;

/// This machine lacks what was asked for.
const UNSUPPORTED: u8 = 5;

/// Dirties memory as the options say, until their time is over or a signal comes.
pub fn run(options: DirtyOptions, output: Output) -> Result<u8> {
    for note in &options.notes {
        output.progress(&format!("note: {note}\n"));
    }
    let plan = Plan::of(&options)?;
    options.telling.report.as_deref().map(super::check_writable).transpose()?;
    // Before memory is prepared, which takes a while: a signal that comes then shall end the run as well.
    let wishes = signals::wishes()?;
    let mut files = Files::create(&options.telling)?;
    let teller = Teller::new(&options.telling, output);
    let mut watcher = progress::watcher(options.telling.progress, false, output);
    let prepared = memory::prepare(&plan, options.remap, &mut *watcher);
    watcher.finish();
    let region = match prepared {
        Ok(region) => region,
        Err(error) if is_missing(&error) => {
            output.error(&format!("{error:#}"));
            return Ok(UNSUPPORTED);
        }
        Err(error) => return Err(error),
    };
    session::Session {
        options: &options,
        plan: &plan,
        region: &region,
        wishes: &wishes,
        teller: &teller,
        files: &mut files,
    }
    .run()
}

fn is_missing(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<RegionError>();
    matches!(error, Some(RegionError::HugePages { .. } | RegionError::Lock { .. }))
}
