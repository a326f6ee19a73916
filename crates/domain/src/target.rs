//! What the rules say about one target: its observations × inventory × policy → standing, findings, and when time alone will
//! change the answer.

use crate::{
    Fingerprint, Span, Time,
    finding::{Code, End, Finding, Subject},
    observation::Record,
    policy::{Level, Policy, renewal_overdue},
    required::{self, AFTER_LEAVING, Address},
    schedule,
    words::{Blame, Combination, KeyType, Method, Offer, SecretId, Target, TargetState},
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
    /// What kind of key the leaf is for; none of those that can be asked for, where absent.
    pub key: Option<KeyType>,
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
    /// What it hangs on, where the leaf can be read.
    pub path_taken: Option<crate::blast::Path>,
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
    /// Addresses that its name resolves to for each vantage, or did until lately; empty for what is not dialled.
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
    /// Leaves that must be replaced.
    pub revoked: BTreeMap<Fingerprint, Revoked>,
}

/// That a certificate must be replaced by a deadline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// The revocation that says so.
    pub revocation: i64,
    /// From then on whoever still serves it counts as broken.
    pub deadline: Time,
    /// Why.
    pub reason: String,
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
    /// The end that `served` is, where it is that of a certificate: of several the one nearest to the leaf.
    pub ends: Option<End>,
    /// Required combinations that show the newest version (or what is expected).
    pub current: u32,
    /// Required combinations.
    pub required: u32,
    /// The oldest version that some required combination shows; 0 where one shows none, another region's, or was never observed.
    pub shows: i64,
    /// Where every required combination is settled: from when on all of the evidence for that is. What a closing may rest on.
    pub settled_since: Option<Time>,
    /// The required records, as evidence.
    pub evidence: Vec<i64>,
    /// What the rules say.
    pub findings: Vec<Finding>,
    /// Lifetime of the shortest-lived certificate that is served; decides how often to look.
    pub lifetime: Option<Span>,
    /// When time alone will change the answer.
    pub next: Option<Time>,
    /// The paths that required combinations may answer with, in the order of their values; none for what left the inventory.
    pub paths: BTreeSet<crate::blast::Path>,
}

/// How long a target that answers with an older version is given before its owner is told.
pub const GRACE_OLDER: Span = Span::days(7);
/// An ordinary lifetime, where none was seen yet.
pub const ASSUMED_LIFETIME: Span = Span::days(90);

/// Assesses one target.
pub fn assess(view: &View, now: Time) -> Standing {
    let mut a = Assessment::new(view, now);
    a.ends_and_paths();
    a.revoked();
    a.versions();
    a.keys();
    a.silence();
    a.inventory();
    a.finish()
}

struct Assessment<'a> {
    view: &'a View,
    now: Time,
    required: Vec<Option<&'a Record>>,
    missing: Vec<Combination>,
    /// Required vantages for which the name does not resolve.
    unresolved: Vec<&'a Record>,
    /// Every record that may still be answered with, required or only raising.
    relevant: Vec<&'a Record>,
    lifetime: Option<Span>,
    served: Served,
    findings: Vec<Finding>,
    worst: Option<End>,
    /// Every end of what may be served.
    ends: Vec<End>,
    current: u32,
    shows: i64,
    next: Option<Time>,
}

