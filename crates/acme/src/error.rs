//! What went wrong, by what the caller does next.

use std::fmt;

use instant_acme::{Identifier, Problem};
use pki::text::escape;

use crate::patience;
use crate::wire::{Notes, WireError};

/// The prefix of ACME's problem types (RFC 8555 §6.7).
const PREFIX: &str = "urn:ietf:params:acme:error:";
/// How many names are listed in a sentence; the rest is counted.
const MOST_SHOWN: usize = 8;
/// How many names of a problem are kept.
const MOST_NAMES: usize = 200;
/// How long after an answer that nobody understands the next attempt makes sense.
const AFTER_NONSENSE: i64 = 900;
/// How long after a limit of the CA's whose end it does not say.
const AFTER_LIMIT: i64 = 3600;

/// Why there is no answer. Every text is escaped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing was decided: the same call may succeed, not before so many seconds.
    #[error("{detail}")]
    Later {
        /// What happened.
        detail: String,
        /// Seconds to wait, bounded.
        after: i64,
        /// Who or what is waited for.
        whose: Whose,
    },
    /// The order is over: the CA refused it, or what the CA handed out was refused here.
    #[error("{0}")]
    Refused(Refusal),
    /// Something that was configured here does not work; no CA was at fault.
    #[error("{0}")]
    Setup(String),
}

/// Whose it is that nothing was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The CA's: it does not answer, or not as it should.
    Ca,
    /// The CA's as well: it wants to be left alone for so long.
    Limit,
    /// Ours: what proves the names.
    Proof,
}

/// Why an order is over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// For programs: the CA's problem type without its prefix (RFC 8555 §6.7), or one of our own (`chain-…`, `order-…`, `challenge-…`).
    pub code: String,
    /// For people.
    pub detail: String,
    /// The names that it failed for, where it failed for names (RFC 8555 §6.7.1).
    pub names: Vec<NameProblem>,
}

/// What is wrong with one name of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameProblem {
    /// The name.
    pub name: String,
    /// The problem's type without its prefix.
    pub code: String,
    /// What the CA says.
    pub detail: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)?;
        for (n, one) in self.names.iter().take(MOST_SHOWN).enumerate() {
            f.write_str(if n == 0 { ": " } else { "; " })?;
            write!(f, "{}: {} ({})", one.name, one.detail, one.code)?;
        }
        if self.names.len() > MOST_SHOWN {
            write!(f, "; and {} more", self.names.len() - MOST_SHOWN)?;
        }
        Ok(())
    }
}

impl Error {
    /// The CA did not decide.
    pub(crate) fn later(detail: impl Into<String>, after: i64) -> Error {
        Error::Later { detail: detail.into(), after, whose: Whose::Ca }
    }

    /// The CA wants to be left alone.
    pub(crate) fn limited(detail: impl Into<String>, after: i64) -> Error {
        Error::Later { detail: detail.into(), after, whose: Whose::Limit }
    }

    /// What proves a name is not there yet.
    pub(crate) fn unproven(detail: impl Into<String>, after: i64) -> Error {
        Error::Later { detail: detail.into(), after, whose: Whose::Proof }
    }

    pub(crate) fn refused(code: &str, detail: impl Into<String>) -> Error {
        Error::Refused(Refusal { code: code.into(), detail: detail.into(), names: Vec::new() })
    }

    /// What the library says, with what it does not hand on.
    pub(crate) fn of(doing: &str, error: instant_acme::Error, notes: &Notes, now: pki::Time) -> Error {
        use instant_acme::Error as Said;
        match error {
            Said::Api(problem) => of_problem(doing, &problem, notes, now),
            Said::Other(other) => match other.downcast::<WireError>() {
                Ok(wire) => of_wire(doing, *wire, notes, now),
                Err(other) => Error::later(format!("{doing}: {}", escape(&other.to_string())), AFTER_NONSENSE),
            },
            Said::Crypto | Said::KeyRejected => Error::Setup(format!("{doing}: the account's key cannot be used")),
            Said::Unsupported(what) => Error::refused("unsupported", format!("{doing}: the CA does not support {what}")),
            Said::Json(_) => {
                Error::later(format!("{doing}: the CA's answer is not what RFC 8555 describes: {}", notes.shown()), AFTER_NONSENSE)
            }
            other => Error::later(format!("{doing}: {}", escape(&other.to_string())), AFTER_NONSENSE),
        }
    }
}

