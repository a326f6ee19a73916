//! By hand: a request whose key never leaves the store, and the answer that a person brings back from a CA.
//!
//! A secret may have several requests that wait; each keeps its key until its answer comes or a person drops it. An answer finds its
//! request by its key.

use super::prepare::key_type;
use crate::{
    Engine, Error, Refusal, Result, Tick,
    held::hold,
    ports::Entropy,
    vault::{Import, Incoming, REQUEST_KEY, Stored},
};
use domain::issuing::{KeyChoice, RequestState};
use pki::{PrivateKey, San, csr};
use serde_json::json;
use store::{
    Actor,
    journal::Entry,
    model::{held, issuance, order, secret},
};
use zeroize::Zeroizing;

/// Most requests of one secret that wait.
pub const MOST_OPEN: i64 = 20;

/// What a request asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewRequest {
    /// The secret.
    pub secret: String,
    /// Its names; those that are declared for the secret if empty.
    pub names: Vec<String>,
    /// `all`, a region, or a node.
    pub scope: String,
    /// Why.
    pub reason: String,
}

impl Engine {
    /// Makes a key and a request for it.
    ///
    /// # Errors
    /// No such certificate, no names, too many requests wait, or the store is sealed.
    pub fn request_by_hand(&self, new: &NewRequest, random: &mut Entropy<'_>, actor: &Actor, tick: &Tick) -> Result<order::Request> {
        let (s, kind) = self.store.try_read(|tx| {
            let s = secret::by_name(tx, &new.secret)?.ok_or_else(|| Error::not_found("secret", &new.secret))?;
            let kind = issuance::get(tx, s.id)?.map_or(KeyChoice::EcdsaP256, |i| i.key_type);
            Ok::<_, Error>((s, kind))
        })?;
        if s.kind != domain::words::Kind::Certificate || s.management == domain::words::Management::External {
            return Err(Error::refused("wrong-kind", format!("{} is no certificate that the store holds", s.name)));
        }
        let names = if new.names.is_empty() { s.names.clone() } else { new.names.clone() };
        let mut sans = Vec::with_capacity(names.len());
        let mut problems = Vec::new();
        for name in &names {
            match San::parse(name) {
                Ok(san) => sans.push(san),
                Err(e) => problems.push(e.to_string()),
            }
        }
        if names.is_empty() {
            problems.push(format!("{} has no names; name them with --names, or in the inventory", s.name));
        }
        if !problems.is_empty() {
            return Err(Error::Refused(Refusal { code: "bad-names", problems }));
        }
        let scope = if new.scope.is_empty() { String::from("all") } else { new.scope.clone() };
        let key = PrivateKey::generate(key_type(kind)).map_err(|e| Error::Outside(e.to_string()))?;
        let common = names.first().filter(|n| n.len() <= 64).map(String::as_str);
        let request = csr::build(&key, common, &sans).map_err(|e| Error::refused("bad-names", e.to_string()))?;
        self.store.try_write(actor, tick.now, |tx| {
            let sealer = self.sealer(tx)?;
            let s = secret::lock(tx, s.id)?.ok_or_else(|| Error::not_found("secret", &new.secret))?;
            if order::open_requests(tx, s.id, MOST_OPEN)?.len() as i64 >= MOST_OPEN {
                let problem = format!("{MOST_OPEN} requests of {} wait for their answers; drop those that will get none", s.name);
                return Err(Error::refused("too-many-requests", problem));
            }
            let held = hold(tx, &sealer, REQUEST_KEY, s.id.0, &key, random, tick.now)?;
            let row = order::Request {
                id: tx.next_id("hand_request")?,
                secret: s.id,
                scope: scope.clone(),
                names: names.clone(),
                csr: request.clone(),
                key: key.spki_fingerprint(),
                held,
                state: RequestState::Open,
                version: 0,
                actor: format!("{}/{}", actor.issuer, actor.subject),
                reason: new.reason.clone(),
                created_at: tick.now,
                done_at: None,
            };
            order::put_request(tx, &row)?;
            let body = json!({ "request": row.id, "names": names, "scope": scope, "key": row.key.to_string() });
            tx.journal(Entry::new("request.made", format!("secret/{}", s.name), &new.reason, &body))?;
            Ok(row)
        })
    }

