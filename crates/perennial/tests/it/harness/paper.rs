//! A private root, and certificates below it, as PEM in files.

use std::path::{Path, PathBuf};

use pki::{Certificate, PrivateKey, Span, Time, build::Authority, key::KeyType};

use super::now;

/// The authority of one test.
pub(crate) struct Paper {
    root: Authority,
    pub(crate) issuer: Authority,
    folder: PathBuf,
}

/// A certificate with its issuer and its key, and where they lie.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) chain: Vec<Certificate>,
    pub(crate) key: PrivateKey,
    pub(crate) chain_file: PathBuf,
    pub(crate) key_file: PathBuf,
}

impl Pair {
    pub(crate) fn fingerprint(&self) -> String {
        self.chain[0].fingerprint().to_string()
    }

    pub(crate) fn chain_pem(&self) -> String {
        self.chain.iter().map(Certificate::to_pem).collect()
    }
}

impl Paper {
    pub(crate) fn new(folder: &Path) -> Paper {
        let (from, until) = (now() - Span::days(400), now() + Span::days(4000));
        let root = Authority::new("Test Root", from, until).unwrap();
        let issuer = root.intermediate("Test Issuer", from, until).unwrap();
        let paper = Paper { root, issuer, folder: folder.join("paper") };
        std::fs::create_dir_all(&paper.folder).unwrap();
        std::fs::write(paper.root_file(), paper.root_pem()).unwrap();
        paper
    }

    pub(crate) fn root_pem(&self) -> String {
        self.root.certificate().to_pem()
    }

    pub(crate) fn root_file(&self) -> PathBuf {
        self.folder.join("root.pem")
    }

    /// A certificate that lives for 90 days, of which `left` are left.
    pub(crate) fn leaf(&self, file: &str, names: &[&str], left: Span) -> Pair {
        let until = now() + left;
        let (leaf, key) = self.issuer.leaf(names, KeyType::EcdsaP256, until - Span::days(90) + Span::seconds(1), until).unwrap();
        self.pair(file, leaf, key)
    }

    /// Writes a certificate of this issuer down.
    pub(crate) fn pair(&self, file: &str, leaf: Certificate, key: PrivateKey) -> Pair {
        let chain = vec![leaf, self.issuer.certificate().clone()];
        let (chain_file, key_file) = (self.folder.join(format!("{file}.pem")), self.folder.join(format!("{file}.key")));
        std::fs::write(&chain_file, chain.iter().map(Certificate::to_pem).collect::<String>()).unwrap();
        std::fs::write(&key_file, key.expose_pem().as_bytes()).unwrap();
        Pair { chain, key, chain_file, key_file }
    }

    /// One that is not written down.
    pub(crate) fn loose(&self, names: &[&str], from: Time, until: Time) -> (Vec<Certificate>, PrivateKey) {
        let (leaf, key) = self.issuer.leaf(names, KeyType::EcdsaP256, from, until).unwrap();
        (vec![leaf, self.issuer.certificate().clone()], key)
    }
}
