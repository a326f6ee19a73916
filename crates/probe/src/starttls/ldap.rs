//! LDAP's StartTLS extended operation (RFC 4511 §4.14).

use super::{Talk, foreign, refused};
use crate::{
    failure::{Blame, Failure, Phase},
    limits::REPLY,
};

/// `LDAPMessage { messageID 1, extendedReq { requestName 1.3.6.1.4.1.1466.20037 } }` in BER.
const REQUEST: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";

/// `[APPLICATION 24]`, constructed (RFC 4511 §4.12).
const EXTENDED_RESPONSE: u8 = 0x78;

pub(super) async fn upgrade(talk: &mut Talk<'_>) -> Result<(), Failure> {
    talk.say(REQUEST).await?;
    let start = talk.take(2).await?;
    let [0x30, first] = start[..] else { return Err(foreign("LDAP", &[&start[..], &talk.buffer].concat())) };
    let length = match first {
        0..=0x7f => usize::from(first),
        0x81..=0x84 => {
            let digits = talk.take(usize::from(first & 0x7f)).await?;
            digits.iter().fold(0usize, |sum, digit| sum.saturating_mul(256).saturating_add(usize::from(*digit)))
        }
        _ => return Err(foreign("LDAP", &start)),
    };
    if length > REPLY {
        let detail = format!("the LDAP server announces an answer of {length} bytes; {REPLY} is the limit");
        return Err(Failure::new(Phase::StartTls, Blame::Limits, false, detail));
    }
    let message = talk.take(length).await?;
    match result_code(&message) {
        Some(0) => Ok(()),
        Some(code) => Err(refused(&format!("the LDAP server refuses StartTLS (result code {code})"), &message)),
        None => Err(foreign("LDAP", &message)),
    }
}

/// The result code of an ExtendedResponse to message 1.
fn result_code(message: &[u8]) -> Option<u8> {
    let rest = message.strip_prefix(b"\x02\x01\x01")?;
    let (&tag, rest) = rest.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let skip = if first <= 0x7f { 0 } else { usize::from(first & 0x7f) };
    match (tag, rest.get(skip..)?) {
        // resultCode ENUMERATED (RFC 4511 §4.1.9); all defined codes fit one byte.
        (EXTENDED_RESPONSE, [0x0a, 1, code, ..]) => Some(*code),
        _ => None,
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn result_codes_are_read_in_short_and_long_form() {
        let check = |message: &[u8], expected| assert_eq!(result_code(message), expected, "{message:x?}");
        check(b"\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00", Some(0));
        check(b"\x02\x01\x01\x78\x84\0\0\0\x07\x0a\x01\x34\x04\x00\x04\x00", Some(52));
        check(b"\x02\x01\x02\x78\x07\x0a\x01\x00\x04\x00\x04\x00", None);
        check(b"\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00", None);
        check(b"\x02\x01\x01\x78", None);
        check(b"", None);
        assert_eq!(REQUEST.len(), 31);
    }
}
