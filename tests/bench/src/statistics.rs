//! Medians and percentiles.

/// Median, smallest and largest of some figures.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        Self {
            median: quantile(&figures, 1, 2),
            least: quantile(&figures, 0, 1),
            most: quantile(&figures, 1, 1),
        }
    }
}

/// The figure below which `part` of `whole` lie; 0 where there are none.
pub(crate) fn quantile<T: Copy + Default>(sorted: &[T], part: usize, whole: usize) -> T {
    let nth = sorted.len().saturating_sub(1) * part / whole;
    sorted.get(nth).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_sorted_first() {
        let spread = Spread::of([3.0, 1.0, 2.0]);
        assert_eq!((spread.least, spread.median, spread.most), (1.0, 2.0, 3.0));
        assert_eq!(Spread::of([]).median, 0.0);
    }

    #[test]
    fn a_quantile_is_one_of_the_figures() {
        let figures: Vec<u32> = (0..=100).collect();
        assert_eq!((quantile(&figures, 1, 2), quantile(&figures, 99, 100)), (50, 99));
    }
}
