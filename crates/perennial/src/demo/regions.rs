//! Regions of TLS listeners on loopback. Each service of a region has two nodes behind one name, and serves what was put on it.

use pki::{Certificate, PrivateKey};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use tokio::{io::AsyncReadExt, net::TcpListener, task::JoinSet};
use tokio_rustls::TlsAcceptor;

/// How often a port is looked for that is free on both addresses.
const PORT_TRIES: usize = 20;

/// What the nodes of one service in one region serve; can be replaced while they run.
#[derive(Debug)]
pub(crate) struct Served(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Served {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl Served {
    /// Replaces it, as a reload does.
    pub(crate) fn put(&self, chain: &[Certificate], key: &PrivateKey) -> Result<(), String> {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = certified(chain, key)?;
        Ok(())
    }
}

/// The nodes of one service in one region.
pub(crate) struct Nodes {
    /// The addresses that its name resolves to.
    pub(crate) addresses: Vec<IpAddr>,
    /// The port, the same on all of them.
    pub(crate) port: u16,
    /// What they serve.
    pub(crate) served: Arc<Served>,
    _running: JoinSet<()>,
}

impl Nodes {
    /// Starts two nodes (one, where the system has a single loopback address).
    pub(crate) async fn start(region: u8, chain: &[Certificate], key: &PrivateKey) -> Result<Nodes, String> {
        let served = Arc::new(Served(RwLock::new(certified(chain, key)?)));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .with_no_client_auth()
            .with_cert_resolver(served.clone());
        let tls = TlsAcceptor::from(Arc::new(config));
        let listeners = listen(region).await?;
        let addresses = listeners.iter().map(|(a, _)| a.ip()).collect();
        let port = listeners.first().map_or(0, |(a, _)| a.port());
        let mut running = JoinSet::new();
        for (_, listener) in listeners {
            let tls = tls.clone();
            running.spawn(async move {
                while let Ok((socket, _)) = listener.accept().await {
                    let tls = tls.clone();
                    tokio::spawn(async move {
                        let serve = async {
                            let mut stream = tls.accept(socket).await.ok()?;
                            stream.read(&mut [0; 64]).await.ok()
                        };
                        let _ = tokio::time::timeout(Duration::from_secs(5), serve).await;
                    });
                }
            });
        }
        Ok(Nodes { addresses, port, served, _running: running })
    }
}

async fn listen(region: u8) -> Result<Vec<(SocketAddr, TcpListener)>, String> {
    let [one, two] = [1, 2].map(|node| IpAddr::V4(Ipv4Addr::new(127, 0, region, node)));
    for _ in 0..PORT_TRIES {
        let Ok(first) = TcpListener::bind((one, 0)).await else { break };
        let at = first.local_addr().map_err(|e| e.to_string())?;
        if let Ok(second) = TcpListener::bind((two, at.port())).await {
            return Ok(vec![(at, first), (SocketAddr::new(two, at.port()), second)]);
        }
    }
    let only = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(|e| format!("listening on loopback: {e}"))?;
    let at = only.local_addr().map_err(|e| e.to_string())?;
    Ok(vec![(at, only)])
}

fn certified(chain: &[Certificate], key: &PrivateKey) -> Result<Arc<CertifiedKey>, String> {
    let der = chain.iter().map(|c| CertificateDer::from(c.der().to_vec())).collect();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.expose_pkcs8().to_vec()));
    let signing = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).map_err(|e| e.to_string())?;
    Ok(Arc::new(CertifiedKey::new(der, signing)))
}
