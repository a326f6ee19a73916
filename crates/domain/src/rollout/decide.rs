//! What happens next with a rollout: a pure function of what was observed, what nodes claim, and `now`.

use super::{
    Kind,
    plan::{Plan, What},
    policy::{Policy, allowed},
    reason::Reason,
};
use crate::{
    Span, Time,
    words::{IncidentId, TargetId, word},
};
use alloc::{
    collections::BTreeMap,
    string::{String, ToString},
    vec::Vec,
};

/// An agent waits for at most a minute at a time, and when it was heard of is kept to some minutes ([`Reason::NodeSilent`]).
pub const SILENT_AFTER: Span = Span::minutes(10);
/// How far a node's clock may be off.
pub const CLOCK_TOLERANCE: Span = Span::seconds(30);
/// How often it is decided again while the clock is not believed: nothing tells that it is again.
pub const CLOCK_AGAIN: Span = Span::minutes(1);
/// How often it is decided again while only a last look is waited for.
pub const LOOK_AGAIN: Span = Span::seconds(5);
/// A soak takes at most this part of the time that is left until something that waits for it ends, shared by the waves that are left.
const SOAK_PART: i64 = 4;

word!(
    /// How far a node says it is with the version of this rollout. Claims, all of them.
    Progress {
        /// It was not told, or not heard of since.
        Told = "told",
        /// Its certificate is on the way to it.
        Fetching = "fetching",
        /// It waits for its certificate to be issued.
        NotIssued = "not-issued",
        /// It is installed.
        Installed = "installed",
        /// It could not be installed; what was there before is there again.
        RolledBack = "rolled-back",
        /// It could not be installed, and nobody knows what is served.
        Failed = "failed",
    }
);

/// A node behind a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name, escaped.
    pub name: String,
    /// How far it says it is.
    pub progress: Progress,
    /// What it says of it, escaped.
    pub detail: String,
    /// When its agent was last heard of.
    pub seen_at: Option<Time>,
    /// How far its clock is off; positive where it is ahead.
    pub clock_off: Span,
    /// Since when a certificate exists that it may have; none where that is not known, or there is none.
    pub ready_at: Option<Time>,
}

/// An open line of an incident at a target, which is not about a certificate that this rollout replaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Of which incident.
    pub incident: IncidentId,
    /// Since when.
    pub opened_at: Time,
    /// Whether the service is broken by it.
    pub broken: bool,
    /// What it says, escaped.
    pub detail: String,
}

/// A required observation is missing or fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// Since when, where that is known.
    pub since: Option<Time>,
    /// Which, escaped.
    pub detail: String,
}

/// A target of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name, escaped.
    pub name: String,
    /// When its nodes were told.
    pub begun_at: Option<Time>,
    /// Since when it was observed serving the version and nothing else.
    pub observed_at: Option<Time>,
    /// When it was left behind.
    pub quarantined_at: Option<Time>,
    /// When a person said that the rollout goes on whatever is wrong with it: what began by then stops nothing any more.
    pub excused_at: Option<Time>,
    /// Whether every required observation of it shows the version.
    pub shows: bool,
    /// When it was looked at last, where that look did not fail.
    pub answered_at: Option<Time>,
    /// Until when what it serves is good, where that is known.
    pub until: Option<Time>,
    /// What of it is not answered.
    pub silent: Option<Silence>,
    /// Open lines of incidents.
    pub lines: Vec<Line>,
    /// The nodes behind it.
    pub nodes: Vec<Node>,
}

impl Target {
    /// Whether it was observed serving the version in its turn, and still answers. What was seen before its turn says nothing of it.
    pub fn serves(&self) -> bool {
        let seen = || self.observed_at.is_some() || self.answered_at >= self.begun_at;
        self.begun_at.is_some() && self.shows && self.silent.is_none() && seen()
    }

    fn done(&self) -> bool {
        self.quarantined_at.is_some() || self.serves()
    }

