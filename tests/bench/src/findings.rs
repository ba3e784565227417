//! What a work has found: figures beside their targets, in a form that can be printed, kept and read again.

pub(crate) mod chart;
pub(crate) mod table;

use serde::{Deserialize, Serialize};

pub(crate) use self::chart::{Bar, Chart};
pub(crate) use self::table::Table;
use crate::args::Work;
use crate::measurement::Way;

/// Above this, others took so much of the machine that the figures say little.
const DISTURBED: f64 = 0.2;

/// Of one work.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Findings {
    /// Its name on the command line.
    pub(crate) work: String,
    pub(crate) title: String,
    /// What was done, and how it is to be read.
    pub(crate) method: String,
    /// What was beside us, in which versions, and what was not there.
    pub(crate) beside: Vec<String>,
    pub(crate) tables: Vec<Table>,
    pub(crate) targets: Vec<Target>,
    pub(crate) charts: Vec<Chart>,
    /// What else must be known to read the figures.
    pub(crate) remarks: Vec<String>,
}

/// A figure, and what it was to be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) what: String,
    pub(crate) figure: f64,
    pub(crate) unit: String,
    pub(crate) bound: Bound,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Target {
    pub(crate) fn at_most(what: impl Into<String>, figure: f64, unit: &str, most: f64) -> Self {
        Self { what: what.into(), figure, unit: unit.to_owned(), bound: Bound::AtMost(most) }
    }

    pub(crate) fn at_least(what: impl Into<String>, figure: f64, unit: &str, least: f64) -> Self {
        Self { what: what.into(), figure, unit: unit.to_owned(), bound: Bound::AtLeast(least) }
    }

    pub(crate) fn is_met(&self) -> bool {
        match self.bound {
            Bound::AtMost(most) => self.figure <= most,
            Bound::AtLeast(least) => self.figure >= least,
        }
    }

    /// The figure as a person reads it.
    pub(crate) fn figure(&self) -> String {
        with_unit(self.figure, &self.unit)
    }

    /// `≤ 1.25 ×`
    pub(crate) fn bound(&self) -> String {
        match self.bound {
            Bound::AtMost(most) => format!("≤ {}", with_unit(most, &self.unit)),
            Bound::AtLeast(least) => format!("≥ {}", with_unit(least, &self.unit)),
        }
    }
}

fn with_unit(figure: f64, unit: &str) -> String {
    format!("{} {unit}", number(figure)).trim_end().to_owned()
}

/// Three significant digits, and no more than a person reads.
pub(crate) fn number(figure: f64) -> String {
    match figure.abs() {
        100.0.. => format!("{figure:.0}"),
        10.0.. => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}

impl Findings {
    pub(crate) fn new(work: &Work, title: &str, method: &str) -> Self {
        Self {
            work: work.name(),
            title: title.to_owned(),
            method: method.to_owned(),
            beside: Vec::new(),
            tables: Vec::new(),
            targets: Vec::new(),
            charts: Vec::new(),
            remarks: Vec::new(),
        }
    }

    /// Adds a remark if something else was so busy meanwhile that the figures say little.
    pub(crate) fn note_disturbance<'a>(&mut self, ways: impl IntoIterator<Item = &'a Way>) {
        let others = ways.into_iter().map(|way| way.others().most).fold(0.0, f64::max);
        if others > DISTURBED {
            self.remarks.push(format!(
                "Something else kept up to {others:.1} cores busy meanwhile: run this again on a quiet machine."
            ));
        }
    }

    /// As a terminal shows it.
    pub(crate) fn in_words(&self) -> String {
        let mut parts = vec![format!("{}\n{}", self.title, "=".repeat(self.title.chars().count()))];
        parts.extend(self.tables.iter().map(Table::in_words));
        if !self.targets.is_empty() {
            parts.push(self.targets_table().in_words());
        }
        let notes = self.remarks.iter().chain(&self.beside).cloned();
        parts.push(notes.collect::<Vec<_>>().join("\n"));
        parts.retain(|part| !part.is_empty());
        parts.join("\n\n")
    }

    pub(crate) fn targets_table(&self) -> Table {
        let mut table = Table::new("", ["target", "is", "to be", ""]);
        for target in &self.targets {
            let verdict = if target.is_met() { "met" } else { "MISSED" };
            table.push([target.what.clone(), target.figure(), target.bound(), verdict.to_owned()]);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_met_up_to_its_bound() {
        assert!(Target::at_most("a", 1.25, "x", 1.25).is_met());
        assert!(!Target::at_most("a", 1.26, "x", 1.25).is_met());
        assert!(Target::at_least("a", 10.0, "x", 10.0).is_met());
        assert!(!Target::at_least("a", 9.9, "x", 10.0).is_met());
    }

    #[test]
    fn figures_have_three_digits_that_count() {
        assert_eq!([0.654_3, 12.34, 1234.5].map(number), ["0.65", "12.3", "1234"]);
    }
}
