//! The rows of the table: measured values, required values, and their format.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The measurement of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Figure {
    WriterFresh,
    Writer,
    Process,
    DrainedFresh,
    Drained,
    Posts,
    PostP99,
    PostLongest,
    Batches,
    WaitP50,
    MemoryIdle,
    MemoryQueued,
    Restart,
}

/// Which values are good, with the value that must be reached and the one that is aimed at.
#[derive(Clone, Copy)]
enum Target {
    AtMost(f64, Option<f64>),
    AtLeast(f64, Option<f64>),
    /// No value is required: the row explains others.
    Shown,
}

use self::Target::{AtLeast, AtMost, Shown};

struct Row {
    figure: Figure,
    what: &'static str,
    unit: &'static str,
    target: Target,
}

impl Row {
    const fn new(figure: Figure, what: &'static str, unit: &'static str, target: Target) -> Self {
        Self { figure, what, unit, target }
    }

    fn printed(&self, rounds: &[f64]) -> String {
        let value = self.figure.of_rounds(rounds);
        let target = |value: Option<f64>| value.map(|value| with_unit(value, self.unit));
        let [must, aim] = self.target.values().map(target);
        let ratio = self.target.ratio(value);
        let ratio =
            ratio.map(|ratio| format!("{ratio:.2}{}", if ratio < 1.0 { "  MISSED" } else { "" }));
        let range = match &*sorted(rounds) {
            [lowest, .., highest] => format!("{} to {}", number(*lowest), number(*highest)),
            _ => String::new(),
        };
        let [must, aim, ratio] =
            [must, aim, ratio].map(|cell| cell.unwrap_or_else(|| "–".to_owned()));
        line([self.what, &with_unit(value, self.unit), &range, &must, &aim, &ratio])
    }
}

/// The maximum cost of the writer thread, in microseconds.
const WRITER: Target = AtMost(25.0, Some(20.0));

/// How many queued jobs are run each second.
const DRAINED: Target = AtLeast(25_000.0, Some(35_000.0));

/// The rows in the order of the table, with the targets of the project.
const ROWS: [Row; 13] = [
    Row::new(
        Figure::WriterFresh,
        "jobs-writer, processor time a job, fresh directory",
        "µs",
        WRITER,
    ),
    Row::new(
        Figure::Writer,
        "jobs-writer, processor time a job, history at its bound",
        "µs",
        WRITER,
    ),
    Row::new(Figure::Process, "the whole host, processor time a job, the same jobs", "µs", Shown),
    Row::new(Figure::DrainedFresh, "95,000 queued jobs drained, fresh directory", "/s", DRAINED),
    Row::new(Figure::Drained, "95,000 queued jobs drained, history at its bound", "/s", DRAINED),
    Row::new(
        Figure::Posts,
        "single POSTs, 64 connections, end to end",
        "/s",
        AtLeast(12_000.0, Some(14_000.0)),
    ),
    Row::new(Figure::PostP99, "POST /v1/jobs under that load, p99", "ms", AtMost(20.0, Some(12.0))),
    Row::new(
        Figure::PostLongest,
        "POST /v1/jobs under that load, longest",
        "ms",
        AtMost(150.0, Some(75.0)),
    ),
    Row::new(
        Figure::Batches,
        "1,000 jobs a request, end to end",
        "/s",
        AtLeast(22_000.0, Some(30_000.0)),
    ),
    Row::new(
        Figure::WaitP50,
        "Prefer: wait round trip on an idle host, p50",
        "ms",
        AtMost(1.2, Some(1.0)),
    ),
    Row::new(Figure::MemoryIdle, "memory of an idle host", "MB", AtMost(60.0, None)),
    Row::new(
        Figure::MemoryQueued,
        "memory with 100,000 small queued jobs",
        "MB",
        AtMost(250.0, None),
    ),
    Row::new(
        Figure::Restart,
        "restart with 100,000 queued jobs after a kill, until ready",
        "s",
        AtMost(1.0, None),
    ),
];

impl Figure {
    /// The value of a row: the median of the rounds, or of what must never happen the worst.
    fn of_rounds(self, rounds: &[f64]) -> f64 {
        let sorted = sorted(rounds);
        let place = if self == Self::PostLongest { sorted.len() - 1 } else { sorted.len() / 2 };
        sorted[place]
    }
}

impl Target {
    /// The values that must be reached and that are aimed at.
    fn values(self) -> [Option<f64>; 2] {
        match self {
            AtMost(must, aim) | AtLeast(must, aim) => [Some(must), aim],
            Shown => [None, None],
        }
    }

    /// How good a value is: 1 where it just meets what must be reached, more where it is better.
    fn ratio(self, value: f64) -> Option<f64> {
        match self {
            AtMost(must, _) => Some(must / value),
            AtLeast(must, _) => Some(value / must),
            Shown => None,
        }
    }
}

/// The rows that were measured, and how they compare with another queue.
pub(super) fn table(measured: &BTreeMap<Figure, Vec<f64>>) -> String {
    let mut text = line(["what", "measured", "lowest to highest", "must", "aim", "ratio"]);
    for row in &ROWS {
        if let Some(rounds) = measured.get(&row.figure) {
            text.push_str(&row.printed(rounds));
        }
    }
    text.push_str("ratio: 1.00 and more meets what must be reached, in each row\n\n");
    text.push_str(&comparison(measured));
    text
}

/// Jobs a second of another queue (`BullMQ` 6.7 on Redis with `appendfsync always`): submitted one by one
/// until all were run, and run of those that were queued. Two cores whose fdatasync took 0.2 ms.
const BULLMQ: [(&str, f64, Figure); 2] =
    [("end to end", 10_200.0, Figure::Posts), ("processed", 17_000.0, Figure::Drained)];

fn comparison(measured: &BTreeMap<Figure, Vec<f64>>) -> String {
    let mut text =
        "BullMQ 6.7 on Redis with `appendfsync always`, where a job is a function call in the \
                    worker's own process, on two cores with an fdatasync of 0.2 ms\n"
            .to_owned();
    for (what, theirs, figure) in BULLMQ {
        let ours = measured.get(&figure).map_or_else(
            || "not measured".to_owned(),
            |rounds| {
                let ours = figure.of_rounds(rounds);
                format!("{}, {:.2} times as many", with_unit(ours, "/s"), ours / theirs)
            },
        );
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {what}: {}; here: {ours}", with_unit(theirs, "/s"));
    }
    text
}

fn line([what, measured, range, must, aim, ratio]: [&str; 6]) -> String {
    format!("{what:<59}{measured:>11}{range:>21}{must:>11}{aim:>11}  {ratio}\n")
}

fn with_unit(value: f64, unit: &str) -> String {
    let space = if unit.starts_with('/') { "" } else { " " };
    format!("{}{space}{unit}", number(value))
}

/// With three digits at least, and thousands apart.
fn number(value: f64) -> String {
    match value {
        ..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        100.0..1_000.0 => format!("{value:.0}"),
        _ => format!("{:.0},{:03.0}", (value.round() / 1_000.0).floor(), value.round() % 1_000.0),
    }
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}
