//! A table: for a terminal, and for Markdown.

use serde::{Deserialize, Serialize};

use crate::statistics::Spread;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Table {
    /// May be empty.
    pub(crate) title: String,
    pub(crate) heads: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<const N: usize>(title: &str, heads: [&str; N]) -> Self {
        let heads = heads.map(str::to_owned).into();
        Self { title: title.to_owned(), heads, rows: Vec::new() }
    }

    pub(crate) fn push(&mut self, row: impl IntoIterator<Item = String>) {
        self.rows.push(row.into_iter().collect());
    }

    /// Columns as wide as their widest cell; the first one to the left, the others to the right.
    pub(crate) fn in_words(&self) -> String {
        let widths = self.widths();
        let line = |row: &Vec<String>| {
            let cells = widths.iter().enumerate().map(|(nth, width)| {
                let cell = row.get(nth).map_or("", String::as_str);
                let gap = " ".repeat(width - cell.chars().count());
                if nth == 0 { format!("{cell}{gap}") } else { format!("  {gap}{cell}") }
            });
            cells.collect::<String>().trim_end().to_owned()
        };
        let title = (!self.title.is_empty()).then(|| self.title.clone());
        let lines = [&self.heads].into_iter().chain(&self.rows).map(line);
        title.into_iter().chain(lines).collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn in_markdown(&self) -> String {
        let line = |row: &Vec<String>| format!("| {} |", row.join(" | "));
        let title = (!self.title.is_empty()).then(|| format!("{}\n", self.title));
        let ruler = self.heads.iter().enumerate().map(|(nth, _)| match nth {
            0 => "---",
            _ => "---:",
        });
        let ruler = format!("| {} |", ruler.collect::<Vec<_>>().join(" | "));
        let lines = [line(&self.heads), ruler].into_iter().chain(self.rows.iter().map(line));
        title.into_iter().chain(lines).collect::<Vec<_>>().join("\n")
    }

    fn widths(&self) -> Vec<usize> {
        let width = |nth| {
            let cells = [&self.heads].into_iter().chain(&self.rows);
            cells.map(|row| row.get(nth).map_or(0, |cell: &String| cell.chars().count())).max()
        };
        (0..self.heads.len()).map(|nth| width(nth).unwrap_or_default()).collect()
    }
}

/// `12.3 [11.9-12.8]`
pub(crate) fn spread(Spread { median, least, most }: Spread) -> String {
    format!("{median:.1} [{least:.1}-{most:.1}]")
}

/// Nothing where there is nothing to say.
pub(crate) fn optional(figure: Option<f64>, decimals: usize) -> String {
    figure.map(|figure| format!("{figure:.decimals$}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let mut table = Table::new("", ["way", "µs"]);
        table.push(["a longer one".to_owned(), "1.0".to_owned()]);
        assert_eq!(table.in_words(), "way            µs\na longer one  1.0");
        assert_eq!(table.in_markdown(), "| way | µs |\n| --- | ---: |\n| a longer one | 1.0 |");
    }
}
