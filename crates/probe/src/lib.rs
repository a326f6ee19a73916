//! Dials and reports what was presented; judges nothing.
