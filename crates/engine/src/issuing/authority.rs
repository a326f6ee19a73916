//! Internal CAs: a root that is offline by default, and an issuing CA below it whose key lies in the vault.
//!
//! The issuing key is born here and never leaves; what leaves is its request. Whoever holds the root signs it and brings the answer back.
//! With a root that is kept in the store the engine does both.

use crate::{Engine, Error, Result, Tick, held::hold, loops, ports::Entropy, vault::CA_KEY};
use domain::{
    Fingerprint, Time,
    issuing::{AuthorityRole, AuthorityState, IssuerKind},
    policy::Class,
    words::{Kind, SecretId},
};
use pki::{Certificate, KeyType, PrivateKey, csr, issue::Issuer};
use serde_json::json;
use std::sync::Arc;
use store::{
    Actor, Tx,
    journal::Entry,
    model::{authority, held, inventory, issuance, secret},
    timer,
};

/// Secrets, roots and the policy of internal CAs begin with this; the issuer's name follows.
pub const CA: &str = api::fleet::CA_ROOTS;

/// A CA, or another certificate of one, that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAuthority {
    /// The issuer: declared in the inventory, `kind = "internal"`.
    pub issuer: String,
    /// What it may certify: `example.internal`, `10.0.0.0/8`, `spiffe://domain`.
    pub permitted: Vec<String>,
    /// Whether the root is made here and its key kept in the store.
    pub keep_root: bool,
    /// Why.
    pub reason: String,
}

/// A request that waits for the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requested {
    /// The authority's number.
    pub id: i64,
    /// Its common name.
    pub subject: String,
    /// PKCS#10, DER.
    pub csr: Vec<u8>,
    /// What it is to be limited to, as written.
    pub permitted: Vec<String>,
    /// Where a root in the store signed it at once.
    pub done: bool,
}

impl Engine {
    /// Makes the key of an issuing CA and its request. With a root in the store, or one that is to be kept there, that signs at once.
    ///
    /// # Errors
    /// No such internal issuer, a request of it waits already, or the store is sealed.
    pub fn request_authority(&self, new: &NewAuthority, random: &mut Entropy<'_>, actor: &Actor, tick: &Tick) -> Result<Requested> {
        pki::ca::subtrees(&new.permitted).map_err(|e| Error::refused("bad-names", e.to_string()))?;
        // Slow work before the database is asked to wait for it.
        let key = PrivateKey::generate(KeyType::EcdsaP256).map_err(|e| Error::Outside(e.to_string()))?;
        let root =
            if new.keep_root { Some(PrivateKey::generate(KeyType::EcdsaP384).map_err(|e| Error::Outside(e.to_string()))?) } else { None };
        let serial = serial(random);
        let requested = self.store.try_write(actor, tick.now, |tx| {
            let sealer = self.sealer(tx)?;
            tx.turn(&format!("issuer {}", new.issuer))?;
            let issuer = issuance::issuer(tx, &new.issuer)?.ok_or_else(|| Error::not_found("issuer", &new.issuer))?;
            if issuer.kind != IssuerKind::Internal {
                let problem = format!("{} is an ACME issuer; only an internal one has a CA here", new.issuer);
                return Err(Error::refused("wrong-kind", problem));
            }
            let all = authority::of_issuer(tx, &new.issuer)?;
            if let Some(waits) = all.iter().find(|a| a.state == AuthorityState::Requested) {
                let problem = format!(
                    "the request of {} made {} still waits for its root: sign it with `perennial ca sign`, or drop it with \
                         `perennial ca renew {} --drop`",
                    waits.subject, waits.created_at, new.issuer
                );
                return Err(Error::refused("request-waits", problem));
            }
            let kept = all.iter().find(|a| a.state == AuthorityState::Kept && a.not_after > tick.now);
            if new.keep_root && kept.is_some() {
                let problem = format!("{} has a root in the store already; use `perennial ca renew`", new.issuer);
                return Err(Error::refused("root-exists", problem));
            }
            // The root has no limits of its own, and must not be taken for the CA whose place this one takes.
            let before = all.iter().find(|a| a.role == AuthorityRole::Issuing && !a.permitted.is_empty());
            let names =
                if new.permitted.is_empty() { before.map(|a| a.permitted.clone()).unwrap_or_default() } else { new.permitted.clone() };
            if names.is_empty() {
                let problem =
                    format!("a CA may certify what it is limited to, and {} has no limits yet; name them with --permit", new.issuer);
                return Err(Error::refused("bad-names", problem));
            }
            let number = all.iter().filter(|a| a.role == AuthorityRole::Issuing).count() + 1;
            let subject = format!("{} issuing CA {number}", new.issuer);
            let csr = csr::build(&key, Some(&subject), &[]).map_err(|e| Error::refused("bad-name", e.to_string()))?;
            let id = tx.next_id("authority")?;
            let held = hold(tx, &sealer, CA_KEY, id, &key, random, tick.now)?;
            let mut root_id = 0;
            if let Some(key) = &root {
                let certificate =
                    pki::ca::root(&new.issuer, key, serial, tick.now).map_err(|e| Error::refused("not-issued", e.to_string()))?;
                root_id = tx.next_id("authority")?;
                let held = hold(tx, &sealer, CA_KEY, root_id, key, random, tick.now)?;
                let row = root_row(root_id, &new.issuer, AuthorityState::Kept, &certificate, held, tick.now);
                authority::insert(tx, &row)?;
            }
            let none = Fingerprint::from_bytes([0; 32]);
            let row = authority::Authority {
                id,
                issuer: new.issuer.clone(),
                role: AuthorityRole::Issuing,
                state: AuthorityState::Requested,
                subject: pki::text::escape(&subject),
                certificate: Vec::new(),
                fingerprint: none,
                key: key.spki_fingerprint(),
                held,
                csr: csr.clone(),
                root: root_id,
                permitted: names.clone(),
                not_before: tick.now,
                not_after: tick.now,
                created_at: tick.now,
                crl_number: 1,
            };
            authority::insert(tx, &row)?;
            let body =
                json!({ "authority": id, "subject": subject, "permitted": names, "key": row.key.to_string(), "root_kept": root_id != 0 });
            tx.journal(Entry::new("authority.requested", format!("issuer/{}", new.issuer), &new.reason, &body))?;
            let by_kept = root_id != 0 || kept.is_some();
            Ok(Requested { id, subject, csr, permitted: names, done: by_kept })
        })?;
        if requested.done {
            self.sign_by_kept_root(&new.issuer, &requested, random, &new.reason, actor, tick)?;
        }
        Ok(requested)
    }

