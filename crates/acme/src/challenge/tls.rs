//! `tls-alpn-01` (RFC 8737): shows a certificate that proves a name, to whoever asks by `acme-tls/1`, and ends.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pki::text::escape;
use pki::{Span, Time};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::{Proof, door};
use crate::error::Error;

/// The protocol by which a CA asks (RFC 8737 §4).
const PROTOCOL: &[u8] = b"acme-tls/1";
/// The most names at a time.
const MAX_NAMES: usize = 10_000;
/// How long a certificate is shown if nobody takes it back, and for how long it says that it is valid.
const SHOWN_TIME: Duration = Duration::from_secs(24 * 3600);
const VALID: Span = Span::seconds(7 * 86_400);

/// Certificates that are shown. Clones share them.
#[derive(Clone, Default)]
pub struct Responder {
    shown: Arc<Shown>,
}

#[derive(Default)]
struct Shown(Mutex<BTreeMap<String, One>>);

struct One {
    token: String,
    certified: Arc<CertifiedKey>,
    since: Instant,
}

impl Shown {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, One>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Responder {
    /// One that shows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Responder::default()
    }

    /// Shows what proves a name from now on.
    ///
    /// # Errors
    /// [`Error::Later`] if too many are shown already; [`Error::Setup`] if the certificate cannot be made.
    pub(crate) fn show(&self, proof: &Proof, now: Time) -> Result<(), Error> {
        let name = proof.server_name();
        {
            let mut all = self.shown.all();
            all.retain(|_, one| one.since.elapsed() < SHOWN_TIME);
            if all.get(&name).is_some_and(|one| one.token == proof.token) {
                return Ok(());
            }
            if all.len() >= MAX_NAMES {
                return Err(Error::unproven(format!("{MAX_NAMES} names are shown for tls-alpn-01 already"), 60));
            }
        }
        let cannot = |why: String| Error::Setup(format!("the certificate that proves {} cannot be made: {why}", escape(&proof.name)));
        // A clock of the CA's that is a little behind must not call it not yet valid.
        let (from, until) = (now - Span::seconds(3600), now + VALID);
        let made = pki::build::acme_challenge(&proof.name, &proof.digest, from, until);
        let (certificate, key) = made.map_err(|error| cannot(error.to_string()))?;
        let pkcs8 = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.expose_pkcs8()));
        let signer = aws_lc_rs::sign::any_supported_type(&pkcs8).map_err(|error| cannot(error.to_string()))?;
        let certified = CertifiedKey::new(vec![CertificateDer::from(certificate.der().to_vec())], signer);
        self.shown.all().insert(name, One { token: proof.token.clone(), certified: Arc::new(certified), since: Instant::now() });
        Ok(())
    }

    /// Shows it no longer.
    pub(crate) fn forget(&self, proof: &Proof) {
        let (name, mut all) = (proof.server_name(), self.shown.all());
        // Another order may prove the same name meanwhile.
        if all.get(&name).is_some_and(|one| one.token == proof.token) {
            all.remove(&name);
        }
    }

    /// How many are shown.
    #[must_use]
    pub fn served(&self) -> usize {
        self.shown.all().len()
    }

    /// Answers on a socket until the task ends.
    ///
    /// # Errors
    /// [`Error::Setup`] if TLS cannot be set up.
    pub fn listen(self, listener: TcpListener) -> Result<impl Future<Output = ()> + Send + 'static, Error> {
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Setup(format!("TLS cannot be set up: {error}")))?
            .with_no_client_auth();
        let mut config = config.with_cert_resolver(Arc::new(Resolver(self.shown)));
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(door::let_in(listener, move |stream| {
            let acceptor = acceptor.clone();
            async move {
                // RFC 8737 §3: the handshake is all; nothing is said afterwards.
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let _gone = stream.shutdown().await;
                }
            }
        }))
    }
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Responder({} names)", self.served())
    }
}

struct Resolver(Arc<Shown>);

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // RFC 8737 §4: by this protocol alone. Whoever asks for anything else is no CA.
        if !hello.alpn()?.any(|protocol| protocol == PROTOCOL) {
            return None;
        }
        let name = hello.server_name()?.to_ascii_lowercase();
        self.0.all().get(&name).map(|one| one.certified.clone())
    }
}
