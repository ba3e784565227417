//! What was measured, as tables or as JSON.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::args::Arguments;
use crate::issuing::Issuing;
use crate::measurement::{Way, micros};
use crate::server::stunnel_program;
use crate::statistics::Spread;
use crate::world::World;
use crate::{calls, handshakes};

/// Above this, others took so much of the machine that the figures say little.
const DISTURBED: f64 = 0.2;

pub(crate) struct Report {
    pub(crate) conditions: String,
    pub(crate) calls: Vec<Way>,
    pub(crate) handshakes: Vec<Way>,
}

impl Report {
    pub(crate) fn new(world: &World, arguments: &Arguments) -> Self {
        let conditions = conditions(world, arguments, &stunnel_version());
        Self { conditions, calls: Vec::new(), handshakes: Vec::new() }
    }

    pub(crate) fn print(&self, as_json: bool) {
        if as_json {
            return say(&self.to_json().to_string());
        }
        say(&self.conditions);
        for rows in [self.call_rows(), self.handshake_rows()] {
            if rows.len() > 1 {
                say(&format!("\n{}", table(&rows)));
            }
        }
        let ways = self.calls.iter().chain(&self.handshakes);
        disturbed(ways);
    }

    fn call_rows(&self) -> Vec<Vec<String>> {
        let cpu = |name| named(&self.calls, name).map(|way| way.cpu().median);
        let raw = cpu(calls::RAW).unwrap_or_default();
        let rival = cpu(calls::STUNNEL).map(|cpu| cpu - raw);
        let heads = ["tools/call", "CPU us/call", "over raw", "x stunnel", "p50 us", "p99 us"];
        let mut rows = vec![row(heads.iter().chain(&["calls/s", "bridge us"]))];
        for way in &self.calls {
            let over = Some(way.cpu().median - raw).filter(|_| way.name != calls::RAW);
            let ratio = over.zip(rival).map(|(over, rival)| over / rival);
            let bridge = Some(way.bridge().median).filter(|cpu| *cpu > 0.0);
            rows.push(vec![
                way.name.to_owned(),
                spread(way.cpu()),
                optional(over, 1),
                optional(ratio, 2),
                optional(Some(way.median().median), 0),
                optional(Some(way.p99().median), 0),
                optional(Some(way.per_second().median), 0),
                optional(bridge, 1),
            ]);
        }
        rows
    }

    fn handshake_rows(&self) -> Vec<Vec<String>> {
        let rival = named(&self.handshakes, handshakes::STUNNEL).map(|way| way.cpu_alone().median);
        let heads = ["handshake and first answer", "CPU us", "without the child", "x stunnel"];
        let mut rows = vec![row(heads.iter().chain(&["p50 us", "p99 us", "per s"]))];
        for way in &self.handshakes {
            let ratio = rival.map(|rival| way.cpu_alone().median / rival);
            rows.push(vec![
                way.name.to_owned(),
                spread(way.cpu()),
                spread(way.cpu_alone()),
                optional(ratio, 2),
                optional(Some(way.median().median), 0),
                optional(Some(way.p99().median), 0),
                optional(Some(way.per_second().median), 0),
            ]);
        }
        rows
    }

    fn to_json(&self) -> Value {
        let list = |ways: &[Way]| ways.iter().map(way_to_json).collect::<Vec<_>>();
        json!({
            "conditions": self.conditions,
            "calls": list(&self.calls),
            "handshakes": list(&self.handshakes),
        })
    }
}

/// How it was measured, and beside what.
pub(crate) fn conditions(world: &World, arguments: &Arguments, rival: &str) -> String {
    format!(
        "{} rounds of {:?} each, in turns; servers on core {}, client on core {}; {rival}\n\
         Median of the rounds [least-most]; CPU is user and system time of the server and what it starts.",
        arguments.rounds.max(1),
        arguments.window(),
        world.cores.server,
        world.cores.client,
    )
}

/// Warns if others took so much of the machine that the figures say little.
pub(crate) fn disturbed<'a>(ways: impl Iterator<Item = &'a Way>) {
    let others = ways.map(|way| way.others().most).fold(0.0, f64::max);
    if others > DISTURBED {
        say(&format!(
            "\nSomething else kept up to {others:.1} cores busy: run this again on a quiet machine."
        ));
    }
}