    /// The root in the store signs a request that waits.
    fn sign_by_kept_root(
        &self,
        issuer: &str,
        requested: &Requested,
        random: &mut Entropy<'_>,
        reason: &str,
        actor: &Actor,
        tick: &Tick,
    ) -> Result<()> {
        let all = self.store.read(|tx| authority::of_issuer(tx, issuer))?;
        let root = all
            .into_iter()
            .find(|a| a.state == AuthorityState::Kept && a.not_after > tick.now)
            .ok_or_else(|| Error::not_found("root in the store of issuer", issuer))?;
        let key = self.open_held(root.held)?;
        let certificate = Certificate::parse(root.certificate.clone()).map_err(|e| Error::refused("damaged", e.to_string()))?;
        let signed =
            pki::ca::issuing(&key, &certificate, &requested.subject, &requested.csr, &requested.permitted, serial(random), tick.now)
                .map_err(|e| Error::refused("not-issued", e.to_string()))?;
        self.answer_authority(issuer, &[signed, certificate], reason, actor, tick)?;
        Ok(())
    }

    /// Takes the root's answer to the request that waits: the issuing certificate and the root. From here on it signs, and the one
    /// before it is a former one.
    ///
    /// # Errors
    /// Nothing waits, or the answer is not what was asked for; all that stands against it is said at once.
    pub fn answer_authority(
        &self,
        issuer: &str,
        chain: &[Certificate],
        reason: &str,
        actor: &Actor,
        tick: &Tick,
    ) -> Result<authority::Authority> {
        self.store.try_write(actor, tick.now, |tx| {
            tx.turn(&format!("issuer {issuer}"))?;
            let all = authority::of_issuer(tx, issuer)?;
            let waits = all
                .iter()
                .find(|a| a.state == AuthorityState::Requested)
                .ok_or_else(|| Error::refused("nothing-waits", format!("no request of {issuer} waits for its root; make one with `perennial ca renew`")))?;
            let problems = against(waits, chain, tick.now);
            let [own, root] = chain else {
                return Err(Error::refused("bad-certificate", "send two certificates: the issuing CA's, then its root's"));
            };
            if !problems.is_empty() {
                return Err(Error::Refused(crate::Refusal { code: "bad-certificate", problems }));
            }
            let known = all.iter().find(|a| a.role == AuthorityRole::Root && a.fingerprint == root.fingerprint());
            let root_id = match known {
                Some(r) => r.id,
                None => {
                    let id = tx.next_id("authority")?;
                    authority::insert(tx, &root_row(id, issuer, AuthorityState::Offline, root, 0, tick.now))?;
                    id
                }
            };
            for former in all.iter().filter(|a| a.state == AuthorityState::Current) {
                authority::update(tx, &authority::Authority { state: AuthorityState::Former, ..former.clone() })?;
            }
            let current = authority::Authority {
                state: AuthorityState::Current,
                certificate: own.der().to_vec(),
                fingerprint: own.fingerprint(),
                csr: Vec::new(),
                root: root_id,
                not_before: own.not_before(),
                not_after: own.not_after(),
                ..waits.clone()
            };
            authority::update(tx, &current)?;
            watch(tx, issuer, &current, root, tick.now)?;
            issuance::put_issuer_state(tx, issuer, &issuance::IssuerState::default())?;
            wake_issued_by(tx, issuer, tick.now)?;
            timer::set_earlier(tx, loops::CRL, current.id, tick.now)?;
            let body = json!({ "authority": current.id, "fingerprint": current.fingerprint.to_string(), "not_after": current.not_after.to_string(),
                "root": root.fingerprint().to_string() });
            tx.journal(Entry::new("authority.current", format!("issuer/{issuer}"), reason, &body))?;
            Ok(current)
        })
    }

