//! Outages of the public record, as scenarios.

/// The name and text of each.
pub const ALL: &[(&str, &str)] = &[("azure-storage-2013", include_str!("../scenarios/azure-storage-2013.toml"))];
