//! An order, one bounded step at a time (RFC 8555 §7.4).
//!
//! What a step does is decided by what the CA says of the order, never by what we remember of it: that is what makes a step
//! after a crash the same as any other.

use std::time::Duration;

use instant_acme::{CertificateIdentifier, Identifier, NewOrder, Order, OrderStatus};
use pki::text::escape;
use pki::{Certificate, Time};
use tokio::time::timeout;

use crate::account::{Ca, Credentials, Session, again};
use crate::authorise;
use crate::chain;
use crate::challenge::Solver;
use crate::error::{self, Error, Refusal};
use crate::patience;

/// The most names of one order; public CAs take 100 at most.
pub const MAX_NAMES: usize = 100;
/// How long it may take to take away what proved the names of an order that is over.
const CLEAR_TIME: Duration = Duration::from_secs(20);
/// The longest DNS name (RFC 1035 §2.3.4), in characters.
const MAX_NAME: usize = 253;

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The names: DNS names in lower case and A-labels, with `*.` in front where wild, or addresses (RFC 8738).
    pub names: Vec<String>,
    /// The request, DER (RFC 2986); its names are those above, and what comes back is for its key, or is refused.
    pub csr: Vec<u8>,
    /// The profile to ask for, of those that the directory lists.
    pub profile: Option<String>,
    /// The certificate that this one is to replace, by its identifier (RFC 9773 §4.1, §5).
    pub replaces: Option<String>,
    /// The common name that the top of the chain is to be issued by, where the CA offers several chains.
    pub chain: Option<String>,
}

/// An order that was placed. Its URL is all that has to be kept.
#[derive(Clone, Copy, Debug)]
pub struct Placed<'a> {
    /// The order's URL.
    pub url: &'a str,
    /// When it was placed.
    pub since: Time,
}

/// How far an order is.
#[derive(Clone, Debug)]
pub enum Step {
    /// It was placed: keep the URL, then go on.
    Placed {
        /// The order's URL.
        url: String,
        /// What was not as asked for.
        notes: Vec<String>,
    },
    /// It goes on.
    Waiting {
        /// What is awaited, for people.
        awaits: String,
        /// Seconds after which to call again, within [`patience`]'s limits.
        after: i64,
        /// What was odd on the way.
        notes: Vec<String>,
    },
    /// It is done.
    Issued(Issued),
}

/// What the CA handed out, held against what was asked for.
#[derive(Clone, Debug)]
pub struct Issued {
    /// Leaf first.
    pub chain: Vec<Certificate>,
    /// What was not as asked for.
    pub notes: Vec<String>,
}

impl Ca {
    /// Takes an order one step further; without `placed` it is placed. Called again with the same arguments, it goes on where
    /// the CA says that it is, also after a crash between the step and whatever the caller kept of it.
    ///
    /// # Errors
    /// [`Error::Later`] leaves the order as it is; [`Error::Refused`] is its end, after which nothing of a challenge is left behind;
    /// [`Error::Setup`] leaves it as it is until somebody changes what is wrong.
    pub async fn advance(
        &self,
        credentials: &Credentials,
        wanted: &Wanted,
        solver: &Solver,
        placed: Option<Placed<'_>>,
        now: Time,
    ) -> Result<Step, Error> {
        check(wanted, solver)?;
        let session = Box::pin(self.session(credentials, now)).await?;
        match placed {
            None => Box::pin(self.place(&session, wanted, now)).await,
            Some(placed) => Box::pin(go_on(&session, wanted, solver, placed, now)).await,
        }
    }

    /// Takes back what an order that is given up left at the challenges; the order itself runs out at the CA.
    ///
    /// # Errors
    /// As [`Ca::advance`]; what could not be taken away is named.
    pub async fn abandon(&self, credentials: &Credentials, wanted: &Wanted, solver: &Solver, url: &str, now: Time) -> Result<(), Error> {
        let session = Box::pin(self.session(credentials, now)).await?;
        let mut order = fetch(&session, url, now).await?;
        let left = Box::pin(authorise::clear(&session, &mut order, wanted, solver, now)).await?;
        if left.is_empty() { Ok(()) } else { Err(Error::Setup(left.join("; "))) }
    }

