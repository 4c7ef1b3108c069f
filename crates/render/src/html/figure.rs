//! A chart before it is drawn: series in units that people read, marks, and the table with the same numbers.
//!
//! All of this is decided here and not in the browser; the script of the page knows nothing of migrations.

use maud::{Markup, html};
use serde_json::{Map, Value, json};

use super::table::Table;

/// One chart of a page.
pub struct Chart {
    /// Unlike the others on the page.
    pub id: String,
    pub title: String,
    /// What it shows and how to read it, in a sentence or two.
    pub caption: String,
    /// What stands below the horizontal axis.
    pub across: &'static str,
    /// Whether the horizontal axis is the time of the run, so that all such charts can be moved together.
    pub over_time: bool,
    /// Those of one group show the same stretch of time.
    pub group: String,
    /// Whether the horizontal axis is logarithmic.
    pub across_log: bool,
    pub axes: Vec<Axis>,
    pub series: Vec<Series>,
    /// Below the series.
    pub heat: Option<Heat>,
    pub marks: Vec<Mark>,
    pub table: Table,
    /// Names at the left side, from below, instead of numbers.
    pub rows: Vec<String>,
    pub height: u32,
    /// Whether two such charts share a row where there is room.
    pub half: bool,
}

/// Shares of something in cells, shown by their strength.
pub struct Heat {
    /// Where columns begin, and where the last ends.
    pub across: Vec<f64>,
    /// Where rows begin from below, and where the last ends.
    pub up: Vec<f64>,
    /// For each column its rows; the known of a column are 1 together.
    pub shares: Vec<Vec<Option<f64>>>,
}

/// A vertical axis; the second stands at the right side.
#[derive(Default)]
pub struct Axis {
    pub title: String,
    pub log: bool,
    /// Whether it begins at zero.
    pub from_zero: bool,
    /// Its end, where it has one.
    pub to: Option<f64>,
}

/// How a series is drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Line,
    /// Each value holds from the point before to its own.
    Backwards,
    /// Each value holds from its own point to the next.
    Forwards,
    Area,
    /// Filled down to the series before.
    Band,
    Points,
    /// Points that nothing joins.
    Dots,
    /// From a beginning (`x`) to an end (`until`), in the row of number `y`.
    Spans,
}

/// Points with a name.
pub struct Series {
    pub name: String,
    pub points: Vec<(f64, f64)>,
    /// Where spans end.
    pub until: Vec<f64>,
    pub shape: Shape,
    /// The number of its colour, from 1; 0 is that of text.
    pub colour: u8,
    pub dash: bool,
    pub thin: bool,
    /// The number of its axis, from 0.
    pub axis: u8,
    /// What stands behind its values.
    pub unit: String,
}

/// Something that happened, or lasted.
pub struct Mark {
    pub kind: MarkKind,
    pub from: f64,
    /// `None`: a moment.
    pub to: Option<f64>,
    pub text: String,
}

/// What a mark is, and how it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkKind {
    WarmUp,
    Pass,
    Switchover,
    PostCopy,
    End,
}

impl MarkKind {
    fn word(self) -> &'static str {
        match self {
            MarkKind::WarmUp => "warmup",
            MarkKind::Pass => "pass",
            MarkKind::Switchover => "switchover",
            MarkKind::PostCopy => "postcopy",
            MarkKind::End => "end",
        }
    }
}

impl Series {
    /// A line in this colour.
    pub fn new(name: impl Into<String>, points: Vec<(f64, f64)>, colour: u8) -> Series {
        Series {
            name: name.into(),
            points,
            until: Vec::new(),
            shape: Shape::Line,
            colour,
            dash: false,
            thin: false,
            axis: 0,
            unit: String::new(),
        }
    }

    fn json(&self) -> Value {
        let mut fields = Map::new();
        let xs: Vec<Value> = self.points.iter().map(|(x, _)| number(*x, 7)).collect();
        let ys: Vec<Value> = self.points.iter().map(|(_, y)| number(*y, 4)).collect();
        fields.insert("name".to_owned(), json!(self.name));
        fields.insert("x".to_owned(), json!(xs));
        fields.insert("y".to_owned(), json!(ys));
        fields.insert("shape".to_owned(), json!(shape_word(self.shape)));
        fields.insert("colour".to_owned(), json!(self.colour));
        if !self.until.is_empty() {
            let ends: Vec<Value> = self.until.iter().map(|x| number(*x, 7)).collect();
            fields.insert("until".to_owned(), json!(ends));
        }
        for (name, value) in [("dash", self.dash), ("thin", self.thin), ("right", self.axis > 0)] {
            if value {
                fields.insert(name.to_owned(), json!(true));
            }
        }
        fields.insert("unit".to_owned(), json!(self.unit));
        Value::Object(fields)
    }
}

