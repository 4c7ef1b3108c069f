//! The example in the README is real output, so its numbers agree with each other.

/// A number as it was printed, in base units, and by how much the printing may have rounded it.
#[derive(Clone, Copy, Debug)]
struct Printed {
    value: f64,
    error: f64,
}

impl Printed {
    fn exact(value: f64) -> Printed {
        Printed { value, error: 0.0 }
    }

    fn plus(self, other: Printed) -> Printed {
        Printed { value: self.value + other.value, error: self.error + other.error }
    }

    fn over(self, other: Printed) -> Printed {
        let value = self.value / other.value;
        // Without a division by its own value, which may be 0.
        let error = self.error / other.value.abs()
            + self.value.abs() * other.error / (other.value * other.value);
        Printed { value, error }
    }

    fn times(self, factor: f64) -> Printed {
        Printed { value: self.value * factor, error: self.error * factor }
    }

    fn agrees_with(self, other: Printed) -> bool {
        // A hair for the sums in binary.
        (self.value - other.value).abs() <= (self.error + other.error) * 1.01 + 1e-9
    }
}

const UNITS: [(&str, f64); 13] = [
    ("s", 1.0),
    ("ms", 1e-3),
    ("µs", 1e-6),
    ("ns", 1e-9),
    ("MiB", 1_048_576.0),
    ("GiB", 1_073_741_824.0),
    ("MiB/s", 1_048_576.0),
    ("Mbit/s", 125_000.0),
    ("Gbit/s", 125_000_000.0),
    ("pages/s", 4096.0),
    ("×", 1.0),
    ("%", 1.0),
    ("pages", 1.0),
];

/// The first number of `text` from its word `at` on, with its unit.
fn printed(text: &str) -> Printed {
    let mut words = text.split_whitespace();
    let number = words.next().unwrap();
    let unit = words.next().unwrap_or_default().trim_matches([',', ')', ';']);
    let scale = UNITS.iter().find(|it| it.0 == unit).map_or(1.0, |it| it.1);
    plain(number).times(scale)
}

fn plain(number: &str) -> Printed {
    let number = number.trim_matches([',', '(', ')']);
    let decimals = number.split_once('.').map_or(0, |it| it.1.len());
    Printed { value: number.parse().unwrap(), error: 0.5 * 10_f64.powi(-(decimals as i32)) }
}

/// What stands behind the label at the beginning of a line.
fn row<'a>(text: &'a str, label: &str) -> &'a str {
    let found = text.lines().find_map(|it| it.trim_start().strip_prefix(label));
    found.unwrap_or_else(|| panic!("no line of {label}")).trim_start()
}

/// What stands behind `word` in a line.
fn behind<'a>(line: &'a str, word: &str) -> &'a str {
    line.split_once(word).unwrap_or_else(|| panic!("no {word} in {line}")).1.trim_start()
}

/// A row of the table of passes: length, dirty pages, sent, resent, MiB, Mbit/s, dirty rate.
struct Row {
    name: String,
    cells: Vec<Option<Printed>>,
}

impl Row {
    fn cell(&self, index: usize) -> Printed {
        self.cells[index].unwrap()
    }
}

fn rows(text: &str) -> Vec<Row> {
    let table = text.split_once("Passes, in pages of 4 KiB\n").unwrap().1;
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap().to_owned();
        Row { name, cells: words.map(|it| (it != "–").then(|| plain(it))).collect() }
    };
    table.lines().skip(1).take_while(|it| !it.is_empty()).map(row).collect()
}

const LENGTH: usize = 0;
const DIRTY: usize = 2;
const SENT: usize = 3;
const RESENT: usize = 4;
const WIRE: usize = 5;
const RATE: usize = 6;

