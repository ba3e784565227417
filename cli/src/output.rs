//! Text for people: tables, dates and spans of time in words.

use std::fmt::Display;
use std::io::Write;
use std::time::Duration;

use rustls_pki_types::UnixTime;
use time::OffsetDateTime;

/// Says something on standard error. Where that goes may be full, or gone: no reason to fail.
pub(crate) fn say(text: impl Display) {
    // In one piece, so that whatever else writes there does not come in between.
    let _ = std::io::stderr().write_all(text.to_string().as_bytes());
}

/// Columns that line up, two spaces apart. The last one is as long as it is.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn row<const N: usize>(&mut self, cells: [&str; N]) {
        self.rows.push(cells.iter().map(|&cell| cell.to_owned()).collect());
    }

    pub(crate) fn to_text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:width$}  "));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Labelled lines, indented; a label with several values has one a line.
#[derive(Default)]
pub(crate) struct Sheet(Table);

impl Sheet {
    pub(crate) fn line(&mut self, label: &str, value: &str) {
        self.0.row(["", label, value]);
    }

    pub(crate) fn lines(&mut self, label: &str, values: impl IntoIterator<Item = String>) {
        let mut label = label;
        for value in values {
            self.line(label, &value);
            label = "";
        }
    }

    pub(crate) fn to_text(&self) -> String {
        self.0.to_text()
    }
}

/// `2026-11-20 12:00:00 UTC`.
pub(crate) fn date(at: UnixTime) -> String {
    match date_time(at) {
        Some(at) => format!(
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02} UTC",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second()
        ),
        None => "beyond the year 9999".to_owned(),
    }
}

/// RFC 3339 in UTC, for JSON.
pub(crate) fn rfc3339(at: UnixTime) -> String {
    date(at).replacen(' ', "T", 1).replace(" UTC", "Z")
}

fn date_time(at: UnixTime) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(i64::try_from(at.as_secs()).ok()?).ok()
}

/// `in 23 hours`, `3 days ago`, `now`.
pub(crate) fn relative(at: UnixTime, now: UnixTime) -> String {
    let (at, now) = (at.as_secs(), now.as_secs());
    if at > now {
        format!("in {}", span(Duration::from_secs(at - now)))
    } else if at < now {
        format!("{} ago", span(Duration::from_secs(now - at)))
    } else {
        "now".to_owned()
    }
}

/// `23 hours`: in the largest unit of which there are at least two, rounded to the nearest.
pub(crate) fn span(duration: Duration) -> String {
    const UNITS: [(&str, u64); 4] =
        [("year", 31_557_600), ("day", 86_400), ("hour", 3_600), ("minute", 60)];
    let seconds = duration.as_secs();
    let (unit, length) =
        UNITS.into_iter().find(|(_, length)| seconds >= 2 * length).unwrap_or(("second", 1));
    count((seconds + length / 2) / length, unit)
}

/// `12 kB`: in the largest unit of which there is at least one, rounded down.
pub(crate) fn octets(number: u64) -> String {
    const UNITS: [(&str, u64); 4] =
        [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
    let (unit, size) = UNITS.into_iter().find(|(_, size)| number >= *size).unwrap_or(("B", 1));
    format!("{} {unit}", number / size)
}

/// `1 certificate`, `2 certificates`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    #[test]
    fn spans_in_words() {
        for (seconds, words) in [
            (1, "1 second"),
            (119, "119 seconds"),
            (120, "2 minutes"),
            (7_199, "120 minutes"),
            (86_399, "24 hours"),
            (86_400, "24 hours"),
            (2 * 86_400, "2 days"),
            (90 * 86_400, "90 days"),
            (7_305 * 86_400, "20 years"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), words);
        }
        assert_eq!(relative(at(100), at(40)), "in 60 seconds");
        assert_eq!(relative(at(40), at(100)), "60 seconds ago");
        assert_eq!(relative(at(40), at(40)), "now");
    }

    #[test]
    fn dates_for_people_and_for_programs() {
        assert_eq!(date(at(1_700_000_000)), "2023-11-14 22:13:20 UTC");
        assert_eq!(rfc3339(at(1_700_000_000)), "2023-11-14T22:13:20Z");
        assert_eq!(date(at(u64::MAX)), "beyond the year 9999");
    }

    #[test]
    fn octets_in_words() {
        let words = [0, 999, 1_000, 1_999_999, u64::MAX].map(octets);
        assert_eq!(words, ["0 B", "999 B", "1 kB", "1 MB", "18446744 TB"]);
    }

    #[test]
    fn columns_line_up() {
        let mut table = Table::default();
        table.row(["NAME", "ENDS"]);
        table.row(["é", "in 2 days"]);
        table.row(["build-7", ""]);
        assert_eq!(table.to_text(), "NAME     ENDS\né        in 2 days\nbuild-7\n");
    }
}
