//! Bars beside each other, drawn as SVG: names to the left, figures at the end of each bar, the target as a line.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::number;
use crate::statistics::Spread;

const WIDTH: f64 = 760.0;
const ROW: f64 = 26.0;
const TOP: f64 = 58.0;
const BOTTOM: f64 = 18.0;
/// Room for names, and for figures behind the longest bar.
const LEFT: f64 = 270.0;
const RIGHT: f64 = 110.0;
/// Of a letter of a name, roughly.
const LETTER: f64 = 6.6;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Chart {
    /// Also its file's name: letters, digits and hyphens.
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) unit: String,
    pub(crate) bars: Vec<Bar>,
    /// A line across all bars.
    pub(crate) target: Option<f64>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) figure: f64,
    /// The least and the most of all rounds, if there were some.
    pub(crate) range: Option<[f64; 2]>,
}

impl Bar {
    pub(crate) fn new(name: &str, figure: f64) -> Self {
        Self { name: name.to_owned(), figure, range: None }
    }

    pub(crate) fn of(name: &str, Spread { median, least, most }: Spread) -> Self {
        Self { name: name.to_owned(), figure: median, range: Some([least, most]) }
    }

    /// What the eye is to find first.
    fn is_ours(&self) -> bool {
        self.name.starts_with("vouchsafe")
    }
}

impl Chart {
    pub(crate) fn new(name: &str, title: &str, unit: &str) -> Self {
        let [name, title, unit] = [name, title, unit].map(str::to_owned);
        Self { name, title, unit, bars: Vec::new(), target: None }
    }

    pub(crate) fn to_svg(&self) -> String {
        let height = self.rows().mul_add(ROW, TOP + BOTTOM);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\" font-family=\"system-ui, sans-serif\" font-size=\"13\">\n\
             <title>{title}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
             <text x=\"16\" y=\"26\" font-size=\"16\" font-weight=\"600\" fill=\"#1a1a1a\">{title}</text>\n\
             <text x=\"16\" y=\"45\" fill=\"#5f6368\">{unit}; less is better</text>\n",
            title = escaped(&self.title),
            unit = escaped(&self.unit),
        );
        let mut y = TOP;
        for bar in &self.bars {
            svg.push_str(&self.row(bar, y));
            y += ROW;
        }
        svg.push_str(&self.target_line(y));
        svg.push_str("</svg>\n");
        svg
    }

    fn rows(&self) -> f64 {
        self.bars.iter().map(|_| 1.0).sum()
    }

    /// Pixels from where bars begin.
    fn at(&self, figure: f64) -> f64 {
        let ends = self.bars.iter().map(|bar| bar.range.map_or(bar.figure, |[_, most]| most));
        let longest = ends.chain(self.target).fold(f64::MIN_POSITIVE, f64::max);
        (WIDTH - LEFT - RIGHT) * figure.max(0.0) / longest
    }

    fn row(&self, bar: &Bar, y: f64) -> String {
        let (fill, weight) = if bar.is_ours() { ("#1a73e8", 600) } else { ("#b8c0cc", 400) };
        let (width, middle) = (self.at(bar.figure), y + ROW / 2.0);
        let mut svg = format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" font-weight=\"{weight}\" fill=\"#1a1a1a\"{}>{}</text>\n\
             <rect x=\"{LEFT}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"{fill}\"/>\n",
            LEFT - 8.0,
            middle + 4.5,
            squeezed(&bar.name),
            escaped(&bar.name),
            y + 4.0,
            ROW - 8.0,
        );
        let mut end = width;
        if let Some([least, most]) = bar.range {
            let (from, to) = (LEFT + self.at(least), LEFT + self.at(most));
            end = end.max(to - LEFT);
            let _ = writeln!(
                svg,
                "<path d=\"M{from:.1} {middle:.1}H{to:.1}M{from:.1} {0:.1}v6M{to:.1} {0:.1}v6\" stroke=\"#3c4043\" stroke-width=\"1\" fill=\"none\"/>",
                middle - 3.0
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" font-weight=\"{weight}\" fill=\"#1a1a1a\">{}</text>",
            LEFT + end + 6.0,
            middle + 4.5,
            number(bar.figure)
        );
        svg
    }

    fn target_line(&self, bottom: f64) -> String {
        let Some(target) = self.target else { return String::new() };
        let x = LEFT + self.at(target);
        format!(
            "<path d=\"M{x:.1} {TOP}V{bottom:.1}\" stroke=\"#c5221f\" stroke-width=\"1.5\" stroke-dasharray=\"4 3\"/>\n\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"11\" fill=\"#c5221f\">target {}</text>\n",
            bottom + 13.0,
            number(target)
        )
    }
}

/// For a name that is longer than its place.
fn squeezed(name: &str) -> String {
    let letters: f64 = name.chars().map(|_| LETTER).sum();
    let room = LEFT - 20.0;
    if letters > room {
        format!(" textLength=\"{room}\" lengthAdjust=\"spacingAndGlyphs\"")
    } else {
        String::new()
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_fills_its_place_and_names_are_escaped() {
        let mut chart = Chart::new("a", "A < B", "µs");
        chart.bars = vec![Bar::new("vouchsafe & co", 10.0), Bar::new("a peer", 5.0)];
        let svg = chart.to_svg();
        assert!(svg.contains("A &lt; B") && svg.contains("vouchsafe &amp; co"));
        assert!(svg.contains("width=\"380.0\"") && svg.contains("width=\"190.0\""));
    }
}
