//! The forecast of one secret, asked again whenever something about it changed: what was said last is kept, so that a break that
//! enters is news.

use super::{coming::Releases, serves};
use crate::{Result, tell};
use domain::{
    Time,
    forecast::{
        Breaks, Coming, Outlook, Serving, WhatIf,
        breach::{self, Entered, Region, Remembered, remember},
        outlook,
    },
    words::{Renewal, SecretId},
};
use serde_json::json;
use store::{
    Tx,
    journal::Entry,
    model::{forecast, secret},
};

/// Different ends in one region that are looked at. Those that come later break later, except where something is on its way that
/// only the first of them lack.
const ENDS: usize = 32;

/// What an assessment of the secret needs of it.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Breaks that entered and stand.
    pub(crate) breaches: Vec<Entered>,
    /// When time alone changes the forecast.
    pub(crate) next: Option<Time>,
}

impl Kept {
    /// From what was said last, region by region.
    pub(crate) fn of(rows: &[(String, Remembered)]) -> Kept {
        Kept { breaches: breach::standing(rows), next: rows.iter().filter_map(|(_, r)| r.next).min() }
    }
}

/// Asks again for each region of a secret; writes down and journals what has changed. A few entries of an index for each region,
/// however many targets there are.
pub(crate) fn assess(tx: &mut Tx<'_>, s: &secret::Secret, now: Time) -> Result<Kept> {
    let before = forecast::of_secret(tx, s.id)?;
    let known = |region: &str| before.iter().find(|(r, _)| r == region).map(|(_, b)| b);
    let mut coming: Vec<Coming> = Vec::new();
    let mut rows = Vec::new();
    let mut behind: Option<String> = None;
    while let Some(region) = forecast::region_after(tx, s.id, behind.as_deref())? {
        if behind.is_none() {
            let before = SecretId(s.id.0 - 1);
            coming = Releases::default().between(tx, before, s.id)?.remove(&s.id).unwrap_or_default();
        }
        if let Some(is) = of_region(tx, s, &region, &coming, now)? {
            let was = known(&region);
            let it = remember(was, &is, now);
            if was != Some(&it) {
                forecast::put(tx, s.id, &region, &it, now)?;
                journal(tx, s, &region, was, &it)?;
            }
            rows.push((region.clone(), it));
        }
        behind = Some(region);
    }
    for (gone, _) in before.iter().filter(|(r, _)| !rows.iter().any(|(region, _)| region == r)) {
        forecast::forget(tx, s.id, gone)?;
    }
    Ok(Kept::of(&rows))
}

/// The first break of a secret in a region; none while nothing there was ever observed.
fn of_region(tx: &mut Tx<'_>, s: &secret::Secret, region: &str, coming: &[Coming], now: Time) -> Result<Option<Region>> {
    let unknown = forecast::first_in_region(tx, s.id, region, 0, now)?.is_some();
    let self_renewing = s.renewal == Renewal::Automatic && !s.release_bound;
    let plan = WhatIf::default().plan(region, coming, self_renewing && s.completed_unaided);
    let answer = |seen: &forecast::Seen| {
        let version = serves(seen, s.newest_version);
        outlook(&Serving { served: seen.served, cause: seen.cause, version }, &plan, now)
    };
    let whole = |outlook: Outlook, served_until| Some(Region { outlook, served_until, unknown, self_renewing });
    if let Some(broken) = forecast::first_in_region(tx, s.id, region, 1, now)? {
        return Ok(whole(answer(&broken), Some(Time::EPOCH)));
    }
    let (mut worst, mut served_until, mut behind): (Option<Outlook>, _, _) = (None, None, Time::from_unix(i64::MIN / 4));
    for _ in 0..ENDS {
        let Some(seen) = forecast::first_in_region(tx, s.id, region, 2, behind)? else { break };
        let domain::target::Served::Until(until) = seen.served else { break };
        served_until.get_or_insert(until);
        let is = answer(&seen);
        let next = [worst.as_ref().and_then(|w| w.next), is.next].into_iter().flatten().min();
        if worst.as_ref().is_none_or(|w| order(w.breaks) > order(is.breaks)) {
            worst = Some(is);
        }
        if let Some(w) = &mut worst {
            w.next = next;
            // Whatever ends later breaks no earlier than that.
            if order(w.breaks) <= until {
                break;
            }
        }
        behind = until;
    }
    Ok(worst.and_then(|w| whole(w, served_until)))
}

fn order(breaks: Breaks) -> Time {
    breaks.at(Time::EPOCH).unwrap_or(Time::NO_EXPIRY)
}

fn journal(tx: &mut Tx<'_>, s: &secret::Secret, region: &str, was: Option<&Remembered>, is: &Remembered) -> Result<()> {
    let news = match (was.and_then(|w| w.breach.as_ref()), &is.breach) {
        (_, Some(b)) if was.is_none_or(|w| w.breach.is_none() || w.breaks_at != is.breaks_at) => ("forecast.breach", Some(b)),
        (Some(_), None) => ("forecast.changed", None),
        _ => return Ok(()),
    };
    let text = |t: Option<Time>| t.map(|t| t.to_string());
    let body = json!({
        "region": region,
        "breaks_at": text(is.breaks_at),
        "before": text(was.and_then(|w| w.breaks_at)),
        "certificate": is.about.map(|a| a.to_string()),
        "release": is.rests_on,
        "rescue": news.1.map(|b| b.rescue.as_str()),
        "served_until": tell::served_text(is.served_until.map_or(domain::target::Served::Unknown, domain::target::Served::Until)),
    });
    Ok(tx.journal(Entry::new(news.0, format!("secret/{}", s.name), "", &body))?)
}
