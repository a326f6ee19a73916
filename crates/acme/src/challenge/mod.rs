//! How a name is proven (RFC 8555 §8).

pub mod dns;
mod door;
pub mod hook;
pub mod http;
pub mod tls;

use std::net::IpAddr;

use instant_acme::ChallengeType;
use pki::Time;

use crate::error::Error;

/// The longest token; the standard asks for 128 bits, which are 22 characters (RFC 8555 §8.1).
const MAX_TOKEN: usize = 512;

/// Who proves names.
#[derive(Clone, Debug)]
pub enum Solver {
    /// `http-01`: a file that the CA fetches from port 80 of the name.
    Http(http::Responder),
    /// `tls-alpn-01`: a certificate that the CA is shown on port 443 of the name.
    Tls(tls::Responder),
    /// `dns-01`: a record, written by DNS update.
    Dns(dns::Updater),
    /// `dns-01`: a record, written by a program.
    Hook(hook::Hook),
}

/// What proves one name.
#[derive(Clone, PartialEq, Eq)]
pub struct Proof {
    /// The name without `*.`, or an address.
    pub name: String,
    /// The CA's token.
    pub token: String,
    /// The token with the account's thumbprint (RFC 8555 §8.1).
    pub key_authorization: String,
    /// Its digest as the value of a TXT record (RFC 8555 §8.4).
    pub txt: String,
    /// Its digest (RFC 8737 §3).
    pub digest: [u8; 32],
}

impl Proof {
    pub(crate) fn new(name: &str, token: &str, key_authorization: &str, txt: String, digest: [u8; 32]) -> Self {
        Proof { name: name.to_owned(), token: token.to_owned(), key_authorization: key_authorization.to_owned(), txt, digest }
    }

    /// Whether the token is one (base64url, RFC 8555 §8.1): it becomes part of a path, and of what programs are called with.
    pub(crate) fn is_sound(&self) -> bool {
        let base64url = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        (1..=MAX_TOKEN).contains(&self.token.len()) && self.token.bytes().all(base64url)
    }

    /// The name of the TXT record that proves it (RFC 8555 §8.4), without a final dot.
    #[must_use]
    pub fn record(&self) -> String {
        format!("_acme-challenge.{}", self.name.trim_end_matches('.'))
    }

    /// The server name with which the CA asks for it over TLS: of an address, its name in the reverse tree (RFC 8738 §6).
    #[must_use]
    pub fn server_name(&self) -> String {
        match self.name.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => {
                let [a, b, c, d] = address.octets();
                format!("{d}.{c}.{b}.{a}.in-addr.arpa")
            }
            Ok(IpAddr::V6(address)) => {
                let nibbles = address.octets().into_iter().rev().map(|byte| format!("{:x}.{:x}.", byte & 15, byte >> 4));
                format!("{}ip6.arpa", nibbles.collect::<String>())
            }
            Err(_) => self.name.to_ascii_lowercase(),
        }
    }
}

/// What a key authorization is worth ends with its challenge, but it is nobody's business.
impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proof({})", pki::text::escape(&self.name))
    }
}

impl Solver {
    pub(crate) fn challenge(&self) -> ChallengeType {
        match self {
            Solver::Http(_) => ChallengeType::Http01,
            Solver::Tls(_) => ChallengeType::TlsAlpn01,
            Solver::Dns(_) | Solver::Hook(_) => ChallengeType::Dns01,
        }
    }

    pub(crate) fn is_dns(&self) -> bool {
        matches!(self, Solver::Dns(_) | Solver::Hook(_))
    }

    /// Puts all of them in place. Doing it twice is doing it once.
    pub(crate) async fn present(&self, proofs: &[&Proof], now: Time) -> Result<(), Error> {
        for proof in proofs {
            match self {
                Solver::Http(responder) => responder.serve_token(&proof.token, &proof.key_authorization)?,
                Solver::Tls(responder) => responder.show(proof, now)?,
                Solver::Dns(updater) => Box::pin(updater.add(&proof.record(), &proof.txt, now)).await?,
                Solver::Hook(hook) => Box::pin(hook.present(&proof.record(), &proof.txt)).await?,
            }
        }
        Ok(())
    }

    /// Those that the CA would not find yet, by token, each with why.
    pub(crate) async fn hidden(&self, proofs: &[&Proof], since: Time, now: Time) -> Result<Vec<(String, String)>, Error> {
        let Solver::Dns(updater) = self else { return Ok(Vec::new()) };
        let mut hidden = Vec::new();
        if proofs.is_empty() {
            return Ok(hidden);
        }
        let records: Vec<(String, String)> = proofs.iter().map(|proof| (proof.record(), proof.txt.clone())).collect();
        let all = Box::pin(updater.hidden(&records, since, now)).await?;
        hidden.extend(proofs.iter().zip(all).filter_map(|(proof, why)| Some((proof.token.clone(), why?))));
        Ok(hidden)
    }

    /// Takes all of them away, whatever happens to some; says what is left.
    pub(crate) async fn clear(&self, proofs: &[&Proof], now: Time) -> Vec<String> {
        let mut left = Vec::new();
        for proof in proofs {
            let done = match self {
                Solver::Http(responder) => {
                    responder.forget(&proof.token);
                    Ok(())
                }
                Solver::Tls(responder) => {
                    responder.forget(proof);
                    Ok(())
                }
                Solver::Dns(updater) => Box::pin(updater.remove(&proof.record(), &proof.txt, now)).await,
                Solver::Hook(hook) => Box::pin(hook.clean_up(&proof.record(), &proof.txt)).await,
            };
            if let Err(error) = done {
                left.push(format!("{} is still there: {error}", proof.record()));
            }
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(name: &str, token: &str) -> Proof {
        Proof::new(name, token, "", String::new(), [0; 32])
    }

    #[test]
    fn names_of_what_proves() {
        let check = |name: &str, record: &str, server_name: &str| {
            assert_eq!((proof(name, "t").record().as_str(), proof(name, "t").server_name().as_str()), (record, server_name));
        };
        check("www.example.com", "_acme-challenge.www.example.com", "www.example.com");
        check("192.0.2.1", "_acme-challenge.192.0.2.1", "1.2.0.192.in-addr.arpa");
        // RFC 3596 §2.5.
        check(
            "4321:0:1:2:3:4:567:89ab",
            "_acme-challenge.4321:0:1:2:3:4:567:89ab",
            "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa",
        );
    }

    #[test]
    fn a_token_is_base64url() {
        for (token, sound) in
            [("evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr_oA", true), ("", false), ("../../etc", false), ("a b", false), ("é", false)]
        {
            assert_eq!(proof("a", token).is_sound(), sound, "{token}");
        }
        assert!(!proof("a", &"x".repeat(MAX_TOKEN + 1)).is_sound());
    }
}
