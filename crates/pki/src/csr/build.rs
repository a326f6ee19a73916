//! Makes requests, for keys that are born in the store or on a node.

use crate::der::{self, Writer};
use crate::key::PrivateKey;
use crate::san::San;
use crate::sign::{SignError, Signer};

/// Most characters of a common name (X.520, RFC 5280 appendix A).
pub(crate) const MAX_COMMON_NAME: usize = 64;

/// Why a request could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildCsrError {
    /// The common name is empty or longer than 64 characters.
    #[error("a common name has 1 to 64 characters")]
    CommonName,
    /// The key does not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// A request (DER) for a certificate for this key and these names; the subject is empty unless an issuer wants a common name.
///
/// # Errors
/// See [`BuildCsrError`].
pub fn build(key: &PrivateKey, common_name: Option<&str>, names: &[San]) -> Result<Vec<u8>, BuildCsrError> {
    if common_name.is_some_and(|name| name.is_empty() || name.chars().count() > MAX_COMMON_NAME) {
        return Err(BuildCsrError::CommonName);
    }
    let signer = Signer::new(key)?;
    let mut info = Writer::with_capacity(key.spki_der().len() + 32 * names.len() + 128);
    info.nest(der::SEQUENCE, |w| {
        w.unsigned(&[0]); // RFC 2986 §4.1: version 1
        w.nest(der::SEQUENCE, |w| {
            if let Some(name) = common_name {
                crate::name::write_attribute(w, &crate::name::COMMON_NAME, name);
            }
        });
        w.raw(key.spki_der());
        w.nest(der::CONTEXT_0, |w| {
            if !names.is_empty() {
                extension_request(w, common_name.is_none(), names);
            }
        });
    });
    Ok(signer.signed(&info.into_bytes())?)
}

/// RFC 2985 §5.4.2 with one extension, subjectAltName, critical where the subject is empty (RFC 5280 §4.2.1.6).
fn extension_request(w: &mut Writer, critical: bool, names: &[San]) {
    w.nest(der::SEQUENCE, |w| {
        w.put(der::OID, super::EXTENSION_REQUESTS[0]);
        w.nest(der::SET, |w| {
            w.nest(der::SEQUENCE, |w| {
                w.nest(der::SEQUENCE, |w| {
                    w.put(der::OID, &[0x55, 0x1d, 17]);
                    if critical {
                        w.yes();
                    }
                    w.nest(der::OCTET_STRING, |w| w.nest(der::SEQUENCE, |w| names.iter().for_each(|name| name.write(w))));
                });
            });
        });
    });
}
