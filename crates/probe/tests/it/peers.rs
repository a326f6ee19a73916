//! Servers to dial. Every one listens on a port of the system's choice and ends with the test.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use probe::{Dialer, Phases, Protocol, Settings, Target};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::{
    HandshakeKind, ServerConfig, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::TlsAcceptor;

/// Which key the leaf has.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Key {
    Ecdsa,
    Rsa,
}

/// A leaf with its intermediate, as a server presents them, and the key.
pub(crate) struct Identity {
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) certified: Arc<CertifiedKey>,
    pub(crate) key_pem: String,
    pub(crate) chain_pem: String,
}

pub(crate) fn identity(key: Key) -> Identity {
    let leaf_key = match key {
        Key::Ecdsa => KeyPair::generate().unwrap(),
        Key::Rsa => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap(),
    };
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    // Names of their own: GnuTLS takes a leaf that is named like its issuer for a root, and presents it alone.
    authority.distinguished_name.push(DnType::CommonName, "Test Issuer");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let above = authority.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let mut params = CertificateParams::new(vec!["one.example".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "one.example");
    // Long expired: to the probe that is a fact like any other.
    params.not_before = rcgen::date_time_ymd(2012, 2, 23);
    params.not_after = rcgen::date_time_ymd(2013, 2, 22);
    let leaf = params.signed_by(&leaf_key, &issuer).unwrap();
    let ders = vec![leaf.der().clone(), above.der().clone()];
    let private = PrivateKeyDer::try_from(leaf_key.serialize_der()).unwrap();
    Identity {
        chain: ders.iter().map(|der| der.to_vec()).collect(),
        certified: Arc::new(CertifiedKey::new(ders, aws_lc_rs::sign::any_supported_type(&private).unwrap())),
        key_pem: leaf_key.serialize_pem(),
        chain_pem: leaf.pem() + &above.pem(),
    }
}

/// A chain whose key the server does not have.
pub(crate) fn impostor() -> Identity {
    let (shown, own) = (identity(Key::Ecdsa), identity(Key::Ecdsa));
    let chain: Vec<CertificateDer<'static>> = shown.chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
    Identity { certified: Arc::new(CertifiedKey::new(chain, Arc::clone(&own.certified.key))), ..shown }
}

/// Presents the first identity whose key fits what the client can verify, like a server with two certificates.
#[derive(Debug)]
struct Fitting(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for Fitting {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.iter().find(|key| key.key.choose_scheme(hello.signature_schemes()).is_some()).cloned()
    }
}

pub(crate) fn config(identities: &[&Identity], version: &'static SupportedProtocolVersion) -> ServerConfig {
    ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Fitting(identities.iter().map(|one| Arc::clone(&one.certified)).collect())))
}

/// How a connection ended, seen from the server.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Visit {
    pub(crate) server_name: Option<String>,
    pub(crate) full: bool,
    /// close_notify came before the end of the stream.
    pub(crate) polite: bool,
    pub(crate) local: SocketAddr,
}

/// Serves TLS; what every completed visit looked like arrives in the channel.
pub(crate) async fn serve(config: ServerConfig) -> (SocketAddr, mpsc::UnboundedReceiver<Visit>) {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (visits, seen) = mpsc::unbounded_channel();
    let address = listen(move |stream| {
        let (acceptor, visits) = (acceptor.clone(), visits.clone());
        async move {
            if let Ok(visit) = visit(&acceptor, stream).await {
                let _ = visits.send(visit);
            }
        }
    })
    .await;
    (address, seen)
}

pub(crate) async fn visit(acceptor: &TlsAcceptor, stream: TcpStream) -> io::Result<Visit> {
    let local = stream.local_addr()?;
    let mut tls = acceptor.accept(stream).await?;
    let state = tls.get_ref().1;
    let (server_name, kind) = (state.server_name().map(str::to_owned), state.handshake_kind());
    let polite = matches!(tls.read(&mut [0; 16]).await, Ok(0));
    Ok(Visit { server_name, full: kind != Some(HandshakeKind::Resumed), polite, local })
}

/// Runs `serve` on every connection to all of 127.0.0.0/8 on one port.
pub(crate) async fn listen<Served: Future<Output = ()> + Send + 'static>(
    serve: impl Fn(TcpStream) -> Served + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

pub(crate) fn target(address: SocketAddr, protocol: Protocol) -> Target {
    Target { host: "one.example".into(), port: address.port(), server_name: None, protocol, address: Some(address.ip()) }
}

/// A dialer whose limits for phases that are never meant to end are short; the others are long enough for any machine.
pub(crate) fn dialer(edit: impl FnOnce(&mut Settings)) -> Dialer {
    let long = Duration::from_secs(60);
    let phases = Phases { resolve: long, connect: long, starttls: long, handshake: long, close: long };
    let mut settings = Settings { phases, rate_per_address: 0, ..Settings::default() };
    edit(&mut settings);
    Dialer::new(settings).unwrap()
}
