//! One question and its answer, over UDP or TCP (RFC 1035 §4.2).

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use pki::Time;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout, timeout_at};

use super::message::{Message, Request};
use super::tsig::Key;
use crate::error::Error;

/// How long one answer is waited for.
pub(crate) const ANSWER_TIME: Duration = Duration::from_secs(5);
/// How often a question is sent over UDP, where packets get lost.
const TRIES: u32 = 2;
/// The largest answer over UDP that is read, in bytes.
const MAX_PACKET: usize = 4 * 1024;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It may come the next time.
    Silent(String),
    /// It will not, until somebody changes something.
    Refused(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Silent(why) | Failure::Refused(why) => f.write_str(why),
        }
    }
}

impl Failure {
    pub(crate) fn said(self, doing: &str) -> Error {
        match self {
            Failure::Silent(why) => Error::unproven(format!("{doing}: {why}"), 60),
            Failure::Refused(why) => Error::Setup(format!("{doing}: {why}")),
        }
    }
}

/// Asks over UDP first, and over TCP where the answer does not fit or does not come.
pub(crate) async fn ask(server: SocketAddr, request: Request) -> Result<Message, Failure> {
    let bytes = with_id(request);
    match udp(server, &bytes).await {
        Some(answer) if !answer.was_cut() => Ok(answer),
        _ => tcp(server, &bytes).await,
    }
}

/// Sends a signed request over TCP, since a packet that is sent twice would be done twice, and believes a signed answer alone.
pub(crate) async fn ask_signed(server: SocketAddr, request: Request, key: &Key, now: Time) -> Result<Message, Failure> {
    let mut bytes = with_id(request);
    let mac = key.sign(&mut bytes, now);
    let answer = match tcp(server, &bytes).await {
        Ok(answer) => answer,
        // Servers that take updates over UDP alone exist.
        Err(failure) => udp(server, &bytes).await.ok_or(failure)?,
    };
    match key.verify(&answer, &mac, now) {
        Ok(()) => Ok(answer),
        // A server that refuses before it looks at the signature does not sign; a success that is not signed is none.
        Err(_) if answer.signature().is_none() && answer.code() != 0 => Ok(answer),
        Err(why) => Err(Failure::Refused(why)),
    }
}

fn with_id(Request(mut bytes): Request) -> Vec<u8> {
    let mut id = [0; 2];
    // Should it fail, the question still has the port that the system drew for it; what is signed does not need it.
    let _drawn = aws_lc_rs::rand::fill(&mut id);
    bytes[..2].copy_from_slice(&id);
    bytes
}

/// Whether a message answers this request.
fn fits(answer: &Message, request: &[u8]) -> bool {
    answer.id().to_be_bytes() == request[..2] && answer.answers_to(request)
}

async fn udp(server: SocketAddr, request: &[u8]) -> Option<Message> {
    let local: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(local).await.ok()?;
    // Connected, so that answers of others are not even read.
    socket.connect(server).await.ok()?;
    let mut buffer = vec![0; MAX_PACKET];
    for _ in 0..TRIES {
        socket.send(request).await.ok()?;
        let end = Instant::now() + ANSWER_TIME / (2 * TRIES);
        while let Ok(got) = timeout_at(end, socket.recv(&mut buffer)).await {
            let answer = Message::read(buffer.get(..got.ok()?)?.to_vec());
            if let Some(answer) = answer.filter(|answer| fits(answer, request)) {
                return Some(answer);
            }
        }
    }
    None
}

async fn tcp(server: SocketAddr, request: &[u8]) -> Result<Message, Failure> {
    let talk = async {
        let mut stream = TcpStream::connect(server).await?;
        let length = u16::try_from(request.len()).unwrap_or(u16::MAX).to_be_bytes();
        stream.write_all(&[&length, request].concat()).await?;
        let length = stream.read_u16().await?;
        let mut answer = vec![0; usize::from(length)];
        stream.read_exact(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    match timeout(ANSWER_TIME, talk).await {
        Err(_) => Err(Failure::Silent(format!("{server} did not answer within {ANSWER_TIME:?}"))),
        Ok(Err(error)) => Err(Failure::Silent(format!("{server} did not answer: {error}"))),
        Ok(Ok(answer)) => {
            let answer = Message::read(answer).filter(|answer| fits(answer, request));
            answer.ok_or_else(|| Failure::Silent(format!("what {server} answers is no answer to the question")))
        }
    }
}
