//! What the rules say about one target: its observations × inventory × policy → standing, findings, and when time alone will
//! change the answer.

use crate::{
    Fingerprint, Span, Time,
    finding::{Code, End, Finding, Subject},
    observation::Record,
    policy::{Level, Policy},
    words::{Blame, Combination, Method, SecretId, Target, TargetState},
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::{String, ToString},
    vec::Vec,
};

/// What is known of one presented chain, as judged for this target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presented {
    /// `notAfter − notBefore + 1 s` of the leaf.
    pub lifetime: Span,
    /// The issuer's name, escaped.
    pub issuer: String,
    /// The names in the leaf, escaped, shortened.
    pub names: String,
    /// Whether the leaf covers the server name (always true where none is checked).
    pub covers: bool,
    /// Expected names of an external secret that the leaf lacks.
    pub lacks: Vec<String>,
    /// Whether the path validates now, for a client that must be served.
    pub path: Result<(), PathProblem>,
    /// The first second at which the best path stops validating.
    pub until: Time,
    /// The ends along the best path that people must hear of.
    pub ends: Vec<End>,
    /// Later dates at which the path does not validate, though nothing on it ends before.
    pub breaks_later: Option<String>,
    /// A presented certificate that has expired and that no path needs.
    pub superfluous_expired: Option<String>,
}

/// Why a path does not validate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathProblem {
    /// [`Code::Expired`], [`Code::WrongName`], [`Code::IncompleteChain`] or [`Code::Untrusted`].
    pub code: Code,
    /// In words, escaped.
    pub detail: String,
}

/// What a target should serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// One of these certificates of the newest version; nothing to compare with while none is stored.
    Managed(Option<Newest>),
    /// What somebody else renews: these issuers (none given: any).
    External {
        /// Texts, one of which the issuer must contain.
        issuers: Vec<String>,
    },
}

/// The newest version of a secret, as far as one target may serve it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newest {
    /// Its number.
    pub number: i64,
    /// When it was stored.
    pub stored_at: Time,
    /// Its leaves, for this target's region.
    pub leaves: BTreeSet<Fingerprint>,
}

/// Whose a certificate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Of which secret.
    pub secret: SecretId,
    /// Its name.
    pub name: String,
    /// Of which version.
    pub version: i64,
}

/// An address of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// `ip:port`.
    pub address: String,
    /// When it was first seen under the name.
    pub first_seen: Time,
    /// When the name stopped resolving to it.
    pub left_at: Option<Time>,
}

/// Everything that the rules look at.
#[derive(Debug, Clone)]
pub struct View {
    /// The target.
    pub target: Target,
    /// Its secret and that secret's name.
    pub secret: Option<(SecretId, String)>,
    /// Whether the secret or the target has an owner.
    pub owned: bool,
    /// What it should serve.
    pub expected: Expected,
    /// The policy that applies.
    pub policy: Policy,
    /// Addresses that its name resolves to, or did until lately; empty for what is not dialled.
    pub addresses: Vec<Address>,
    /// Vantages that can only raise.
    pub optional_vantages: Vec<String>,
    /// Whether it is dialled at all.
    pub dialled: bool,
    /// When it was retired.
    pub retired_at: Option<Time>,
    /// What was observed.
    pub records: Vec<Record>,
    /// The chains that the records name, judged.
    pub presented: BTreeMap<Fingerprint, Presented>,
    /// Whose the leaves are.
    pub known: BTreeMap<Fingerprint, Known>,
}

/// Until when a target serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Served {
    /// Never observed; sorted worst.
    Unknown,
    /// What it serves does not validate now.
    Broken,
    /// Its best path stops validating at this second.
    Until(Time),
}

/// What the rules say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Until when it serves.
    pub served: Served,
    /// The end with the least margin.
    pub worst: Option<End>,
    /// Required combinations that show the newest version (or what is expected).
    pub current: u32,
    /// Required combinations.
    pub required: u32,
    /// The longest-unconfirmed of the required combinations, where all of them are settled: what a closing may rest on.
    pub settled_since: Option<Time>,
    /// The required records, as evidence.
    pub evidence: Vec<i64>,
    /// What the rules say.
    pub findings: Vec<Finding>,
    /// Lifetime of the shortest-lived certificate that is served; decides how often to look.
    pub lifetime: Option<Span>,
    /// When time alone will change the answer.
    pub next: Option<Time>,
}