    async fn place(&self, session: &Session, wanted: &Wanted, now: Time) -> Result<Step, Error> {
        const DOING: &str = "placing an order";
        let facts = Box::pin(self.facts(now)).await?;
        if let Some(profile) = wanted.profile.as_ref().filter(|p| !facts.profiles.contains_key(*p)) {
            let known: Vec<&str> = facts.profiles.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".into() } else { known.join(", ") };
            return Err(Error::Setup(format!("{DOING}: the CA has no profile {}; it has: {known}", escape(profile))));
        }
        let identifiers: Vec<Identifier> = wanted.names.iter().map(|name| identifier(name)).collect();
        let plain = || {
            let order = NewOrder::new(&identifiers);
            match wanted.profile.as_deref() {
                Some(profile) => order.profile(profile),
                None => order,
            }
        };
        let mut notes = Vec::new();
        let replaced = wanted.replaces.as_ref().filter(|_| facts.renewal_info.is_some());
        if let Some((authority, serial)) = replaced.and_then(|id| id.split_once('.')) {
            let id = CertificateIdentifier { authority_key_identifier: authority.into(), serial: serial.into() };
            match again!(Box::pin(session.account.new_order(&plain().replaces(id.clone())))) {
                Ok(order) => return Ok(Step::Placed { url: order.url().to_owned(), notes }),
                // RFC 9773 §5: a CA may know better what was replaced, and says so in many ways (alreadyReplaced, malformed, unauthorized);
                // that is no reason not to renew. Where the order is refused for something else, it is once more.
                Err(error) => {
                    let mistaken = another_replacement(&error);
                    match session.failed(DOING, error, now) {
                        later @ Error::Later { .. } if !mistaken => return Err(later),
                        why => notes.push(format!("the order does not say which certificate it replaces: {why}")),
                    }
                }
            }
        }
        let placed = again!(Box::pin(session.account.new_order(&plain())));
        let order = placed.map_err(|error| session.failed(DOING, error, now))?;
        Ok(Step::Placed { url: order.url().to_owned(), notes })
    }
}

/// Whether the library did not take an order because the CA does not repeat what it replaces.
fn another_replacement(error: &instant_acme::Error) -> bool {
    matches!(error, instant_acme::Error::Other(other) if other.to_string().starts_with("replaces field mismatch"))
}

fn identifier(name: &str) -> Identifier {
    name.parse().map_or_else(|_| Identifier::Dns(name.to_owned()), Identifier::Ip)
}