    /// Drops a request that waits for its root, with its key.
    ///
    /// # Errors
    /// Nothing waits.
    pub fn drop_authority_request(&self, issuer: &str, reason: &str, actor: &Actor, tick: &Tick) -> Result<()> {
        self.store.try_write(actor, tick.now, |tx| {
            tx.turn(&format!("issuer {issuer}"))?;
            let all = authority::of_issuer(tx, issuer)?;
            let waits = all.iter().find(|a| a.state == AuthorityState::Requested);
            let waits = waits.ok_or_else(|| Error::refused("nothing-waits", format!("no request of {issuer} waits for its root")))?;
            held::remove(tx, waits.held)?;
            authority::remove(tx, waits.id)?;
            tx.journal(Entry::new("authority.dropped", format!("issuer/{issuer}"), reason, &json!({ "authority": waits.id })))?;
            Ok(())
        })
    }

    /// The authority that signs, ready to do so; kept in memory until the store is sealed.
    pub(crate) fn signer(&self, a: &authority::Authority) -> Result<Arc<Issuer>> {
        if !self.is_open() {
            return Err(Error::Sealed);
        }
        if let Some(known) = crate::lock(&self.signers).get(&a.id).filter(|i| i.certificate().fingerprint() == a.fingerprint) {
            return Ok(known.clone());
        }
        let key = self.open_held(a.held)?;
        let certificate =
            Certificate::parse(a.certificate.clone()).map_err(|e| Error::refused("damaged", format!("authority {}: {e}", a.id)))?;
        let issuer = Issuer::new(certificate, &key).map_err(|e| Error::refused("damaged", e.to_string()))?;
        let issuer = Arc::new(issuer);
        crate::lock(&self.signers).insert(a.id, issuer.clone());
        // Sealed meanwhile: what was taken up is forgotten with the rest.
        if !self.is_open() {
            crate::lock(&self.signers).clear();
            return Err(Error::Sealed);
        }
        Ok(issuer)
    }
}

/// 128 random bits.
pub(crate) fn serial(random: &mut Entropy<'_>) -> [u8; 16] {
    let mut serial = [0; 16];
    random(&mut serial);
    serial
}