/// Addresses that left the name are looked at for this long.
pub const AFTER_LEAVING: Span = Span::hours(24);
/// How long a target that answers with an older version is given before its owner is told.
pub const GRACE_OLDER: Span = Span::days(7);
/// An ordinary lifetime, where none was seen yet.
pub const ASSUMED_LIFETIME: Span = Span::days(90);

/// The combinations that must be green: every address × required vantage × required offer.
pub fn required(target: &Target, addresses: &[Address]) -> Vec<Combination> {
    let mut all = Vec::new();
    for address in addresses.iter().filter(|a| a.left_at.is_none()) {
        for vantage in &target.required_vantages {
            for offer in &target.offers {
                all.push(Combination {
                    address: address.address.clone(),
                    vantage: vantage.clone(),
                    server_name: target.server_name.clone(),
                    offer: *offer,
                    method: Method::Dialled,
                });
            }
        }
    }
    all
}

/// Assesses one target.
pub fn assess(view: &View, now: Time) -> Standing {
    let mut a = Assessment::new(view, now);
    a.ends_and_paths();
    a.versions();
    a.silence();
    a.inventory();
    a.finish()
}

struct Assessment<'a> {
    view: &'a View,
    now: Time,
    required: Vec<Option<&'a Record>>,
    missing: Vec<Combination>,
    /// Every record that may still be answered with, required or only raising.
    relevant: Vec<&'a Record>,
    lifetime: Option<Span>,
    served: Served,
    findings: Vec<Finding>,
    worst: Option<End>,
    current: u32,
    next: Option<Time>,
}

impl<'a> Assessment<'a> {
    fn new(view: &'a View, now: Time) -> Self {
        let fresh = |r: &&Record| r.expires_at.is_none_or(|e| now < e);
        let by_combination: BTreeMap<&Combination, &Record> = view.records.iter().map(|r| (&r.combination, r)).collect();
        let (mut required_records, mut missing) = (Vec::new(), Vec::new());
        if view.dialled {
            for c in required(&view.target, &view.addresses) {
                let record = by_combination.get(&c).copied();
                if record.is_none() {
                    missing.push(c);
                }
                required_records.push(record);
            }
        } else {
            required_records.extend(view.records.iter().filter(fresh).map(Some));
        }
        let gone = |r: &&Record| {
            view.addresses.iter().any(|a| a.address == r.combination.address && a.left_at.is_none_or(|at| now < at + AFTER_LEAVING))
                || r.combination.method != Method::Dialled
        };
        // What nobody looks at any more says nothing: another vantage, offer or server name than the inventory asks for.
        let asked = |r: &&Record| {
            let (c, t) = (&r.combination, &view.target);
            c.method != Method::Dialled
                || ((t.required_vantages.contains(&c.vantage) || view.optional_vantages.contains(&c.vantage))
                    && t.offers.contains(&c.offer)
                    && c.server_name == t.server_name)
        };
        let relevant: Vec<&Record> = view.records.iter().filter(fresh).filter(gone).filter(asked).collect();
        let lifetime = relevant.iter().flat_map(|r| r.may_serve()).filter_map(|s| view.presented.get(&s.chain)).map(|p| p.lifetime).min();
        let served = if required_records.is_empty() { Served::Unknown } else { Served::Until(Time::NO_EXPIRY) };
        let mut it = Assessment {
            view,
            now,
            required: required_records,
            missing,
            relevant,
            lifetime,
            served,
            findings: Vec::new(),
            worst: None,
            current: 0,
            next: None,
        };
        for expires in view.records.iter().filter_map(|r| r.expires_at) {
            it.at(expires);
        }
        it
    }

    /// Time alone changes the answer at `t`, where that is still to come.
    fn at(&mut self, t: Time) {
        if t > self.now && t < Time::NO_EXPIRY {
            self.next = Some(self.next.map_or(t, |n| n.min(t)));
        }
    }

