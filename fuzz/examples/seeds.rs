//! Writes real files into `corpus/`, for the fuzzer to start from.

use std::fs;
use std::path::Path;

use pki::{Authority, KeyType, San, Time};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for target in ["certificate", "csr", "load", "outlook"] {
        fs::create_dir_all(corpus.join(target))?;
    }
    let (from, until) = (Time::parse("2020-01-01")?, Time::parse("2040-01-01")?);
    let root = Authority::new("Root", from, until)?;
    let middle = root.intermediate("Middle", from, until)?;
    for (index, key_type) in [KeyType::EcdsaP256, KeyType::Ed25519, KeyType::Rsa2048].into_iter().enumerate() {
        let (leaf, key) = middle.leaf(&["example.com", "*.example.com", "192.0.2.1"], key_type, from, until)?;
        fs::write(corpus.join(format!("certificate/{index}")), leaf.der())?;
        let names = ["example.com", "*.example.com"].map(San::dns).into_iter().collect::<Result<Vec<_>, _>>()?;
        fs::write(corpus.join(format!("csr/{index}")), pki::csr::build(&key, Some("example.com"), &names)?)?;
        fs::write(corpus.join(format!("load/{index}.der")), key.expose_pkcs8())?;
        fs::write(corpus.join(format!("load/{index}.pem")), format!("{}{}", leaf.to_pem(), key.expose_pem().as_str()))?;
        let mut outlook = Time::parse("2026-06-01")?.unix().to_le_bytes().to_vec();
        outlook.push(1);
        for certificate in [root.certificate(), &leaf, middle.certificate()] {
            outlook.extend(u16::try_from(certificate.der().len())?.to_be_bytes());
            outlook.extend(certificate.der());
        }
        fs::write(corpus.join(format!("outlook/{index}")), outlook)?;
    }
    Ok(())
}