    /// Takes a CA's answer: checked as any import, with the key of the request that it is for; stored as a version, with the key in it.
    ///
    /// # Errors
    /// It is for none of the requests that wait, something stands against it, or the store is sealed.
    #[expect(clippy::too_many_arguments, reason = "each is asked for by name at its one call")]
    pub fn answer_by_hand(
        &self,
        name: &str,
        chain: &[u8],
        roots: Option<String>,
        accept_change: bool,
        reason: &str,
        random: &mut Entropy<'_>,
        actor: &Actor,
        tick: &Tick,
    ) -> Result<Stored> {
        let loaded =
            pki::load(chain, None, pki::Limits::default()).map_err(|e| Error::refused("bad-certificate", format!("chain: {e}")))?;
        let open = self.store.try_read(|tx| {
            let s = secret::by_name(tx, name)?.ok_or_else(|| Error::not_found("secret", name))?;
            Ok::<_, Error>(order::open_requests(tx, s.id, MOST_OPEN)?)
        })?;
        let fits = |q: &&order::Request| loaded.certificates.iter().any(|c| c.spki_fingerprint() == q.key);
        let Some(request) = open.iter().find(fits) else {
            let waits = match open.len() {
                0 => format!("no request of {name} waits for an answer; make one with `perennial cert request {name}`"),
                1 => format!("the request {} of {name} waits, and this certificate is for another key", open[0].id),
                n => format!("{n} requests of {name} wait, and this certificate is for none of their keys"),
            };
            return Err(Error::refused("no-request", waits));
        };
        let key = self.open_held(request.held)?;
        let incoming = Incoming {
            scope: request.scope.clone(),
            chain: chain.to_vec(),
            key: Some(Zeroizing::new(key.expose_pkcs8().to_vec())),
            password: None,
        };
        let import = Import { name, instances: vec![incoming], accept_change, roots, reason, dry_run: false };
        let prepared = self.prepare(import, tick)?;
        // The names that were asked for are what the answer is held against, besides those of the targets.
        let covered = loaded.certificates.iter().find(|c| c.spki_fingerprint() == request.key);
        let missing: Vec<&str> = request
            .names
            .iter()
            .map(String::as_str)
            .filter(|n| !covered.is_some_and(|c| c.covers(n) || c.names().iter().any(|own| own.to_string() == **n)))
            .collect();
        if !missing.is_empty() {
            return Err(Error::refused(
                "bad-certificate",
                format!("the answer does not cover {}, which was asked for", missing.join(", ")),
            ));
        }
        let id = request.id;
        let stored = self.store_all_and(&[prepared], random, actor, tick, |tx, stored| {
            let number = stored.first().map_or(0, |s| s.version);
            let waiting = order::requests(tx, request.secret, 1000)?.into_iter().find(|q| q.id == id && q.state == RequestState::Open);
            let Some(waiting) = waiting else {
                return Err(Error::refused("changed-meanwhile", format!("the request {id} was answered or dropped meanwhile")));
            };
            // The key lies in the version now.
            held::remove(tx, waiting.held)?;
            let answered = order::Request { state: RequestState::Answered, version: number, held: 0, done_at: Some(tick.now), ..waiting };
            order::put_request(tx, &answered)?;
            tx.journal(Entry::new("request.answered", format!("secret/{name}"), reason, &json!({ "request": id, "version": number })))?;
            Ok(())
        })?;
        stored.into_iter().next().ok_or_else(|| Error::Outside(String::from("nothing was stored")))
    }

    /// Drops a request, and its key with it: for good.
    ///
    /// # Errors
    /// It does not wait.
    pub fn drop_request(&self, name: &str, id: i64, reason: &str, actor: &Actor, tick: &Tick) -> Result<()> {
        self.store.try_write(actor, tick.now, |tx| {
            let s = secret::by_name(tx, name)?.ok_or_else(|| Error::not_found("secret", name))?;
            let s = secret::lock(tx, s.id)?.ok_or_else(|| Error::not_found("secret", name))?;
            let waiting = order::open_requests(tx, s.id, MOST_OPEN)?.into_iter().find(|q| q.id == id);
            let waiting = waiting.ok_or_else(|| Error::not_found("request that waits", &id.to_string()))?;
            held::remove(tx, waiting.held)?;
            order::put_request(tx, &order::Request { state: RequestState::Dropped, held: 0, done_at: Some(tick.now), ..waiting })?;
            tx.journal(Entry::new("request.dropped", format!("secret/{name}"), reason, &json!({ "request": id })))?;
            Ok(())
        })
    }
}
