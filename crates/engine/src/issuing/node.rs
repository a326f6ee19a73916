//! Certificates for keys that were born on nodes.

use super::{
    Answer,
    choose::choose,
    desk::{Job, is_signed},
    orders,
    prepare::{self, Want, declared},
};
use crate::{Engine, Error, Result, Tick, ports::Entropy};
use domain::{Span, issuing::IssuerKind, words::SecretId};
use pki::csr::Csr;
use store::model::authority;

impl Engine {
    /// Issues for a key that was born on a node: a request for the version that the node was told to have. The same key asks again and
    /// gets the same answer.
    ///
    /// # Errors
    /// The request asks for what the secret is not, the version is not announced, no issuer can be asked, or the store is sealed.
    pub fn issue_for_node(
        &self,
        node: &str,
        secret: SecretId,
        version: i64,
        csr: &[u8],
        tick: &Tick,
        random: &mut Entropy<'_>,
    ) -> Result<Answer> {
        let key = Csr::parse(csr).map_err(|e| Error::refused("bad-request", e.to_string()))?.spki_fingerprint();
        let (choice, want, before) = self.store.try_read(|tx| {
            let (s, i) = declared(tx, secret)?;
            if version < 1 || version > s.newest_version {
                return Err(Error::refused(
                    "no-version",
                    format!("{} has no version {version}; its newest is {}", s.name, s.newest_version),
                ));
            }
            let before = authority::issued_to(tx, secret, version, node, &key)?;
            let region = super::region_of(tx, node)?;
            prepare::not_leaked(tx, &key)?;
            let choice = choose(tx, &i, &region, tick.now)?.into_iter().next();
            let choice = choice.ok_or_else(|| Error::refused("no-issuer", format!("nobody issues {}", s.name)))?;
            let by = (choice.issuer.kind, choice.not_before);
            let want = match choice.issuer.kind {
                IssuerKind::Internal => Some(Want::read(tx, s, i, choice, version, node, &region)?),
                IssuerKind::Acme => None,
            };
            Ok((by, want, before))
        })?;
        if let Some(row) = before {
            if is_signed(&row) {
                return self.store.try_read(|tx| Ok(Answer::Issued(chain_of(tx, &row)?)));
            }
            if let Some(chain) = self.finish_one(&row, tick)? {
                return Ok(Answer::Issued(chain));
            }
        }
        if let (_, Some(then)) = choice
            && choice.0 == IssuerKind::Internal
        {
            return Ok(Answer::Pending { retry_after: then - tick.now, what: String::from("the issuer's budget is used up") });
        }
        match want {
            Some(want) => {
                let ready = self.ready(&want, csr, random, tick.now)?;
                self.sign(Job { ready, key: None }, random, tick).map(Answer::Issued)
            }
            None => orders::for_node(self, node, secret, version, csr, tick),
        }
    }
}

/// What was signed, with its authority.
pub(crate) fn chain_of(tx: &mut store::Tx<'_>, row: &authority::Issued) -> Result<Vec<Vec<u8>>> {
    let by = authority::get(tx, row.authority)?.ok_or_else(|| Error::not_found("authority", &row.authority.to_string()))?;
    Ok(vec![row.der.clone(), by.certificate])
}

/// How long a node waits before it asks for what an issuer works on.
pub(crate) const ASK_AGAIN: Span = Span::seconds(5);

impl Engine {
    /// Only the first of the two steps of issuing, as a crash between them leaves it behind; the number of what was intended. For tests of
    /// what takes it up.
    ///
    /// # Errors
    /// As [`Engine::issue_for_node`].
    #[doc(hidden)]
    pub fn intend_only(
        &self,
        node: &str,
        secret: SecretId,
        version: i64,
        csr: &[u8],
        tick: &Tick,
        random: &mut Entropy<'_>,
    ) -> Result<i64> {
        let want = self.store.try_read(|tx| {
            let (s, i) = declared(tx, secret)?;
            let choice = choose(tx, &i, "", tick.now)?.into_iter().next();
            let choice = choice.ok_or_else(|| Error::refused("no-issuer", "nobody issues it"))?;
            Want::read(tx, s, i, choice, version, node, "")
        })?;
        let mut jobs = [Job { ready: self.ready(&want, csr, random, tick.now)?, key: None }];
        self.intend(&mut jobs, random, tick)?;
        Ok(jobs[0].ready.row.id)
    }
}
