//! Where something stands: as a path such as `target[3].secret`, and as line and column of a text.

use std::fmt;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// Where something stands in a fleet, whatever it was written in: `target[3].secret`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Key(String),
    Index(usize),
}

impl Path {
    /// The item with this index (from 0) of a list of tables, such as `target[3]`.
    pub(super) fn item(list: &str, index: usize) -> Path {
        Path::default().key(list).index(index)
    }

    /// The path, one key deeper.
    pub(super) fn key(mut self, key: &str) -> Path {
        self.0.push(Step::Key(key.to_owned()));
        self
    }

    /// Whether this is the other path, or something inside it.
    pub(super) fn lies_in(&self, other: &Path) -> bool {
        self.0.starts_with(&other.0)
    }

    /// The path, one list item deeper.
    pub(super) fn index(mut self, index: usize) -> Path {
        self.0.push(Step::Index(index));
        self
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if position == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// The bytes that a path stands for: of its key where `key` says so, of its value otherwise. A path
/// that leads to something absent stands for the nearest thing around it that is there.
pub(super) fn locate(root: &DeTable<'_>, path: &Path, key: bool) -> Range<usize> {
    let mut span = 0..0;
    let mut here: Option<&DeValue<'_>> = None;
    for (depth, step) in path.0.iter().enumerate() {
        match step {
            Step::Key(name) => {
                let table = match here {
                    None if depth == 0 => Some(root),
                    None => None,
                    Some(value) => value.as_table(),
                };
                let Some((found, value)) = table.and_then(|t| t.get_key_value(name.as_str())) else {
                    return span;
                };
                let last = depth + 1 == path.0.len();
                span = if last && key { found.span() } else { value.span() };
                here = Some(value.get_ref());
            }
            Step::Index(index) => {
                let Some(value) = here.and_then(DeValue::as_array).and_then(|list| list.get(*index)) else {
                    return span;
                };
                span = value.span();
                here = Some(value.get_ref());
            }
        }
    }
    span
}

/// Turns byte offsets of one text into lines and columns; built once, asked often.
pub(super) struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(super) fn new(text: &'t str) -> Lines<'t> {
        let after_newlines = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1);
        Lines { text, starts: std::iter::once(0).chain(after_newlines).collect() }
    }

    /// Line and column, both from 1; a column is one character.
    pub(super) fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let before = self.text.get(start..offset.min(self.text.len())).unwrap_or("");
        (line, before.chars().count() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_from_one() {
        let lines = Lines::new("a\nbö = x\n\nlast");
        for (offset, expected) in [(0, (1, 1)), (2, (2, 1)), (5, (2, 3)), (10, (3, 1)), (11, (4, 1)), (99, (4, 5))] {
            assert_eq!(lines.position(offset), expected, "offset {offset}");
        }
    }

    #[test]
    fn paths_read_like_code() {
        assert_eq!(Path::item("team", 1).key("contacts").index(0).key("url").to_string(), "team[1].contacts[0].url");
    }
}
