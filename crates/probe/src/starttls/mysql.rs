//! MySQL and MariaDB: greeting, then SSLRequest (client/server protocol, "Connection Phase").

use super::{Talk, foreign, refused};
use crate::{
    failure::{Blame, Failure, Phase},
    limits::REPLY,
};

/// CLIENT_LONG_PASSWORD | CLIENT_PROTOCOL_41 | CLIENT_SSL | CLIENT_SECURE_CONNECTION.
const CAPABILITIES: u32 = 0x0000_0001 | 0x0000_0200 | CLIENT_SSL | 0x0000_8000;
const CLIENT_SSL: u32 = 0x0000_0800;
/// utf8mb4_general_ci.
const CHARSET: u8 = 45;

pub(super) async fn upgrade(talk: &mut Talk<'_>) -> Result<(), Failure> {
    let header = talk.take(4).await?;
    let [low, middle, high, sequence] = header[..] else { return Err(foreign("MySQL", &header)) };
    let length = usize::from(low) | usize::from(middle) << 8 | usize::from(high) << 16;
    if sequence != 0 || length > REPLY {
        return Err(foreign("MySQL", &[&header[..], &talk.buffer].concat()));
    }
    let greeting = talk.take(length).await?;
    match greeting.first() {
        Some(10) => {}
        // ERR_Packet: 0xff, error code (2 bytes), text. "Host is blocked", "Too many connections".
        Some(0xff) => return Err(refused("the MySQL server refuses the connection", greeting.get(3..).unwrap_or_default())),
        _ => return Err(foreign("MySQL", &greeting)),
    }
    match capabilities(&greeting) {
        Some(offered) if offered & CLIENT_SSL != 0 => {}
        Some(_) => {
            return Err(Failure::new(Phase::StartTls, Blame::Peer, false, "the MySQL server has TLS switched off"));
        }
        None => return Err(foreign("MySQL", &greeting)),
    }
    talk.say(&request()).await
}

/// Protocol::HandshakeV10: version text up to NUL, thread id (4), scramble (8), filler (1), capabilities (lower 2 bytes).
fn capabilities(greeting: &[u8]) -> Option<u32> {
    let end = greeting.iter().position(|byte| *byte == 0)?;
    let lower = greeting.get(end + 1 + 4 + 8 + 1..)?;
    Some(u32::from(u16::from_le_bytes([*lower.first()?, *lower.get(1)?])))
}

/// Protocol::SSLRequest: capabilities, largest packet, charset, 23 zeroes; packet number 1.
fn request() -> Vec<u8> {
    let mut packet = vec![32, 0, 0, 1];
    packet.extend(CAPABILITIES.to_le_bytes());
    packet.extend(0x0100_0000_u32.to_le_bytes());
    packet.push(CHARSET);
    packet.resize(4 + 32, 0);
    packet
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn capabilities_follow_the_version_text() {
        let greeting = b"\x0a8.0.36\0\x01\0\0\0scramble\0\xff\xf7rest";
        assert_eq!(capabilities(greeting), Some(0xf7ff));
        for cut in 0..23 {
            assert_eq!(capabilities(&greeting[..cut]), None, "{cut}");
        }
        assert_eq!(request().len(), 36);
    }
}
