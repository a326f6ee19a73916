//! The only code on the server's side that opens sealed bytes, always bound to where the secret lives; only engine uses it.