    fn in_flight(&self) -> bool {
        self.begun_at.is_some() && !self.done()
    }

    /// When it counts as dead: `patience` after its turn, after its nodes could have had their certificates, or after it fell silent,
    /// whichever is last. Not while an issuer is waited for: nobody down there can do anything about that.
    pub fn dead_at(&self, patience: Span) -> Option<Time> {
        let begun = self.begun_at?;
        if self.nodes.iter().any(|n| n.progress == Progress::NotIssued) {
            return None;
        }
        let ready = self.nodes.iter().filter_map(|n| n.ready_at).max();
        let silent = self.silent.as_ref().and_then(|s| s.since).filter(|_| self.observed_at.is_some() || self.shows);
        Some(begun.max(ready.unwrap_or(begun)).max(silent.unwrap_or(begun)) + patience)
    }

    /// What began at it after its turn, and after a person looked past what stood by then.
    fn new_lines(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|l| self.begun_at.is_some_and(|b| l.opened_at >= b) && self.excused_at.is_none_or(|e| l.opened_at > e))
    }

    fn broken(&self) -> Option<&Line> {
        self.new_lines().find(|l| l.broken)
    }

    fn node_failed(&self) -> Option<&Node> {
        let failed = || self.nodes.iter().find(|n| matches!(n.progress, Progress::RolledBack | Progress::Failed));
        if self.excused_at.is_some() { None } else { failed() }
    }
}

/// Everything that the rules look at.
#[derive(Debug, Clone)]
pub struct View {
    /// Why the version goes out.
    pub kind: Kind,
    /// The plan.
    pub plan: Plan,
    /// The policy.
    pub policy: Policy,
    /// The wave that has begun last; none before the first.
    pub wave: Option<usize>,
    /// Who stopped it, why, and since when.
    pub halted: Option<(String, String, Time)>,
    /// Whether the clock is believed.
    pub clock_believed: bool,
    /// A newer version of the same secret waits, perhaps critically.
    pub newer: Option<Kind>,
    /// The targets of the plan.
    pub targets: BTreeMap<TargetId, Target>,
    /// How many targets the service has; what shares are counted of.
    pub total: usize,
}

/// Why a rollout is taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// A target of the canary wave broke, or a node of it could not install the version.
    CanaryDied {
        /// Which target, escaped.
        target: String,
        /// How, escaped.
        detail: String,
    },
    /// More targets of a wave failed than may be left behind.
    TooManyFailed {
        /// Which wave.
        wave: String,
        /// How many failed.
        failed: usize,
        /// How many may.
        allowed: usize,
        /// One of them, with what it says.
        first: String,
    },
}

impl Cause {
    /// For people.
    pub fn sentence(&self) -> String {
        match self {
            Cause::CanaryDied { target, detail } => alloc::format!("the canary {target} died: {detail}"),
            Cause::TooManyFailed { wave, failed, allowed, first } => {
                alloc::format!("{failed} of the wave {wave} failed and at most {allowed} may: {first}")
            }
        }
    }
}

/// What happens next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The nodes of these targets of a wave are told now. Another wave than before begins by it.
    Advance {
        /// Which wave.
        wave: usize,
        /// Which targets.
        targets: Vec<TargetId>,
    },
    /// These are dead, and are left behind as open lines.
    Quarantine(Vec<TargetId>),
    /// Nothing, for these reasons; look again then, if nothing wakes it before.
    Wait(Vec<Reason>, Option<Time>),
    /// Every target was observed serving the version, except these, which stay open lines.
    Done(Vec<TargetId>),
    /// Its targets go back to the version before.
    RollBack(Cause),
    /// A newer version takes its place.
    GiveWay,
}

