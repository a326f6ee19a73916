//! Makes a list.

use super::{Crl, CrlError, Reason};
use crate::der::{self, Writer};
use crate::issue::{IssueError, Issuer, authority_key_identifier, extension, put_time};
use crate::time::Time;

/// One certificate that is not to be trusted any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The serial number, big-endian; zeros in front do not matter.
    pub serial: Vec<u8>,
    /// When it was revoked.
    pub revoked_at: Time,
    /// Why; left out if it is not to be said.
    pub reason: Option<Reason>,
    /// Since when it was not to be trusted, where that is earlier.
    pub invalid_since: Option<Time>,
}

/// What a list says.
#[derive(Clone, Copy, Debug)]
pub struct CrlTemplate<'a> {
    /// Greater than that of every list before (RFC 5280 §5.2.3).
    pub number: u64,
    /// When it is made.
    pub this_update: Time,
    /// By when there will be another one.
    pub next_update: Time,
    /// What is revoked, and has not ended yet.
    pub revoked: &'a [Revocation],
}

impl Issuer {
    /// A complete list (not a delta), signed.
    ///
    /// # Errors
    /// [`IssueError::Template`]: dates in the wrong order, after the issuer's end, or an issuer that may not sign lists; a key that fails.
    pub fn crl(&self, template: &CrlTemplate<'_>) -> Result<Crl, IssueError> {
        let refuse = |problem: &str| Err(IssueError::Template(problem.into()));
        if template.next_update <= template.this_update {
            return refuse("the next list would be due before this one is made");
        }
        if !self.certificate().key_usage().is_some_and(|usage| usage.allows("cRLSign")) {
            return refuse("the issuer's keyUsage does not allow cRLSign");
        }
        let mut list = Writer::with_capacity(256 + 64 * template.revoked.len());
        list.nest(der::SEQUENCE, |w| {
            w.unsigned(&[1]); // version 2
            w.raw(&self.signer().algorithm());
            w.raw(self.certificate().subject_der());
            put_time(w, template.this_update);
            put_time(w, template.next_update);
            // RFC 5280 §5.1.2.6: without entries the list of them is absent.
            if !template.revoked.is_empty() {
                w.nest(der::SEQUENCE, |w| template.revoked.iter().for_each(|revoked| entry(w, revoked)));
            }
            w.nest(der::CONTEXT_0, |w| {
                w.nest(der::SEQUENCE, |w| {
                    authority_key_identifier(w, self.key_identifier());
                    extension(w, 20, false, |w| w.unsigned(&template.number.to_be_bytes()));
                });
            });
        });
        match Crl::parse(&self.signer().signed(&list.into_bytes())?) {
            Ok(crl) => Ok(crl),
            Err(error @ CrlError::TooLarge(_)) => Err(IssueError::Template(error.to_string())),
            Err(_) => refuse("what was built is no list that we read"),
        }
    }
}

fn entry(w: &mut Writer, revoked: &Revocation) {
    w.nest(der::SEQUENCE, |w| {
        w.unsigned(&revoked.serial);
        put_time(w, revoked.revoked_at);
        if revoked.reason.is_none() && revoked.invalid_since.is_none() {
            return;
        }
        w.nest(der::SEQUENCE, |w| {
            if let Some(reason) = revoked.reason {
                extension(w, 21, false, |w| w.put(der::ENUMERATED, &[reason.code()]));
            }
            if let Some(since) = revoked.invalid_since {
                // RFC 5280 §5.3.2: always a GeneralizedTime.
                extension(w, 24, false, |w| w.put(der::GENERALIZED_TIME, &crate::issue::generalized(since)));
            }
        });
    });
}