impl<'a> Assessment<'a> {
    fn new(view: &'a View, now: Time) -> Self {
        let fresh = |r: &&Record| r.expires_at.is_none_or(|e| now < e);
        let by_combination: BTreeMap<&Combination, &Record> = view.records.iter().map(|r| (&r.combination, r)).collect();
        let (mut required_records, mut missing) = (Vec::new(), Vec::new());
        if view.dialled {
            for c in required::required(&view.target, &view.addresses) {
                let record = by_combination.get(&c).copied();
                if record.is_none() {
                    missing.push(c);
                }
                required_records.push(record);
            }
        } else {
            required_records.extend(view.records.iter().filter(fresh).map(Some));
        }
        let asks = required::asks(&view.target);
        // What nobody looks at any more says nothing: another address, vantage, offer or server name than the inventory asks for.
        let asked = |r: &&Record| {
            let (c, t) = (&r.combination, &view.target);
            c.method != Method::Dialled
                || ((t.required_vantages.contains(&c.vantage) || view.optional_vantages.contains(&c.vantage))
                    && asks.iter().any(|(name, offer)| *offer == c.offer && *name == c.server_name)
                    && view.addresses.iter().any(|a| a.vantage == c.vantage && a.address == c.address && a.is_dialled(now)))
        };
        let unresolved = |r: &&Record| {
            view.dialled
                && view.target.required_vantages.contains(&r.combination.vantage)
                && required::is_unresolved(&view.target, &view.addresses, r)
        };
        let unresolved = view.records.iter().filter(unresolved).collect();
        let relevant: Vec<&Record> = view.records.iter().filter(fresh).filter(asked).collect();
        let lifetime = relevant.iter().flat_map(|r| r.may_serve()).filter_map(|s| view.presented.get(&s.chain)).map(|p| p.lifetime).min();
        let served = if required_records.is_empty() { Served::Unknown } else { Served::Until(Time::NO_EXPIRY) };
        let mut it = Assessment {
            view,
            now,
            required: required_records,
            missing,
            unresolved,
            relevant,
            lifetime,
            served,
            findings: Vec::new(),
            worst: None,
            ends: Vec::new(),
            current: 0,
            shows: 0,
            next: None,
        };
        for expires in view.records.iter().filter_map(|r| r.expires_at) {
            it.at(expires);
        }
        for left in view.addresses.iter().filter_map(|a| a.left_at) {
            it.at(left + AFTER_LEAVING);
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
        self.findings.push(Finding { about, ..Finding::new(code, level, subject, detail) });
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
        self.ends.push(*end);
        if self.worst.is_none_or(|w| end.margin(self.now) < w.margin(self.now)) {
            self.worst = Some(*end);
        }
        // Where a team wants to hear late, its automatic renewal is overdue before that.
        let overdue = if end.position == 0 { renewal_overdue(end.lifetime) } else { Span::seconds(0) };
        for left in [end.thresholds.notice, end.thresholds.incident, overdue] {
            self.at(end.until - left + Span::seconds(1));
        }
        self.at(end.until);
        let level = end.thresholds.level(remaining);
        if level == Level::Info && remaining >= overdue {
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
        f.end = Some(*end);
    }

    /// What must be replaced is so from the moment that somebody says it, and broken from its deadline on.
    fn revoked(&mut self) {
        let served: BTreeSet<Fingerprint> = self.relevant.iter().flat_map(|r| r.may_serve()).map(|s| s.leaf).collect();
        for leaf in served {
            let Some(r) = self.view.revoked.get(&leaf).cloned() else { continue };
            self.at(r.deadline);
            let why = pki::text::escape(&r.reason);
            let over = self.now >= r.deadline;
            let detail = if over {
                format!("serves a certificate that had to be replaced by {}, {} ago: {why}", r.deadline, self.now - r.deadline)
            } else {
                format!("serves a certificate that must be replaced by {}, in {}: {why}", r.deadline, r.deadline - self.now)
            };
            let f = self.find(Code::Revoked, Level::Incident, Some(leaf), detail);
            f.subject = Subject::Revocation(r.revocation);
            (f.broken, f.until) = (over, Some(r.deadline));
        }
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
                self.current = self.required.iter().flatten().filter(|r| r.steady()).count() as u32;
            }
            Expected::Managed(None) => {}
            Expected::Managed(Some(newest)) => {
                let is_current = |fp: &Fingerprint| newest.leaves.contains(fp);
                let up_to_date = |r: &&Record| r.good.is_some() && r.may_serve().all(|s| is_current(&s.leaf));
                self.current = self.required.iter().flatten().copied().filter(up_to_date).count() as u32;
                let own = self.view.secret.as_ref().map(|s| s.0);
                let version = |leaf: &Fingerprint| match self.view.known.get(leaf) {
                    _ if is_current(leaf) => newest.number,
                    // The newest version, but not as this region may serve it, is none that counts.
                    Some(k) if Some(k.secret) == own && k.version < newest.number => k.version,
                    _ => 0,
                };
                let shown = |r: &Option<&Record>| {
                    r.filter(|r| r.good.is_some()).and_then(|r| r.may_serve().map(|s| version(&s.leaf)).min()).unwrap_or(0)
                };
                self.shows = self.required.iter().map(shown).min().unwrap_or(0);
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
                        let places = self.places();
                        let detail = format!("{current} of {total} {places} serve version {number}; others still serve version {version}");
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

    /// What required combinations are called when they are counted.
    fn places(&self) -> &'static str {
        let addresses: BTreeSet<&str> = self.required.iter().flatten().map(|r| r.combination.address.as_str()).collect();
        if addresses.len() == self.required.len() { "addresses" } else { "looks at its addresses" }
    }

    /// Each required key type must be served to those who accept no other.
    fn keys(&mut self) {
        let wanted = self.view.target.key_types.clone();
        let key_of = |s: &crate::observation::Sighting| self.view.presented.get(&s.chain).and_then(|p| p.key);
        let mut wrong: BTreeMap<Fingerprint, String> = BTreeMap::new();
        let mut none = None;
        for key in &wanted {
            if !self.view.dialled {
                let held = self.relevant.iter().filter_map(|r| r.good);
                let (held, fitting) = held.fold((0, 0), |(n, f), s| (n + 1, f + usize::from(key_of(&s) == Some(*key))));
                if held > 0 && fitting == 0 {
                    none = none.or(Some(format!("no certificate for an {key} key is there")));
                }
                continue;
            }
            for record in self.relevant.iter().filter(|r| r.combination.offer == key.offer()) {
                for s in record.may_serve().filter(|s| key_of(s) != Some(*key)) {
                    let place = required::in_words(&self.view.target, &record.combination);
                    let what = key_of(&s).map_or("another", KeyType::as_str);
                    wrong.entry(s.leaf).or_insert_with(|| format!("{place} is answered with an {what} key"));
                }
            }
            none = none.or_else(|| {
                let record = self.required.iter().flatten().find(|r| refuses_keys(r, &wanted) && r.combination.offer == key.offer())?;
                let place = required::in_words(&self.view.target, &record.combination);
                let why = record.failing.as_ref().map(|f| f.last.detail.clone()).unwrap_or_default();
                Some(format!("{place} is refused: {why}"))
            });
        }
        for (leaf, detail) in wrong {
            self.find(Code::WrongKeyType, Level::Incident, Some(leaf), detail).broken = true;
        }
        if let Some(detail) = none {
            self.find(Code::WrongKeyType, Level::Incident, None, detail).broken = true;
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
            let retired = target.retired.as_ref();
            let old = |leaf: &Fingerprint| retired.is_some_and(|r| r.leaves.contains(leaf));
            let after = |at: Time| self.view.retired_at.is_some_and(|retired| at > retired + crate::policy::SHORTEST_INTERVAL);
            // Another certificate is somebody else's business: names and addresses find new uses.
            let back = self.relevant.iter().flat_map(|r| r.may_serve()).any(|s| after(s.at) && old(&s.leaf));
            if back && retired.is_some_and(|r| self.now < r.until) {
                let detail = String::from("was retired and still answers with the certificate that it served then");
                self.find(Code::CameBack, Level::Notice, None, detail);
            }
            return;
        }

        let (view, words) = (self.view, |c: &Combination| required::in_words(target, c));
        let since = |c: &Combination| required::since(target, &view.addresses, c);
        let missing = self.missing.clone();
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
                if refuses_keys(record, &target.key_types) {
                    // Told as what it is.
                    continue;
                } else if f.last.blame == Blame::Local {
                    if !elsewhere() {
                        routeless.push(*record);
                    }
                } else {
                    failing.push(*record);
                }
            }
            match record.good {
                // It was not asked for before: nobody is late yet.
                Some(g) if self.now >= g.at.max(since(&record.combination)) + allowed => stale.push((&record.combination, g.at)),
                Some(_) => {}
                None => never.push(&record.combination),
            }
        }
        failing.extend(self.unresolved.iter().copied().filter(|u| !self.required.contains(&Some(*u))));
        never.extend(&missing);
        let stale_at: Vec<Time> = self.required.iter().flatten().filter_map(|r| Some(r.good?.at.max(since(&r.combination)))).collect();
        for at in stale_at {
            self.at(at + allowed);
        }
        let total = self.required.len();
        if !failing.is_empty() && !muted {
            let worst = failing.iter().filter_map(|r| r.failing.as_ref()).map(|f| f.count).max().unwrap_or(0);
            let level = if worst >= 2 { Level::Notice } else { Level::Info };
            let since = failing.iter().filter_map(|r| r.failing.as_ref()).map(|f| f.since).min();
            let why = failing[0].failing.as_ref().map(|f| f.last.detail.clone()).unwrap_or_default();
            let total = total.max(failing.len());
            let detail = format!("{} of {total} looks fail, first {}: {why}", failing.len(), words(&failing[0].combination));
            self.find(Code::Unreachable, level, None, detail).since = since;
        }
        if let Some(first) = routeless.first() {
            let detail =
                format!("{} has no route to {}, and no other vantage covers it", first.combination.vantage, first.combination.address);
            self.find(Code::NoRoute, Level::Notice, None, detail);
        }
        if let (Some((c, at)), false) = (stale.iter().min_by_key(|s| s.1), muted) {
            let detail = format!("{} was last observed {at}; {allowed} is allowed", words(c));
            self.find(Code::NotObserved, Level::Incident, None, detail).since = Some(*at);
        }
        if !never.is_empty() || self.required.is_empty() {
            // A new target is given a few rounds before anybody hears of it.
            let patience = Span::seconds(self.view.policy.interval(lifetime).as_secs().saturating_mul(2));
            // The one that is waited for longest.
            let first = never.iter().copied().min_by_key(|c| since(c));
            let since = first.map_or(target.declared_at, since);
            self.at(since + patience);
            self.at(since + allowed);
            let level = match self.now - since {
                waited if waited < patience => Level::Info,
                waited if waited < allowed => Level::Notice,
                _ => Level::Incident,
            };
            if !muted {
                let what = first.map_or_else(|| pki::text::escape(&target.name).to_string(), words);
                let more = match never.len() {
                    0 | 1 => String::new(),
                    n => format!(", nor have {} other looks", n - 1),
                };
                let detail = format!("{what} has never been observed{more}");
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
        let needed = schedule::evidence(&self.view.target);
        let settled =
            !self.required.is_empty() && self.unresolved.is_empty() && self.required.iter().all(|r| r.is_some_and(|r| r.settled(needed)));
        let oldest = self.required.iter().flatten().map(|r| r.streak_since).min();
        let chains = self.required.iter().flatten().flat_map(|r| r.may_serve()).filter(|_| self.view.target.state != TargetState::Retired);
        let paths = chains.filter_map(|s| self.view.presented.get(&s.chain)?.path_taken.clone()).collect();
        let now = self.now;
        let is_it = |e: &&End| match self.served {
            Served::Until(t) => e.until == t,
            Served::Broken => e.until <= now,
            Served::Unknown => false,
        };
        Standing {
            served: self.served,
            worst: self.worst,
            ends: self.ends.iter().filter(is_it).min_by_key(|e| (e.position, e.about)).copied(),
            current: self.current,
            required: self.required.len() as u32,
            shows: self.shows,
            settled_since: if settled { oldest } else { None },
            evidence: self.required.iter().flatten().map(|r| r.id.0).collect(),
            findings: self.findings,
            lifetime: self.lifetime,
            next: self.next,
            paths,
        }
    }
}

/// Whether the peer speaks TLS, and has nothing for those who accept only a key type that it must serve. One refusal may be a
/// restart.
fn refuses_keys(record: &Record, wanted: &[KeyType]) -> bool {
    let refused = record.failing.as_ref().is_some_and(|f| f.count >= 2 && f.last.blame == Blame::Tls);
    refused && record.combination.offer != Offer::All && wanted.iter().any(|k| k.offer() == record.combination.offer)
}
