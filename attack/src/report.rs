//! The table.

use std::time::Duration;

/// Prints a row with padded cells; the last one is as long as it is.
pub(crate) fn row(cells: &[String], widths: &[usize]) {
    let padded = cells.iter().enumerate().map(|(index, cell)| {
        let width = widths.get(index).copied().unwrap_or(0);
        // Figures stand to the right, words to the left.
        if cell.starts_with(|first: char| first.is_ascii_digit()) {
            format!("{cell:>width$}")
        } else {
            format!("{cell:<width$}")
        }
    });
    println!("{}", padded.collect::<Vec<_>>().join("  ").trim_end());
}

/// Milliseconds.
pub(crate) fn ms(time: Duration) -> String {
    format!("{}", time.as_millis())
}
