//! The pictures of the README: pages of real runs, as Chromium shows them.
//!
//! They are made and never edited, so anybody can make them again and see the same kind of thing.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::machine::on_path;
use crate::process::{root, succeed};
use crate::release;

/// Nobody wants to wait for a README.
const LARGEST_BYTES: u64 = 200_000;
/// Where they lie.
const DIRECTORY: &str = "docs/images";

#[derive(clap::Args)]
pub struct Options {
    /// The directory of a batch of the suite `techniques`; without it one is run, which takes some minutes
    #[arg(long, value_name = "DIR")]
    batch: Option<PathBuf>,
    /// A report for the page of a run; without it one run is made
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// The program; without it the release build is made and used
    #[arg(long, value_name = "FILE")]
    sterna: Option<PathBuf>,
}

/// One picture.
struct Picture<'a> {
    name: &'a str,
    page: &'a Path,
    width: u32,
    height: u32,
    dark: bool,
}

pub fn run(options: &Options) -> Result<()> {
    let chromium = on_path("chromium").context("There is no chromium; apt-get install chromium")?;
    let sterna = match &options.sterna {
        Some(sterna) => sterna.clone(),
        None => release::sterna()?,
    };
    let work = tempfile::tempdir()?;
    let report = match &options.report {
        Some(report) => report.clone(),
        None => one_run(&sterna, work.path())?,
    };
    let batch = match &options.batch {
        Some(batch) => batch.clone(),
        None => one_batch(&sterna, work.path())?,
    };
    let (page, pages) = (work.path().join("run.html"), work.path().join("pages"));
    show(&sterna, &report, &page)?;
    show(&sterna, &batch, &pages)?;
    std::fs::create_dir_all(root().join(DIRECTORY))?;
    let index = pages.join("index.html");
    let pictures = [
        Picture { name: "run", page: &page, width: 1280, height: 1180, dark: false },
        Picture { name: "batch", page: &index, width: 1280, height: 960, dark: true },
    ];
    for picture in pictures {
        take(&chromium, &picture, work.path())?;
    }
    Ok(())
}

/// A guest that post-copy has to help over a slow link.
fn one_run(sterna: &Path, work: &Path) -> Result<PathBuf> {
    let report = work.join("run.json");
    let mut command = Command::new(sterna);
    command.args(["run", "--name", "post-copy after 3 passes over 1 Gbit/s", "--memory", "512MiB"]);
    command.args(["--workload-memory", "50%", "--rate", "200MiB/s", "--max-bandwidth", "1Gbit/s"]);
    command.args(["--postcopy-after-passes", "3", "--output"]).arg(&report);
    succeed(&mut command)?;
    Ok(report)
}

fn one_batch(sterna: &Path, work: &Path) -> Result<PathBuf> {
    let batch = work.join("batch");
    let mut command = Command::new(sterna);
    command.args(["batch", "techniques", "--output"]).arg(&batch);
    command.args(["--", "--memory", "64MiB", "--max-time", "10s"]);
    // Some techniques do not make it, which is what the picture is about.
    let status = command.status()?;
    ensure!(matches!(status.code(), Some(0 | 3)), "The batch ended with {status}");
    Ok(batch)
}

fn show(sterna: &Path, what: &Path, page: &Path) -> Result<()> {
    let mut command = Command::new(sterna);
    succeed(command.args(["report", "html"]).arg(what).arg("-o").arg(page))
}

fn take(chromium: &Path, picture: &Picture<'_>, work: &Path) -> Result<()> {
    let path = root().join(DIRECTORY).join(format!("{}.png", picture.name));
    let mut command = Command::new(chromium);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]);
    command.args(["--disable-background-networking", "--no-first-run"]);
    command.arg(format!("--user-data-dir={}", work.join(picture.name).display()));
    command.arg(format!("--window-size={},{}", picture.width, picture.height));
    command.arg(format!("--blink-settings=preferredColorScheme={}", u8::from(!picture.dark)));
    command.arg(format!("--screenshot={}", path.display()));
    command.arg(format!("file://{}", picture.page.display()));
    // It tells a lot of a desktop that is not there, which matters only when there is no picture.
    let output = command.output().context("Cannot start Chromium")?;
    ensure!(
        output.status.success() && path.is_file(),
        "Chromium made no picture: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let size = std::fs::metadata(&path)?.len();
    ensure!(
        size <= LARGEST_BYTES,
        "{} has {size} bytes, more than {LARGEST_BYTES}; make it smaller",
        path.display()
    );
    println!("{} has {size} bytes", path.display());
    Ok(())
}
