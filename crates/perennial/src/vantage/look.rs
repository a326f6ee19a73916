//! One look: every address, every offer, as many handshakes as asked for.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use api::v1::{Attempt, Failure, Look, Report};
use base64::Engine as _;
use pki::Time;
use probe::{Dialer, MAX_ADDRESSES, Offer, Protocol, Target};
use tokio::task::JoinSet;

/// Addresses of one target that are dialled at the same time.
const AT_ONCE: usize = 16;
/// Most handshakes with one address and offer.
const MAX_HANDSHAKES: u32 = 30;
/// Most attempts in one report.
const REPORT_ATTEMPTS: usize = 256;
/// A report is closed when its chains have so many bytes; the server takes somewhat more.
const REPORT_BYTES: usize = 2 << 20;
/// Most certificates of a chain that a report carries.
const CHAIN_CERTIFICATES: usize = 16;
/// Most bytes of a certificate that a report carries.
const CERTIFICATE_BYTES: usize = 64 << 10;

/// What a look brought.
pub(super) struct Seen {
    at: Time,
    /// `ip:port`, or why there is none.
    resolved: Result<Vec<String>, Failure>,
    attempts: Vec<Attempt>,
}

/// Looks. `now` is asked when the look has ended.
pub(super) async fn look(dialer: &Dialer, look: &Look, now: impl Fn() -> Time) -> Seen {
    let Some(protocol) = Protocol::parse(&look.protocol) else {
        let detail = format!("this vantage does not know the protocol {}; it is older than the server", pki::text::escape(&look.protocol));
        return Seen { at: now(), resolved: Err(Failure { blame: "local".into(), retry: false, detail }), attempts: Vec::new() };
    };
    let target = Target {
        host: look.host.trim_matches(['[', ']']).to_owned(),
        port: look.port,
        server_name: Some(look.server_name.clone()).filter(|name| !name.is_empty()),
        protocol,
        address: None,
    };
    let mut addresses = BTreeSet::new();
    let resolved = match dialer.resolve(&target).await {
        Ok(found) => match found.beyond_failure() {
            // What was not dialled must not look like something that is well: the server takes it for no answer either.
            Some(failure) => Err(told(&failure)),
            None => {
                addresses.extend(found.addresses.iter().copied());
                Ok(found.addresses.iter().map(|ip| SocketAddr::new(*ip, look.port).to_string()).collect())
            }
        },
        Err(failure) => Err(told(&failure)),
    };
    addresses.extend(look.also.iter().filter_map(|text| also(text, look.port)).take(MAX_ADDRESSES));
    let known = |words: &[String]| Offer::ALL.into_iter().filter(|o| words.iter().any(|w| w == o.as_str())).collect::<Vec<Offer>>();
    let (offers, unnamed) = (known(&look.offers), known(&look.unnamed));
    let handshakes = look.handshakes.clamp(1, MAX_HANDSHAKES);

    let mut waiting = addresses.into_iter();
    let mut running = JoinSet::new();
    let mut done = Vec::new();
    let start = |running: &mut JoinSet<(IpAddr, Vec<Attempt>)>, address: IpAddr| {
        let (dialer, target, offers, unnamed) = (dialer.clone(), target.clone(), offers.clone(), unnamed.clone());
        running.spawn(async move {
            let mut attempts = dial(&dialer, &target, address, &offers, handshakes).await;
            if !unnamed.is_empty() {
                let more = dial(&dialer, &target.without_name(address), address, &unnamed, handshakes).await;
                attempts.extend(more.into_iter().map(|a| Attempt { unnamed: true, ..a }));
            }
            (address, attempts)
        });
    };
    for address in waiting.by_ref().take(AT_ONCE) {
        start(&mut running, address);
    }
    while let Some(joined) = running.join_next().await {
        match joined {
            Ok(of_address) => done.push(of_address),
            // A defect must not look like an address that nobody asked about.
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => {}
        }
        if let Some(address) = waiting.next() {
            start(&mut running, address);
        }
    }
    done.sort_by_key(|(address, _)| *address);
    let attempts = done.into_iter().flat_map(|(_, of_address)| of_address).collect();
    Seen { at: now(), resolved, attempts }
}

/// One after the other, as a server behind one address would see ordinary clients come.
async fn dial(dialer: &Dialer, target: &Target, address: IpAddr, offers: &[Offer], handshakes: u32) -> Vec<Attempt> {
    let at = SocketAddr::new(address, target.port).to_string();
    let mut attempts = Vec::new();
    for offer in offers {
        for _ in 0..handshakes {
            let attempt = match dialer.dial(target, address, *offer).await.result {
                Ok(presented) => attempt(at.clone(), *offer, fit_for_a_report(presented)),
                Err(failure) => failed(at.clone(), *offer, &failure),
            };
            let broken = attempt.failure.is_some();
            attempts.push(attempt);
            // Who does not answer once is not asked thirty times.
            if broken {
                break;
            }
        }
    }
    attempts
}