/// What no CA needs to be asked about.
fn check(wanted: &Wanted, solver: &Solver) -> Result<(), Error> {
    let setup = |what: String| Err(Error::Setup(what));
    if wanted.names.is_empty() || wanted.names.len() > MAX_NAMES {
        return setup(format!("an order has 1 to {MAX_NAMES} names, not {}", wanted.names.len()));
    }
    for name in &wanted.names {
        let shown = escape(name);
        if name.parse::<std::net::IpAddr>().is_ok() {
            if solver.is_dns() {
                return setup(format!("{shown} is an address, which dns-01 cannot prove; use http-01 or tls-alpn-01 (RFC 8738)"));
            }
            continue;
        }
        let bare = name.strip_prefix("*.").unwrap_or(name);
        let label = |label: &str| {
            (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
        };
        if bare.len() > MAX_NAME || !bare.split('.').all(label) {
            return setup(format!("{shown} is no DNS name in lower case and A-labels, nor an address"));
        }
        if bare.len() != name.len() && !solver.is_dns() {
            return setup(format!("{shown} is a wildcard, which dns-01 alone can prove (RFC 8555 §7.1.3)"));
        }
    }
    Ok(())
}

async fn fetch(session: &Session, url: &str, now: Time) -> Result<Order, Error> {
    let order = again!(Box::pin(session.account.order(url.to_owned())));
    let order = order.map_err(|error| {
        let gone = matches!(session.wire.notes().status, Some(404 | 410));
        match session.failed("asking about an order", error, now) {
            Error::Later { detail, .. } | Error::Refused(Refusal { detail, .. }) if gone => Error::refused("order-gone", detail),
            other => other,
        }
    })?;
    Ok(order)
}

async fn go_on(session: &Session, wanted: &Wanted, solver: &Solver, placed: Placed<'_>, now: Time) -> Result<Step, Error> {
    let mut order = fetch(session, placed.url, now).await?;
    let retry_after = session.wire.notes().retry_after;
    let wait = |awaits: &str, mut notes: Vec<String>| {
        let wait = patience::for_order(retry_after.as_deref(), placed.since, now);
        notes.extend(wait.note);
        Step::Waiting { awaits: awaits.into(), after: wait.seconds, notes }
    };
    match order.state().status {
        OrderStatus::Pending => {
            if order.state().authorizations.len() > MAX_NAMES + 1 {
                let count = order.state().authorizations.len();
                return Err(Error::refused(
                    "order-too-large",
                    format!("the CA wants {count} authorizations for {} names", wanted.names.len()),
                ));
            }
            match Box::pin(authorise::prove(session, &mut order, wanted, solver, placed.since, now)).await {
                Ok(awaits) => Ok(wait(&awaits, Vec::new())),
                Err(Error::Refused(refusal)) => Err(over(session, &mut order, wanted, solver, refusal, now).await),
                Err(other) => Err(other),
            }
        }
        OrderStatus::Ready => {
            // The names are proven, and what proved them may be slow to go: it goes when the certificate is there.
            let finalized = again!(Box::pin(order.finalize_csr(&wanted.csr)));
            if let Err(error) = finalized {
                return Err(session.failed("asking for the certificate", error, now));
            }
            match order.state().status {
                OrderStatus::Valid => Box::pin(issued(session, &mut order, wanted, solver, now)).await,
                _ => Ok(wait("the CA makes the certificate", Vec::new())),
            }
        }
        OrderStatus::Processing => Ok(wait("the CA makes the certificate (the order is processing)", Vec::new())),
        OrderStatus::Valid => Box::pin(issued(session, &mut order, wanted, solver, now)).await,
        OrderStatus::Invalid => {
            let names = Box::pin(authorise::failures(session, &mut order, wanted, now)).await?;
            let refusal = match &order.state().error {
                Some(problem) => {
                    let detail = escape(problem.detail.as_deref().unwrap_or("the order is invalid"));
                    let mut refusal = error::refusal(format!("the CA refused the order: {detail}"), problem);
                    refusal.names.extend(names);
                    refusal
                }
                None => {
                    // The order's own word is its names' words.
                    let code = names.first().map_or_else(|| "order-invalid".into(), |one| one.code.clone());
                    Refusal { code, detail: "the CA refused the order".into(), names }
                }
            };
            Err(over(session, &mut order, wanted, solver, refusal, now).await)
        }
    }
}

/// The certificate, and then nothing is left of what proved its names. A crash between is followed by the same step.
async fn issued(session: &Session, order: &mut Order, wanted: &Wanted, solver: &Solver, now: Time) -> Result<Step, Error> {
    match Box::pin(chain::download(session, order, wanted, Vec::new(), now)).await {
        Ok(mut issued) => {
            issued.notes.extend(tidied(session, order, wanted, solver, now).await);
            Ok(Step::Issued(issued))
        }
        Err(Error::Refused(refusal)) => Err(over(session, order, wanted, solver, refusal, now).await),
        Err(other) => Err(other),
    }
}

/// Takes away what proved the names, for as long as that may take; says what is left.
async fn tidied(session: &Session, order: &mut Order, wanted: &Wanted, solver: &Solver, now: Time) -> Vec<String> {
    match timeout(CLEAR_TIME, Box::pin(authorise::clear(session, order, wanted, solver, now))).await {
        Ok(Ok(left)) => left,
        Ok(Err(error)) => vec![format!("what proved the names could not be taken away: {error}")],
        Err(_) => vec![format!("what proved the names was not taken away within {} s", CLEAR_TIME.as_secs())],
    }
}

/// The end of an order: what it left is taken away, and what could not be is said.
async fn over(session: &Session, order: &mut Order, wanted: &Wanted, solver: &Solver, mut refusal: Refusal, now: Time) -> Error {
    let left = tidied(session, order, wanted, solver, now).await;
    left.iter().for_each(|one| refusal.detail = format!("{} ({one})", refusal.detail));
    Error::Refused(refusal)
}
