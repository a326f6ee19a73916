//! Trust anchors, with what a guardian must know about them: when they end.

use std::collections::BTreeMap;

use rustls_pki_types::{CertificateDer, TrustAnchor};

use crate::certificate::{Certificate, ParseError};
use crate::fingerprint::Fingerprint;
use crate::time::Time;

/// Most roots of one set; the large public programs have about 150.
pub const MAX_ROOTS: usize = 2_000;

/// A set of trusted roots. Its order and duplicates do not matter.
#[derive(Debug, Default)]
pub struct Roots {
    roots: Vec<Root>,
    by_subject: BTreeMap<Vec<u8>, Vec<usize>>,
    epoch: Option<Fingerprint>,
}

#[derive(Debug)]
pub(crate) struct Root {
    pub(crate) certificate: Certificate,
    pub(crate) anchor: TrustAnchor<'static>,
}

/// Why a certificate cannot be a root.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RootsError {
    /// It cannot be read.
    #[error("root {index}: {problem}")]
    Parse {
        /// Its place in what was given, from 0.
        index: usize,
        /// What is wrong.
        problem: ParseError,
    },
    /// It can be read but not used as a trust anchor.
    #[error("root {index} ({subject}) cannot be used as a trust anchor")]
    NoAnchor {
        /// Its place in what was given, from 0.
        index: usize,
        /// Its subject, escaped.
        subject: String,
    },
    /// More than [`MAX_ROOTS`].
    #[error("more than {MAX_ROOTS} roots")]
    TooMany,
}

impl Roots {
    /// A set of roots from DER certificates.
    ///
    /// # Errors
    /// The first that cannot be used, and too many.
    pub fn from_ders<D: AsRef<[u8]>>(ders: impl IntoIterator<Item = D>) -> Result<Self, RootsError> {
        match Self::lenient(ders) {
            (roots, problems) if problems.is_empty() => Ok(roots),
            (_, mut problems) => Err(problems.swap_remove(0)),
        }
    }

    /// The same from parsed certificates.
    ///
    /// # Errors
    /// The first that cannot be used, and too many.
    pub fn from_certificates(certificates: &[Certificate]) -> Result<Self, RootsError> {
        Self::from_ders(certificates.iter().map(Certificate::der))
    }

    /// Takes what can be used and says what cannot: for the platform's store, where one odd root
    /// must not take the others with it.
    pub fn lenient<D: AsRef<[u8]>>(ders: impl IntoIterator<Item = D>) -> (Self, Vec<RootsError>) {
        let mut usable: BTreeMap<Fingerprint, Root> = BTreeMap::new();
        let mut problems = Vec::new();
        for (index, der) in ders.into_iter().enumerate() {
            if index >= MAX_ROOTS {
                problems.push(RootsError::TooMany);
                break;
            }
            match Root::new(index, der.as_ref()) {
                Ok(root) => {
                    usable.insert(root.certificate.fingerprint(), root);
                }
                Err(problem) => problems.push(problem),
            }
        }
        let all: Vec<u8> = usable.keys().flat_map(|fingerprint| *fingerprint.as_bytes()).collect();
        let roots: Vec<Root> = usable.into_values().collect();
        let mut by_subject: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
        for (index, root) in roots.iter().enumerate() {
            by_subject.entry(root.certificate.subject_der().to_vec()).or_default().push(index);
        }
        (Self { roots, by_subject, epoch: Some(Fingerprint::of(&all)) }, problems)
    }

    /// Identifies the set: the same roots in any order have the same epoch.
    #[must_use]
    pub fn epoch(&self) -> Fingerprint {
        self.epoch.unwrap_or_else(|| Fingerprint::of(&[]))
    }

    /// How many different roots there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.roots.len()
    }

    /// True if nothing is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    /// The roots, ordered by fingerprint.
    pub fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        self.roots.iter().map(|root| &root.certificate)
    }

    /// The last second of a root's validity, if it is in the set.
    #[must_use]
    pub fn not_after(&self, root: Fingerprint) -> Option<Time> {
        self.find(root).map(Certificate::not_after)
    }

    /// A root of the set by its fingerprint.
    #[must_use]
    pub fn find(&self, root: Fingerprint) -> Option<&Certificate> {
        let found = self.roots.binary_search_by_key(&root, |r| r.certificate.fingerprint());
        found.ok().and_then(|index| self.roots.get(index)).map(|r| &r.certificate)
    }

    pub(crate) fn contains(&self, certificate: &Certificate) -> bool {
        self.not_after(certificate.fingerprint()).is_some()
    }

    /// Indices of the roots with this subject.
    pub(crate) fn named(&self, subject_der: &[u8]) -> &[usize] {
        self.by_subject.get(subject_der).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Root> {
        self.roots.get(index)
    }
}

impl Root {
    fn new(index: usize, der: &[u8]) -> Result<Self, RootsError> {
        let certificate = Certificate::parse(der).map_err(|problem| RootsError::Parse { index, problem })?;
        let der = CertificateDer::from(certificate.der());
        let anchor = match webpki::anchor_from_trusted_cert(&der) {
            Ok(anchor) => anchor.to_owned(),
            Err(_) => return Err(RootsError::NoAnchor { index, subject: certificate.subject().to_owned() }),
        };
        Ok(Self { certificate, anchor })
    }
}
