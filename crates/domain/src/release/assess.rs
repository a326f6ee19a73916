//! What the rules say about one release.
