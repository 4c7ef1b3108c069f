//! The scripts of a page: plotly's, which comes with its crate, and our own.

use std::sync::LazyLock;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use maud::{Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

/// Draws the charts of a page.
const CHARTS: &str = include_str!("assets/charts.js");
/// What works without charts: the choice of colours, and tables that can be sorted.
const PAGE: &str = include_str!("assets/page.js");

/// The name of the shared script in a directory of pages.
pub const PLOTLY_FILE: &str = "plotly.min.js";

static PLOTLY: LazyLock<&'static str> = LazyLock::new(|| {
    let sources: &'static str = plotly::Plot::offline_js_sources().leak();
    // The crate gives elements for a page, plotly first and then a typesetter that nothing here needs.
    let begin = sources.find('>').map_or(0, |at| at + 1);
    let end = sources.find("</script>").unwrap_or(sources.len());
    &sources[begin..end]
});

/// Where a page has plotly from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scripts<'a> {
    /// It is in the page.
    Inside,
    /// It is a file at this path, as seen from the page; [`plotly()`] is its content.
    Beside(&'a str),
}

/// plotly's script, as its crate carries it.
pub fn plotly() -> &'static str {
    &PLOTLY
}

/// What the security policy lets run.
pub fn allowed(scripts: Scripts<'_>, has_charts: bool) -> String {
    let mut sources = vec![hash(PAGE)];
    if has_charts {
        sources.push(hash(CHARTS));
        match scripts {
            Scripts::Inside => sources.push(PLOTLY_HASH.clone()),
            // `'self'` is nothing where a page is read from the file system.
            Scripts::Beside(_) => sources.push("'self' file:".to_owned()),
        }
    }
    sources.join(" ")
}

/// The elements, in the order in which they must run.
pub fn elements(scripts: Scripts<'_>, has_charts: bool) -> Markup {
    html! {
        script { (PreEscaped(PAGE)) }
        @if has_charts {
            @match scripts {
                Scripts::Inside => script { (PreEscaped(plotly())) },
                Scripts::Beside(path) => script src=(path) {},
            }
            script { (PreEscaped(CHARTS)) }
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
