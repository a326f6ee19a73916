//! A farm of TLS endpoints on loopback for benchmarks: each address of 127.1.0.0/16 and following has a certificate of its own, signed
//! through one intermediate. `farm COUNT FOLDER` writes `root.pem`, `targets` (one per endpoint) and `silent` (as many addresses of a
//! port that accepts and never answers), says `ready`, and serves until its standard input ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::{
    fmt::Write as _,
    fs,
    io::Read as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    thread,
};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpSocket, TcpStream},
};
use tokio_rustls::TlsAcceptor;

/// The first endpoint is 127.1.0.1.
const FIRST: u32 = 0x7f01_0001;
const BACKLOG: u32 = 16_384;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let count: u32 = arguments.next().and_then(|count| count.parse().ok()).expect("farm COUNT FOLDER");
    let folder = PathBuf::from(arguments.next().expect("farm COUNT FOLDER"));
    let (root, configs) = endpoints(count);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        let (tls, silent) = (listener(), listener());
        let list = |listener: &TcpListener| {
            let port = listener.local_addr().unwrap().port();
            (0..count).fold(String::new(), |mut list, n| {
                writeln!(list, "{}:{port}", Ipv4Addr::from_bits(FIRST + n)).unwrap();
                list
            })
        };
        fs::write(folder.join("root.pem"), root).unwrap();
        fs::write(folder.join("targets"), list(&tls)).unwrap();
        fs::write(folder.join("silent"), list(&silent)).unwrap();
        tokio::spawn(hold(silent));
        tokio::spawn(serve(tls, configs));
        println!("ready");
        let (ended, end) = tokio::sync::oneshot::channel();
        thread::spawn(move || {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            let _ = ended.send(());
        });
        let _ = end.await;
    });
}

fn listener() -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))).unwrap();
    socket.listen(BACKLOG).unwrap()
}

fn endpoints(count: u32) -> (String, Vec<Arc<ServerConfig>>) {
    let authority = |name: &str, constraint| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(constraint);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    };
    let (root_params, root_key) = (authority("Farm Root", BasicConstraints::Unconstrained), KeyPair::generate().unwrap());
    let root = root_params.self_signed(&root_key).unwrap();
    let root_issuer = Issuer::new(root_params, root_key);
    let (params, key) = (authority("Farm Intermediate", BasicConstraints::Constrained(0)), KeyPair::generate().unwrap());
    let intermediate = params.signed_by(&key, &root_issuer).unwrap().der().clone();
    let issuer = Issuer::new(params, key);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let configs = (0..count).map(|n| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![format!("node-{n}.farm.example")]).unwrap();
        params.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::from_bits(FIRST + n))));
        params.distinguished_name.push(DnType::CommonName, format!("node-{n}.farm.example"));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let leaf = params.signed_by(&key, &issuer).unwrap().der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf, intermediate.clone()], key)
            .unwrap();
        Arc::new(config)
    });
    (root.pem(), configs.collect())
}

async fn serve(listener: TcpListener, configs: Vec<Arc<ServerConfig>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let Ok(SocketAddr::V4(local)) = stream.local_addr() else { continue };
        let place = local.ip().to_bits().checked_sub(FIRST).and_then(|n| configs.get(usize::try_from(n).ok()?));
        let Some(config) = place else { continue };
        let acceptor = TlsAcceptor::from(Arc::clone(config));
        tokio::spawn(async move {
            if let Ok(mut tls) = acceptor.accept(stream).await {
                while matches!(tls.read(&mut [0; 256]).await, Ok(count) if count > 0) {}
            }
        });
    }
}

async fn hold(listener: TcpListener) {
    let mut held: Vec<TcpStream> = Vec::new();
    while let Ok((stream, _)) = listener.accept().await {
        held.push(stream);
    }
}
