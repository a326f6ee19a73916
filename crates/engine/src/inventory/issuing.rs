//! Who signs, and how secrets are issued, as the inventory says.

use super::{Apply, Field, diff, word};
use crate::{Result, issuing::wake_issued_by, loops};
use api::fleet::{self, Fleet, MAX_PROBLEMS};
use domain::{
    Span,
    calendar::{Calendar, Freeze, When},
    issuing::{KeyChoice, KeysAt, Profile},
    words::{Renewal, SecretId},
};
use std::collections::BTreeMap;
use store::{
    Tx,
    model::{inventory::ISSUER, issuance, secret},
    timer,
};

/// Appends what is wrong with maintenance windows: what only who evaluates them can tell.
pub(super) fn problems(fleet: &Fleet, problems: &mut Vec<String>) {
    for (i, s) in fleet.secrets.iter().enumerate() {
        let Some(window) = &s.window else { continue };
        let freeze = Freeze { why: String::from("maintenance"), when: When::Weekly(window.weekly.clone()) };
        let zone = window.zone.as_deref().unwrap_or("UTC");
        for e in Calendar::problems(zone, &[freeze]) {
            if problems.len() >= MAX_PROBLEMS {
                return;
            }
            let key = if e.freeze.is_some() { "weekly" } else { e.key };
            let path = format!("secret[{i}].window.{key}: ");
            if !problems.iter().any(|p| p.starts_with(&path)) {
                problems.push(path + &e.message);
            }
        }
    }
}

impl Apply<'_> {
    pub(super) fn issuers(&mut self, tx: &mut Tx<'_>, fleet: &Fleet) -> Result<()> {
        let text = |t: &Option<String>| t.clone().unwrap_or_default();
        let rows: BTreeMap<_, _> = fleet
            .issuers
            .iter()
            .map(|i| {
                let budget = i.budget.map_or((0, 0), |b| (i64::from(b.orders), b.window.as_secs()));
                // The columns say these; what is kept besides is what only its kind needs.
                let settings = fleet::Issuer { name: String::new(), region: None, fallback: None, budget: None, ..i.clone() };
                let settings = serde_json::to_string(&settings).unwrap_or_default();
                let values = vec![
                    word(&i.kind).into(),
                    text(&i.region).into(),
                    text(&i.fallback).into(),
                    budget.0.into(),
                    budget.1.into(),
                    settings.into(),
                ];
                (i.name.clone(), values)
            })
            .collect();
        let before = self.changes.len();
        self.table(tx, ISSUER, rows)?;
        if self.writes && self.changes[before..].iter().any(|c| c.what != "left-over") {
            let changed: Vec<String> = self.changes[before..].iter().map(|c| c.name.clone()).collect();
            for issuer in &changed {
                // Whoever waits for it, or was refused by it, tries again with what it is now.
                issuance::put_issuer_state(tx, issuer, &issuance::IssuerState::default())?;
                wake_issued_by(tx, issuer, self.now)?;
            }
        }
        Ok(())
    }

    /// How a secret is issued: what changes of it. Without a stored secret nothing is written.
    pub(super) fn issuance(&mut self, tx: &mut Tx<'_>, stored: Option<&secret::Secret>, wanted: &fleet::Secret) -> Result<Vec<Field>> {
        let Some(s) = stored.filter(|s| s.id.0 != 0) else { return Ok(Vec::new()) };
        let before = issuance::get(tx, s.id)?;
        let after = declared(s.id, wanted);
        // Whoever says only now that it renews itself may be due already.
        if self.writes && after.is_some() && s.renewal == Renewal::ByHand && wanted.renewal == fleet::Renewal::Automatic {
            timer::set_earlier(tx, loops::RENEW, s.id.0, self.now)?;
        }
        if before == after {
            return Ok(Vec::new());
        }
        let mut fields = changes(before.as_ref(), after.as_ref());
        // Whoever names an issuer may believe that it is asked.
        if wanted.renewal != fleet::Renewal::Automatic && !wanted.issued_by.is_empty() {
            for field in fields.iter_mut().filter(|f| f.0 == "issued_by") {
                field.2.push_str(" (asked only by perennial cert renew; renewal = \"automatic\" asks by itself)");
            }
        }
        if self.writes {
            match &after {
                Some(row) => issuance::put(tx, row)?,
                None => issuance::remove(tx, s.id)?,
            }
            timer::set_earlier(tx, loops::RENEW, s.id.0, self.now)?;
        }
        Ok(fields)
    }
}

/// What the inventory says of a secret; nothing where it says nothing.
fn declared(secret: SecretId, w: &fleet::Secret) -> Option<issuance::Issuance> {
    let silent = w.issued_by.is_empty()
        && w.profile.is_none()
        && w.keys.is_none()
        && w.key_type.is_none()
        && w.lifetime.is_none()
        && w.spiffe_id.is_none()
        && w.window.is_none()
        && w.rollout.is_none();
    (!silent).then(|| issuance::Issuance {
        secret,
        issued_by: w.issued_by.clone(),
        profile: Profile::parse(&word(&w.profile.unwrap_or_default())).unwrap_or(Profile::Server),
        // A key can be born on a node only where somebody answers its request.
        keys: match w.keys {
            None if w.issued_by.is_empty() => KeysAt::Store,
            keys => KeysAt::parse(&word(&keys.unwrap_or_default())).unwrap_or(KeysAt::Node),
        },
        key_type: KeyChoice::parse(&word(&w.key_type.unwrap_or_default())).unwrap_or(KeyChoice::EcdsaP256),
        lifetime: w.lifetime.map(|l| Span::seconds(l.as_secs())),
        spiffe_id: w.spiffe_id.clone().unwrap_or_default(),
        maintenance: w.window.as_ref().map(|m| serde_json::to_string(m).unwrap_or_default()).unwrap_or_default(),
        rollout_policy: w.rollout.clone().unwrap_or_default(),
    })
}

fn changes(before: Option<&issuance::Issuance>, after: Option<&issuance::Issuance>) -> Vec<Field> {
    let of = |i: Option<&issuance::Issuance>, f: fn(&issuance::Issuance) -> String| i.map(f).unwrap_or_default();
    type Shown = fn(&issuance::Issuance) -> String;
    let fields: [(&str, Shown); 8] = [
        ("issued_by", |i| i.issued_by.join(", ")),
        ("profile", |i| i.profile.to_string()),
        ("keys", |i| i.keys.to_string()),
        ("key_type", |i| i.key_type.to_string()),
        ("lifetime", |i| i.lifetime.map(|l| l.to_string()).unwrap_or_default()),
        ("spiffe_id", |i| i.spiffe_id.clone()),
        ("window", |i| i.maintenance.clone()),
        ("rollout", |i| i.rollout_policy.clone()),
    ];
    diff(fields.into_iter().map(|(name, f)| (name, of(before, f), of(after, f))).collect())
}