impl Chart {
    /// An empty chart over the time of the run.
    pub fn over_time(id: &str, title: &str) -> Chart {
        Chart {
            id: id.to_owned(),
            title: title.to_owned(),
            caption: String::new(),
            across: "seconds since the migrate command",
            over_time: true,
            group: String::new(),
            across_log: false,
            axes: Vec::new(),
            series: Vec::new(),
            heat: None,
            marks: Vec::new(),
            table: Table::default(),
            rows: Vec::new(),
            height: 320,
            half: false,
        }
    }

    /// Whether there is anything to draw.
    pub fn is_empty(&self) -> bool {
        self.heat.is_none() && self.series.iter().all(|it| it.points.is_empty())
    }

    /// Where it stands in the page; the script fills it.
    pub fn markup(&self) -> Markup {
        let (title, caption) = (format!("{}-title", self.id), format!("{}-caption", self.id));
        html! {
            figure.chart.half[self.half] id=(self.id) aria-labelledby=(title) aria-describedby=(caption) {
                h3 id=(title) { (self.title) }
                figcaption id=(caption) { (self.caption) }
                div.legend role="group" aria-label={ "Shown in " (self.title) } {}
                div.plot style={ "height:" (self.height) "px" } { noscript { "Charts need JavaScript; the numbers are in the table below." } }
                @if !self.table.is_empty() {
                    details.numbers {
                        summary { "Numbers" span.unseen { " of " (self.title) } }
                        (self.table.markup())
                    }
                }
            }
        }
    }

    /// What the script needs.
    pub fn json(&self) -> Value {
        let axes: Vec<Value> = self
            .axes
            .iter()
            .map(
                |it| json!({ "title": it.title, "log": it.log, "zero": it.from_zero, "to": it.to }),
            )
            .collect();
        let marks: Vec<Value> = self
            .marks
            .iter()
            .map(|it| {
                json!({
                    "kind": it.kind.word(),
                    "from": number(it.from, 7),
                    "to": it.to.map(|to| number(to, 7)),
                    "text": it.text,
                })
            })
            .collect();
        json!({
            "id": self.id,
            "across": self.across,
            "time": self.over_time,
            "group": self.group,
            "acrossLog": self.across_log,
            "axes": axes,
            "series": self.series.iter().map(Series::json).collect::<Vec<_>>(),
            "heat": self.heat.as_ref().map(Heat::json),
            "marks": marks,
            "rows": self.rows,
        })
    }
}

impl Heat {
    /// Rows of columns, as the browser draws them.
    fn json(&self) -> Value {
        let row = |row: usize| {
            let column = |it: &Vec<Option<f64>>| it.get(row).copied().flatten();
            let cells =
                self.shares.iter().map(|it| column(it).map_or(Value::Null, |it| number(it, 2)));
            Value::Array(cells.collect())
        };
        let rows = self.up.len().saturating_sub(1);
        json!({
            "x": self.across.iter().map(|it| number(*it, 7)).collect::<Vec<_>>(),
            "y": self.up.iter().map(|it| number(*it, 5)).collect::<Vec<_>>(),
            "z": (0..rows).map(row).collect::<Vec<_>>(),
        })
    }
}

fn shape_word(shape: Shape) -> &'static str {
    match shape {
        Shape::Line => "line",
        Shape::Backwards => "backwards",
        Shape::Forwards => "forwards",
        Shape::Area => "area",
        Shape::Band => "band",
        Shape::Points => "points",
        Shape::Dots => "dots",
        Shape::Spans => "spans",
    }
}

/// A number with so many significant digits, as short as JSON allows; null where there is none.
pub fn number(value: f64, digits: i32) -> Value {
    if !value.is_finite() {
        return Value::Null;
    }
    if value == 0.0 {
        return json!(0);
    }
    let place = digits - 1 - value.abs().log10().floor() as i32;
    // Scaling by a power of ten and back leaves the nearest float of the short decimal number.
    let short = if place >= 0 {
        let factor = 10f64.powi(place.min(300));
        (value * factor).round() / factor
    } else {
        let factor = 10f64.powi(-place);
        (value / factor).round() * factor
    };
    if short.fract() == 0.0 && short.abs() < 9e15 { json!(short as i64) } else { json!(short) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_chart_are_short() {
        let table = [
            (0.0, "0"),
            (1.0, "1"),
            (123.456789, "123.5"),
            (-0.000123456, "-0.0001235"),
            (98_765_432.0, "98770000"),
            (f64::NAN, "null"),
            (f64::INFINITY, "null"),
            (1e-320, "0"),
        ];
        for (value, expected) in table {
            assert_eq!(number(value, 4).to_string(), expected, "{value}");
        }
    }
}
