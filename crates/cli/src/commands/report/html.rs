//! Pages: one for a report, one for several over each other, a directory for a batch.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use sterna_render::html::{self, Detail, Named, Overlay, Scripts};
use sterna_report::Report;

use super::{
    Seen,
    input::{self, DASH, Input, Inputs},
    place::{self, Place},
    site,
};
use crate::{args::ReportOptions, output::Output, usage};

/// More runs than these are no picture any more.
const MOST_OVER_EACH_OTHER: usize = 64;

/// Makes the pages.
pub fn run(options: &ReportOptions, inputs: &Inputs, output: Output) -> Result<Seen> {
    let place = options.output.as_deref().map(Place::of);
    match inputs {
        Inputs::Reports(reports) => match (&reports[..], place) {
            ([one], place) => single(one, place, output),
            (several, Some(place @ (Place::File(_) | Place::Stdout))) => {
                check_count(several)?;
                let reports: Vec<Report> =
                    several.iter().map(|it| input::read(&it.path)).collect::<Result<_>>()?;
                let runs: Vec<_> = several.iter().zip(reports).collect();
                over_each_other(&runs, &[], &place, several, output)
            }
            (several, _) => Err(usage(anyhow!(
                "These are {} reports; -o FILE.html makes one page on which they lie over each other",
                several.len()
            ))),
        },
        Inputs::Batch(directory, listed) => match place {
            Some(place @ (Place::Stdout | Place::File(_)))
                if options.output.as_deref().is_some_and(is_page) =>
            {
                batch_over_each_other(&input::of_batch(directory, listed), &place, output)
            }
            Some(Place::Stdout) => {
                Err(usage(anyhow!("-o -: a batch becomes a directory of pages; name one")))
            }
            Some(Place::File(path) | Place::Directory(path)) => {
                site::write(directory, listed, &path, output)
            }
            None => site::write(directory, listed, &site::beside(directory), output),
        },
    }
}

fn single(report: &Input, place: Option<Place>, output: Output) -> Result<Seen> {
    let place = match place {
        Some(place) => place,
        None => beside(report)?,
    };
    let place = match place {
        Place::Directory(directory) => {
            std::fs::create_dir_all(&directory)
                .with_context(|| format!("Cannot make the directory {}", directory.display()))?;
            Place::File(directory.join(format!("{}.html", report.name)))
        }
        other => other,
    };
    let read = input::read(&report.path)?;
    let page = html::run(&read, Scripts::Inside, Detail::FULL, &[]);
    place::write(&place, &page, std::slice::from_ref(report), output)?;
    tell(&place, output);
    Ok(Seen { is_bad: is_bad(&read), is_damaged: false })
}

/// Reports of a batch that cannot be read do not keep the others from being shown.
fn batch_over_each_other(inputs: &[Input], place: &Place, output: Output) -> Result<Seen> {
    check_count(inputs)?;
    let (mut runs, mut damaged) = (Vec::new(), Vec::new());
    for one in inputs {
        match input::read(&one.path) {
            Ok(report) => runs.push((one, report)),
            Err(error) => {
                output.error(&format!("{error:#}"));
                damaged.push(one.name.as_str());
            }
        }
    }
    if runs.is_empty() && !damaged.is_empty() {
        return Err(usage(anyhow!("No report of the batch can be read")));
    }
    over_each_other(&runs, &damaged, place, inputs, output)
}

fn over_each_other(
    read: &[(&Input, Report)],
    damaged: &[&str],
    place: &Place,
    inputs: &[Input],
    output: Output,
) -> Result<Seen> {
    let named = read.iter().map(|(input, report)| Named { name: &input.name, report });
    let runs: Vec<Named<'_>> = named.collect();
    let title = format!("{} runs", runs.len());
    let lead = match damaged {
        [] => String::new(),
        names => format!("Not shown, since their reports cannot be read: {}.", names.join(", ")),
    };
    let page = html::overlay(&Overlay {
        title: &title,
        lead: &lead,
        runs: &runs,
        tables: &[],
        pages: &[],
        scripts: Scripts::Inside,
        detail: Detail::FULL,
        ways: &[],
    });
    place::write(place, &page, inputs, output)?;
    tell(place, output);
    let is_bad = read.iter().any(|it| is_bad(&it.1));
    Ok(Seen { is_bad, is_damaged: !damaged.is_empty() })
}

fn check_count(inputs: &[Input]) -> Result<()> {
    if inputs.len() > MOST_OVER_EACH_OTHER {
        return Err(usage(anyhow!(
            "{} reports are too many for one page; at most {MOST_OVER_EACH_OTHER} can lie over each other",
            inputs.len()
        )));
    }
    Ok(())
}

/// The page of a report lies beside it unless another place is named.
pub fn beside(report: &Input) -> Result<Place> {
    if report.path == Path::new(DASH) {
        return Ok(Place::Stdout);
    }
    let path: PathBuf = report.path.with_extension("html");
    if path.exists() && !is_page_of_ours(&path) {
        return Err(usage(anyhow!(
            "{} is there already and is no page of a report; say by -o where the page shall go",
            path.display()
        )));
    }
    Ok(Place::File(path))
}

/// A page that `sterna report` wrote says so in its head.
fn is_page_of_ours(path: &Path) -> bool {
    use std::io::Read;
    let mut head = Vec::new();
    let read = std::fs::File::open(path).and_then(|it| it.take(2048).read_to_end(&mut head));
    let head = String::from_utf8_lossy(&head);
    read.is_ok() && head.contains("<meta name=\"generator\" content=\"sterna")
}

fn is_page(path: &Path) -> bool {
    path.extension().is_some_and(|it| it == "html")
}

fn is_bad(report: &Report) -> bool {
    report.exit_code() == 4
}

pub fn tell(place: &Place, output: Output) {
    if let Place::File(path) = place {
        output.progress(&format!("Wrote {}\n", path.display()));
    }
}
