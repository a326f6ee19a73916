//! Reads that only the API needs: names beside numbers, counts, the journal in pages.

use std::collections::BTreeMap;

use api::v1;
use domain::words::{SecretId, TargetId};
use store::{
    Result, Tx,
    model::{SECRETS, TARGETS, incident, outbox, secret, target},
};

use super::limits::STUCK_AFTER;

/// Names of what a page refers to by number, each looked up once.
#[derive(Default)]
pub(crate) struct Names {
    secrets: BTreeMap<SecretId, String>,
    targets: BTreeMap<TargetId, String>,
}

impl Names {
    pub(crate) fn secret(&mut self, tx: &mut Tx<'_>, id: SecretId) -> Result<String> {
        if let Some(name) = self.secrets.get(&id) {
            return Ok(name.clone());
        }
        let name = secret::get(tx, id)?.map(|s| s.name).unwrap_or_default();
        self.secrets.insert(id, name.clone());
        Ok(name)
    }

    pub(crate) fn target(&mut self, tx: &mut Tx<'_>, id: Option<TargetId>) -> Result<Option<String>> {
        let Some(id) = id else { return Ok(None) };
        if let Some(name) = self.targets.get(&id) {
            return Ok(Some(name.clone()));
        }
        let name = target::get(tx, id)?.map(|t| t.facts.name).unwrap_or_default();
        self.targets.insert(id, name.clone());
        Ok(Some(name))
    }
}

/// Instances of a secret that have a sealed key, without touching what is sealed.
pub(crate) fn keyed_instances(tx: &mut Tx<'_>, id: SecretId) -> Result<Vec<i64>> {
    let sql = "SELECT i.id FROM instance i JOIN sealed e ON e.instance_id = i.id WHERE i.secret_id = $1 ORDER BY i.id";
    tx.query(sql, &[id.0.into()])?.iter().map(|r| r.int(0)).collect()
}

/// Entries of the journal in its own order, behind (epoch, seq).
pub(crate) fn journal(tx: &mut Tx<'_>, after: Option<(i64, i64)>, limit: i64) -> Result<Vec<v1::AuditEntry>> {
    let (epoch, seq) = after.unwrap_or((0, 0));
    let sql = "SELECT epoch, seq, at, actor_issuer, actor_subject, action, subject, reason, body FROM journal \
               WHERE (epoch, seq) > ($1, $2) ORDER BY epoch, seq LIMIT $3";
    tx.query(sql, &[epoch.into(), seq.into(), limit.into()])?
        .iter()
        .map(|r| {
            Ok(v1::AuditEntry {
                epoch: r.int(0)?,
                seq: r.int(1)?,
                at: r.time(2)?.to_string(),
                actor: pki::text::escape(&format!("{}/{}", r.text(3)?, r.text(4)?)),
                action: r.text(5)?.into(),
                subject: pki::text::escape(r.text(6)?),
                reason: pki::text::escape(r.text(7)?),
                body: serde_json::from_str(r.text(8)?).unwrap_or_default(),
            })
        })
        .collect()
}

/// How much there is of what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) secrets: i64,
    pub(crate) targets: i64,
    pub(crate) open_incidents: i64,
    pub(crate) outbox_waiting: i64,
    pub(crate) outbox_stuck: i64,
}

/// Counts that are kept, or of few rows: a million secrets cost a scrape no more than one.
pub(crate) fn count(tx: &mut Tx<'_>) -> Result<Counts> {
    let (outbox_waiting, outbox_stuck) = outbox::waiting(tx, STUCK_AFTER)?;
    Ok(Counts {
        secrets: tx.counted(SECRETS)?,
        targets: tx.counted(TARGETS)?,
        open_incidents: incident::open_count(tx)?,
        outbox_waiting,
        outbox_stuck,
    })
}
