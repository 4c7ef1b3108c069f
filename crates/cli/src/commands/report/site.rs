//! A directory of pages for a batch: an index, a page for each run, a page for each row of the grid, and the scripts and the style of all.
//!
//! Reports are read one row at a time, because a batch may be larger than memory; for the index their series are dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sterna_render::html::{self, Batch, BatchRun, Detail, Named, Overlay, Scripts};
use sterna_report::Report;

use super::{
    Seen,
    manifest::{Listed, ListedRun},
    place, slim,
};
use crate::output::Output;

/// The directories of pages; each page goes up one step for what all share.
const RUNS: &str = "runs";
const ROWS: &str = "rows";

/// Writes the pages of a batch.
pub fn write(from: &Path, listed: &Listed, to: &Path, output: Output) -> Result<Seen> {
    place::open_directory(to)?;
    for directory in [RUNS, ROWS] {
        std::fs::create_dir_all(to.join(directory))
            .with_context(|| format!("Cannot make {}", to.join(directory).display()))?;
    }
    for (name, text) in html::shared_files() {
        file(&to.join(name), text)?;
    }
    let mut names = FileNames::default();
    let mut batch =
        Batch { suite: listed.suite.clone(), about: listed.about.clone(), runs: Vec::new() };
    let mut slots: BTreeMap<usize, BatchRun> = BTreeMap::new();
    for row in rows(listed) {
        let made = write_row(from, to, &row, &mut names, output)?;
        slots.extend(made);
    }
    batch.runs = slots.into_values().collect();
    file(&to.join("index.html"), &html::index(&batch))?;
    output.progress(&format!("Wrote {}\n", to.join("index.html").display()));
    let mut reports = batch.runs.iter().filter_map(|it| it.report.as_ref());
    let is_damaged = |it: (&ListedRun, &BatchRun)| it.0.report.is_some() && it.1.report.is_none();
    Ok(Seen {
        is_bad: reports.any(|it| it.exit_code() == 4),
        is_damaged: listed.runs.iter().zip(&batch.runs).any(is_damaged),
    })
}

/// The runs of one variant on one engine, with their places in the manifest.
type Row<'a> = Vec<(usize, &'a ListedRun)>;

fn rows(listed: &Listed) -> Vec<Row<'_>> {
    let mut rows: Vec<Row<'_>> = Vec::new();
    for (index, run) in listed.runs.iter().enumerate() {
        let same = |row: &&mut Row<'_>| {
            row.first().is_some_and(|(_, it)| it.variant == run.variant && it.engine == run.engine)
        };
        match rows.iter_mut().find(same) {
            Some(row) => row.push((index, run)),
            None => rows.push(vec![(index, run)]),
        }
    }
    rows
}

fn write_row(
    from: &Path,
    to: &Path,
    row: &Row<'_>,
    names: &mut FileNames,
    output: Output,
) -> Result<Vec<(usize, BatchRun)>> {
    let Some((_, first)) = row.first() else { return Ok(Vec::new()) };
    let row_name = names.free(&format!("{}-{}", first.engine, first.variant));
    let row_page = format!("{ROWS}/{row_name}.html");
    let mut runs = Vec::new();
    for (index, run) in row {
        let (report, without_report) = slim::read_listed(from, run, output);
        let page = report.as_ref().map(|_| {
            let name = names.free(&format!("{}-{}-{}", run.engine, run.name, run.repeat));
            format!("{RUNS}/{name}.html")
        });
        runs.push((
            *index,
            BatchRun {
                name: run.long_name(),
                variant: run.variant.clone(),
                point: run.point.clone(),
                engine: run.engine.clone(),
                report,
                without_report,
                page,
                row_page: None,
            },
        ));
    }
    write_pages(to, first, &row_page, &runs)?;
    let has_page = runs.iter().any(|(_, it)| it.report.is_some());
    for (_, run) in &mut runs {
        run.row_page = has_page.then(|| row_page.clone());
        run.report = run.report.take().map(Report::without_series);
    }
    Ok(runs)
}

fn write_pages(
    to: &Path,
    first: &ListedRun,
    row_page: &str,
    runs: &[(usize, BatchRun)],
) -> Result<()> {
    let scripts = Scripts::Beside("..");
    let index = ("All runs".to_owned(), "../index.html".to_owned());
    let ways = [index.clone(), (format!("Row {}", first.variant), format!("../{row_page}"))];
    let (mut named, mut pages) = (Vec::new(), Vec::new());
    for (_, run) in runs {
        let Some((report, page)) = run.report.as_ref().zip(run.page.as_ref()) else { continue };
        file(&to.join(page), &html::run(report, scripts, Detail::BATCH, &ways))?;
        named.push(Named { name: short_name(run), report });
        pages.push(format!("../{page}"));
    }
    if named.is_empty() {
        return Ok(());
    }
    let page = html::overlay(&Overlay {
        title: &first.variant,
        lead: &format!("All runs of this variant on the engine {}, over each other.", first.engine),
        runs: &named,
        tables: &[],
        pages: &pages,
        scripts,
        detail: Detail::BATCH,
        ways: &[index],
    });
    file(&to.join(row_page), &page)
}

/// Within a row the variant says nothing.
fn short_name(run: &BatchRun) -> &str {
    if run.point.is_empty() { &run.name } else { &run.point }
}

fn file(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("Cannot write {}", path.display()))
}

/// Names of files that are plain everywhere and unlike each other, whatever the runs are called.
#[derive(Default)]
struct FileNames(BTreeSet<String>);

impl FileNames {
    fn free(&mut self, name: &str) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
        let name: String = name.chars().take(120).map(plain).collect();
        let name = format!("{}{name}", if name.starts_with('.') { "-" } else { "" });
        // A name that differs in case only is the same on some systems.
        let mut free = name.clone();
        let mut number = 2;
        while !self.0.insert(free.to_lowercase()) {
            free = format!("{name}-{number}");
            number += 1;
        }
        free
    }
}

/// Where the pages of a batch go unless a place is named.
pub fn beside(batch: &Path) -> PathBuf {
    batch.join("html")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_plain_and_unlike_each_other() {
        let mut names = FileNames::default();
        let given = ["a/b", "a b", "A-b", "../../etc/passwd", "<script>", ".hidden", ""];
        let free: Vec<String> = given.iter().map(|it| names.free(it)).collect();
        let expected = ["a-b", "a-b-2", "A-b-3", "-..-..-etc-passwd", "-script-", "-.hidden", ""];
        assert_eq!(free, expected);
        assert_eq!(names.free(&"x".repeat(500)).len(), 120);
    }
}