/// Every pair of numbers that should agree and does not.
fn disagreements(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut agree = |what: &str, printed: Printed, computed: Printed| {
        if !printed.agrees_with(computed) {
            found.push(format!(
                "{what}: {printed:?} is printed, {computed:?} follows from the others"
            ));
        }
    };
    let all = rows(text);
    let passes: Vec<&Row> = all.iter().filter(|it| it.name != "final").collect();
    let total = |rows: &mut dyn Iterator<Item = &Row>, index: usize| {
        rows.fold(Printed::exact(0.0), |sum, it| sum.plus(it.cell(index)))
    };
    let time = printed(row(text, "total"));
    let downtime = printed(row(text, "downtime"));
    let head = text.lines().next().unwrap();
    agree("total time above and below", printed(behind(head, "total time")), time);
    agree("downtime above and below", printed(behind(head, "downtime")), downtime);
    let parts = ["final sync", "final transfer", "resume"].map(|it| printed(row(text, it)));
    agree("parts of the downtime", downtime, parts[0].plus(parts[1]).plus(parts[2]));
    // From the migrate command through setup and passes to the stop, and the downtime. The end is seen a little later.
    let live = total(&mut passes.iter().copied(), LENGTH);
    let setup = printed(row(text, "setup"));
    let end = Printed { value: 0.005, error: 0.005 };
    agree("total time", time, setup.plus(live).plus(downtime).plus(end));

    let wire = printed(row(text, "on the wire"));
    let guest = printed(&behind(row(text, "scenario"), "vCPUs,").replace("MiB", " MiB"));
    let times = printed(behind(row(text, "on the wire"), "MiB,"));
    agree("amplification", times, wire.over(guest));
    let sent = total(&mut all.iter(), WIRE).times(1_048_576.0);
    // Greetings belong to no pass.
    let greetings = Printed { value: 0.0, error: 4096.0 };
    agree("bytes of the passes", wire, sent.plus(greetings));
    // All bytes over the time from the first pass to the last byte.
    let transfer = live.plus(parts[0]).plus(parts[1]);
    let bandwidth = row(text, "bandwidth");
    agree("mean bandwidth", printed(bandwidth), wire.over(transfer));
    let (least, most) = (printed(behind(bandwidth, "(")), printed(behind(bandwidth, " to ")));
    let mean = printed(bandwidth).value;
    if least.value > mean || mean > most.value {
        found.push(format!("mean bandwidth: {mean} is not between {least:?} and {most:?}"));
    }
    let mut agree = |what: &str, printed: Printed, computed: Printed| {
        if !printed.agrees_with(computed) {
            found.push(format!(
                "{what}: {printed:?} is printed, {computed:?} follows from the others"
            ));
        }
    };
    for row in all.iter().filter(|it| it.cell(LENGTH).value > 0.0) {
        let rate = row.cell(WIRE).times(1_048_576.0).over(row.cell(LENGTH)).times(1.0 / 125_000.0);
        agree(&format!("bandwidth of {}", row.name), row.cell(RATE), rate);
    }

    let pages = row(text, "pages ");
    let exact = |it: Printed| Printed { error: 0.0, ..it };
    agree("pages sent", exact(printed(pages)), exact(total(&mut all.iter(), SENT)));
    let again = exact(printed(behind(pages, "zero,")));
    agree("pages sent again", again, exact(total(&mut passes.iter().copied(), RESENT)));
    // What a synchronisation finds was written in the pass before it.
    let dirty = exact(total(&mut all.iter().skip(1), DIRTY)).times(4096.0);
    agree("dirty rate", printed(row(text, "dirty rate")), dirty.over(live));

    for label in ["baseline", "during"] {
        let line = row(text, label);
        agree(label, printed(behind(line, "pages/s,")), printed(line));
    }
    let (baseline, during) = (row(text, "baseline"), row(text, "during"));
    let share = printed(during).over(printed(baseline));
    let dip = printed(behind(during, "("));
    let dip = if during.contains("above") { dip.times(-1.0) } else { dip };
    let dip = Printed { error: dip.error.abs(), ..dip };
    agree("speed", dip.times(0.01), Printed { value: 1.0 - share.value, ..share });
    found
}

fn example() -> &'static str {
    let readme = include_str!("../../../../README.md");
    let behind = readme.split_once("## What comes out").unwrap().1;
    behind.split_once("```text\n").unwrap().1.split_once("```").unwrap().0
}

#[test]
fn the_numbers_of_the_example_in_the_readme_agree() {
    assert_eq!(disagreements(example()), [""; 0]);
}

#[test]
fn a_number_of_the_example_that_is_changed_disagrees() {
    let labels = [
        "total ",
        "setup",
        "downtime",
        "final transfer",
        "on the wire",
        "bandwidth",
        "pages ",
        "dirty rate",
        "during",
    ];
    for label in labels {
        let line = example().lines().find(|it| it.trim_start().starts_with(label)).unwrap();
        let number = row(example(), label).split(' ').next().unwrap();
        let changed = format!("{:.3}", number.parse::<f64>().unwrap() * 1.2 + 3.0);
        let text = example().replace(line, &line.replacen(number, &changed, 1));
        assert_ne!(disagreements(&text), [""; 0], "{line} with {changed}");
    }
}
