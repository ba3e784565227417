//! Figures that are kept, and the report that is made of them: RESULTS.md, and a plot for each chart.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::args::How;
use crate::findings::{Findings, Table};
use crate::machine::{Machine, today};
use crate::{works, world};

/// What one file holds.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    date: String,
    machine: Machine,
    findings: Findings,
}

/// Writes the figures of one work, in the place of earlier ones.
pub(crate) fn keep(findings: &Findings, how: &How, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let path = folder.join(format!("{}.json", findings.work));
    let machine = Machine::look(how)?;
    let date = today()?;
    let kept = serde_json::json!({ "date": date, "machine": machine, "findings": findings });
    world::write(&path, &format!("{kept:#}\n"))
}

/// Makes the report of all figures in a folder.
pub(crate) fn write(figures: &Path, to: &Path) -> Result<()> {
    let mut all = Vec::new();
    for (work, _) in works::ALL {
        let path = figures.join(format!("{}.json", work.name()));
        if path.exists() {
            let text = fs::read_to_string(&path)?;
            let kept: Kept = serde_json::from_str(&text)
                .with_context(|| format!("{} holds no figures of this version", path.display()))?;
            all.push(kept);
        }
    }
    ensure!(!all.is_empty(), "there are no figures in {}: measure with --out", figures.display());
    let plots = to.join("plots");
    fs::create_dir_all(&plots)?;
    for chart in all.iter().flat_map(|kept| &kept.findings.charts) {
        world::write(&plots.join(format!("{}.svg", chart.name)), &chart.to_svg())?;
    }
    world::write(&to.join("RESULTS.md"), &markdown(&all))
}

fn markdown(all: &[Kept]) -> String {
    let mut parts = vec![
        "# Results".to_owned(),
        "Made by `vouchsafe-bench report` from the figures of `vouchsafe-bench all --out DIR`; how everything is \
         measured is in [README.md](README.md). Figures of one run compare with each other; from one machine to another only the ratios \
         do."
            .to_owned(),
        conditions(all),
        "## Targets".to_owned(),
        summary(all),
        targets(all).in_markdown(),
    ];
    for Kept { findings, .. } in all {
        parts.push(format!("## {}", findings.title));
        parts.push(findings.method.clone());
        let plot = |chart: &crate::findings::Chart| {
            format!("![{}](plots/{}.svg)", chart.title, chart.name)
        };
        parts.extend(findings.charts.iter().map(plot));
        parts.extend(findings.tables.iter().map(Table::in_markdown));
        parts.extend(findings.remarks.iter().cloned());
    }
    parts.join("\n\n") + "\n"
}

/// Machine, versions, date: once if they are the same for all.
fn conditions(all: &[Kept]) -> String {
    let mut lines = Vec::new();
    for kept in all {
        let Machine { processor, cores, memory, system, openssl, vouchsafe, how } = &kept.machine;
        let line = format!(
            "- {}: {processor}, {cores} cores, {memory}; {system}; {vouchsafe}; {openssl}; {how}",
            kept.date
        );
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    let mut beside: Vec<_> = all.iter().flat_map(|kept| &kept.findings.beside).collect();
    beside.sort_unstable();
    beside.dedup();
    lines.extend(beside.into_iter().map(|version| format!("- {version}")));
    lines.join("\n")
}

fn summary(all: &[Kept]) -> String {
    let targets: Vec<_> = all.iter().flat_map(|kept| &kept.findings.targets).collect();
    let met = targets.iter().filter(|target| target.is_met()).count();
    format!("{met} of {} met.", targets.len())
}

fn targets(all: &[Kept]) -> Table {
    let mut table = Table::new("", ["target", "is", "to be", ""]);
    for target in all.iter().flat_map(|kept| &kept.findings.targets) {
        let verdict = if target.is_met() { "met" } else { "**missed**" };
        table.push([target.what.clone(), target.figure(), target.bound(), verdict.to_owned()]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Work;
    use crate::findings::{Bar, Chart, Target};

    #[test]
    fn a_report_tells_what_was_met_and_shows_every_plot() {
        let folder = tempfile::tempdir().unwrap();
        let mut findings = Findings::new(&Work::Cold, "Starting", "How.");
        findings.targets.push(Target::at_most("start", 12.0, "ms", 10.0));
        findings.charts.push(Chart::new("cold", "Starting", "ms"));
        findings.charts[0].bars.push(Bar::new("vouchsafe", 12.0));
        let machine = Machine {
            processor: "a processor".into(),
            cores: 2,
            memory: "8 GB".into(),
            system: "Linux".into(),
            openssl: String::new(),
            vouchsafe: "vouchsafe 1".into(),
            how: "1 round".into(),
        };
        let kept =
            serde_json::json!({ "date": "2026-11-21", "machine": machine, "findings": findings });
        world::write(&folder.path().join("cold.json"), &kept.to_string()).unwrap();
        write(folder.path(), folder.path()).unwrap();
        let report = fs::read_to_string(folder.path().join("RESULTS.md")).unwrap();
        assert!(
            report.contains("0 of 1 met")
                && report.contains("| start | 12.0 ms | ≤ 10.0 ms | **missed** |")
        );
        assert!(report.contains("plots/cold.svg"));
        assert!(folder.path().join("plots/cold.svg").exists());
    }

    #[test]
    fn without_figures_there_is_no_report() {
        let folder = tempfile::tempdir().unwrap();
        assert!(write(folder.path(), folder.path()).is_err());
    }
}
