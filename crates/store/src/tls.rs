//! TLS to PostgreSQL. Whenever it is used the server is verified: encryption to an unknown peer protects from nobody.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{Result, StoreError};

pub(crate) type Tls = MakeRustlsConnect;

/// What the URL says of TLS beyond what the driver understands.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verification {
    /// `sslmode=verify-full`, `verify-ca` or `require`, which all mean the same here.
    pub(crate) required: bool,
    /// Whether the URL says anything about TLS.
    pub(crate) said: bool,
    /// `sslrootcert`: PEM file of the roots, instead of those of the system.
    pub(crate) root_file: Option<String>,
}

/// Takes libpq's options that the driver does not know out of the URL.
pub(crate) fn take_options(url: &str) -> Result<(String, Verification)> {
    let mut verification = Verification::default();
    let Some((base, query)) = url.split_once('?') else {
        return Ok((url.to_owned(), verification));
    };
    let mut kept = Vec::new();
    for option in query.split('&') {
        verification.said |= option.starts_with("sslmode=");
        match option.split_once('=') {
            Some(("sslmode", "verify-full" | "verify-ca")) => verification.required = true,
            Some(("sslrootcert", file)) => verification.root_file = Some(unescape(file)?),
            _ => kept.push(option),
        }
    }
    let separator = if kept.is_empty() { "" } else { "?" };
    Ok((format!("{base}{separator}{}", kept.join("&")), verification))
}

fn unescape(text: &str) -> Result<String> {
    let wrong = || StoreError::other("sslrootcert in the database URL: a % must be followed by two hexadecimal digits of UTF-8");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2).ok_or_else(wrong)?;
        let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        rest = tail;
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

/// A connector that trusts the file, or what the system trusts.
pub(crate) fn connector(verification: &Verification) -> Result<Tls> {
    let mut roots = RootCertStore::empty();
    match &verification.root_file {
        Some(file) => {
            let bad = |why: String| StoreError::other(format!("sslrootcert={file} in the database URL: {why}"));
            for root in CertificateDer::pem_file_iter(file).map_err(|error| bad(error.to_string()))? {
                let root = root.map_err(|error| bad(error.to_string()))?;
                roots.add(root).map_err(|error| bad(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(bad("holds no certificate in PEM".into()));
            }
        }
        None => {
            // A root that cannot be parsed is left out: it can only make fewer servers pass.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| StoreError::other(format!("TLS for the database: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn options_of_libpq_are_taken_out_and_the_others_kept() {
        let check = |url: &str, rest: &str, required: bool, root_file: Option<&str>| {
            let expected =
                (rest.to_owned(), Verification { required, said: url.contains("sslmode"), root_file: root_file.map(str::to_owned) });
            assert_eq!(take_options(url).unwrap(), expected, "{url}");
        };
        check("postgres://h/d", "postgres://h/d", false, None);
        check("postgres://h/d?sslmode=require", "postgres://h/d?sslmode=require", false, None);
        check("postgres://h/d?sslmode=verify-full", "postgres://h/d", true, None);
        check("postgres://h/d?connect_timeout=3&sslmode=verify-ca", "postgres://h/d?connect_timeout=3", true, None);
        check("postgres://h/d?sslrootcert=%2Fetc%2Fca%20x.pem&a=b", "postgres://h/d?a=b", false, Some("/etc/ca x.pem"));
        for bad in ["%", "%2", "%zz", "%ff"] {
            take_options(&format!("postgres://h/d?sslrootcert={bad}")).unwrap_err();
        }
    }
}
