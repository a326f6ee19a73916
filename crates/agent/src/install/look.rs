//! The agent's own look: what does the node's own port present now?
//!
//! It is what the agent claims, and lets it put the last good version back within seconds. The store believes only its own observation.

use std::time::Duration;

use pki::{Certificate, Fingerprint};
use probe::{Dialer, Offer, Target};
use tokio::time::{Instant, sleep, timeout_at};

use crate::config::{KeyFamily, Look};

/// Handshakes in a row that must show the new certificate: a server with several workers changes them one after the other.
const STREAK: u32 = 3;
/// The pause between two handshakes.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks until the leaf was seen [`STREAK`] times in a row.
///
/// # Errors
/// What was seen last instead, when the time is over.
pub(crate) async fn look(dialer: &Dialer, look: &Look, family: Option<KeyFamily>, leaf: &str) -> Result<(), String> {
    let end = Instant::now() + look.within;
    let target = Target {
        host: look.host.clone(),
        port: look.port,
        server_name: look.server_name.clone(),
        protocol: look.protocol,
        address: look.host.parse().ok(),
    };
    let offer = match family {
        Some(KeyFamily::Rsa) => Offer::RsaOnly,
        Some(KeyFamily::Ecdsa) => Offer::EcdsaOnly,
        Some(KeyFamily::Ed25519) => Offer::Ed25519Only,
        None => Offer::All,
    };
    let (mut streak, mut last) = (0, "nothing was seen yet".to_owned());
    loop {
        match timeout_at(end, dialer.look(&target, offer)).await {
            Ok(attempts) => match seen(&attempts, leaf) {
                Ok(()) => streak += 1,
                Err(instead) => (streak, last) = (0, instead),
            },
            Err(_) => last = format!("the handshake did not end in time; before that, {last}"),
        }
        if streak >= STREAK {
            return Ok(());
        }
        if Instant::now() + PAUSE >= end {
            let place = format!("{}:{}", look.host, look.port);
            return Err(format!("{place} does not serve the certificate within {} s: {last}", look.within.as_secs_f32()));
        }
        sleep(PAUSE).await;
    }
}

/// Whether every address shows the leaf.
fn seen(attempts: &[probe::Attempt], leaf: &str) -> Result<(), String> {
    for attempt in attempts {
        match &attempt.result {
            Ok(presented) => {
                let first = presented.chain.first().map(|der| Fingerprint::of(der).to_string()).unwrap_or_default();
                if first != leaf {
                    return Err(format!("it serves {}", described(presented.chain.first())));
                }
            }
            Err(failure) => return Err(failure.to_string()),
        }
    }
    if attempts.is_empty() { Err("there is no address".to_owned()) } else { Ok(()) }
}

fn described(der: Option<&Vec<u8>>) -> String {
    match der.map(|der| Certificate::parse(der.as_slice())) {
        Some(Ok(leaf)) => format!("{} ({}), which ends {}", leaf.fingerprint(), leaf.subject(), leaf.not_after()),
        Some(Err(_)) => "something that is no certificate".to_owned(),
        None => "no certificate".to_owned(),
    }
}
