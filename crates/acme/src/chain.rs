//! What the CA hands out, held against what was asked for.

use instant_acme::Order;
use pki::text::escape;
use pki::{Candidate, Certificate, ImportCode, Limits, Purpose, Time, check_import};

use crate::account::{Session, again};
use crate::error::Error;
use crate::order::{Issued, Wanted};

/// The most certificates of a chain from a CA.
const MAX_CERTIFICATES: usize = 12;
/// The most other chains that are looked at.
const MAX_ALTERNATES: usize = 8;
const DOING: &str = "fetching the certificate";

/// Fetches the chain of an order that is valid: the one that is preferred, where the CA has it (RFC 8555 §7.4.2).
pub(crate) async fn download(
    session: &Session,
    order: &mut Order,
    wanted: &Wanted,
    mut notes: Vec<String>,
    now: Time,
) -> Result<Issued, Error> {
    let pem = again!(Box::pin(order.certificate())).map_err(|error| session.failed(DOING, error, now))?;
    let Some(pem) = pem else { return Err(Error::later("the CA says that the certificate is there, and does not hand it out", 60)) };
    let alternates = session.wire.notes().alternates;
    let chain = check(pem.as_bytes(), wanted, now)?;
    let Some(preferred) = &wanted.chain else { return Ok(Issued { chain, notes }) };
    if led_to(&chain, preferred) {
        return Ok(Issued { chain, notes });
    }
    let mut seen = vec![top(&chain)];
    for url in alternates.iter().take(MAX_ALTERNATES) {
        // The library fetches no other chain. It asks for any resource as for an order, signed, and the wire keeps the answer.
        // What is wrong with another chain is no reason not to take this one.
        if let Err(error) = again!(Box::pin(session.account.order(url.clone())))
            && !matches!(error, instant_acme::Error::Json(_))
        {
            notes.push(session.failed("fetching another chain", error, now).to_string());
            continue;
        }
        let other = match check(&session.wire.notes().body, wanted, now) {
            Ok(other) => other,
            Err(error) => {
                notes.push(format!("another chain is skipped: {error}"));
                continue;
            }
        };
        if led_to(&other, preferred) {
            return Ok(Issued { chain: other, notes });
        }
        seen.push(top(&other));
    }
    notes.push(format!("the CA has no chain to {}; its own choice is taken, of: {}", escape(preferred), seen.join(", ")));
    Ok(Issued { chain, notes })
}

/// Refuses what is not what was asked for, with all that is wrong at once.
pub(crate) fn check(pem: &[u8], wanted: &Wanted, now: Time) -> Result<Vec<Certificate>, Error> {
    let limits = Limits { certificates: MAX_CERTIFICATES, keys: MAX_CERTIFICATES, pkcs12_bytes: 0, ..Limits::default() };
    let refused = |code: &str, what: &str| Error::refused(code, format!("what the CA handed out is refused: {what}"));
    if pem.iter().all(u8::is_ascii_whitespace) {
        return Err(refused("chain-empty", "it is empty"));
    }
    let loaded = match pki::load(pem, None, limits) {
        Ok(loaded) => loaded,
        // A key that cannot even be read is still a key.
        Err(pki::LoadError::Key { .. }) => return Err(refused("chain-private-key", "it holds a private key")),
        Err(error) => return Err(refused("chain-unreadable", &error.to_string())),
    };
    if !loaded.keys.is_empty() {
        // Somebody else's key, or ours, was seen by whoever made this file: nothing of it is used.
        return Err(refused("chain-private-key", "it holds a private key"));
    }
    let Some(leaf) = loaded.certificates.first() else { return Err(refused("chain-empty", "it holds no certificate")) };
    if pki::acme::key_of_request(&wanted.csr) != Some(leaf.spki_der()) {
        return Err(refused("chain-other-key", &format!("{} is for another key than the request's", leaf.subject())));
    }
    let candidate =
        Candidate { chain: &loaded.certificates, key: None, stray_keys: 0, verifier: None, purpose: Purpose::Server, is_ca: false };
    match check_import(candidate, &wanted.names, None, now) {
        Ok(checked) => Ok(checked.chain),
        Err(problems) => {
            let code = problems.first().map_or("chain-wrong", |problem| match problem.code {
                ImportCode::NameNotCovered => "chain-name-not-covered",
                ImportCode::Expired | ImportCode::NotYetValid | ImportCode::NeverValid => "chain-dates",
                ImportCode::BadSignature | ImportCode::Disordered | ImportCode::MissingIntermediate => "chain-broken",
                _ => "chain-wrong",
            });
            let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Err(refused(code, &all.join("; ")))
        }
    }
}

