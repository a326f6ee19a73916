//! How wide one expiry would reach, with the names of things.

use crate::{Engine, Error, Result, Tick};
use domain::{
    Fingerprint, Span, Time,
    blast::{self, By, Reach, ServiceShare, Snapshot, Totals, groups, windows},
};
use store::{
    Tx,
    model::{calendar, path},
};

/// The worst of these is looked for within the coming year.
pub const HOUR: Span = Span::hours(1);

/// By what production is grouped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// By what it hangs on.
    On(By),
    /// By what ends together within so long.
    Window(Span),
}

/// One thing that production hangs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// By what it was grouped.
    pub kind: Kind,
    /// What it hangs on; none for windows.
    pub print: Option<Fingerprint>,
    /// Its name, escaped; empty for windows.
    pub name: String,
    /// When a leaf ends.
    pub not_after: Option<Time>,
    /// When a window's first and last target fall.
    pub falls: Option<(Time, Time)>,
    /// What it touches.
    pub reach: Reach,
    /// What it touches of each service: name and numbers.
    pub services: Vec<(String, ServiceShare)>,
}

/// Where a page begins: behind something so wide, with this fingerprint or at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Behind a group.
    Group(u32, Fingerprint),
    /// Behind a window.
    Window(u32, Time),
}

/// What is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Question {
    /// Only this service.
    pub service: Option<String>,
    /// One kind, in pages; none for the widest of each.
    pub kind: Option<Kind>,
    /// Only windows that begin within so long.
    pub within: Option<Span>,
    /// Where the page begins.
    pub after: Option<After>,
    /// How long it is.
    pub limit: usize,
}

impl Engine {
    /// How wide one expiry would reach: what there is of production, and what takes the most of it down.
    ///
    /// # Errors
    /// No such service.
    pub fn blast(&self, q: &Question, tick: &Tick) -> Result<(Totals, Vec<Item>)> {
        let now = tick.now;
        let snapshot = self.store.try_read(|tx| {
            if let Some(name) = &q.service
                && calendar::service(tx, name)?.is_none()
            {
                return Err(Error::not_found("service", name));
            }
            Ok(path::snapshot(tx, q.service.as_deref())?)
        })?;
        let before = q.within.map_or(Time::NO_EXPIRY, |within| now + within);
        let mut all = match q.kind {
            Some(kind) => items(&snapshot, kind, now, before, q.after, q.limit),
            None => {
                let kinds = By::ALL.map(Kind::On).into_iter().chain([blast::WINDOW, blast::NARROW_WINDOW].map(Kind::Window));
                let mut widest: Vec<(Item, i64)> = kinds.flat_map(|kind| items(&snapshot, kind, now, before, None, 1)).collect();
                widest.extend(items(&snapshot, Kind::Window(HOUR), now, now + blast::YEAR, None, 1));
                widest
            }
        };
        // Names are looked up once everything large is gone, for the few that are shown.
        let totals = snapshot.totals(now);
        drop(snapshot);
        self.store.read(|tx| all.iter_mut().try_for_each(|(item, path)| name(tx, item, *path)))?;
        Ok((totals, all.into_iter().map(|(item, _)| item).collect()))
    }
}

/// The items of a kind behind a place, each with a path that has its name.
fn items(s: &Snapshot, kind: Kind, now: Time, before: Time, after: Option<After>, limit: usize) -> Vec<(Item, i64)> {
    let named = |shares: Vec<ServiceShare>| shares.into_iter().map(|x| (s.services()[x.service as usize].clone(), x)).collect();
    match kind {
        Kind::On(by) => {
            let all = groups(s, by);
            let after = match after {
                Some(After::Group(width, print)) => Some((width, print)),
                _ => None,
            };
            let item = |g: &blast::Group| Item {
                kind,
                print: Some(g.print),
                name: String::new(),
                not_after: (by == By::Leaf).then(|| s.dates(g.path).1),
                falls: None,
                reach: g.reach,
                services: named(all.services(g)),
            };
            all.after(after).iter().take(limit).map(|g| (item(g), s.path_id(g.path))).collect()
        }
        Kind::Window(width) => {
            let all = windows(s, width, now, before);
            let after = match after {
                Some(After::Window(width, from)) => Some((width, from)),
                _ => None,
            };
            let item = |w: &blast::Window| Item {
                kind,
                print: None,
                name: String::new(),
                not_after: None,
                falls: Some((w.from, w.last)),
                reach: w.reach,
                services: named(all.services(w)),
            };
            all.after(after).iter().take(limit).map(|w| (item(w), 0)).collect()
        }
    }
}

fn name(tx: &mut Tx<'_>, item: &mut Item, id: i64) -> store::Result<()> {
    let Kind::On(by) = item.kind else { return Ok(()) };
    if let Some(p) = path::get(tx, id)? {
        item.name = match by {
            By::Leaf | By::Key => p.leaf_name,
            By::Intermediate => p.issuer_name,
            By::Root => p.root_name,
        };
    }
    Ok(())
}
