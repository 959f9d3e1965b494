//! Tables for people: a head, rows, columns as wide as their widest cell.

use std::fmt;

use super::outside::Outside;

/// A table. It prints without a line feed at its end.
#[derive(Debug, Clone, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column heads.
    pub fn new(heads: &[&str]) -> Self {
        Self {
            rows: vec![heads.iter().map(|head| (*head).to_owned()).collect()],
        }
    }

    /// Adds a row; a cell that is missing is empty.
    pub fn row<T: fmt::Display>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(
            cells
                .into_iter()
                .map(|cell| Outside(cell).to_string())
                .collect(),
        );
    }

    /// Whether there is nothing below the heads.
    pub fn is_empty(&self) -> bool {
        self.rows.len() < 2
    }

    /// The most that a cell makes its column wide: a name of thousands of characters would push all others
    /// out of sight, and formatting takes no width above 65,535.
    const WIDEST: usize = 120;

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or_default()
                .min(Self::WIDEST)
        };
        (0..columns).map(width).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        for (index, row) in self.rows.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            let cells = row.iter().zip(&widths);
            let line: String = cells
                .map(|(cell, width)| format!("{cell:<width$}  "))
                .collect();
            f.write_str(line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_huge_cell_stands_out_of_its_column() {
        let huge = "x".repeat(70_000);
        let mut table = Table::new(&["NAME", "STATUS"]);
        table.row([huge.as_str(), "current"]);
        table.row(["small", "next"]);
        let text = table.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], format!("{huge}  current"));
        assert_eq!(lines[2].len(), 120 + 2 + "next".len());
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["NAME", "STATUS"]);
        assert!(table.is_empty());
        table.row(["factory-1", "current"]);
        table.row(["gerät", ""]);
        assert_eq!(
            table.to_string(),
            "NAME       STATUS\nfactory-1  current\ngerät"
        );
    }
}