/// Whether the top of the chain is issued by somebody with this common name.
fn led_to(chain: &[Certificate], name: &str) -> bool {
    chain.last().and_then(|top| common_name(top.issuer())).is_some_and(|found| found == name)
}

fn top(chain: &[Certificate]) -> String {
    chain.last().map(|top| common_name(top.issuer()).map_or_else(|| top.issuer().to_owned(), |name| escape(&name))).unwrap_or_default()
}

/// The common name of a distinguished name as pki writes it (RFC 4514 §2).
fn common_name(name: &str) -> Option<String> {
    let (mut part, mut parts, mut rest) = (String::new(), Vec::new(), name.chars());
    while let Some(c) = rest.next() {
        match c {
            '\\' => part.extend(rest.next()),
            ',' | '+' => parts.push(std::mem::take(&mut part)),
            c => part.push(c),
        }
    }
    parts.push(part);
    parts.iter().find_map(|part| part.strip_prefix("CN=")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use pki::{Authority, KeyType};

    /// As much of a request as is looked at: version, an empty subject, the key.
    fn request(spki: &[u8]) -> Vec<u8> {
        let wrap = |inside: &[u8]| [&[0x30, 0x81, u8::try_from(inside.len()).unwrap()], inside].concat();
        let info = wrap(&wrap(&[&[0x02, 1, 0, 0x30, 0], spki, &[0xa0, 0], &[0; 40]].concat()));
        assert_eq!(pki::acme::key_of_request(&info), Some(spki));
        info
    }

    #[test]
    fn common_names() {
        for (name, expected) in
            [("CN=ISRG Root X1,O=ISRG,C=US", Some("ISRG Root X1")), ("O=Acme\\,CN=b,CN=a\\+b", Some("a+b")), ("O=Acme", None), ("", None)]
        {
            assert_eq!(common_name(name).as_deref(), expected, "{name}");
        }
    }

    /// All that a CA must not hand out.
    #[test]
    fn what_was_not_asked_for_is_refused() {
        let (from, now, until) = (Time::from_unix(1_800_000_000), Time::from_unix(1_800_000_100), Time::from_unix(1_800_100_000));
        let root = Authority::new("Root", from, until).unwrap();
        let middle = root.intermediate("Middle", from, until).unwrap();
        let (leaf, key) = middle.leaf(&["a.example.com", "b.example.com"], KeyType::EcdsaP256, from, until).unwrap();
        let (other, other_key) = middle.leaf(&["a.example.com", "b.example.com"], KeyType::EcdsaP256, from, until).unwrap();
        let wanted = |names: &[&str]| Wanted {
            names: names.iter().map(ToString::to_string).collect(),
            csr: request(key.spki_der()),
            profile: None,
            replaces: None,
            chain: None,
        };
        let (leaf, other, above) = (leaf.to_pem(), other.to_pem(), middle.certificate().to_pem());
        let stranger = Authority::new("Stranger", from, until).unwrap().certificate().to_pem();
        let both = ["a.example.com", "b.example.com"];
        let code = |pem: &str, names: &[&str], at: Time| match check(pem.as_bytes(), &wanted(names), at) {
            Ok(chain) => format!("{} certificates", chain.len()),
            Err(Error::Refused(refusal)) => refusal.code,
            Err(other) => format!("{other}"),
        };
        let good = leaf.clone() + &above;
        assert_eq!(code(&good, &both, now), "2 certificates");
        assert_eq!(code(&leaf, &both, now), "1 certificates");
        assert_eq!(code("", &both, now), "chain-empty");
        assert_eq!(code(" \n", &both, now), "chain-empty");
        assert_eq!(code("<html>nothing here</html>", &both, now), "chain-unreadable");
        assert_eq!(code(&(other + &above), &both, now), "chain-other-key");
        assert_eq!(code(&(above.clone() + &leaf), &both, now), "chain-other-key");
        for its in [&key, &other_key] {
            let pem = its.expose_pem();
            assert_eq!(code(&(good.clone() + &pem), &both, now), "chain-private-key");
            assert_eq!(code(&(pem.to_string() + &good), &both, now), "chain-private-key");
        }
        let cut = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert_eq!(code(&(good.clone() + cut), &both, now), "chain-private-key");
        assert_eq!(code(&good, &["a.example.com", "c.example.com"], now), "chain-name-not-covered");
        assert_eq!(code(&(leaf.clone() + &stranger), &both, now), "chain-broken");
        assert_eq!(code(&good, &both, Time::from_unix(1_900_000_000)), "chain-dates");
        assert_eq!(code(&good, &both, Time::from_unix(1_700_000_000)), "chain-dates");
        assert_eq!(code(&good.repeat(20), &both, now), "chain-unreadable");
    }
}
