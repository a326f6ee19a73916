//! What people see: tables, moments, colours. Every text that came from a server is escaped once more on its way here.

mod rows;
mod table;
mod when;

use std::io::{self, Write};

pub(crate) use rows::{Found, Listed, Queued, Runway, slack};
pub(crate) use table::{Cell, Column, Fields, Paint, Table};
pub(crate) use when::{moment, served, share};

use pki::Time;

/// Where a command writes, and what it may assume about whoever reads it.
pub struct Screen<'s> {
    /// Data.
    pub out: &'s mut dyn Write,
    /// Talk.
    pub talk: &'s mut dyn Write,
    /// Whether a person looks at `out` and wants colours.
    pub colours: bool,
    /// Whether a person looks at `talk`, so that a progress bar is of use.
    pub progress: bool,
    /// What is left is counted from here.
    pub now: Time,
}

impl Screen<'_> {
    /// A line of data. The text is the program's own, or was escaped.
    pub(crate) fn data(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.out, "{line}")
    }

    /// A line of talk. The text is the program's own, or was escaped.
    pub(crate) fn say(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.talk, "{line}")
    }

    pub(crate) fn table(&mut self, table: &Table) -> io::Result<()> {
        table.write(self.out, self.colours)
    }

    pub(crate) fn fields(&mut self, fields: &Fields) -> io::Result<()> {
        fields.write(self.out, self.colours)
    }

    /// A heading over a table, with a line of air above it.
    pub(crate) fn section(&mut self, heading: &str, table: &Table) -> io::Result<()> {
        if table.is_empty() {
            return Ok(());
        }
        writeln!(self.out, "\n{heading}")?;
        self.table(table)
    }
}

#[cfg(test)]
mod tests;
