//! How certificates are issued: the words, and when what is issued ends.
//!
//! An end is a function of identity, so that what is issued together does not end together, and issuing again gives the same answer.

use crate::{Fingerprint, Span, Time, calendar::Calendar, words::word};
use alloc::{format, string::String};

word!(
    /// What an issuer is.
    IssuerKind {
        /// A CA of the store's own.
        Internal = "internal",
        /// A CA that speaks ACME (RFC 8555).
        Acme = "acme",
    }
);
word!(
    /// What a certificate is for.
    Profile {
        /// TLS servers.
        Server = "server",
        /// TLS clients.
        Client = "client",
        /// Servers and clients.
        Both = "both",
        /// An X.509-SVID of SPIFFE.
        Spiffe = "spiffe",
    }
);
word!(
    /// Where the private keys of a secret are born.
    KeysAt {
        /// On each node.
        Node = "node",
        /// In the store.
        Store = "store",
    }
);
word!(
    /// The kind of key that is made.
    KeyChoice {
        /// ECDSA on P-256.
        EcdsaP256 = "ecdsa-p256",
        /// ECDSA on P-384.
        EcdsaP384 = "ecdsa-p384",
        /// RSA with 2048 bits.
        Rsa2048 = "rsa-2048",
        /// RSA with 3072 bits.
        Rsa3072 = "rsa-3072",
        /// Ed25519.
        Ed25519 = "ed25519",
    }
);
word!(
    /// What a certificate of an internal CA does.
    AuthorityRole {
        /// It signs issuing CAs, and lies offline.
        Root = "root",
        /// It signs what is issued.
        Issuing = "issuing",
    }
);
word!(
    /// How a certificate of an internal CA stands.
    AuthorityState {
        /// A root whose key was put away.
        Offline = "offline",
        /// A root whose key lies in the store.
        Kept = "kept",
        /// An issuing CA whose request waits for its root.
        Requested = "requested",
        /// It signs now.
        Current = "current",
        /// Another one took its place; it signs nothing but its CRL.
        Former = "former",
    }
);
word!(
    /// How far a certificate is that was to be signed.
    IssuedState {
        /// What will be signed is stored.
        Intended = "intended",
        /// It is signed.
        Signed = "signed",
        /// It will never be signed.
        Ended = "ended",
    }
);
word!(
    /// How far a request to an issuer is.
    OrderState {
        /// It waits, for us or for the issuer.
        Open = "open",
        /// The certificate came.
        Issued = "issued",
        /// The issuer will not sign it.
        Failed = "failed",
        /// Nobody needs it any more.
        Ended = "ended",
    }
);
word!(
    /// How a request stands that a person carries to a CA.
    RequestState {
        /// Its answer may still come.
        Open = "open",
        /// Its answer is a version.
        Answered = "answered",
        /// A person dropped it.
        Dropped = "dropped",
    }
);
word!(
    /// Why a certificate is revoked (RFC 5280 §5.3.1).
    Reason {
        /// Nothing is said.
        Unspecified = "unspecified",
        /// Its key is known to others, or may be.
        KeyCompromise = "key-compromise",
        /// The key of its CA is.
        CaCompromise = "ca-compromise",
        /// Names in it changed.
        AffiliationChanged = "affiliation-changed",
        /// Another one took its place.
        Superseded = "superseded",
        /// It is of no use any more.
        CessationOfOperation = "cessation-of-operation",
        /// What it says is withdrawn.
        PrivilegeWithdrawn = "privilege-withdrawn",
    }
);

/// What lives for so long or less carries no revocation data: it is gone before a list would be read.
pub const SHORT_LIVED: Span = Span::days(7);
/// How long a certificate lives if nobody says.
pub const LIFETIME: Span = Span::days(90);
/// A certificate begins so long before it was made: clocks of those who check it may be behind.
pub const BACKDATED: Span = Span::minutes(5);

/// When a certificate should end.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// What it is: secret, scope and issuer. The same parts give the same end within the same spread.
    pub identity: &'a [&'a str],
    /// How long it may live.
    pub lifetime: Span,
    /// The end of whoever signs it, inclusive: nothing is issued beyond.
    pub issuer_ends: Time,
    /// When nothing may end.
    pub calendar: &'a Calendar,
}

/// When it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ends {
    /// notAfter, inclusive (RFC 5280 §4.1.2.5).
    pub not_after: Time,
    /// The freeze in which it lies, where all of the second half of its life does.
    pub frozen: Option<String>,
}

/// Ends are spread over the last part of the lifetime: one in this many.
const SPREAD_PART: i64 = 10;
/// No wider than this.
const WIDEST_SPREAD: Span = Span::days(9);

/// When a certificate that is issued now ends: within its lifetime, spread by its identity, and not inside a freeze. A freeze moves the
/// end forward in time to its first open second if that is still within the lifetime, else back to the last one before it, and back at
/// most to half of the lifetime.
pub fn not_after(ask: &Ask<'_>, now: Time) -> Ends {
    // The life begins at the backdated notBefore and includes both ends.
    let latest = (now - BACKDATED + ask.lifetime - Span::seconds(1)).min(ask.issuer_ends);
    let whole = latest - now;
    let spread = Span::seconds(whole.as_secs() / SPREAD_PART).min(WIDEST_SPREAD).as_secs().max(1);
    let wish = latest - Span::seconds((identity(ask.identity) % spread as u64) as i64);
    let Some(frozen) = ask.calendar.frozen(wish) else { return Ends { not_after: wish, frozen: None } };
    let least = now + Span::seconds(whole.as_secs() / 2);
    let later = frozen.until.filter(|t| *t <= latest);
    let earlier = frozen.from.map(|t| t - Span::seconds(1)).filter(|t| *t >= least);
    // What one freeze moved would all end at its edge: each goes on from there by its identity, as far as that is open.
    let step = Span::seconds((identity(ask.identity) / spread as u64 % spread as u64) as i64);
    let open = |t: &Time| *t >= least && *t <= latest && !ask.calendar.is_frozen(*t);
    let from = |edge: Time, sign: i64| [1, 4, 16].into_iter().map(move |part| edge + Span::seconds(sign * step.as_secs() / part));
    let spread_out = later.and_then(|edge| from(edge, 1).find(open)).or_else(|| earlier.and_then(|edge| from(edge, -1).find(open)));
    match spread_out.or(later).or(earlier) {
        Some(open) => Ends { not_after: open, frozen: None },
        None => Ends { not_after: wish, frozen: Some(frozen.why) },
    }
}

