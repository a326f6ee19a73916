//! What is on its way: releases that have not ended, and the versions that they carry.

use crate::{Error, Result};
use domain::{
    Fingerprint, Span, Time,
    forecast::Coming,
    release::{self as rules, Release, Status},
    words::{ReleaseId, SecretId},
};
use std::collections::BTreeMap;
use store::{
    Tx,
    model::{forecast as rows, release},
};

/// Releases that were read, each once, with the lead time of its service.
#[derive(Default)]
pub(crate) struct Releases {
    read: BTreeMap<i64, Option<(Release, Span)>>,
    leads: BTreeMap<String, Span>,
}

impl Releases {
    /// What is on its way for the secrets behind `after` and up to `last`.
    pub(crate) fn between(&mut self, tx: &mut Tx<'_>, after: SecretId, last: SecretId) -> Result<BTreeMap<SecretId, Vec<Coming>>> {
        let items = rows::carried_between(tx, after, last)?;
        let mut all: BTreeMap<SecretId, Vec<Coming>> = BTreeMap::new();
        if items.is_empty() {
            return Ok(all);
        }
        // For each version and scope the leaf that ends first: a dual setup breaks with the first of its two.
        let mut brings: BTreeMap<(SecretId, i64), BTreeMap<String, (Time, Fingerprint)>> = BTreeMap::new();
        for l in rows::leaves_between(tx, after, last)? {
            let one = brings.entry((l.secret, l.version)).or_default().entry(l.scope).or_insert((l.not_after, l.leaf));
            *one = (*one).min((l.not_after, l.leaf));
        }
        for item in items {
            let Some((release, lead)) = self.release(tx, item.release)? else { continue };
            let arrives = |region: &str| rules::arrives_at(release, region, *lead);
            let stages = release.stages.iter();
            all.entry(item.secret).or_default().push(Coming {
                release: item.release,
                name: format!("{}/{}", pki::text::escape(&release.service), pki::text::escape(&release.build)),
                version: item.version,
                brings: brings.get(&(item.secret, item.version)).cloned().unwrap_or_default(),
                arrives: stages.map(|s| (s.region.clone(), (s.status != Status::Cancelled).then(|| arrives(&s.region)))).collect(),
                elsewhere: release.builds_at() + *lead,
            });
        }
        Ok(all)
    }

    fn release(&mut self, tx: &mut Tx<'_>, id: i64) -> Result<Option<&(Release, Span)>> {
        if !self.read.contains_key(&id) {
            let read = match release::get(tx, ReleaseId(id))? {
                Some(stored) => {
                    let lead = self.lead(tx, &stored.facts.service)?;
                    Some((stored.facts, lead))
                }
                None => None,
            };
            self.read.insert(id, read);
        }
        Ok(self.read.get(&id).and_then(Option::as_ref))
    }

    fn lead(&mut self, tx: &mut Tx<'_>, service: &str) -> Result<Span> {
        if let Some(lead) = self.leads.get(service) {
            return Ok(*lead);
        }
        let lead = rules::lead(&release::lead_samples(tx, service)?);
        self.leads.insert(service.to_owned(), lead);
        Ok(lead)
    }
}

/// The number of a release that somebody names: by its number, or as SERVICE/BUILD.
pub(super) fn release_named(tx: &mut Tx<'_>, name: &str) -> Result<i64> {
    let mut found = match name.parse::<i64>() {
        Ok(id) => release::get(tx, ReleaseId(id))?,
        Err(_) => None,
    };
    // A build's name may have slashes too.
    for (at, _) in name.match_indices('/') {
        if found.is_none() {
            found = release::by_build(tx, &name[..at], &name[at + 1..])?;
        }
    }
    let r = found.ok_or_else(|| Error::not_found("release", name))?.facts;
    match r.ended_at {
        Some(at) => Err(Error::refused("release-ended", format!("{} ended {at}: nothing of it is planned any more", r.title()))),
        None => Ok(r.id.0),
    }
}