/// What issuing costs, whatever the number of threads.
pub(crate) fn issuing(crowds: &[Issuing], sync: Duration, as_json: bool) {
    let figures = |one: &Issuing| {
        let each = f64::from(one.certificates);
        [
            micros(one.cpu) / each,
            each / one.elapsed.as_secs_f64(),
            micros(one.p50),
            micros(one.p99),
            f64::from(u32::try_from(one.writes).unwrap_or(u32::MAX)) / each,
        ]
    };
    let heads = ["cpu_us", "per_second", "p50_us", "p99_us", "writes_each"];
    if as_json {
        let crowd = |one: &Issuing| {
            let figures = heads.into_iter().zip(figures(one).map(Value::from));
            figures
                .chain([("threads", one.threads.into())])
                .map(|(head, figure)| (head.to_owned(), figure))
                .collect::<serde_json::Map<_, _>>()
        };
        let crowds: Vec<_> = crowds.iter().map(crowd).collect();
        return say(&json!({ "sync_us": micros(sync), "issuing": crowds }).to_string());
    }
    let mut rows = vec![row(["threads", "CPU us", "per s", "p50 us", "p99 us", "writes"].iter())];
    for one in crowds {
        let decimals = [1, 0, 0, 0, 3];
        let cells = figures(one).into_iter().zip(decimals);
        let cells = cells.map(|(figure, decimals)| format!("{figure:.decimals$}"));
        rows.push([one.threads.to_string()].into_iter().chain(cells).collect());
    }
    say(&table(&rows));
    say(&format!(
        "\nAll figures for one certificate. A write is one sync of the store and one of the journal at the same \
         time; one sync alone takes {:.0} us here.",
        micros(sync)
    ));
}

pub(crate) fn way_to_json(way: &Way) -> Value {
    let range = |figures: Spread| json!([figures.least, figures.median, figures.most]);
    json!({
        "way": way.name,
        "cpu_us": range(way.cpu()),
        "cpu_us_without_children": range(way.cpu_alone()),
        "bridge_cpu_us": range(way.bridge()),
        "p50_us": range(way.median()),
        "p99_us": range(way.p99()),
        "per_second": range(way.per_second()),
        "cores_busy_with_something_else": range(way.others()),
    })
}

fn named<'a>(ways: &'a [Way], name: &str) -> Option<&'a Way> {
    ways.iter().find(|way| way.name == name)
}

pub(crate) fn row<'a>(cells: impl Iterator<Item = &'a &'a str>) -> Vec<String> {
    cells.map(|cell| (*cell).to_owned()).collect()
}

pub(crate) fn spread(Spread { median, least, most }: Spread) -> String {
    format!("{median:.1} [{least:.1}-{most:.1}]")
}

pub(crate) fn optional(figure: Option<f64>, decimals: usize) -> String {
    figure.map(|figure| format!("{figure:.decimals$}")).unwrap_or_default()
}

/// Columns as wide as their widest cell; the first one to the left, the others to the right.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let cell = |row: &[String], nth: usize| row.get(nth).cloned().unwrap_or_default();
    let width = |nth| rows.iter().map(|row| cell(row, nth).len()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = widths.iter().enumerate().map(|(nth, width)| match nth {
            0 => format!("{:<width$}", cell(row, nth)),
            _ => format!("  {:>width$}", cell(row, nth)),
        });
        cells.collect::<String>().trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn stunnel_version() -> String {
    let version = || {
        let output = Command::new(stunnel_program()?).arg("-version").output().ok()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let stunnel = text.lines().find_map(|line| line.split_once(" on ")).map(|(name, _)| name);
        // Compiled with one version, running with another: the second is what counts.
        let openssl = text.lines().filter_map(|line| line.split_once("with OpenSSL ")).next_back();
        let number = openssl.and_then(|(_, number)| number.split(' ').next());
        Some(format!("{} with OpenSSL {}", stunnel?, number?))
    };
    version().unwrap_or_else(|| "stunnel is not installed: there is nothing to compare with".into())
}

#[expect(clippy::print_stdout, reason = "the report is what this program is for")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}
