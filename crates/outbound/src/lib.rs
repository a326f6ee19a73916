//! The only HTTP client: whatever leaves by HTTP leaves here, and it dials no inside address that was not allowed by name.
