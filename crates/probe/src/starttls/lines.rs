//! The protocols that talk in lines: SMTP, IMAP, POP3.

use std::net::IpAddr;

use super::{Talk, foreign, refused};
use crate::{
    failure::{Blame, Failure, Phase},
    limits::LINE,
};

/// The most lines of one reply, or before one answer.
const LINES: usize = 100;

impl Talk<'_> {
    /// The next line without its end.
    async fn line(&mut self) -> Result<Vec<u8>, Failure> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
                while line.last().is_some_and(|byte| matches!(byte, b'\r' | b'\n')) {
                    line.pop();
                }
                return Ok(line);
            }
            if self.buffer.len() > LINE {
                let detail = format!("the peer sent a line of more than {LINE} bytes");
                return Err(Failure::new(Phase::StartTls, Blame::Limits, false, detail));
            }
            self.hear().await?;
        }
    }

    /// A whole SMTP reply (RFC 5321 §4.2.1): its code and its lines without codes.
    async fn reply(&mut self) -> Result<(u16, Vec<Vec<u8>>), Failure> {
        let mut texts = Vec::new();
        for _ in 0..LINES {
            let line = self.line().await?;
            let code = line.get(..3).and_then(|code| std::str::from_utf8(code).ok()).and_then(|code| code.parse::<u16>().ok());
            let Some(code) = code.filter(|_| matches!(line.get(3), None | Some(b' ' | b'-'))) else {
                return Err(foreign("SMTP", &line));
            };
            texts.push(line.get(4..).unwrap_or_default().to_vec());
            if line.get(3) != Some(&b'-') {
                return Ok((code, texts));
            }
        }
        Err(too_many())
    }
}

/// RFC 3207.
pub(super) async fn smtp(talk: &mut Talk<'_>) -> Result<(), Failure> {
    let (code, texts) = talk.reply().await?;
    if code != 220 {
        return Err(refused(&format!("the mail server refuses the connection ({code})"), &texts.concat()));
    }
    // RFC 5321 §4.1.4: a client without a name of its own introduces itself by its address.
    let me = match talk.wire.local_ip().map_err(|error| Failure::io(Phase::StartTls, &error))? {
        IpAddr::V4(address) => format!("[{address}]"),
        IpAddr::V6(address) => format!("[IPv6:{address}]"),
    };
    talk.say(format!("EHLO {me}\r\n").as_bytes()).await?;
    let (code, texts) = talk.reply().await?;
    if code != 250 {
        return Err(refused(&format!("the mail server refuses EHLO ({code})"), &texts.concat()));
    }
    // The first line is the server's name, the others are its extensions.
    if !texts.iter().skip(1).any(|text| text.trim_ascii().eq_ignore_ascii_case(b"STARTTLS")) {
        return Err(Failure::new(Phase::StartTls, Blame::Peer, false, "the mail server does not offer STARTTLS"));
    }
    talk.say(b"STARTTLS\r\n").await?;
    match talk.reply().await? {
        (220, _) => Ok(()),
        (code, texts) => Err(refused(&format!("the mail server refuses STARTTLS ({code})"), &texts.concat())),
    }
}

/// RFC 9051 §6.2.1.
pub(super) async fn imap(talk: &mut Talk<'_>) -> Result<(), Failure> {
    let greeting = talk.line().await?;
    match word(&greeting, 1).as_slice() {
        _ if !greeting.starts_with(b"* ") => return Err(foreign("IMAP", &greeting)),
        b"OK" => {}
        b"PREAUTH" => return Err(refused("the IMAP server is past the point where TLS could start", &greeting)),
        _ => return Err(refused("the IMAP server refuses the connection", &greeting)),
    }
    talk.say(b"p1 STARTTLS\r\n").await?;
    for _ in 0..LINES {
        let line = talk.line().await?;
        if line.starts_with(b"* ") {
            continue;
        }
        return match (word(&line, 0).as_slice(), word(&line, 1).as_slice()) {
            (b"P1", b"OK") => Ok(()),
            (b"P1", _) => Err(refused("the IMAP server refuses STARTTLS", &line)),
            _ => Err(foreign("IMAP", &line)),
        };
    }
    Err(too_many())
}

/// RFC 2595 §4.
pub(super) async fn pop3(talk: &mut Talk<'_>) -> Result<(), Failure> {
    let greeting = talk.line().await?;
    if !greeting.starts_with(b"+OK") {
        return Err(foreign("POP3", &greeting));
    }
    talk.say(b"STLS\r\n").await?;
    let answer = talk.line().await?;
    if answer.starts_with(b"+OK") { Ok(()) } else { Err(refused("the POP3 server refuses STLS", &answer)) }
}

/// The `n`th word of a line, in capitals.
fn word(line: &[u8], n: usize) -> Vec<u8> {
    line.split(|byte| *byte == b' ').nth(n).unwrap_or_default().to_ascii_uppercase()
}

fn too_many() -> Failure {
    Failure::new(Phase::StartTls, Blame::Limits, false, format!("the peer sent more than {LINES} lines instead of an answer"))
}
