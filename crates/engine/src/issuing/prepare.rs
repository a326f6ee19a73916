//! From a request to bytes that may be signed: checked, built by policy, rehearsed and linted. Changes nothing.

use super::{authority::serial, choose::Choice};
use crate::{Engine, Error, Refusal, Result, ports::Entropy};
use domain::{
    Fingerprint, Time,
    calendar::Calendar,
    issuing::{self, Ask, IssuedState, KeyChoice, Profile},
    words::SecretId,
};
use pki::{
    KeyType, San,
    csr::{self, Csr, Rules},
    issue::{self, Issuer, Linted, Names, Template},
};
use std::sync::Arc;
use store::{
    Tx,
    model::{
        authority, calendar,
        issuance::{self, Issuance, PlannedEnd},
        secret,
    },
};

/// For what a certificate is wanted.
pub(crate) struct Want {
    pub(crate) secret: secret::Secret,
    pub(crate) issuance: Issuance,
    pub(crate) issuer: issuance::Issuer,
    pub(crate) authority: authority::Authority,
    /// Keys of authorities: no certificate is made for these.
    pub(crate) ca_keys: Vec<Fingerprint>,
    pub(crate) calendar: Calendar,
    pub(crate) version: i64,
    pub(crate) scope: String,
    pub(crate) planned: Option<PlannedEnd>,
}

impl Want {
    /// Reads what a certificate of a secret is made by.
    pub(crate) fn read(
        tx: &mut Tx<'_>,
        s: secret::Secret,
        i: Issuance,
        by: Choice,
        version: i64,
        scope: &str,
        region: &str,
    ) -> Result<Want> {
        let issuer = by.issuer;
        let ca_keys = by.authorities.iter().map(|a| a.key).collect();
        let current = by.authorities.into_iter().find(|a| a.state == issuing::AuthorityState::Current);
        let authority =
            current.ok_or_else(|| Error::refused("no-issuer", format!("{0} has no CA yet: perennial ca create {0}", issuer.name)))?;
        let calendar = match calendar::service(tx, &s.service)? {
            Some(service) => calendar::calendar(tx, &service.calendar)?,
            None => Calendar::open(),
        };
        let mut ends = issuance::planned_ends(tx, s.id, version, [scope, region, "all"])?;
        let planned = [scope, region, "all"].into_iter().find_map(|part| ends.remove(part));
        Ok(Want { secret: s, issuance: i, issuer, authority, ca_keys, calendar, version, scope: scope.to_owned(), planned })
    }
}

/// What may be signed, and the row that says so before it is.
pub(crate) struct Ready {
    pub(crate) signer: Arc<Issuer>,
    pub(crate) linted: Linted,
    pub(crate) row: authority::Issued,
    pub(crate) name: String,
    pub(crate) issuer: String,
    /// The plan's intent that it follows, 0 for none.
    pub(crate) intent: i64,
    /// The freeze in which it ends, since all of the second half of its life does.
    pub(crate) frozen: Option<String>,
}

impl Engine {
    /// Checks a request and builds what would be signed for it.
    pub(crate) fn ready(&self, want: &Want, request: &[u8], random: &mut Entropy<'_>, now: Time) -> Result<Ready> {
        let signer = self.signer(&want.authority)?;
        let csr = Csr::parse(request).map_err(|e| Error::refused("bad-request", e.to_string()))?;
        let permitted = sans(&want.secret, &want.issuance)?;
        let rules = Rules {
            permitted: &permitted,
            common_names: &[],
            issuer_keys: &want.ca_keys,
            known_keys: None,
            key_type: Some(key_type(want.issuance.key_type)),
        };
        let checked = csr::check(&csr, &rules).map_err(|problems| {
            Error::Refused(Refusal { code: "bad-request", problems: problems.into_iter().map(|p| p.detail).collect() })
        })?;
        let lifetime = want.issuance.lifetime.unwrap_or(issuing::LIFETIME);
        let ends = ends(want, lifetime, now);
        let revocable = lifetime > issuing::SHORT_LIVED;
        let list = if revocable { crl_address(want) } else { None };
        let template = Template {
            profile: profile(want.issuance.profile),
            names: Names::Asked,
            common_name: false,
            not_before: (now - issuing::BACKDATED).max(want.authority.not_before),
            not_after: ends.not_after,
            serial: serial(random),
            crl: list.as_deref(),
            policies: &[],
        };
        let refused = |e: issue::IssueError| Error::refused("not-issued", format!("{}: {e}", want.secret.name));
        let prepared = signer.prepare(&checked, &template).map_err(refused)?;
        let linted = signer.rehearse(prepared).map_err(refused)?;
        let row = authority::Issued {
            id: 0,
            authority: want.authority.id,
            serial: template.serial.to_vec(),
            secret: want.secret.id,
            version: want.version,
            scope: want.scope.clone(),
            key: csr.spki_fingerprint(),
            tbs_hash: Fingerprint::of(linted.tbs()),
            der: linted.tbs().to_vec(),
            state: IssuedState::Intended,
            not_after: ends.not_after,
            revocable,
            intended_at: now,
            done_at: None,
            revoked_at: None,
            reason: String::new(),
        };
        Ok(Ready {
            signer,
            linted,
            row,
            name: want.secret.name.clone(),
            issuer: want.issuer.name.clone(),
            intent: want.planned.map_or(0, |p| p.intent),
            frozen: ends.frozen,
        })
    }
}

