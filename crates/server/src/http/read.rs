//! Reads that only the API needs: names beside numbers, counts, the journal in pages.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use api::v1;
use domain::{
    Time,
    words::{SecretId, TargetId},
};
use store::{
    Result, Tx,
    model::{incident, notice, secret, target},
};

use super::limits::{COUNTED_ALWAYS, COUNTS_KEPT, STUCK_AFTER};

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

/// Counts, kept for a while where counting is slow: a million rows take longer than a scrape may.
#[derive(Default)]
pub(crate) struct Counting(Mutex<Option<(Time, Counts)>>);

impl Counting {
    pub(crate) fn get(&self, tx: &mut Tx<'_>, now: Time) -> Result<Counts> {
        // Held while counting: ten scrapers at once count once.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, counts)) = *kept
            && counts.secrets + counts.targets > COUNTED_ALWAYS
            && (0..COUNTS_KEPT).contains(&(now - at).as_secs())
        {
            return Ok(counts);
        }
        let counts = count(tx)?;
        *kept = Some((now, counts));
        Ok(counts)
    }
}

fn count(tx: &mut Tx<'_>) -> Result<Counts> {
    let (outbox_waiting, outbox_stuck) = notice::waiting(tx, STUCK_AFTER)?;
    Ok(Counts {
        secrets: tx.query_one("SELECT count(*) FROM secret WHERE retired_at IS NULL", &[])?.int(0)?,
        targets: tx.query_one("SELECT count(*) FROM target WHERE retired_at IS NULL", &[])?.int(0)?,
        open_incidents: incident::open_count(tx)?,
        outbox_waiting,
        outbox_stuck,
    })
}
