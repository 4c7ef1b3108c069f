//! The scripts of a page: plotly's, which comes with its crate, and our own; and its style.

use std::sync::LazyLock;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use maud::{Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

/// Draws the charts of a page.
const CHARTS: &str = include_str!("assets/charts.js");
/// What works without charts: the choice of colours, and tables that can be sorted.
const PAGE: &str = include_str!("assets/page.js");

/// How a page looks.
const STYLE: &str = include_str!("assets/page.css");

/// The name of plotly's script in a directory of pages.
pub const PLOTLY_FILE: &str = "plotly.min.js";
const CHARTS_FILE: &str = "charts.js";
const PAGE_FILE: &str = "page.js";
const STYLE_FILE: &str = "page.css";

static PLOTLY: LazyLock<&'static str> = LazyLock::new(|| {
    let sources: &'static str = plotly::Plot::offline_js_sources().leak();
    // The crate gives elements for a page, plotly first and then a typesetter that nothing here needs.
    let begin = sources.find('>').map_or(0, |at| at + 1);
    let end = sources.find("</script>").unwrap_or(sources.len());
    &sources[begin..end]
});

/// Where a page has its scripts and its style from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scripts<'a> {
    /// They are in the page.
    Inside,
    /// They are files in this directory, as seen from the page; [`shared_files()`] has them.
    Beside(&'a str),
}

/// What the pages of one directory share: names of files, and what stands in them.
pub fn shared_files() -> [(&'static str, &'static str); 4] {
    [(PLOTLY_FILE, plotly()), (CHARTS_FILE, CHARTS), (PAGE_FILE, PAGE), (STYLE_FILE, STYLE)]
}

/// plotly's script, as its crate carries it.
fn plotly() -> &'static str {
    &PLOTLY
}

/// What the security policy lets run.
pub fn allowed(scripts: Scripts<'_>, has_charts: bool) -> String {
    let mut sources = vec![hash(PAGE)];
    match scripts {
        // `'self'` is nothing where a page is read from the file system.
        Scripts::Beside(_) => return "'self' file:".to_owned(),
        Scripts::Inside if has_charts => sources.extend([hash(CHARTS), PLOTLY_HASH.clone()]),
        Scripts::Inside => {}
    }
    sources.join(" ")
}

/// The elements, in the order in which they must run.
pub fn elements(scripts: Scripts<'_>, has_charts: bool) -> Markup {
    html! {
        (element(scripts, PAGE_FILE, PAGE))
        @if has_charts {
            (element(scripts, PLOTLY_FILE, plotly()))
            (element(scripts, CHARTS_FILE, CHARTS))
        }
    }
}

fn element(scripts: Scripts<'_>, file: &str, text: &str) -> Markup {
    html! {
        @match scripts {
            Scripts::Inside => script { (PreEscaped(text)) },
            Scripts::Beside(directory) => script src={ (directory) "/" (file) } {},
        }
    }
}

/// The style of a page, for its head.
pub fn style(scripts: Scripts<'_>) -> Markup {
    html! {
        @match scripts {
            Scripts::Inside => { style { (PreEscaped(STYLE)) } }
            Scripts::Beside(directory) => { link rel="stylesheet" href={ (directory) "/" (STYLE_FILE) }; }
        }
    }
}

static PLOTLY_HASH: LazyLock<String> = LazyLock::new(|| hash(plotly()));

fn hash(script: &str) -> String {
    format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(script)))
}

/// JSON that can stand in a page: nothing in it ends the element around it.
pub fn json_for_page(value: &serde_json::Value) -> String {
    value
        .to_string()
        .replace('<', "\\u003c")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plotly_is_found_in_what_its_crate_gives_and_nothing_else_is() {
        assert!(plotly().starts_with("/**\n* plotly.js v"), "{:.60}", plotly());
        assert!(!plotly().contains("</script"), "it would end its element");
        assert!(plotly().len() < 5_000_000, "the typesetter is not wanted");
    }

    #[test]
    fn nothing_in_the_numbers_of_a_page_ends_their_element() {
        let text = json_for_page(&serde_json::json!({ "name": "</script><script>alert(1)" }));
        assert_eq!(text, r#"{"name":"\u003c/script>\u003cscript>alert(1)"}"#);
    }
}
