//! The matrix of a suite: fields, the values to try, and their combinations.
//!
//! ```toml
//! [matrix]
//! "guest.vcpus" = [1, 4]
//! "link.bandwidth" = ["1Gbit/s", "unlimited"]
//! exclude = [{ "guest.vcpus" = 4, "link.bandwidth" = "1Gbit/s" }]
//! include = [{ name = "huge", "guest.vcpus" = 16, variant = "precopy" }]
//! ```
//!
//! All combinations of the lists, without those that `exclude` matches, and then those of `include`
//! as they are. Either may name a `variant`, and is then meant for that one only.

use toml::Value;

/// One field and the values to try.
struct Axis {
    path: String,
    values: Vec<String>,
}

/// One combination: what tells a run from the others of its variant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Point {
    /// What it is called, where it has a name of its own.
    pub(super) name: Option<String>,
    /// The variant for which it is meant; all of them without one.
    pub(super) variant: Option<String>,
    /// Dotted paths and their values.
    pub(super) fields: Vec<(String, String)>,
}

impl Point {
    /// For people: its name, or `link.bandwidth=1Gbit/s guest.vcpus=1`.
    pub(super) fn text(&self) -> String {
        let words = self.fields.iter().map(|(path, value)| format!("{path}={value}"));
        self.name.clone().unwrap_or_else(|| words.collect::<Vec<_>>().join(" "))
    }

    /// The parts of a run's name that come from it.
    pub(super) fn name_parts(&self) -> Vec<String> {
        match &self.name {
            Some(name) => vec![name.clone()],
            None => {
                let key = |path| crate::tables::key(path);
                self.fields.iter().map(|(path, value)| format!("{}={value}", key(path))).collect()
            }
        }
    }

    /// Whether this pattern matches the combination for that variant.
    fn excludes(&self, variant: &str, point: &Point) -> bool {
        self.variant.as_ref().is_none_or(|it| it == variant)
            && self.fields.iter().all(|field| point.fields.contains(field))
    }
}

/// The `[matrix]` table.
#[derive(Debug, Default)]
pub(super) struct Matrix {
    points: Vec<Point>,
    exclude: Vec<Point>,
}

impl Matrix {
    /// Reads the table. Fields come in the order of the file, where `a.b = […]` counts like
    /// `"a.b" = […]`. `most` is the number of combinations above which it is refused.
    pub(super) fn read(
        value: Option<Value>,
        variants: &[&str],
        most: usize,
    ) -> Result<Matrix, String> {
        let mut table = match value {
            None => return Ok(Matrix { points: vec![Point::default()], exclude: Vec::new() }),
            Some(Value::Table(table)) => table,
            Some(_) => return Err("`matrix` must be a table of lists, written [matrix]".to_owned()),
        };
        let include = entries("include", table.remove("include"), variants)?;
        let exclude = entries("exclude", table.remove("exclude"), variants)?;
        let mut axes = Vec::new();
        collect("", table, &mut axes)?;
        let count = axes.iter().fold(1_usize, |all, axis| all.saturating_mul(axis.values.len()));
        if count > most {
            return Err(format!("[matrix] has {count} combinations; at most {most} can be had"));
        }
        let mut points = match axes.is_empty() && !include.is_empty() {
            true => Vec::new(),
            false => combinations(&axes),
        };
        let matches = |pattern: &Point| {
            let all =
                variants.iter().any(|it| points.iter().any(|point| pattern.excludes(it, point)));
            !pattern.fields.is_empty() && all
        };
        if let Some(useless) = exclude.iter().find(|it| !matches(it)) {
            return Err(format!(
                "In [matrix], `exclude` has {{ {} }}, which no combination matches; write fields and values as the lists have them",
                useless.text()
            ));
        }
        points.extend(include);
        Ok(Matrix { points, exclude })
    }

    /// The combinations for a variant.
    pub(super) fn points<'a>(&'a self, variant: &'a str) -> impl Iterator<Item = &'a Point> {
        self.points.iter().filter(move |point| {
            let is_ours = point.variant.as_ref().is_none_or(|it| it == variant);
            is_ours && !self.exclude.iter().any(|it| it.excludes(variant, point))
        })
    }
}

/// The last axis changes fastest; without any there is one combination, and it is empty.
fn combinations(axes: &[Axis]) -> Vec<Point> {
    let mut points = vec![Point::default()];
    for axis in axes {
        let longer = points.iter().flat_map(|point| {
            axis.values.iter().map(move |value| {
                let mut point = point.clone();
                point.fields.push((axis.path.clone(), value.clone()));
                point
            })
        });
        points = longer.collect();
    }
    points
}

fn entries(what: &str, value: Option<Value>, variants: &[&str]) -> Result<Vec<Point>, String> {
    let shape = || {
        format!("In [matrix], `{what}` must be a list of tables, as in [{{ \"guest.vcpus\" = 4 }}]")
    };
    let tables = match value {
        None => return Ok(Vec::new()),
        Some(Value::Array(tables)) => tables,
        Some(_) => return Err(shape()),
    };
    tables.into_iter().map(|it| entry(what, it.as_table().ok_or_else(shape)?, variants)).collect()
}

fn entry(what: &str, table: &toml::Table, variants: &[&str]) -> Result<Point, String> {
    let mut point = Point::default();
    fields("", table, &mut point)
        .map_err(|path| format!("In [matrix], `{path}` of `{what}` must be one value"))?;
    let mut take = |name: &str| {
        let place = point.fields.iter().position(|(path, _)| path == name)?;
        Some(point.fields.remove(place).1)
    };
    let (name, variant) = (take("name"), take("variant"));
    if let Some(variant) = &variant
        && !variants.contains(&variant.as_str())
    {
        return Err(format!("In [matrix], `{what}` is for variant {variant}, which there is not"));
    }
    Ok(Point { name, variant, ..point })
}

fn fields(path: &str, table: &toml::Table, point: &mut Point) -> Result<(), String> {
    for (key, value) in table {
        let path = joined(path, key);
        match value {
            Value::Table(inner) => fields(&path, inner, point)?,
            value => {
                let value = text(value).ok_or_else(|| path.clone())?;
                point.fields.push((path, value));
            }
        }
    }
    Ok(())
}

fn collect(path: &str, table: toml::Table, axes: &mut Vec<Axis>) -> Result<(), String> {
    for (key, value) in table {
        let path = joined(path, &key);
        match value {
            Value::Array(values) if values.is_empty() => {
                return Err(format!("In [matrix], `{path}` has no values"));
            }
            Value::Array(values) => {
                let values = values.iter().map(text).collect::<Option<Vec<_>>>();
                let values = values.ok_or_else(|| not_a_list(&path))?;
                axes.push(Axis { path, values });
            }
            Value::Table(inner) => collect(&path, inner, axes)?,
            _ => return Err(not_a_list(&path)),
        }
    }
    Ok(())
}

fn joined(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn not_a_list(path: &str) -> String {
    format!("In [matrix], `{path}` must be a list of values, as in [1, 4] or [\"1Gbit/s\"]")
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Boolean(truth) => Some(truth.to_string()),
        _ => None,
    }
}
