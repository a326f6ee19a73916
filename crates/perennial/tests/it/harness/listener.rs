//! TLS servers on loopback, well and ill behaved.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use pki::{Certificate, PrivateKey};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer},
};

use super::paper::Pair;

pub(crate) fn config(chain: &[Certificate], key: &PrivateKey) -> Arc<ServerConfig> {
    let chain = chain.iter().map(|certificate| CertificateDer::from(certificate.der().to_vec())).collect();
    let key = PrivateKeyDer::try_from(key.expose_pkcs8().to_vec()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap())
}

/// Gives each connection to a thread of its own.
pub(crate) fn listen(address: impl Into<Ipv4Addr>, serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind((address.into(), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Serves a chain.
pub(crate) fn serve(chain: &[Certificate], key: &PrivateKey) -> SocketAddr {
    let config = config(chain, key);
    listen([127, 0, 0, 1], move |socket| {
        let Ok(tls) = ServerConnection::new(Arc::clone(&config)) else { return };
        // To the client's close_notify.
        let _ = std::io::copy(&mut StreamOwned::new(tls, socket), &mut std::io::sink());
    })
}

/// A server whose certificate can be changed while it runs.
#[derive(Clone)]
pub(crate) struct Changing {
    pub(crate) address: SocketAddr,
    config: Arc<Mutex<Arc<ServerConfig>>>,
}

impl Changing {
    /// It thinks for a while before it answers, so that looks at it are under way at any moment.
    pub(crate) fn serve(pair: &Pair, thinks: Duration) -> Changing {
        let config = Arc::new(Mutex::new(self::config(&pair.chain, &pair.key)));
        let current = Arc::clone(&config);
        let address = listen([127, 0, 0, 1], move |socket| {
            let config = Arc::clone(&current.lock().unwrap());
            let Ok(tls) = ServerConnection::new(config) else { return };
            thread::sleep(thinks);
            let _ = std::io::copy(&mut StreamOwned::new(tls, socket), &mut std::io::sink());
        });
        Changing { address, config }
    }

    pub(crate) fn put(&self, pair: &Pair) {
        *self.config.lock().unwrap() = config(&pair.chain, &pair.key);
    }
}

/// A record that promises much, and one byte of it a second.
pub(crate) fn slow() -> SocketAddr {
    listen([127, 0, 0, 1], |mut socket| {
        let _ = socket.read(&mut [0; 4096]);
        // A handshake record of TLS 1.2 (RFC 5246 §6.2.1) with 16 kB in it.
        let mut bytes = [22, 3, 3, 64, 0].into_iter().chain(std::iter::repeat(2));
        while bytes.next().is_some_and(|byte| socket.write_all(&[byte]).is_ok()) {
            thread::sleep(Duration::from_secs(1));
        }
    })
}

/// Agrees on TLS 1.2 and then sends a certificate message without end, as fast as it is taken.
pub(crate) fn endless() -> SocketAddr {
    listen([127, 0, 0, 1], |mut socket| {
        let _ = socket.read(&mut [0; 4096]);
        // ServerHello (RFC 5246 §7.4.1.3): random, no session, ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, with an empty renegotiation_info
        // and extended_master_secret.
        let mut hello = vec![3, 3];
        hello.extend([7; 32]);
        hello.extend([0, 0xc0, 0x2b, 0, 0, 9, 0xff, 0x01, 0, 1, 0, 0, 0x17, 0, 0]);
        let mut message = vec![2, 0, 0, u8::try_from(hello.len()).unwrap()];
        message.extend(hello);
        let record = |content: &[u8]| [&[22, 3, 3][..], &u16::try_from(content.len()).unwrap().to_be_bytes(), content].concat();
        // Certificate (§7.4.2): as long as three bytes can say; each certificate in it too.
        let mut chain = vec![11, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfc, 0x00, 0x40, 0x00];
        chain.resize(1 << 14, 0x30);
        let _ = socket.write_all(&record(&message)).and_then(|()| socket.write_all(&record(&chain)));
        let more = record(&[0x30; 1 << 14]);
        while socket.write_all(&more).is_ok() {}
    })
}