    fn find(&mut self, code: Code, level: Level, about: Option<Fingerprint>, detail: String) -> &mut Finding {
        let subject = match (code, about) {
            (Code::LeafExpiring | Code::PathExpiring | Code::Expired, Some(fp)) => Subject::Certificate(fp),
            (_, Some(fp)) => Subject::Served(fp, code),
            (_, None) => match &self.view.secret {
                Some((id, _)) => Subject::Secret(*id, code),
                None => Subject::Target(self.view.target.id, code),
            },
        };
        // Standby is watched and told about, but nothing of production depends on it yet.
        let level = if self.view.target.state == TargetState::Standby { level.min(Level::Notice) } else { level };
        let at = self.findings.len();
        self.findings.push(Finding { code, level, subject, broken: false, about, since: None, until: None, detail });
        &mut self.findings[at]
    }

    fn ends_and_paths(&mut self) {
        for record in self.required.iter().copied() {
            let until = match record {
                Some(r) if r.good.is_some() => r
                    .may_serve()
                    .filter_map(|s| self.view.presented.get(&s.chain))
                    .map(|p| match &p.path {
                        Err(problem) if problem.code != Code::Expired => Served::Broken,
                        _ => Served::Until(p.until),
                    })
                    .min()
                    .unwrap_or(Served::Unknown),
                _ => Served::Unknown,
            };
            self.served = self.served.min(until);
        }

        let mut seen: BTreeMap<Fingerprint, Time> = BTreeMap::new();
        for s in self.relevant.iter().flat_map(|r| r.may_serve()) {
            let at = seen.entry(s.chain).or_insert(s.at);
            *at = (*at).max(s.at);
        }
        let leaves: BTreeMap<Fingerprint, Fingerprint> =
            self.relevant.iter().flat_map(|r| r.may_serve()).map(|s| (s.chain, s.leaf)).collect();
        let mut told = BTreeSet::new();
        for chain in seen.keys() {
            let (Some(p), Some(leaf)) = (self.view.presented.get(chain), leaves.get(chain)) else { continue };
            for end in &p.ends {
                self.end(end, p, &mut told);
            }
            let broken = |f: &mut Finding| f.broken = true;
            if !p.covers && told.insert((Code::WrongName, *leaf)) {
                let name = pki::text::escape(&self.view.target.server_name);
                broken(self.find(
                    Code::WrongName,
                    Level::Incident,
                    Some(*leaf),
                    format!("serves a certificate for {}, which does not cover {name}", p.names),
                ));
            }
            if let Err(problem) = &p.path {
                let about = if problem.code == Code::WrongName { continue } else { *leaf };
                // What has expired is told by its end; a path that fails for another reason is told here.
                let told_by_end = problem.code == Code::Expired && p.ends.iter().any(|e| e.remaining(self.now) <= Span::seconds(0));
                if !told_by_end && told.insert((problem.code, about)) {
                    broken(self.find(problem.code, Level::Incident, Some(about), problem.detail.clone()));
                }
            }
            if let Some(detail) = &p.breaks_later
                && told.insert((Code::PathBreaksLater, *leaf))
            {
                self.find(Code::PathBreaksLater, Level::Notice, Some(*leaf), detail.clone());
            }
            if let Some(detail) = &p.superfluous_expired
                && told.insert((Code::IncompleteChain, *leaf))
            {
                self.find(Code::IncompleteChain, Level::Notice, Some(*leaf), detail.clone());
            }
            if !p.lacks.is_empty() && told.insert((Code::WrongName, *leaf)) {
                let lacks = p.lacks.join(", ");
                self.find(Code::WrongName, Level::Notice, Some(*leaf), format!("the certificate lacks the expected {lacks}"));
            }
        }
    }

    fn end(&mut self, end: &End, p: &Presented, told: &mut BTreeSet<(Code, Fingerprint)>) {
        let remaining = end.remaining(self.now);
        if self.worst.is_none_or(|w| end.margin(self.now) < w.margin(self.now)) {
            self.worst = Some(*end);
        }
        self.at(end.until - end.thresholds.notice + Span::seconds(1));
        self.at(end.until - end.thresholds.incident + Span::seconds(1));
        self.at(end.until);
        let level = end.thresholds.level(remaining);
        if level == Level::Info {
            return;
        }
        let expired = remaining <= Span::seconds(0);
        let (code, what) = match (expired, end.position) {
            (true, _) => (Code::Expired, "expired"),
            (false, 0) => (Code::LeafExpiring, "the served leaf expires"),
            (false, _) => (Code::PathExpiring, "a certificate above the served leaf expires"),
        };
        if !told.insert((code, end.about)) {
            return;
        }
        let left = if expired {
            format!("{what} {}, {} ago, and is still in use; issued by {}", end.until, Span::seconds(-remaining.as_secs()), p.issuer)
        } else {
            format!("{what} {}, in {remaining}; issued by {}", end.until, p.issuer)
        };
        let f = self.find(code, level, Some(end.about), left);
        f.broken = expired;
        f.until = Some(end.until);
    }