fn root_row(id: i64, issuer: &str, state: AuthorityState, c: &Certificate, held: i64, now: Time) -> authority::Authority {
    authority::Authority {
        id,
        issuer: issuer.to_owned(),
        role: AuthorityRole::Root,
        state,
        subject: c.subject().to_owned(),
        certificate: c.der().to_vec(),
        fingerprint: c.fingerprint(),
        key: c.spki_fingerprint(),
        held,
        csr: Vec::new(),
        root: 0,
        permitted: Vec::new(),
        not_before: c.not_before(),
        not_after: c.not_after(),
        created_at: now,
        crl_number: 1,
    }
}

/// All that stands against the root's answer.
fn against(waits: &authority::Authority, chain: &[Certificate], now: Time) -> Vec<String> {
    let [own, root] = chain else { return Vec::new() };
    let mut problems = Vec::new();
    let mut say = |wrong: bool, problem: String| {
        if wrong {
            problems.push(problem);
        }
    };
    say(own.spki_fingerprint() != waits.key, format!("the certificate of {} has another key than the request that waits", own.subject()));
    say(!own.is_ca() || own.path_length() != Some(0), format!("{} is no CA with path length 0", own.subject()));
    let signs = own.key_usage().is_some_and(|u| u.allows("keyCertSign") && u.allows("cRLSign"));
    say(!signs, format!("{} may not sign certificates and CRLs (keyUsage)", own.subject()));
    say(
        !waits.permitted.is_empty() && !own.has_name_constraints(),
        format!("{} has no name constraints, and the request was limited to {}", own.subject(), waits.permitted.join(", ")),
    );
    say(
        !root.is_ca() || !root.self_issued() || root.check_signature(root).is_err(),
        format!("{} is no root that signed itself", root.subject()),
    );
    say(own.check_signature(root).is_err(), format!("{} was not signed by {}", own.subject(), root.subject()));
    say(
        own.not_before() > now || own.not_after() <= now,
        format!("{} is valid from {} to {}, which is not now", own.subject(), own.not_before(), own.not_after()),
    );
    say(own.not_after() > root.not_after(), format!("{} would outlive its root, which ends {}", own.subject(), root.not_after()));
    problems
}

/// The ends of a CA's own certificates are watched like any other; its roots are a named set that targets may be judged by.
fn watch(tx: &mut Tx<'_>, issuer: &str, current: &authority::Authority, root: &Certificate, now: Time) -> Result<()> {
    let policy = String::from("perennial-ca");
    let none = store::Value::Null;
    inventory::put(tx, inventory::POLICY, &policy, vec![Class::PrivateCa.as_str().into(), none.clone(), none.clone(), none.clone(), none])?;
    track(tx, &format!("{CA}{issuer}-root"), root.not_after(), &policy, now)?;
    track(tx, &format!("{CA}{issuer}-issuing"), current.not_after, &policy, now)?;
    let mut pem = String::new();
    for a in authority::of_issuer(tx, issuer)?.iter().filter(|a| a.role == AuthorityRole::Root && a.not_after > now) {
        if let Ok(c) = Certificate::parse(a.certificate.clone()) {
            pem.push_str(&c.to_pem());
        }
    }
    inventory::put(tx, inventory::ROOTS, &format!("{CA}{issuer}"), vec![pem.into()])?;
    Ok(())
}

/// A tracked secret of the store's own, and when it ends as we know it now.
pub(crate) fn track(tx: &mut Tx<'_>, name: &str, ends: Time, policy: &str, now: Time) -> Result<()> {
    let id = match secret::by_name(tx, name)? {
        Some(s) => s.id,
        None => {
            let id = SecretId(tx.next_id("secret")?);
            secret::insert(tx, &secret::Secret { policy: policy.to_owned(), ..crate::vault::blank(id, name, Kind::Tracked, now) })?;
            id
        }
    };
    secret::attest(tx, id, Some(ends), now)?;
    timer::set_earlier(tx, loops::SECRET, id.0, now)?;
    Ok(())
}

/// Whoever waits for an issuer looks again.
pub(crate) fn wake_issued_by(tx: &mut Tx<'_>, issuer: &str, now: Time) -> Result<()> {
    let mut after = SecretId(0);
    loop {
        let page = issuance::issued_by(tx, issuer, after, 1000)?;
        let Some(last) = page.last() else { return Ok(()) };
        after = *last;
        for secret in page {
            timer::set_earlier(tx, loops::RENEW, secret.0, now)?;
        }
    }
}
