//! Medians, spreads and aligned text.

/// Median with the lowest and highest value.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Spread {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (Some(low), Some(high)) = (values.first(), values.last()) else {
            return Self::default();
        };
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Self {
            median,
            low: *low,
            high: *high,
        }
    }

    /// `1.23 [1.10–1.31]`
    pub(crate) fn ratio(&self) -> String {
        format!("{:.2} [{:.2}–{:.2}]", self.median, self.low, self.high)
    }

    /// In thousands: `337 k [320–341]`
    pub(crate) fn thousands(&self) -> String {
        let k = 1000.0;
        format!(
            "{:.0} k [{:.0}–{:.0}]",
            self.median / k,
            self.low / k,
            self.high / k
        )
    }
}

/// Prints rows with columns padded to the widest cell.
pub(crate) fn print(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:<width$}"));
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_of_an_even_count_lies_between() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0]);
        assert!((spread.median - 2.5).abs() < 1e-9 && spread.low < 1.1 && spread.high > 3.9);
    }
}