fn of_wire(doing: &str, error: WireError, notes: &Notes, now: pki::Time) -> Error {
    match error {
        // Nobody but the operator changes a guard, a URL or a size.
        WireError::Outbound(error) if !error.retry && error.blame == outbound::Blame::Local => Error::Setup(format!("{doing}: {error}")),
        WireError::Outbound(error) => Error::later(format!("{doing}: {error}"), if error.retry { 60 } else { AFTER_NONSENSE }),
        other => {
            let wait = patience::asked(notes.retry_after.as_deref(), now);
            let after = wait.as_ref().map_or(AFTER_NONSENSE, |w| w.seconds);
            let detail = format!("{doing}: {other}{}", said(wait));
            // RFC 9110 §15.6.4 and RFC 6585 §4, by whoever stands in front of the CA.
            if matches!(notes.status, Some(429 | 503)) { Error::limited(detail, after) } else { Error::later(detail, after) }
        }
    }
}

fn said(wait: Option<patience::Wait>) -> String {
    wait.and_then(|w| w.note).map(|note| format!("; {note}")).unwrap_or_default()
}

/// The type without its prefix; a foreign one whole, escaped.
pub(crate) fn code_of(problem: &Problem) -> String {
    short(problem.r#type.as_deref())
}

fn short(kind: Option<&str>) -> String {
    let kind = kind.unwrap_or("about:blank");
    escape(kind.strip_prefix(PREFIX).unwrap_or(kind))
}

fn of_problem(doing: &str, problem: &Problem, notes: &Notes, now: pki::Time) -> Error {
    let code = code_of(problem);
    let status = problem.status.or(notes.status).unwrap_or(0);
    let wait = patience::asked(notes.retry_after.as_deref(), now);
    let detail = format!("{doing}: the CA says: {}", detail_of(problem));
    match code.as_str() {
        "rateLimited" => {
            let after = wait.as_ref().map_or(AFTER_LIMIT, |w| w.seconds);
            Error::limited(format!("{detail} (rateLimited){}", said(wait)), after)
        }
        "badNonce" => Error::later(format!("{detail} (badNonce), again and again"), 60),
        "orderNotReady" => Error::later(format!("{detail} (orderNotReady)"), 5),
        _ if status >= 500 || status == 429 || code == "serverInternal" => {
            let after = wait.as_ref().map_or(300, |w| w.seconds);
            let detail = format!("{detail} ({code}){}", said(wait));
            if matches!(status, 429 | 503) { Error::limited(detail, after) } else { Error::later(detail, after) }
        }
        _ => Error::Refused(refusal(format!("{detail} ({code})"), problem)),
    }
}

fn detail_of(problem: &Problem) -> String {
    escape(problem.detail.as_deref().unwrap_or("nothing more"))
}

/// A problem document with the names that its subproblems name (RFC 8555 §6.7.1).
pub(crate) fn refusal(detail: String, problem: &Problem) -> Refusal {
    let names = problem.subproblems.iter().take(MOST_NAMES).map(|one| NameProblem {
        name: one.identifier.as_ref().map_or_else(|| "a name that it does not say".into(), shown_identifier),
        code: short(one.r#type.as_deref()),
        detail: escape(one.detail.as_deref().unwrap_or("nothing more")),
    });
    Refusal { code: code_of(problem), detail, names: names.collect() }
}

/// What one name failed with.
pub(crate) fn of_name(name: String, problem: Option<&Problem>, otherwise: &str) -> NameProblem {
    match problem {
        Some(problem) => {
            let mut detail = detail_of(problem);
            for sub in problem.subproblems.iter().take(MOST_SHOWN) {
                detail.push_str("; ");
                detail.push_str(&escape(sub.detail.as_deref().unwrap_or_default()));
            }
            NameProblem { name, code: code_of(problem), detail }
        }
        None => NameProblem { name, code: "unknown".into(), detail: otherwise.into() },
    }
}

fn shown_identifier(identifier: &Identifier) -> String {
    escape(&identifier.authorized(false).to_string())
}