/// Decides what happens next. Asking again at once after doing it gives another answer; asking again without doing it gives the same.
pub fn decide(view: &View, now: Time) -> Decision {
    let d = Deciding { view, now };
    if d.may_give_way() {
        return Decision::GiveWay;
    }
    if let Some(reasons) = d.held() {
        return Decision::Wait(reasons, (!view.clock_believed).then(|| now + CLOCK_AGAIN));
    }
    if let Some((cause, _)) = d.cause() {
        return Decision::RollBack(cause);
    }
    let Some(at) = view.wave else { return d.begin(0) };
    let excused: Vec<TargetId> = d.carried().filter(|(_, t)| t.in_flight() && t.excused_at.is_some()).map(|(id, _)| id).collect();
    if !excused.is_empty() {
        return Decision::Quarantine(excused);
    }
    let mut reasons = Vec::new();
    // What was observed long ago may have died since.
    for wave in 0..=at {
        let dead = d.dead(wave);
        let (allowed, behind) = (d.allowed(wave), d.quarantined(wave));
        if dead.is_empty() {
            continue;
        }
        if dead.len() + behind <= allowed {
            return Decision::Quarantine(dead);
        }
        let targets = dead.iter().filter_map(|t| view.targets.get(t)).map(|t| t.name.clone()).collect();
        reasons.push(Reason::QuarantineExceeded { wave: d.title(wave), dead: dead.len() + behind, allowed, targets });
    }
    reasons.extend(d.incidents());
    if reasons.is_empty() {
        let batch = d.batch(at);
        if !batch.is_empty() {
            return Decision::Advance { wave: at, targets: batch };
        }
    }
    reasons.extend(d.unobserved(at));
    if reasons.is_empty() {
        match d.soak(at) {
            Some(soak) => reasons.push(soak),
            None => return d.begin(at + 1),
        }
    }
    let next = d.next(&reasons);
    Decision::Wait(reasons, next)
}

/// For whose sake a rollout is taken back, or stopped by the rules where it cannot be: those who broke, or could not install the version.
pub fn culprits(view: &View, now: Time) -> Vec<TargetId> {
    Deciding { view, now }.cause().map(|(_, who)| who).unwrap_or_default()
}

/// Those too that hold a rollout up until a person does something: where an incident began, and who is dead and may not be left behind.
pub fn in_the_way(view: &View, now: Time) -> Vec<TargetId> {
    let d = Deciding { view, now };
    let mut all = culprits(view, now);
    let stuck = |t: &Target| t.quarantined_at.is_none() && (d.is_dead(t) || t.new_lines().next().is_some());
    all.extend(d.carried().filter(|(_, t)| stuck(t)).map(|(id, _)| id));
    all.sort();
    all.dedup();
    all
}

/// Notes since when targets were observed serving the version, in the order of their numbers; says which ones changed.
pub fn note(view: &mut View, now: Time) -> Vec<TargetId> {
    let mut changed = Vec::new();
    for (id, t) in &mut view.targets {
        // Who is silent shows no other version: its watch does not begin anew.
        let noted = if t.serves() { t.observed_at.or(Some(now)) } else { t.observed_at.filter(|_| t.shows) };
        // What is left behind stays so until it was observed; then it is a target like any other.
        let behind = t.quarantined_at.filter(|_| !t.serves());
        if (noted, behind) != (t.observed_at, t.quarantined_at) {
            (t.observed_at, t.quarantined_at) = (noted, behind);
            changed.push(*id);
        }
    }
    changed
}

struct Deciding<'a> {
    view: &'a View,
    now: Time,
}

