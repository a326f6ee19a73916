//! What we remember: sees sealed bytes only; SQLite and PostgreSQL behind one conformance suite.
