//! HTTPS by hand, so that what is tested is not also what it is tested with: a client for the API, and a receiver of messages.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, ServerName},
};
use serde_json::Value;

use super::{listener, paper::Pair};

/// Speaks to one server with one token.
#[derive(Clone)]
pub(crate) struct Api {
    address: SocketAddr,
    token: String,
    config: Arc<ClientConfig>,
}

/// An answer of the API.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Api {
    pub(crate) fn new(address: SocketAddr, ca: &Path, token: &str) -> Api {
        let pem = std::fs::read(ca).unwrap();
        let mut roots = RootCertStore::empty();
        for certificate in pki::load(&pem, None, pki::Limits::default()).unwrap().certificates {
            roots.add(CertificateDer::from(certificate.der().to_vec())).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Api { address, token: token.to_owned(), config: Arc::new(config.with_root_certificates(roots).with_no_client_auth()) }
    }

    pub(crate) fn with_token(&self, token: &str) -> Api {
        Api { token: token.to_owned(), ..self.clone() }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None).unwrap()
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, Some(body)).unwrap()
    }

    /// An answer that is not JSON, as text.
    pub(crate) fn text(&self, path: &str) -> String {
        let (_, body) = self.exchange("GET", path, "").unwrap();
        String::from_utf8(body).unwrap()
    }

    /// Sends one request on a connection of its own. An error means that nobody knows what became of it.
    pub(crate) fn send(&self, method: &str, path: &str, body: Option<&Value>) -> std::io::Result<Answer> {
        let (status, body) = self.exchange(method, path, &body.map(Value::to_string).unwrap_or_default())?;
        let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body)? };
        Ok(Answer { status, body })
    }

    fn exchange(&self, method: &str, path: &str, body: &str) -> std::io::Result<(u16, Vec<u8>)> {
        let mut stream = self.connect()?;
        self.head(&mut stream, method, path, if body.is_empty() { "" } else { "application/json" }, body.len() as u64)?;
        write!(stream, "{body}")?;
        stream.flush()?;
        answered(&mut stream)
    }

    /// A connection to it that nothing was said on.
    pub(crate) fn connect(&self) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let socket = TcpStream::connect_timeout(&self.address, Duration::from_secs(10))?;
        socket.set_read_timeout(Some(Duration::from_secs(60)))?;
        let name = ServerName::from(self.address.ip());
        let tls = ClientConnection::new(Arc::clone(&self.config), name).map_err(std::io::Error::other)?;
        Ok(StreamOwned::new(tls, socket))
    }

    /// The head of a request whose body is `length` bytes of a kind.
    pub(crate) fn head(&self, stream: &mut impl Write, method: &str, path: &str, kind: &str, length: u64) -> std::io::Result<()> {
        let kind = if kind.is_empty() { String::new() } else { format!("content-type: {kind}\r\n") };
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\nauthorization: Bearer {}\r\n{kind}content-length: {length}\r\n\r\n",
            self.address, self.token
        )
    }
}

/// Status and body, once both are there as a whole.
pub(crate) fn answered(stream: &mut impl Read) -> std::io::Result<(u16, Vec<u8>)> {
    let mut bytes = Vec::new();
    // The length decides whether the answer is whole, not how the connection ended.
    let ended = stream.read_to_end(&mut bytes);
    match read(&bytes) {
        Some((head, body)) => {
            let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or(std::io::ErrorKind::InvalidData)?;
            Ok((status, body))
        }
        None => Err(ended.err().unwrap_or_else(|| std::io::ErrorKind::UnexpectedEof.into())),
    }
}

/// Head and body of a message, once both are there as a whole.
fn read(bytes: &[u8]) -> Option<(String, Vec<u8>)> {
    let at = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = String::from_utf8(bytes[..at].to_vec()).ok()?;
    let length = header(&head, "content-length").map_or(0, |l| l.parse().unwrap_or(0));
    let body = bytes.get(at + 4..at + 4 + length)?;
    Some((head, body.to_vec()))
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let mut lines = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    lines.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// As web servers write it (RFC 9110 §5.6.7).
fn date(at: pki::Time) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    // 1970-01-01 was a Thursday.
    let weekday = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][usize::try_from(at.unix() / 86_400 % 7).unwrap()];
    let text = at.to_string();
    let month = MONTHS[text[5..7].parse::<usize>().unwrap() - 1];
    format!("{weekday}, {} {month} {} {} GMT", &text[8..10], &text[..4], &text[11..19])
}

/// A request as a receiver got it.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// What it was answered with.
    pub(crate) status: u16,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        header(&self.head, name).unwrap_or_else(|| panic!("no {name} in {}", self.head))
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// Takes messages over TLS, and answers as it is told.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    status: Arc<Mutex<u16>>,
}

impl Receiver {
    pub(crate) fn start(pair: &Pair) -> Receiver {
        let config = listener::config(&pair.chain, &pair.key);
        let (received, status) = (Arc::<Mutex<Vec<Received>>>::default(), Arc::new(Mutex::new(200)));
        let (kept, answer) = (Arc::clone(&received), Arc::clone(&status));
        let address = listener::listen([127, 0, 0, 1], move |socket| {
            let Ok(tls) = ServerConnection::new(Arc::clone(&config)) else { return };
            let mut stream = StreamOwned::new(tls, socket);
            let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
            while let Ok(n @ 1..) = stream.read(&mut buffer) {
                bytes.extend_from_slice(&buffer[..n]);
                let Some((head, body)) = read(&bytes) else { continue };
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                // What was told and what was answered belong together.
                let status = answer.lock().unwrap();
                kept.lock().unwrap().push(Received { path, head, body, status: *status });
                let date = date(super::now());
                let _ = write!(stream, "HTTP/1.1 {} X\r\ndate: {date}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", *status);
                let _ = stream.flush();
                stream.conn.send_close_notify();
                let _ = stream.flush();
                return;
            }
        });
        Receiver { address, received, status }
    }

    pub(crate) fn answer(&self, status: u16) {
        *self.status.lock().unwrap() = status;
    }

    /// What came to a path so far.
    pub(crate) fn received(&self, path: &str) -> Vec<Received> {
        self.received.lock().unwrap().iter().filter(|r| r.path == path).cloned().collect()
    }
}
