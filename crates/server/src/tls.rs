//! The certificate of the store's own API: made by an authority of its own in the data folder, renewed while the server runs, and
//! made anew at a start after it has expired. While the clock is doubted its authority stays, however old it looks. Its keys do not lie in the vault: a sealed store must still answer.

use domain::{Span, Time};
use engine::Tick;
use pki::{
    Certificate, PrivateKey,
    build::{Authority, BuildError},
    key::KeyType,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

/// How long the API's certificate lives.
const LIFETIME: Span = Span::days(90);
/// How long its authority lives.
const AUTHORITY: Span = Span::days(3650);

/// What can go wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file.
    #[error("{path}: {error}")]
    File {
        /// Which one.
        path: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// A file that is not what it should be.
    #[error("{path} cannot be used: {detail}; move the folder away and start again, and give clients the new ca.pem")]
    Content {
        /// Which one.
        path: String,
        /// Why.
        detail: String,
    },
    /// The certificate cannot be made.
    #[error("the API's certificate cannot be made: {0}")]
    Build(#[from] BuildError),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// The certificate that is served now, and the authority that makes the next.
pub struct OwnCertificate {
    folder: PathBuf,
    names: Vec<String>,
    served: RwLock<Arc<CertifiedKey>>,
    /// The same with its authority behind it.
    with_authority: RwLock<Arc<CertifiedKey>>,
    chain: RwLock<Vec<Certificate>>,
}

impl std::fmt::Debug for OwnCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OwnCertificate").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for OwnCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.served.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl OwnCertificate {
    /// Opens what lies in `folder`, or makes it. A certificate that has expired, or that lacks a name, is made anew.
    pub fn open(folder: &Path, names: &[String], tick: &Tick) -> Result<Arc<OwnCertificate>, TlsError> {
        std::fs::create_dir_all(folder).map_err(|error| file(folder, error))?;
        let now = tick.now;
        let authority = authority(folder, tick)?;
        let known = read(&folder.join("api.pem"), &folder.join("api.key"))?;
        let good = known.filter(|(chain, _)| {
            chain.first().is_some_and(|leaf| {
                !due(leaf, now) && names.iter().all(|n| leaf.covers(n)) && leaf.issuer_der() == authority.certificate().subject_der()
            })
        });
        let (chain, key) = match good {
            Some(pair) => pair,
            None => make(folder, &authority, names, tick)?,
        };
        Ok(Arc::new(OwnCertificate {
            folder: folder.into(),
            names: names.to_vec(),
            served: RwLock::new(certified(&chain, &key)?),
            with_authority: RwLock::new(certified(&with(&chain, &authority), &key)?),
            chain: RwLock::new(chain),
        }))
    }

    /// Makes the next certificate when it is due and the clock is believed. Says whether it did.
    pub fn renew(&self, tick: &Tick) -> Result<bool, TlsError> {
        if !tick.clock.is_believed() {
            return Ok(false);
        }
        let now = tick.now;
        let leaf_due = self.chain.read().unwrap_or_else(PoisonError::into_inner).first().is_none_or(|leaf| due(leaf, now));
        if !leaf_due {
            return Ok(false);
        }
        let authority = authority(&self.folder, tick)?;
        let (chain, key) = make(&self.folder, &authority, &self.names, tick)?;
        *self.served.write().unwrap_or_else(PoisonError::into_inner) = certified(&chain, &key)?;
        *self.with_authority.write().unwrap_or_else(PoisonError::into_inner) = certified(&with(&chain, &authority), &key)?;
        *self.chain.write().unwrap_or_else(PoisonError::into_inner) = chain;
        Ok(true)
    }

    /// The certificate with its authority behind it, for who knows only that one's fingerprint.
    pub(crate) fn with_authority(&self) -> Arc<CertifiedKey> {
        self.with_authority.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The chain that is served, as PEM.
    pub fn chain_pem(&self) -> String {
        self.chain.read().unwrap_or_else(PoisonError::into_inner).iter().map(Certificate::to_pem).collect()
    }

    /// What clients trust, as PEM.
    pub fn ca_pem(&self) -> Result<String, TlsError> {
        let path = self.ca_path();
        std::fs::read_to_string(&path).map_err(|error| file(&path, error))
    }

    /// SHA-256 of that certificate, in hexadecimal.
    pub fn ca_fingerprint(&self) -> Result<String, TlsError> {
        let path = self.ca_path();
        let content = |detail: String| TlsError::Content { path: path.display().to_string(), detail };
        let loaded = pki::load(self.ca_pem()?.as_bytes(), None, pki::Limits::default()).map_err(|e| content(e.to_string()))?;
        let root = loaded.certificates.first().ok_or_else(|| content(String::from("it holds no certificate")))?;
        Ok(root.fingerprint().to_string())
    }

    /// Where that lies.
    pub fn ca_path(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// The server's side of TLS.
    pub fn config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn with(chain: &[Certificate], authority: &Authority) -> Vec<Certificate> {
    chain.iter().chain([authority.certificate()]).cloned().collect()
}

/// Less than a third of its life is left.
fn due(leaf: &Certificate, now: Time) -> bool {
    // Or it was made under a clock that was ahead: it is not valid yet, or ends later than any that is made now.
    leaf.not_after() - now < Span::seconds(leaf.lifetime().as_secs() / 3)
        || leaf.not_before() > now
        || leaf.not_after() > now + LIFETIME + Span::days(1)
}

/// The authority that lies in `folder`. One that ends is replaced, which every client has to be told: never on the word of a clock
/// that is doubted.
fn authority(folder: &Path, tick: &Tick) -> Result<Authority, TlsError> {
    let now = tick.now;
    let (pem, key) = (folder.join("ca.pem"), folder.join("ca.key"));
    if let Some((chain, key)) = read(&pem, &key)?
        && let Some(root) = chain.into_iter().next()
    {
        let ends = root.not_after();
        if ends > now + LIFETIME {
            return Ok(Authority::resume(root, key)?);
        }
        if !tick.clock.is_believed() {
            tracing::warn!(%ends, %now, "the API's authority looks as if it ended, by a clock that is not believed; it is kept until the clock is");
            return Ok(Authority::resume(root, key)?);
        }
    }
    let authority = Authority::new("Perennial API", now - Span::hours(1), now + AUTHORITY)?;
    write(&pem, authority.certificate().to_pem().as_bytes())?;
    write(&key, authority.key().expose_pem().as_bytes())?;
    Ok(authority)
}

fn make(folder: &Path, authority: &Authority, names: &[String], tick: &Tick) -> Result<(Vec<Certificate>, PrivateKey), TlsError> {
    let (mut from, mut until) = (tick.now - Span::hours(1), tick.now + LIFETIME);
    if !tick.clock.is_believed() {
        // Nobody can confirm a doubted clock over an API that refuses: good by this clock, and for as long as the authority is. Once
        // the clock is believed it is made anew, as one that is not of its time.
        from = from.min(authority.certificate().not_before());
        until = until.max(authority.certificate().not_after());
    }
    let (leaf, key) = authority.leaf(names, KeyType::EcdsaP256, from, until)?;
    let chain = vec![leaf];
    write(&folder.join("api.key"), key.expose_pem().as_bytes())?;
    write(&folder.join("api.pem"), chain.iter().map(Certificate::to_pem).collect::<String>().as_bytes())?;
    Ok((chain, key))
}

fn read(pem: &Path, key: &Path) -> Result<Option<(Vec<Certificate>, PrivateKey)>, TlsError> {
    if !pem.exists() || !key.exists() {
        return Ok(None);
    }
    let load = |path: &Path| {
        let bytes = std::fs::read(path).map_err(|error| file(path, error))?;
        pki::load(&bytes, None, pki::Limits::default())
            .map_err(|e| TlsError::Content { path: path.display().to_string(), detail: e.to_string() })
    };
    let chain = load(pem)?.certificates;
    let keys = load(key)?.keys;
    let pair = chain.first().zip(keys.into_iter().next()).filter(|(leaf, key)| key.fits(leaf)).map(|(_, key)| key);
    Ok(pair.map(|key| (chain, key)))
}

fn write(path: &Path, content: &[u8]) -> Result<(), TlsError> {
    replace(path, content).map_err(|error| file(path, error))
}

/// Staged beside, flushed, renamed: a crash leaves the old or the new one.
pub(crate) fn replace(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let staged = path.with_extension("new");
    match std::fs::remove_file(&staged) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    private_file(&staged).and_then(|mut f| f.write_all(content).and_then(|()| f.sync_all()))?;
    std::fs::rename(&staged, path)
}

/// A new file that only its owner can read, from its first byte on. One that is there already, or a link, is refused: it would keep
/// its mode, or lie elsewhere.
pub(crate) fn private_file(path: &Path) -> std::io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Takes everybody but the owner their access to a file that holds what is sealed, or opens it. Says whether they had any.
#[cfg(unix)]
pub(crate) fn make_private(path: &Path) -> std::io::Result<bool> {
    use std::os::unix::fs::PermissionsExt;
    let mut permissions = match std::fs::metadata(path) {
        Ok(found) => found.permissions(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let open = permissions.mode() & 0o077 != 0;
    if open {
        permissions.set_mode(permissions.mode() & 0o700);
        std::fs::set_permissions(path, permissions)?;
    }
    Ok(open)
}

/// Takes everybody but the owner their access to a file; where there are no modes, the folder's rules hold.
#[cfg(not(unix))]
pub(crate) fn make_private(_path: &Path) -> std::io::Result<bool> {
    Ok(false)
}

fn certified(chain: &[Certificate], key: &PrivateKey) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain = chain.iter().map(|c| CertificateDer::from(c.der().to_vec())).collect();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.expose_pkcs8().to_vec()));
    let signing = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)?;
    Ok(Arc::new(CertifiedKey::new(chain, signing)))
}

fn file(path: &Path, error: std::io::Error) -> TlsError {
    TlsError::File { path: path.display().to_string(), error }
}

#[cfg(test)]
mod tests_of_time {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use domain::clock::Belief;

    const NOW: Time = Time::from_unix(1_800_000_000);

    fn doubted(now: Time) -> Tick {
        Tick { now, clock: Belief::Doubted(vec!["nobody vouches for it".into()]) }
    }

    fn leaf(own: &OwnCertificate) -> Certificate {
        own.chain.read().unwrap()[0].clone()
    }

    #[test]
    fn a_clock_that_is_doubted_replaces_no_authority_and_locks_no_client_out() {
        let folder = tempfile::tempdir().unwrap();
        let names = [String::from("localhost")];
        let open = |tick: &Tick| OwnCertificate::open(folder.path(), &names, tick).unwrap();
        let first = open(&Tick::at(NOW));
        let (ca, ordinary) = (first.ca_pem().unwrap(), leaf(&first));
        for wrong in [NOW + Span::days(12 * 365), NOW + Span::days(3650), Time::from_unix(0)] {
            let own = open(&doubted(wrong));
            assert_eq!(own.ca_pem().unwrap(), ca, "{wrong}");
            for by in [wrong, NOW] {
                assert!(leaf(&own).not_before() < by && by < leaf(&own).not_after(), "{wrong}: good by {by}");
            }
            let served = leaf(&own);
            assert!(!own.renew(&doubted(wrong)).unwrap() && leaf(&own) == served, "{wrong}");
            // The clock is set right, and confirmed.
            assert!(own.renew(&Tick::at(NOW)).unwrap());
            assert_eq!((leaf(&own).lifetime(), own.ca_pem().unwrap()), (ordinary.lifetime(), ca.clone()));
            assert!(!own.renew(&Tick::at(NOW)).unwrap());
        }
        // And where it was right all the while: ten years are over.
        let own = open(&doubted(NOW + Span::days(3650)));
        assert!(own.renew(&Tick::at(NOW + Span::days(3650))).unwrap());
        assert_ne!(own.ca_pem().unwrap(), ca);
    }
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_private_is_never_written_through_a_link_or_into_what_others_can_read() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let (others, secret) = (at("others.txt"), at("client.toml"));
        std::fs::write(&others, "theirs").unwrap();
        std::fs::set_permissions(&others, std::fs::Permissions::from_mode(0o644)).unwrap();
        symlink(&others, at("link")).unwrap();
        for there in [at("link"), others.clone()] {
            assert_eq!(private_file(&there).unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
        }
        // What somebody laid where it is staged, and what stood in its place, are replaced and not followed.
        symlink(&others, at("client.new")).unwrap();
        symlink(&others, &secret).unwrap();
        replace(&secret, b"token").unwrap();
        assert_eq!((std::fs::read(&secret).unwrap(), mode(&secret)), (b"token".to_vec(), 0o600));
        assert_eq!((std::fs::read(&others).unwrap(), mode(&others)), (b"theirs".to_vec(), 0o644));

        assert!(make_private(&others).unwrap());
        assert_eq!(mode(&others), 0o600);
        assert!(!make_private(&others).unwrap() && !make_private(&at("nothing")).unwrap());
    }
}
