//! The people of a scenario: what reaches them, and when they will have reacted to it.

use crate::{
    Detector,
    scenario::{Act, Reaction, Told},
};
use domain::{Span, Time};
use engine::{
    message::Message,
    ports::{Parcel, Post, Posted},
};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

/// Something that reached somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// When.
    pub at: Time,
    /// The way of seeing it that it belongs to.
    pub detector: Option<Detector>,
    /// `notice`, `incident-opened`, …
    pub kind: String,
    /// The rule.
    pub code: String,
    /// To whom.
    pub team: String,
    /// About which secret.
    pub secret: Option<String>,
    /// Whether somebody was woken.
    pub page: bool,
    /// One line.
    pub title: String,
}

/// Their post, and what they read.
pub(crate) struct People {
    /// Teams whose contacts take nothing.
    pub(crate) deaf: BTreeSet<String>,
    without: BTreeSet<Detector>,
    read: RefCell<Vec<Signal>>,
}

impl People {
    pub(crate) fn new(without: &BTreeSet<Detector>) -> People {
        People { deaf: BTreeSet::new(), without: without.clone(), read: RefCell::default() }
    }

    /// What came since it was last asked.
    pub(crate) fn news(&self) -> Vec<Signal> {
        std::mem::take(&mut self.read.borrow_mut())
    }
}

impl Post for People {
    fn post(&self, parcels: &[Parcel], now: Time) -> Vec<Posted> {
        parcels.iter().map(|parcel| self.take(parcel, now)).collect()
    }
}

impl People {
    fn take(&self, parcel: &Parcel, now: Time) -> Posted {
        let Ok(message) = serde_json::from_str::<Message>(&parcel.message) else {
            return Posted::Refused("no message".into());
        };
        if self.deaf.contains(&message.team) {
            return Posted::Retry(None, "no answer".into());
        }
        let detector = Detector::of(&message.code);
        // A blind detector has found nothing, so there is nothing to read; the rest of the world goes on as it is.
        if detector.is_none_or(|d| !self.without.contains(&d)) {
            let kind = serde_json::to_value(message.kind).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
            self.read.borrow_mut().push(Signal {
                at: now,
                detector,
                kind,
                code: message.code,
                team: message.team,
                secret: message.secret,
                page: message.page,
                title: message.title,
            });
        }
        Posted::Delivered("read".into())
    }
}

impl Told {
    /// Whether this was it.
    pub(crate) fn is(&self, signal: &Signal) -> bool {
        fn same<T: PartialEq>(wanted: Option<&T>, got: Option<&T>) -> bool {
            wanted.is_none() || wanted == got
        }
        same(self.code.as_ref(), Some(&signal.code))
            && same(self.kind.as_ref(), Some(&signal.kind))
            && same(self.team.as_ref(), Some(&signal.team))
            && same(self.secret.as_ref(), signal.secret.as_ref())
            && same(self.page.as_ref(), Some(&signal.page))
    }
}

/// What people mean to do.
pub(crate) struct Minds<'a> {
    waiting: Vec<&'a Reaction>,
    planned: BTreeMap<Time, Vec<&'a Act>>,
}

impl<'a> Minds<'a> {
    pub(crate) fn new(reactions: &'a [Reaction]) -> Minds<'a> {
        Minds { waiting: reactions.iter().collect(), planned: BTreeMap::new() }
    }

    pub(crate) fn hear(&mut self, signal: &Signal) {
        let planned = &mut self.planned;
        self.waiting.retain(|reaction| {
            let heard = reaction.to.is(signal);
            if heard {
                let after = reaction.after.max(Span::seconds(1));
                planned.entry(signal.at + after).or_default().extend(&reaction.acts);
            }
            !heard
        });
    }

    pub(crate) fn next(&self) -> Option<Time> {
        self.planned.keys().next().copied()
    }

    pub(crate) fn due(&mut self, now: Time) -> Vec<&'a Act> {
        let later = self.planned.split_off(&(now + Span::seconds(1)));
        std::mem::replace(&mut self.planned, later).into_values().flatten().collect()
    }
}