/// A key that leaked is certified by nobody and stored by nobody again, whoever asks for it.
///
/// # Errors
/// It did.
pub(crate) fn not_leaked(tx: &mut Tx<'_>, key: &Fingerprint) -> Result<()> {
    if authority::is_compromised(tx, key)? {
        return Err(Error::refused("bad-request", LEAKED));
    }
    Ok(())
}

/// What is said of a key that leaked.
pub(crate) const LEAKED: &str = "the key belongs to a certificate that was revoked for a leaked key; make another one";

/// The end by the plan that divides production up, where it lies ahead and within what may be asked; else by identity and calendar.
fn ends(want: &Want, lifetime: domain::Span, now: Time) -> issuing::Ends {
    let latest = (now + lifetime).min(want.authority.not_after);
    if let Some(planned) = want.planned.filter(|p| p.not_after > now && p.not_after <= latest) {
        return issuing::Ends { not_after: planned.not_after, frozen: None };
    }
    let identity = [want.secret.name.as_str(), want.scope.as_str(), want.issuer.name.as_str()];
    issuing::not_after(&Ask { identity: &identity, lifetime, issuer_ends: want.authority.not_after, calendar: &want.calendar }, now)
}

fn crl_address(want: &Want) -> Option<String> {
    let settings: api::fleet::Issuer = serde_json::from_str(&want.issuer.settings).ok()?;
    settings.crl.map(|base| format!("{}/{}/{}", base.trim_end_matches('/'), want.issuer.name, want.authority.id))
}

/// The names that a secret's certificates may have.
pub(crate) fn sans(s: &secret::Secret, i: &Issuance) -> Result<Vec<San>> {
    let mut all = Vec::with_capacity(s.names.len() + 1);
    if i.profile == Profile::Spiffe {
        all.push(San::uri(&i.spiffe_id).map_err(|e| Error::refused("bad-names", format!("{}: {e}", s.name)))?);
    }
    for name in &s.names {
        all.push(San::parse(name).map_err(|e| Error::refused("bad-names", format!("{}: {e}", s.name)))?);
    }
    if all.is_empty() {
        return Err(Error::refused("bad-names", format!("{} has no names; add names = […] to the inventory", s.name)));
    }
    Ok(all)
}

pub(crate) fn profile(p: Profile) -> issue::Profile {
    match p {
        Profile::Server => issue::Profile::Server,
        Profile::Client => issue::Profile::Client,
        Profile::Both => issue::Profile::Both,
        Profile::Spiffe => issue::Profile::Spiffe,
    }
}

pub(crate) fn key_type(k: KeyChoice) -> KeyType {
    match k {
        KeyChoice::EcdsaP256 => KeyType::EcdsaP256,
        KeyChoice::EcdsaP384 => KeyType::EcdsaP384,
        KeyChoice::Rsa2048 => KeyType::Rsa2048,
        KeyChoice::Rsa3072 => KeyType::Rsa3072,
        KeyChoice::Ed25519 => KeyType::Ed25519,
    }
}

/// A secret with how it is issued.
///
/// # Errors
/// It does not exist, or nobody is declared to issue it.
pub(crate) fn declared(tx: &mut Tx<'_>, id: SecretId) -> Result<(secret::Secret, Issuance)> {
    let s = secret::get(tx, id)?.ok_or_else(|| Error::not_found("secret", &id.to_string()))?;
    let i = issuance::get(tx, id)?.filter(|i| !i.issued_by.is_empty());
    let i =
        i.ok_or_else(|| Error::refused("no-issuer", format!("nobody is declared to issue {}; add issued_by to the inventory", s.name)))?;
    Ok((s, i))
}
