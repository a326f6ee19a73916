//! Bytes in, values out: parses, builds, lints and verifies certificates; signing and entropy come in through the caller.
//!
//! This crate never reads a clock, a file, the environment or a socket. Everything it is given may be
//! hostile: no input may panic, and everything that grows has a limit with a name.

pub mod acme;
mod algorithm;
pub mod build;
pub mod ca;
mod cache;
mod candidate;
pub mod certificate;
pub mod chain;
pub mod crl;
pub mod csr;
mod der;
pub mod detached;
pub mod fingerprint;
pub mod import;
pub mod issue;
pub mod jks;
pub mod key;
pub mod lint;
pub mod load;
pub mod name;
pub mod path;
pub mod pbes2;
mod pem;
mod pkcs12;
pub mod pkcs7;
pub mod recognise;
pub mod roots;
pub mod san;
mod sign;
pub mod text;
pub mod time;

pub use algorithm::{Curve, KeyKind, KeyUsage};
pub use build::{Authority, AuthorityOptions, BuildError, LeafOptions, Usage};
pub use certificate::{Certificate, ParseError, SignatureProblem};
pub use chain::{ChainProblem, Sorted, check_chain, sort_chain};
pub use crl::{Crl, CrlError};
pub use csr::{Csr, CsrError};
pub use fingerprint::{Fingerprint, FingerprintError};
pub use import::{Candidate, Checked, Difference, ImportCode, ImportProblem, check_import, differences};
pub use key::{KeyError, KeyType, PrivateKey};
pub use load::{Limits, LoadError, Loaded, load};
pub use name::Name;
pub use path::{CacheLimits, Outlook, Path, PathError, PathErrorCode, Purpose, Verifier};
pub use pem::PemError;
pub use roots::{Roots, RootsError};
pub use san::{San, SanError};
pub use sign::SignError;
pub use time::{Date, Span, Time, TimeError};
