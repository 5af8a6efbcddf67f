//! Columns of measures, printed as a table in Markdown.

use std::fmt;

/// Columns that all have the same rows.
#[derive(Default)]
pub struct Table(Vec<(String, Vec<Row>)>);

/// What was measured, and what came of it.
pub type Row = (&'static str, String);

impl Table {
    pub fn push(&mut self, title: String, rows: Vec<Row>) {
        self.0.push((title, rows));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let titles: Vec<_> = self.0.iter().map(|(title, _)| title.as_str()).collect();
        writeln!(f, "| | {} |", titles.join(" | "))?;
        writeln!(f, "|---|{}", "---:|".repeat(titles.len()))?;
        for (number, (what, _)) in
            self.0.first().map_or(&[][..], |(_, rows)| rows).iter().enumerate()
        {
            let cells: Vec<_> = self.0.iter().map(|(_, rows)| rows[number].1.as_str()).collect();
            writeln!(f, "| {what} | {} |", cells.join(" | "))?;
        }
        Ok(())
    }
}