    fn versions(&mut self) {
        let total = self.required.len();
        match &self.view.expected {
            Expected::External { issuers } => {
                for record in self.relevant.clone() {
                    for s in record.may_serve() {
                        let Some(p) = self.view.presented.get(&s.chain) else { continue };
                        let fits = issuers.is_empty() || issuers.iter().any(|i| p.issuer.contains(i.as_str()));
                        if !fits && !self.findings.iter().any(|f| f.code == Code::NotOurs && f.about == Some(s.leaf)) {
                            let wanted = pki::text::escape(&issuers.join(" or "));
                            let detail = format!("issued by {}, expected {wanted}", p.issuer);
                            self.find(Code::NotOurs, Level::Notice, Some(s.leaf), detail);
                        }
                    }
                }
                self.current = self.required.iter().flatten().filter(|r| r.settled()).count() as u32;
            }
            Expected::Managed(None) => {}
            Expected::Managed(Some(newest)) => {
                let is_current = |fp: &Fingerprint| newest.leaves.contains(fp);
                let up_to_date = |r: &&Record| r.good.is_some() && r.may_serve().all(|s| is_current(&s.leaf));
                self.current = self.required.iter().flatten().copied().filter(up_to_date).count() as u32;
                let mut older: BTreeMap<Fingerprint, i64> = BTreeMap::new();
                let mut foreign: BTreeSet<Fingerprint> = BTreeSet::new();
                for s in self.relevant.iter().flat_map(|r| r.may_serve()).filter(|s| !is_current(&s.leaf)) {
                    match self.view.known.get(&s.leaf) {
                        Some(k) if Some(k.secret) == self.view.secret.as_ref().map(|s| s.0) => {
                            older.insert(s.leaf, k.version);
                        }
                        _ => {
                            foreign.insert(s.leaf);
                        }
                    }
                }
                let lifetime = self.lifetime.unwrap_or(ASSUMED_LIFETIME);
                let grace = Span::seconds(lifetime.as_secs() / 20).min(GRACE_OLDER);
                self.at(newest.stored_at + grace);
                let level = if self.now < newest.stored_at + grace { Level::Info } else { Level::Notice };
                let (number, since, current) = (newest.number, newest.stored_at, self.current);
                for (leaf, version) in older {
                    let (code, detail) = if current > 0 && total > 1 {
                        let detail = format!("{current} of {total} addresses serve version {number}; others still serve version {version}");
                        (Code::Partial, detail)
                    } else {
                        let detail = format!("still serves version {version}; version {number} has been stored since {since}");
                        (Code::OlderVersion, detail)
                    };
                    self.find(code, level, Some(leaf), detail).since = Some(since);
                }
                for leaf in foreign {
                    let whose = match self.view.known.get(&leaf) {
                        Some(k) => format!("serves version {} of {}, not its own secret", k.version, pki::text::escape(&k.name)),
                        None => String::from("serves a certificate that the store does not hold"),
                    };
                    self.find(Code::NotOurs, Level::Incident, Some(leaf), whose);
                }
            }
        }
    }

