//! Aligned columns. Widths count characters, not cells of a terminal: wide scripts may stand a little off.

use std::io::{self, Write};

use pki::text::escape;

/// How a cell stands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Paint {
    #[default]
    Plain,
    /// In order.
    Good,
    /// Due.
    Notice,
    /// Broken, or about to be.
    Bad,
    /// Beside the point.
    Faint,
}

impl Paint {
    /// By the level of a finding.
    pub(crate) fn of_level(level: &str) -> Paint {
        match level {
            "incident" => Paint::Bad,
            "notice" => Paint::Notice,
            "ok" => Paint::Good,
            _ => Paint::Plain,
        }
    }

    /// The SGR parameter (ECMA-48 §8.3.117).
    fn code(self) -> Option<&'static str> {
        match self {
            Paint::Plain => None,
            Paint::Good => Some("32"),
            Paint::Notice => Some("33"),
            Paint::Bad => Some("31"),
            Paint::Faint => Some("2"),
        }
    }
}

/// A text in a table; escaped when it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    paint: Paint,
}

impl Cell {
    pub(crate) fn new(text: &str) -> Cell {
        // An empty cell would make the next column look like this one.
        Cell { text: if text.is_empty() { "-".to_owned() } else { escape(text) }, paint: Paint::Plain }
    }

    pub(crate) fn painted(text: &str, paint: Paint) -> Cell {
        Cell { paint, ..Cell::new(text) }
    }

    pub(crate) fn maybe(text: Option<&str>) -> Cell {
        Cell::new(text.unwrap_or_default())
    }

    pub(crate) fn number(number: i64) -> Cell {
        Cell::new(&number.to_string())
    }

    fn write(&self, out: &mut dyn Write, colours: bool) -> io::Result<()> {
        match self.paint.code() {
            Some(code) if colours => write!(out, "\u{1b}[{code}m{}\u{1b}[0m", self.text),
            _ => out.write_all(self.text.as_bytes()),
        }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// A heading, and to which side its cells lean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    Left(&'static str),
    /// For numbers.
    Right(&'static str),
}

impl Column {
    fn heading(self) -> &'static str {
        match self {
            Column::Left(text) | Column::Right(text) => text,
        }
    }
}

/// Rows under headings.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(crate) fn new(columns: &[Column]) -> Table {
        Table { columns: columns.to_vec(), rows: Vec::new() }
    }

    pub(crate) fn add(&mut self, row: Vec<Cell>) {
        self.rows.push(row);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(crate) fn write(&self, out: &mut dyn Write, colours: bool) -> io::Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let widths: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| {
                let cells = self.rows.iter().filter_map(|row| row.get(at)).map(Cell::width);
                cells.max().unwrap_or(0).max(column.heading().chars().count())
            })
            .collect();
        let headings = self.columns.iter().map(|column| Cell::painted(column.heading(), Paint::Faint)).collect();
        for row in std::iter::once(&headings).chain(&self.rows) {
            let last = row.len().saturating_sub(1);
            for (at, ((cell, column), width)) in row.iter().zip(&self.columns).zip(&widths).enumerate() {
                let pad = width.saturating_sub(cell.width());
                if matches!(column, Column::Right(_)) {
                    write!(out, "{:pad$}", "")?;
                    cell.write(out, colours)?;
                } else {
                    cell.write(out, colours)?;
                    if at != last {
                        write!(out, "{:pad$}", "")?;
                    }
                }
                if at != last {
                    out.write_all(b"  ")?;
                }
            }
            out.write_all(b"\n")?;
        }
        Ok(())
    }
}

/// Names with one value each, under each other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fields(Vec<(&'static str, Cell)>);

impl Fields {
    pub(crate) fn add(&mut self, name: &'static str, text: &str) -> &mut Fields {
        self.add_cell(name, Cell::new(text))
    }

    pub(crate) fn add_cell(&mut self, name: &'static str, cell: Cell) -> &mut Fields {
        self.0.push((name, cell));
        self
    }

    /// Only if there is something to say.
    pub(crate) fn add_if(&mut self, name: &'static str, text: Option<&str>) -> &mut Fields {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            self.add(name, text);
        }
        self
    }

    pub(crate) fn write(&self, out: &mut dyn Write, colours: bool) -> io::Result<()> {
        let width = self.0.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        for (name, cell) in &self.0 {
            write!(out, "{name:width$}  ")?;
            cell.write(out, colours)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    }
}
