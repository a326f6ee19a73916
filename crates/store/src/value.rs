//! The three column types that both databases share, and rows of them.

use domain::Time;

use crate::{Result, StoreError};

/// A parameter or a column.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// Signed 64 bit; times are Unix seconds, truth is 0 or 1.
    Int(i64),
    /// UTF-8 without NUL, compared byte by byte.
    Text(String),
    /// Any bytes.
    Bytes(Vec<u8>),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Self::Int(value.into())
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Int(value.into())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Int(value.into())
    }
}

impl From<Time> for Value {
    fn from(value: Time) -> Self {
        Self::Int(value.unix())
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<&String> for Value {
    fn from(value: &String) -> Self {
        Self::Text(value.clone())
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(value)
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Self::Bytes(value.to_vec())
    }
}

impl<const N: usize> From<[u8; N]> for Value {
    fn from(value: [u8; N]) -> Self {
        Self::Bytes(value.to_vec())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// One row of a result; columns count from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    values: Vec<Value>,
}

impl Row {
    pub(crate) fn new(values: Vec<Value>) -> Self {
        Self { values }
    }

    /// All columns in order.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    fn at(&self, column: usize) -> Result<&Value> {
        self.values.get(column).ok_or_else(|| StoreError::other(format!("column {column} asked of a row with {}", self.values.len())))
    }

    /// The integer in `column`.
    ///
    /// # Errors
    /// NULL, another type, or no such column.
    pub fn int(&self, column: usize) -> Result<i64> {
        self.opt_int(column)?.ok_or_else(|| null(column, "an integer"))
    }

    /// The integer in `column`, or None for NULL.
    ///
    /// # Errors
    /// Another type, or no such column.
    pub fn opt_int(&self, column: usize) -> Result<Option<i64>> {
        match self.at(column)? {
            Value::Null => Ok(None),
            Value::Int(value) => Ok(Some(*value)),
            other => Err(mismatch(column, "an integer", other)),
        }
    }

    /// The truth in `column`: any integer but 0.
    ///
    /// # Errors
    /// As [`Row::int`].
    pub fn bool(&self, column: usize) -> Result<bool> {
        Ok(self.int(column)? != 0)
    }

    /// The time in `column`, stored as Unix seconds.
    ///
    /// # Errors
    /// As [`Row::int`].
    pub fn time(&self, column: usize) -> Result<Time> {
        Ok(Time::from_unix(self.int(column)?))
    }

    /// The time in `column`, or None for NULL.
    ///
    /// # Errors
    /// As [`Row::opt_int`].
    pub fn opt_time(&self, column: usize) -> Result<Option<Time>> {
        Ok(self.opt_int(column)?.map(Time::from_unix))
    }

    /// The text in `column`.
    ///
    /// # Errors
    /// NULL, another type, or no such column.
    pub fn text(&self, column: usize) -> Result<&str> {
        self.opt_text(column)?.ok_or_else(|| null(column, "text"))
    }

    /// The text in `column`, or None for NULL.
    ///
    /// # Errors
    /// Another type, or no such column.
    pub fn opt_text(&self, column: usize) -> Result<Option<&str>> {
        match self.at(column)? {
            Value::Null => Ok(None),
            Value::Text(value) => Ok(Some(value)),
            other => Err(mismatch(column, "text", other)),
        }
    }

    /// The bytes in `column`.
    ///
    /// # Errors
    /// NULL, another type, or no such column.
    pub fn bytes(&self, column: usize) -> Result<&[u8]> {
        self.opt_bytes(column)?.ok_or_else(|| null(column, "bytes"))
    }

    /// The bytes in `column`, or None for NULL.
    ///
    /// # Errors
    /// Another type, or no such column.
    pub fn opt_bytes(&self, column: usize) -> Result<Option<&[u8]>> {
        match self.at(column)? {
            Value::Null => Ok(None),
            Value::Bytes(value) => Ok(Some(value)),
            other => Err(mismatch(column, "bytes", other)),
        }
    }
}

fn null(column: usize, wanted: &str) -> StoreError {
    StoreError::other(format!("column {column} holds NULL where {wanted} was expected"))
}

/// Names the types only: a value that turns up in the wrong place may be one that must not be shown.
fn mismatch(column: usize, wanted: &str, found: &Value) -> StoreError {
    let found = match found {
        Value::Null => "NULL",
        Value::Int(_) => "an integer",
        Value::Text(_) => "text",
        Value::Bytes(_) => "bytes",
    };
    StoreError::other(format!("column {column} holds {found} where {wanted} was expected"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_column_of_the_wrong_type_is_an_error_that_shows_no_value() {
        let row = Row::new(vec![Value::Int(7), "secret".into(), vec![1u8].into(), Value::Null]);
        assert_eq!(row.int(0).unwrap(), 7);
        assert_eq!(row.text(1).unwrap(), "secret");
        assert_eq!(row.bytes(2).unwrap(), [1]);
        assert_eq!((row.opt_int(3), row.opt_text(3), row.opt_bytes(3)), (Ok(None), Ok(None), Ok(None)));
        for error in [
            row.int(1).unwrap_err(),
            row.text(0).unwrap_err(),
            row.bytes(1).unwrap_err(),
            row.int(3).unwrap_err(),
            row.text(3).unwrap_err(),
            row.bytes(3).unwrap_err(),
            row.int(4).unwrap_err(),
        ] {
            let text = error.to_string();
            assert!(text.contains("column") && !text.contains("secret"), "{text}");
        }
    }
}