impl Deciding<'_> {
    fn title(&self, at: usize) -> String {
        self.view.plan.waves.get(at).map(super::plan::Wave::title).unwrap_or_default()
    }

    /// The targets of a wave.
    fn of(&self, at: usize) -> impl Iterator<Item = (TargetId, &Target)> {
        let wave = self.view.plan.waves.get(at).into_iter();
        wave.flat_map(|w| w.targets.iter()).filter_map(|id| Some((*id, self.view.targets.get(id)?)))
    }

    fn what(&self, at: usize) -> Option<What> {
        self.view.plan.waves.get(at).map(|w| w.what)
    }

    /// The targets of every wave that has begun and that agents carry it to.
    fn carried(&self) -> impl Iterator<Item = (TargetId, &Target)> {
        let begun = self.view.wave.map_or(0, |at| at + 1);
        (0..begun).filter(|at| self.what(*at) != Some(What::Others)).flat_map(|at| self.of(at))
    }

    fn is_dead(&self, t: &Target) -> bool {
        t.in_flight() && t.dead_at(self.view.policy.patience).is_some_and(|at| self.now >= at)
    }

    /// A newer version is let by as soon as nothing is half-way: what is dead is on nobody's way. An emergency waits for nothing, but that
    /// whoever is to go back was told; a step back of which nothing is left to do ends as what it is.
    fn may_give_way(&self) -> bool {
        let steps_back = self.view.kind == Kind::Rollback && self.view.halted.is_none();
        let mut targets = self.view.targets.values();
        match self.view.newer {
            None => false,
            Some(_) if steps_back && (targets.clone().any(|t| t.begun_at.is_none()) || targets.all(Target::serves)) => false,
            Some(kind) if kind.overtakes(self.view.kind) => true,
            Some(_) => self.carried().all(|(_, t)| !t.in_flight() || self.is_dead(t)),
        }
    }

    fn held(&self) -> Option<Vec<Reason>> {
        let mut reasons = Vec::new();
        if let Some((by, reason, since)) = &self.view.halted {
            reasons.push(Reason::Halted { by: by.clone(), reason: reason.clone(), since: *since });
        }
        if !self.view.clock_believed {
            reasons.push(Reason::ClockNotBelieved);
        }
        (!reasons.is_empty()).then_some(reasons)
    }

    /// Why it is taken back, and for whose sake.
    fn cause(&self) -> Option<(Cause, Vec<TargetId>)> {
        if !self.view.policy.roll_back || self.view.kind == Kind::Rollback {
            return None;
        }
        for wave in 0..=self.view.wave? {
            match self.what(wave) {
                Some(What::Canary) => {
                    let mut died = self.of(wave).filter_map(|(id, t)| Some((id, self.canary(t)?)));
                    if let Some((first, cause)) = died.next() {
                        return Some((cause, core::iter::once(first).chain(died.map(|(id, _)| id)).collect()));
                    }
                }
                Some(What::Others) | None => {}
                Some(_) => {
                    let (who, failed): (Vec<TargetId>, Vec<String>) =
                        self.of(wave).filter_map(|(id, t)| Some((id, self.failed(t)?))).unzip();
                    let allowed = self.allowed(wave);
                    if failed.len() > allowed
                        && let Some(first) = failed.first()
                    {
                        let cause = Cause::TooManyFailed { wave: self.title(wave), failed: failed.len(), allowed, first: first.clone() };
                        return Some((cause, who));
                    }
                }
            }
        }
        None
    }

    fn canary(&self, t: &Target) -> Option<Cause> {
        t.begun_at?;
        // What was seen serving it and falls silent later is cut off; what never came up again was killed by it.
        let fell_silent = || {
            if t.shows || t.excused_at.is_some() {
                return None;
            }
            let silence = t.silent.as_ref().filter(|s| s.since.is_some_and(|s| t.begun_at.is_some_and(|b| s >= b)))?;
            self.is_dead(t).then(|| silence.detail.clone())
        };
        let detail = t
            .broken()
            .map(|l| l.detail.clone())
            .or_else(|| t.node_failed().filter(|_| !t.serves()).map(|n| alloc::format!("{}: {}", n.name, n.detail)))
            .or_else(fell_silent)?;
        Some(Cause::CanaryDied { target: t.name.clone(), detail })
    }

    /// What is broken has failed at once; what a node could not install has once the patience with it is over.
    fn failed(&self, t: &Target) -> Option<String> {
        let tried = || t.node_failed().filter(|_| self.is_dead(t) || t.quarantined_at.is_some());
        let detail = t.broken().map(|l| l.detail.clone()).or_else(|| tried().map(|n| alloc::format!("{}: {}", n.name, n.detail)))?;
        Some(alloc::format!("{}: {detail}", t.name))
    }

    /// How many of a wave may be left behind.
    fn allowed(&self, at: usize) -> usize {
        self.view.plan.waves.get(at).map_or(0, |w| allowed(w.what, w.targets.len(), self.view.policy.quarantine))
    }

    /// How many of a wave were left behind by the rules; a person may leave any behind.
    fn quarantined(&self, at: usize) -> usize {
        self.of(at).filter(|(_, t)| t.quarantined_at.is_some() && t.excused_at.is_none()).count()
    }

    fn dead(&self, at: usize) -> Vec<TargetId> {
        if self.what(at) == Some(What::Others) {
            return Vec::new();
        }
        self.of(at).filter(|(_, t)| self.is_dead(t)).map(|(id, _)| id).collect()
    }

    fn incidents(&self) -> Vec<Reason> {
        let new = self.carried().filter(|(_, t)| t.quarantined_at.is_none()).flat_map(|(_, t)| t.new_lines().map(move |l| (t, l)));
        new.map(|(t, l)| Reason::NewIncident { incident: l.incident, target: t.name.clone(), detail: l.detail.clone(), since: l.opened_at })
            .collect()
    }

    fn limit(&self, at: usize) -> usize {
        let share = self.view.plan.waves.get(at).map_or(0, |w| w.share as usize);
        (self.view.total.saturating_mul(share) / 100).max(1)
    }

    /// The next ones of a wave that may be told.
    fn batch(&self, at: usize) -> Vec<TargetId> {
        let on_their_way = self.carried().filter(|(_, t)| t.in_flight()).count();
        let room = match self.what(at) {
            // Nobody is told: they are only waited for.
            Some(What::Others) => usize::MAX,
            _ => self.limit(at).saturating_sub(on_their_way),
        };
        self.of(at).filter(|(_, t)| t.begun_at.is_none()).map(|(id, _)| id).take(room).collect()
    }

    /// Begins the wave at `at`, or what comes of there being none: the end.
    fn begin(&self, at: usize) -> Decision {
        if at >= self.view.plan.waves.len() {
            return Decision::Done(self.view.targets.iter().filter(|(_, t)| t.quarantined_at.is_some()).map(|(id, _)| *id).collect());
        }
        Decision::Advance { wave: at, targets: self.batch(at) }
    }

    /// What of the waves that have begun was not observed: of earlier ones too, where production went back.
    fn unobserved(&self, at: usize) -> Vec<Reason> {
        let mut reasons = Vec::new();
        for wave in 0..=at {
            let others = self.what(wave) == Some(What::Others);
            for (_, t) in self.of(wave).filter(|(_, t)| t.in_flight()) {
                if others {
                    reasons.push(Reason::NobodyCarries { target: t.name.clone() });
                } else {
                    reasons.extend(self.why(t));
                }
            }
        }
        let waiting = self.of(at).filter(|(_, t)| t.begun_at.is_none()).count();
        if waiting > 0 {
            reasons.push(Reason::ShareLimit { wave: self.title(at), waiting, limit: self.limit(at) });
        }
        reasons
    }

    /// Why a target that is on its way is not there.
    fn why(&self, t: &Target) -> Vec<Reason> {
        let Some(since) = t.begun_at else { return Vec::new() };
        let until = t.dead_at(self.view.policy.patience).unwrap_or(self.now + self.view.policy.patience);
        let target = || t.name.clone();
        let mut reasons = Vec::new();
        for n in &t.nodes {
            let (node, detail) = (n.name.clone(), n.detail.clone());
            let clock_off = n.clock_off > CLOCK_TOLERANCE || n.clock_off < Span::ZERO - CLOCK_TOLERANCE;
            let silent = n.seen_at.is_none_or(|s| self.now >= s + SILENT_AFTER);
            match n.progress {
                Progress::RolledBack | Progress::Failed => reasons.push(Reason::NodeFailed { target: target(), node, detail }),
                Progress::Installed => {}
                _ if silent => reasons.push(Reason::NodeSilent { target: target(), node, since: n.seen_at }),
                _ if clock_off => reasons.push(Reason::NodeClock { target: target(), node, off: n.clock_off }),
                Progress::NotIssued => reasons.push(Reason::NotIssued { target: target(), node, detail }),
                Progress::Told | Progress::Fetching => reasons.push(Reason::Told { target: target(), node, since, until }),
            }
        }
        if let Some(s) = &t.silent {
            reasons.push(Reason::NoSignal { target: target(), since: s.since, detail: s.detail.clone(), until });
        }
        if reasons.is_empty() {
            reasons.push(Reason::Unobserved { target: target(), since, until });
        }
        reasons
    }

    /// Whether the wave is still watched, or was not looked at since.
    fn soak(&self, at: usize) -> Option<Reason> {
        let wave = self.view.plan.waves.get(at)?;
        let from = self.of(at).filter_map(|(_, t)| t.observed_at.or(t.quarantined_at)).max()?;
        let waves_left = (self.view.plan.waves.len() - at) as i64;
        // What has ended already, was left behind, or is brought by others is not saved by haste.
        let carried = (0..self.view.plan.waves.len()).filter(|w| self.what(*w) != Some(What::Others)).flat_map(|w| self.of(w));
        let waits = carried.filter(|(_, t)| !t.serves() && t.quarantined_at.is_none());
        let ends = waits.filter_map(|(_, t)| t.until).filter(|end| *end > self.now).min();
        let most = ends.map(|end| Span::seconds(((end - from).as_secs() / (SOAK_PART * waves_left)).max(0)));
        let soak = most.map_or(wave.soak, |m| m.min(wave.soak));
        let until = from + soak;
        if self.now < until {
            return Some(Reason::Soak { wave: wave.title(), until, shortened: soak < wave.soak });
        }
        // Who was not looked at since may have died of it meanwhile.
        let unseen = |t: &Target| t.quarantined_at.is_none() && t.answered_at.is_none_or(|a| a < until);
        let targets: Vec<String> = self.of(at).filter(|(_, t)| soak > Span::ZERO && unseen(t)).map(|(_, t)| t.name.clone()).collect();
        (!targets.is_empty()).then(|| Reason::LastLook { wave: wave.title(), until, targets })
    }

    /// When time alone changes the answer.
    fn next(&self, reasons: &[Reason]) -> Option<Time> {
        let patience = self.view.policy.patience;
        let dead = self.carried().filter(|(_, t)| t.in_flight()).filter_map(|(_, t)| t.dead_at(patience));
        let silent = self.carried().filter(|(_, t)| t.in_flight()).flat_map(|(_, t)| t.nodes.iter()).filter_map(|n| n.seen_at);
        let look = reasons.iter().any(|r| matches!(r, Reason::LastLook { .. })).then(|| self.now + LOOK_AGAIN);
        let all = dead.chain(silent.map(|s| s + SILENT_AFTER)).chain(reasons.iter().filter_map(Reason::until)).chain(look);
        all.filter(|t| *t > self.now).min()
    }
}

impl core::fmt::Display for Decision {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&match self {
            Decision::Advance { wave, targets } => alloc::format!("advance to wave {} with {} targets", wave + 1, targets.len()),
            Decision::Quarantine(targets) => alloc::format!("leave {} behind", targets.len()),
            Decision::Wait(reasons, _) => reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
            Decision::Done(open) => alloc::format!("done, {} left behind", open.len()),
            Decision::RollBack(cause) => alloc::format!("roll back: {}", cause.sentence()),
            Decision::GiveWay => String::from("give way to a newer version"),
        })
    }
}
