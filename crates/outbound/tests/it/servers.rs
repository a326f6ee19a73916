//! Servers to talk to: hyper for those that behave, plain sockets for those that do not.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A request as the server saw it.
pub(crate) struct Seen {
    pub(crate) head: http::request::Parts,
    pub(crate) body: Bytes,
}

type Answers = Arc<dyn Fn(Seen) -> Response<Full<Bytes>> + Send + Sync>;

/// A server that counts its connections.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// Gives every connection to `serve`.
async fn listen<F, R>(serve: F) -> Server
where
    F: Fn(TcpStream) -> R + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = connections.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(serve(stream));
        }
    });
    Server { address, connections }
}

async fn serve_http(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, answer: Answers) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            Ok::<_, Infallible>(answer(Seen { head, body }))
        }
    });
    // A client that hangs up early is some tests' point.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// Plain HTTP.
pub(crate) async fn http(answer: impl Fn(Seen) -> Response<Full<Bytes>> + Send + Sync + 'static) -> Server {
    let answer: Answers = Arc::new(answer);
    listen(move |stream| serve_http(stream, answer.clone())).await
}

/// A server that reads the head of one request and then writes what `script` says, as it says.
pub(crate) async fn raw<F, R>(script: F) -> Server
where
    F: Fn(TcpStream) -> R + Send + Sync + Clone + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    listen(move |mut stream| {
        let script = script.clone();
        async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => return,
                }
            }
            script(stream).await;
        }
    })
    .await
}

/// Accepts and says nothing at all.
pub(crate) async fn silent() -> Server {
    listen(|stream| async move {
        let _kept_open = stream;
        std::future::pending::<()>().await;
    })
    .await
}

pub(crate) async fn write(stream: &mut TcpStream, bytes: &[u8]) -> bool {
    stream.write_all(bytes).await.is_ok()
}

/// A certificate for `name` and the authority that it comes from.
pub(crate) struct Identity {
    pub(crate) roots: RootCertStore,
    pub(crate) roots_pem: String,
    config: Arc<ServerConfig>,
}

pub(crate) fn identity(name: &str, expired: bool) -> Identity {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    // A subject of its own: a stranger with the same name would be refused for another reason.
    let subject = format!("Authority {:x?}", &key.public_key_raw()[1..9]);
    params.distinguished_name.push(DnType::CommonName, subject);
    let authority = CertifiedIssuer::self_signed(params, key).unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    if expired {
        params.not_before = rcgen::date_time_ymd(2012, 2, 22);
        params.not_after = rcgen::date_time_ymd(2013, 2, 22);
    }
    let key = KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, &authority).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key.serialize_der().try_into().unwrap())
        .unwrap();
    Identity { roots, roots_pem: authority.pem(), config: Arc::new(config) }
}

/// HTTPS.
pub(crate) async fn https(identity: &Identity, answer: impl Fn(Seen) -> Response<Full<Bytes>> + Send + Sync + 'static) -> Server {
    let acceptor = TlsAcceptor::from(identity.config.clone());
    let answer: Answers = Arc::new(answer);
    listen(move |stream| {
        let (acceptor, answer) = (acceptor.clone(), answer.clone());
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                serve_http(stream, answer).await;
            }
        }
    })
    .await
}

pub(crate) fn text(status: u16, body: &'static str) -> Response<Full<Bytes>> {
    Response::builder().status(status).body(Full::from(body)).unwrap()
}