/// What a server would not take is a failure that says so; sending it would lose the whole report.
fn fit_for_a_report(presented: probe::Presented) -> Result<probe::Presented, Failure> {
    let refused = |detail| Err(Failure { blame: "limits".into(), retry: false, detail });
    if presented.chain.len() > CHAIN_CERTIFICATES {
        return refused(format!("presented {} certificates, more than {CHAIN_CERTIFICATES}", presented.chain.len()));
    }
    match presented.chain.iter().map(Vec::len).max() {
        Some(largest) if largest > CERTIFICATE_BYTES => {
            refused(format!("presented a certificate of {largest} bytes, more than {CERTIFICATE_BYTES}"))
        }
        _ => Ok(presented),
    }
}

fn attempt(address: String, offer: Offer, result: Result<probe::Presented, Failure>) -> Attempt {
    let base64 = base64::engine::general_purpose::STANDARD;
    let (chain, protocol, cipher, failure) = match result {
        Ok(p) => (p.chain.iter().map(|der| base64.encode(der)).collect(), p.protocol.to_owned(), p.cipher.to_owned(), None),
        Err(failure) => (Vec::new(), String::new(), String::new(), Some(failure)),
    };
    Attempt { address, offer: offer.as_str().to_owned(), unnamed: false, chain, protocol, cipher, failure }
}

fn failed(address: String, offer: Offer, failure: &probe::Failure) -> Attempt {
    attempt(address, offer, Err(told(failure)))
}

fn told(failure: &probe::Failure) -> Failure {
    Failure { blame: failure.blame.as_str().to_owned(), retry: failure.retry, detail: failure.to_string() }
}

/// An address to dial besides; whatever else stands there is none of the target's.
fn also(text: &str, port: u16) -> Option<IpAddr> {
    match text.parse::<SocketAddr>() {
        Ok(socket) => (socket.port() == port).then(|| socket.ip()),
        Err(_) => text.parse().ok(),
    }
}

/// The look as reports, none larger than a server takes.
pub(super) fn reports(target: i64, seen: Seen) -> Vec<Report> {
    let (resolved, unresolved) = match seen.resolved {
        Ok(addresses) => (addresses, None),
        Err(failure) => (Vec::new(), Some(failure)),
    };
    let report = |attempts| Report {
        target: Some(target),
        target_name: None,
        method: "dialled".to_owned(),
        at: seen.at.to_string(),
        resolved: resolved.clone(),
        unresolved: unresolved.clone(),
        attempts,
        expires_at: None,
    };
    let mut reports = Vec::new();
    let (mut attempts, mut bytes) = (Vec::new(), 0);
    for attempt in seen.attempts {
        bytes += attempt.chain.iter().map(String::len).sum::<usize>();
        attempts.push(attempt);
        if attempts.len() >= REPORT_ATTEMPTS || bytes >= REPORT_BYTES {
            reports.push(report(std::mem::take(&mut attempts)));
            bytes = 0;
        }
    }
    if !attempts.is_empty() || reports.is_empty() {
        reports.push(report(attempts));
    }
    reports
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn addresses_besides() {
        let check =
            |text: &str, expected: Option<&str>| assert_eq!(also(text, 443).map(|ip| ip.to_string()).as_deref(), expected, "{text}");
        check("192.0.2.1:443", Some("192.0.2.1"));
        check("[2001:db8::1]:443", Some("2001:db8::1"));
        check("192.0.2.1", Some("192.0.2.1"));
        check("192.0.2.1:8443", None);
        check("example.com:443", None);
        check("", None);
    }

    #[test]
    fn a_large_look_becomes_several_reports_and_nothing_is_lost() {
        let one = |bytes: usize| Attempt {
            address: "192.0.2.1:443".into(),
            offer: "all".into(),
            unnamed: false,
            chain: vec!["A".repeat(bytes)],
            protocol: String::new(),
            cipher: String::new(),
            failure: None,
        };
        let check = |count: usize, bytes: usize, expected: &[usize]| {
            let seen = Seen { at: Time::from_unix(0), resolved: Ok(vec!["192.0.2.1:443".into()]), attempts: vec![one(bytes); count] };
            let reports = reports(7, seen);
            assert_eq!(reports.iter().map(|r| r.attempts.len()).collect::<Vec<_>>(), expected);
            assert!(reports.iter().all(|r| r.target == Some(7) && r.resolved.len() == 1));
        };
        check(0, 0, &[0]);
        check(3, 10, &[3]);
        check(REPORT_ATTEMPTS, 10, &[REPORT_ATTEMPTS]);
        check(REPORT_ATTEMPTS + 1, 10, &[REPORT_ATTEMPTS, 1]);
        check(5, REPORT_BYTES / 2, &[2, 2, 1]);
    }
}
