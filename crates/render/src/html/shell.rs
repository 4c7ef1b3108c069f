//! What every page has: its head, its frame and its foot.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::{Value, json};

use super::{
    figure::Chart,
    script::{self, Scripts},
};

/// A page without its frame.
pub struct Shell<'a> {
    pub title: &'a str,
    pub scripts: Scripts<'a>,
    /// Ways to other pages: a text, and a path as seen from this page.
    pub ways: &'a [(String, String)],
    pub body: Markup,
    pub charts: &'a [Chart],
    pub tool: &'a str,
}

impl Shell<'_> {
    /// The whole page.
    pub fn page(&self) -> String {
        let has_charts = !self.charts.is_empty();
        let policy = format!(
            "default-src 'none'; script-src {}; style-src {}'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'",
            script::allowed(self.scripts, has_charts),
            if self.scripts == Scripts::Inside { "" } else { "'self' file: " }
        );
        let numbers = json!(self.charts.iter().map(Chart::json).collect::<Vec<Value>>());
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(policy);
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="generator" content=(self.tool);
                    title { (self.title) }
                    link rel="icon" href="data:,";
                    (script::style(self.scripts))
                }
                body {
                    a.skip href="#main" { "To the content" }
                    header.top {
                        div.inner {
                            (brand())
                            @if !self.ways.is_empty() {
                                nav aria-label="Pages" {
                                    @for (text, path) in self.ways { a href=(path) { (text) } }
                                }
                            }
                            button.theme type="button" data-theme-button hidden {
                                span aria-hidden="true" { "◐" } " " span data-theme-name { "Auto" }
                            }
                        }
                    }
                    main #main tabindex="-1" { (self.body) }
                    footer.foot {
                        p { "Written by " (self.tool) ". This page loads nothing from anywhere."
                            @if has_charts { " Of series with very many points the lowest and the highest of each stretch are drawn; the report has all." }
                        }
                    }
                    @if has_charts {
                        script #numbers type="application/json" { (PreEscaped(script::json_for_page(&numbers))) }
                    }
                    (script::elements(self.scripts, has_charts))
                }
            }
        };
        page.into_string()
    }
}

fn brand() -> Markup {
    html! {
        span.brand {
            svg viewBox="0 0 32 20" width="32" height="20" aria-hidden="true" focusable="false" {
                path d="M1 6 C7 3 12 5 16 11 C19 5 25 1 31 2 C26 4 22 8 20 13 L24 19 L18 15 L15 17 C13 12 8 7 1 6 Z" fill="currentColor" {}
            }
            "Sterna"
        }
    }
}
