//! PostgreSQL's SSLRequest ("Message Flow", "SSL Session Encryption").

use super::{Talk, foreign, refused};
use crate::failure::Failure;

/// Length 8, then the code 80877103.
const REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

pub(super) async fn upgrade(talk: &mut Talk<'_>) -> Result<(), Failure> {
    talk.say(&REQUEST).await?;
    match talk.take(1).await?[..] {
        [b'S'] => Ok(()),
        [b'N'] => Err(refused("the PostgreSQL server has TLS switched off", b"N")),
        [b'E'] => {
            // An ErrorResponse; what follows may be anything and says more.
            let _ = talk.hear().await;
            Err(refused("the PostgreSQL server refuses the connection", &talk.buffer))
        }
        ref other => Err(foreign("PostgreSQL", other)),
    }
}

#[cfg(test)]
mod tests {

    #[test]
    fn the_request_is_the_documented_number() {
        assert_eq!(super::REQUEST[4..], 80_877_103_u32.to_be_bytes());
    }
}