    /// Absence is not recovery (law 2): what falls silent says so.
    fn silence(&mut self) {
        let lifetime = self.lifetime.unwrap_or(ASSUMED_LIFETIME);
        let allowed = self.view.policy.unobserved_after(lifetime);
        let target = &self.view.target;
        let served_until = match self.served {
            Served::Until(t) => t,
            _ => Time::NO_EXPIRY,
        };
        let muted =
            target.state == TargetState::Drained && target.drained_until.is_some_and(|until| self.now < until) && self.now < served_until;
        if let Some(until) = target.drained_until {
            self.at(until);
        }
        if target.state == TargetState::Retired {
            let back = self
                .view
                .retired_at
                .is_some_and(|at| self.relevant.iter().filter_map(|r| r.good).any(|g| g.at > at + crate::policy::SHORTEST_INTERVAL));
            if back && self.now < served_until {
                let detail = String::from("was retired and still answers with the certificate that it served then");
                self.find(Code::CameBack, Level::Notice, None, detail);
            }
            return;
        }

        let (mut failing, mut routeless, mut stale, mut never) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for record in self.required.iter().flatten() {
            if let Some(f) = &record.failing {
                let elsewhere = || {
                    self.relevant.iter().any(|o| {
                        o.combination.address == record.combination.address
                            && o.combination.vantage != record.combination.vantage
                            && o.failing.is_none()
                            && o.good.is_some()
                    })
                };
                if f.last.blame == Blame::Local {
                    if !elsewhere() {
                        routeless.push(*record);
                    }
                } else {
                    failing.push(*record);
                }
            }
            match record.good {
                Some(g) if self.now >= g.at + allowed => stale.push((record.combination.address.clone(), g.at)),
                Some(_) => {}
                None => never.push(record.combination.address.clone()),
            }
        }
        never.extend(self.missing.iter().map(|c| c.address.clone()));
        for good in self.required.clone().into_iter().flatten().filter_map(|r| r.good) {
            self.at(good.at + allowed);
        }
        let total = self.required.len();
        if !failing.is_empty() && !muted {
            let worst = failing.iter().filter_map(|r| r.failing.as_ref()).map(|f| f.count).max().unwrap_or(0);
            let level = if worst >= 2 { Level::Notice } else { Level::Info };
            let since = failing.iter().filter_map(|r| r.failing.as_ref()).map(|f| f.since).min();
            let why = failing[0].failing.as_ref().map(|f| f.last.detail.clone()).unwrap_or_default();
            let detail = format!("{} of {total} looks fail, first {}: {why}", failing.len(), failing[0].combination.address);
            self.find(Code::Unreachable, level, None, detail).since = since;
        }
        if let Some(first) = routeless.first() {
            let detail =
                format!("{} has no route to {}, and no other vantage covers it", first.combination.vantage, first.combination.address);
            self.find(Code::NoRoute, Level::Notice, None, detail);
        }
        if let (Some((address, at)), false) = (stale.iter().min_by_key(|s| s.1), muted) {
            let detail = format!("{address} was last observed {at}; {allowed} is allowed");
            self.find(Code::NotObserved, Level::Incident, None, detail).since = Some(*at);
        }
        if !never.is_empty() || self.required.is_empty() {
            // A new target is given a few rounds before anybody hears of it.
            let patience = Span::seconds(self.view.policy.interval(lifetime).as_secs().saturating_mul(2));
            // An address that is new is as young as it is, however old its target.
            let first_seen = |address: &String| self.view.addresses.iter().find(|a| a.address == *address).map(|a| a.first_seen);
            let since = never.iter().map(|a| first_seen(a).unwrap_or(target.declared_at).max(target.declared_at)).min();
            let since = since.unwrap_or(target.declared_at);
            self.at(since + patience);
            self.at(since + allowed);
            let level = match self.now - since {
                waited if waited < patience => Level::Info,
                waited if waited < allowed => Level::Notice,
                _ => Level::Incident,
            };
            if !muted {
                let what = never.first().map_or_else(|| target.name.to_string(), Clone::clone);
                let detail = format!("{} has never been observed", pki::text::escape(&what));
                self.find(Code::NeverObserved, level, None, detail).since = Some(since);
            }
        }
    }

    fn inventory(&mut self) {
        if !self.view.owned {
            self.find(Code::NoOwner, Level::Notice, None, String::from("has no owner"));
        }
    }

    fn finish(mut self) -> Standing {
        if self.view.target.state == TargetState::Retired {
            // Nothing is asked of what left the inventory, except to be gone.
            self.findings.retain(|f| f.code == Code::CameBack);
        }
        let settled = !self.required.is_empty() && self.required.iter().all(|r| r.is_some_and(Record::settled));
        let oldest = self.required.iter().flatten().filter_map(|r| r.good).map(|g| g.at).min();
        Standing {
            served: self.served,
            worst: self.worst,
            current: self.current,
            required: self.required.len() as u32,
            settled_since: if settled { oldest } else { None },
            evidence: self.required.iter().flatten().map(|r| r.id.0).collect(),
            findings: self.findings,
            lifetime: self.lifetime,
            next: self.next,
        }
    }
}