/// A number that is a function of nothing but the parts.
pub fn identity(parts: &[&str]) -> u64 {
    let mut text = String::new();
    for part in parts {
        text.push_str(&format!("{}:{part}/", part.len()));
    }
    let hash = Fingerprint::of(text.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::{Freeze, When};
    use alloc::collections::BTreeSet;

    fn at(text: &str) -> Time {
        Time::parse(text).expect("a time")
    }

    fn ask<'a>(identity: &'a [&'a str], lifetime: Span, calendar: &'a Calendar) -> Ask<'a> {
        Ask { identity, lifetime, issuer_ends: at("2036-01-01T00:00:00Z"), calendar }
    }

    #[test]
    fn ends_are_spread_by_identity_and_the_same_for_the_same() {
        let (open, now) = (Calendar::open(), at("2026-11-28T10:00:00Z"));
        let end = |name: &str| not_after(&ask(&[name, "all", "eu-ca"], Span::days(90), &open), now).not_after;
        let mut days = BTreeSet::new();
        for n in 0..200 {
            let name = format!("www-{n}");
            let it = end(&name);
            assert_eq!(it, end(&name));
            let life = it - (now - BACKDATED) + Span::seconds(1);
            assert!(life <= Span::days(90) && life > Span::days(81) - Span::minutes(10), "{life}");
            days.insert(it.unix() / 86_400);
        }
        assert!(days.len() >= 9, "{} days", days.len());
    }

    #[test]
    fn nothing_ends_after_its_issuer_and_nothing_in_a_freeze() {
        let now = at("2026-11-28T10:00:00Z");
        let open = Calendar::open();
        let mut short = ask(&["a"], Span::days(90), &open);
        short.issuer_ends = now + Span::days(3);
        assert!(not_after(&short, now).not_after <= now + Span::days(3));

        let weekend = Freeze { why: "weekend".into(), when: When::Weekly("fri 16:00 - mon 08:00".into()) };
        let calendar = Calendar::parse("Europe/Dublin", &[weekend]).expect("a calendar");
        for n in 0..500 {
            let name = format!("n{n}");
            let ends = not_after(&ask(&[&name], Span::days(30), &calendar), now);
            assert!(!calendar.is_frozen(ends.not_after) && ends.frozen.is_none(), "{name}: {}", ends.not_after);
            assert!(ends.not_after < now + Span::days(30));
        }
        // A day's certificate that is issued within a freeze has no open second to end in, and says so.
        let saturday = at("2026-11-28T10:00:00Z");
        let day = not_after(&ask(&["a"], Span::days(1), &calendar), saturday);
        assert_eq!(day.frozen.as_deref(), Some("weekend"));
    }

    #[test]
    fn the_second_at_which_a_freeze_begins_and_ends() {
        let now = at("2026-01-01T00:00:00Z");
        let wish = not_after(&ask(&["x"], Span::days(100), &Calendar::open()), now).not_after;
        let civil = |t: Time| {
            let mut text = format!("{t}");
            text.truncate(16);
            text
        };
        // Freezes have minutes: around the wish, to the minute.
        let minute = Time::from_unix(wish.unix() - wish.unix() % 60);
        for (from, until, moved) in [
            (minute, minute + Span::minutes(1), 1),
            (minute - Span::days(1), minute, 0),
            (minute + Span::minutes(1), minute + Span::days(1), 0),
            (minute - Span::days(2), minute + Span::days(30), -1),
        ] {
            let freeze = Freeze { why: "audit".into(), when: When::Range { from: civil(from), until: Some(civil(until)) } };
            let calendar = Calendar::parse("UTC", &[freeze]).expect("a calendar");
            let got = not_after(&ask(&["x"], Span::days(100), &calendar), now).not_after;
            let holds = match moved {
                0 => got == wish,
                1 => got >= until,
                _ => got < from,
            };
            assert!(holds && !calendar.is_frozen(got), "{from} to {until}: {got}");
        }
    }

    #[test]
    fn a_freeze_moves_ends_and_does_not_gather_them() {
        let now = at("2026-09-20T00:00:00Z");
        for (from, until) in [("2026-12-01T00:00", "2027-02-01T00:00"), ("2026-12-01T00:00", "2026-12-15T00:00")] {
            let freeze = Freeze { why: "year's end".into(), when: When::Range { from: from.into(), until: Some(until.into()) } };
            let calendar = Calendar::parse("UTC", &[freeze]).expect("a calendar");
            let mut hours = BTreeSet::new();
            for n in 0..200 {
                let name = format!("www-{n}");
                let got = not_after(&ask(&[&name], Span::days(90), &calendar), now);
                assert!(got.frozen.is_none() && !calendar.is_frozen(got.not_after), "{name}: {}", got.not_after);
                assert!(got.not_after < now + Span::days(90) && got.not_after > now + Span::days(45));
                hours.insert(got.not_after.unix() / 3600);
            }
            assert!(hours.len() > 60, "{from}: {} different hours", hours.len());
        }
    }
}
