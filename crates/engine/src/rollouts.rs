//! Rollouts: a version goes out in waves, each of which is held until production was observed serving it.
//!
//! What is next is decided by [`domain::rollout::decide`]; here it is loaded, committed and done. One step is one transaction that takes
//! the rollout's row: whoever dies between two steps leaves nothing half-way, and whoever goes on reads back what was committed.

mod policy;
mod read;
mod step;
mod view;

pub(crate) use policy::leaves_behind;
pub use policy::of_secret as policy_of;
pub(crate) use policy::problems;
pub use policy::title as policy_title;
pub use read::{Detail, Waits, WaveDetail, detail, detail_of};
pub(crate) use read::{kinds, waits};

use crate::{
    Engine, Error, Result, Tick,
    assess::secret_policy,
    concern,
    intent::{Intent, needs_a_reason},
    loops,
};
use domain::{
    Span, Time,
    rollout::{Kind, State},
    words::{NodeId, RolloutId, SecretId, TargetId},
};
use serde_json::json;
use store::{
    Actor, Tx,
    journal::Entry,
    model::{
        rollout::{self, Rollout},
        secret,
    },
    timer,
};

/// Who halts a rollout where no person does.
pub(crate) const THE_RULES: &str = "the rules";

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Begin<'a> {
    /// The secret.
    pub secret: SecretId,
    /// The version that goes out.
    pub version: i64,
    /// Why it goes out.
    pub kind: Kind,
    /// In words.
    pub reason: &'a str,
    /// The revocation that asks for it, 0 for none.
    pub revocation: i64,
}

/// Begins a rollout, inside a transaction; or finds the one that brings the same version already. One that brings an older version makes
/// way when nothing of it is half-way. Says its number.
///
/// # Errors
/// `no-version`, `no-targets`, `newer-under-way`, `newer-is-shown`, or what [`may_go_out`] says.
pub fn begin(tx: &mut Tx<'_>, ask: &Begin<'_>, actor: &Actor, tick: &Tick) -> Result<RolloutId> {
    let s = secret::lock(tx, ask.secret)?.ok_or_else(|| Error::not_found("secret", &ask.secret.to_string()))?;
    may_go_out(tx, &s, ask.version, tick)?;
    if rollout::placed(tx, s.id)?.is_empty() {
        return Err(Error::refused("no-targets", format!("{} has no targets, so nothing can go out", s.name)));
    }
    let open = rollout::open_of(tx, s.id)?;
    for other in &open {
        let stronger = ask.kind.overtakes(other.kind);
        if other.version == ask.version && other.kind != Kind::Rollback && !stronger {
            return Ok(other.id);
        }
        // A rehearsal holds no emergency up, whichever version it brings.
        let makes_way = other.kind == Kind::Rollback || (stronger && other.kind == Kind::Drill);
        if other.version > ask.version && !makes_way {
            let problem = format!(
                "rollout {} brings version {} of {}; take that one back first: perennial rollout rollback {} --reason \"…\"",
                other.id, other.version, s.name, other.id
            );
            return Err(Error::refused("newer-under-way", problem));
        }
    }
    // Whoever shows a later version counts as served: an older one would go out past every gate.
    if let Some(newest) = rollout::shown(tx, s.id)?.into_iter().max().filter(|newest| *newest > ask.version) {
        let problem = format!(
            "version {newest} of {} is served already; take back what brought it (perennial rollout list --all-states, then perennial rollout \
             rollback ID), or store what is to be served as a newer version",
            s.name
        );
        return Err(Error::refused("newer-is-shown", problem));
    }
    let id = RolloutId(tx.next_id("rollout")?);
    let row = Rollout {
        id,
        secret: s.id,
        version: ask.version,
        from_version: 0,
        kind: ask.kind,
        state: State::Waiting,
        policy: policy::of_secret(tx, s.id, ask.kind)?,
        plan: None,
        wave: None,
        wave_at: None,
        reason: ask.reason.to_owned(),
        actor: format!("{}/{}", actor.issuer, actor.subject),
        created_at: tick.now,
        begun_at: None,
        ended_at: None,
        halted_by: String::new(),
        halted_reason: String::new(),
        halted_at: None,
        revocation: ask.revocation,
        takes_back: 0,
        said: String::new(),
        reasons: String::from("[]"),
        more: 0,
        decided_at: None,
    };
    rollout::insert(tx, &row)?;
    for other in open {
        if other.state == State::Waiting {
            // It never began, so nothing of it can be half-way.
            step::supersede(tx, other, id, tick)?;
        } else {
            timer::set_earlier(tx, loops::ROLLOUT, other.id.0, tick.now)?;
        }
    }
    timer::set(tx, loops::ROLLOUT, id.0, tick.now)?;
    let body = json!({ "secret": s.name, "version": ask.version, "kind": ask.kind.as_str(), "revocation": ask.revocation });
    tx.journal(Entry::new("rollout.created", subject(id), ask.reason, &body))?;
    Ok(id)
}

/// How journal, findings and messages call a rollout.
pub fn subject(id: RolloutId) -> String {
    format!("rollout/{id}")
}

/// Whether a version may be brought anywhere: it is there, it is not revoked, and it is not below its incident threshold.
///
/// # Errors
/// `no-version`, `version-revoked` or `version-too-old`.
pub fn may_go_out(tx: &mut Tx<'_>, s: &secret::Secret, version: i64, tick: &Tick) -> Result<()> {
    if version < 1 || version > s.newest_version {
        let problem = format!("{} has no version {version}; the newest one is {}", s.name, s.newest_version);
        return Err(Error::refused("no-version", problem));
    }
    not_revoked(tx, s, version, &["all"])?;
    not_too_old(tx, s, version, &[], tick.now)
}

/// No certificate of a version that has one of these scopes (of any, where none is named) is below the incident threshold.
///
/// # Errors
/// `version-too-old`.
pub(crate) fn not_too_old(tx: &mut Tx<'_>, s: &secret::Secret, version: i64, scopes: &[&str], now: Time) -> Result<()> {
    let policy = secret_policy(tx, s)?;
    for (not_before, not_after) in secret::validities(tx, s.id, version, scopes)? {
        let life = not_after - not_before + Span::seconds(1);
        if not_after - now < policy.thresholds(life).incident {
            let problem = format!(
                "version {version} of {} ends {not_after}, which is below its incident threshold; issue or store a newer one",
                s.name
            );
            return Err(Error::refused("version-too-old", problem));
        }
    }
    Ok(())
}

/// Nothing of a version for one of these scopes is revoked, or to be replaced by a deadline.
///
/// # Errors
/// `version-revoked`.
pub(crate) fn not_revoked(tx: &mut Tx<'_>, s: &secret::Secret, version: i64, scopes: &[&str]) -> Result<()> {
    let problem = if let Some(revocation) = store::model::revocation::of_version(tx, s.id, version)? {
        format!("version {version} of {} is to be replaced, says revocation {revocation}; issue or store a newer one", s.name)
    } else if store::model::authority::is_revoked(tx, s.id, version, scopes)? {
        format!("version {version} of {} is revoked; issue or store a newer one", s.name)
    } else {
        return Ok(());
    };
    Err(Error::refused("version-revoked", problem))
}

/// A version was stored or announced: it goes out by itself where agents carry it, releases do not, and the inventory does not say that a
/// person starts it. Whether it may is said by the rollout; storing never fails of it.
pub(crate) fn stored(tx: &mut Tx<'_>, s: &secret::Secret, actor: &Actor, tick: &Tick) -> Result<()> {
    // A rehearsal begins its own rollout, by the policy of emergencies; at once, since its time is what is measured.
    if store::model::drill::issuing(tx, s.id)? {
        store::model::drill::wake_open(tx, loops::DRILL_RUN, s.id, tick.now)?;
        return Ok(());
    }
    let by_hand = policy::name_of(tx, s.id)?.as_deref() == Some(api::fleet::rollout::BY_HAND);
    if s.release_bound || by_hand || !rollout::placed(tx, s.id)?.iter().any(|p| p.nodes > 0) {
        return Ok(());
    }
    let ask = Begin { secret: s.id, version: s.newest_version, kind: Kind::Ordinary, reason: "a new version", revocation: 0 };
    match begin(tx, &ask, actor, tick) {
        Ok(_) | Err(Error::Refused(_)) => Ok(()),
        Err(other) => Err(other),
    }
}

/// Something that the rules know about a target has changed.
pub(crate) fn wake(tx: &mut Tx<'_>, target: TargetId, tick: &Tick) -> Result<()> {
    rollout::wake(tx, target, loops::ROLLOUT, tick.now)?;
    Ok(())
}

/// A node has said something.
pub fn wake_by_node(tx: &mut Tx<'_>, node: NodeId, tick: &Tick) -> Result<()> {
    rollout::wake_by_node(tx, node, loops::ROLLOUT, tick.now)?;
    Ok(())
}

impl Engine {
    /// Starts a rollout; of the newest version, where none is named. A critical one is an intent.
    ///
    /// # Errors
    /// No such secret, or what [`begin`] says.
    pub fn start_rollout(
        &self,
        name: &str,
        version: Option<i64>,
        kind: Kind,
        reason: &str,
        actor: &Actor,
        tick: &Tick,
    ) -> Result<RolloutId> {
        if kind.is_critical() {
            needs_a_reason(reason)?;
        }
        self.store.try_write(actor, tick.now, |tx| {
            let s = known(tx, name)?;
            let ask = Begin { secret: s.id, version: version.unwrap_or(s.newest_version), kind, reason, revocation: 0 };
            let id = begin(tx, &ask, actor, tick)?;
            if kind.is_critical() {
                let content = json!({ "secret": s.name, "version": ask.version, "kind": kind.as_str(), "rollout": id.0 });
                Intent::new("critical", subject(id), content).approved(tx, reason, actor)?;
            }
            Ok(id)
        })
    }

    /// Stops a rollout: nothing more is sent out until somebody lets it go on. What was sent out stays.
    ///
    /// # Errors
    /// No such rollout, it has ended, or there is no reason.
    pub fn halt_rollout(&self, id: RolloutId, reason: &str, actor: &Actor, tick: &Tick) -> Result<()> {
        needs_a_reason(reason)?;
        self.store.try_write(actor, tick.now, |tx| {
            let mut r = open(tx, id)?;
            Intent::new("halt", subject(id), json!({ "wave": r.wave, "version": r.version })).approved(tx, reason, actor)?;
            step::halt(tx, &mut r, &format!("{}/{}", actor.issuer, actor.subject), reason, tick)?;
            timer::set_earlier(tx, loops::ROLLOUT, id.0, tick.now)?;
            Ok(())
        })
    }

    /// Lets a rollout go on that was halted; where the rules did it, past that very cause. With `despite` it goes on past whatever else holds it
    /// up as well: incidents that began at its targets, and dead ones that may not be left behind. Those stay open lines. Says at how many
    /// targets something was passed over.
    ///
    /// # Errors
    /// No such rollout, it has ended, it is not halted, nothing is in its way, or there is no reason.
    pub fn resume_rollout(&self, id: RolloutId, despite: bool, reason: &str, actor: &Actor, tick: &Tick) -> Result<usize> {
        if despite {
            needs_a_reason(reason)?;
        }
        self.store.try_write(actor, tick.now, |tx| {
            let gone = || Error::not_found("rollout", &id.to_string());
            let found = rollout::get(tx, id)?.ok_or_else(gone)?;
            let s = secret::lock(tx, found.secret)?.ok_or_else(gone)?;
            let mut r = open(tx, id)?;
            if r.halted_by.is_empty() && !despite {
                return Err(Error::refused(
                    "not-halted",
                    format!("rollout {id} is not halted; see what it waits for: perennial rollout show {id}"),
                ));
            }
            let (who, names) =
                if despite || r.halted_by == THE_RULES { step::blocked(tx, &r, &s, despite, tick)? } else { (Vec::new(), Vec::new()) };
            if r.halted_by.is_empty() && who.is_empty() {
                let problem = format!(
                    "nothing that a person may pass over holds rollout {id} up; see what it waits for: perennial rollout show {id}"
                );
                return Err(Error::refused("nothing-in-the-way", problem));
            }
            rollout::excuse(tx, id, &who, tick.now)?;
            if r.halted_by == THE_RULES {
                step::tell_again(tx, &r)?;
            }
            let body = json!({ "halted_by": r.halted_by, "halted_for": r.halted_reason, "despite": names, "n": who.len() });
            if despite {
                Intent::new("despite", subject(id), body.clone()).approved(tx, reason, actor)?;
            }
            (r.halted_by, r.halted_reason, r.halted_at) = (String::new(), String::new(), None);
            rollout::put(tx, &r)?;
            tx.journal(Entry::new("rollout.resumed", subject(id), reason, &body))?;
            timer::set_earlier(tx, loops::ROLLOUT, id.0, tick.now)?;
            Ok(who.len())
        })
    }

    /// Takes a rollout back, by a person: whoever was told goes back to the version before, as a new generation. Says which rollout does
    /// it.
    ///
    /// # Errors
    /// No such rollout, it has no version to go back to, `version-revoked` or `version-too-old` for that version, or there is no reason.
    pub fn roll_back(&self, id: RolloutId, reason: &str, actor: &Actor, tick: &Tick) -> Result<RolloutId> {
        needs_a_reason(reason)?;
        self.store.try_write(actor, tick.now, |tx| {
            let gone = || Error::not_found("rollout", &id.to_string());
            // As a step does: the secret's row before the rollout's.
            let found = rollout::get(tx, id)?.ok_or_else(gone)?;
            let s = secret::lock(tx, found.secret)?.ok_or_else(gone)?;
            let r = rollout::lock(tx, id)?.ok_or_else(gone)?;
            if r.kind == Kind::Rollback || matches!(r.state, State::RolledBack | State::Superseded) {
                let problem = format!("rollout {id} is {}, and a {} one; there is nothing to take back", r.state, r.kind);
                return Err(Error::refused("nothing-to-take-back", problem));
            }
            // What still waits has changed nothing.
            let began = |o: &Rollout| o.id == id || o.state != State::Waiting;
            let latest = rollout::of_secret(tx, r.secret, 100)?.into_iter().find(began).map(|l| l.id);
            if latest != Some(id) {
                let problem = format!("rollout {id} is not the latest of its secret; that is {}", latest.map_or(0, |l| l.0));
                return Err(Error::refused("nothing-to-take-back", problem));
            }
            let content = json!({ "from": r.version, "to": r.from_version, "wave": r.wave });
            Intent::new("rollback", subject(id), content).approved(tx, reason, actor)?;
            step::take_back(tx, r, &s, reason, actor, tick)
        })
    }

    /// Does what is due with rollouts. Says how many there were.
    pub fn rollouts_once(&self, tick: &Tick) -> Result<usize> {
        step::once(self, tick)
    }
}

fn known(tx: &mut Tx<'_>, name: &str) -> Result<secret::Secret> {
    secret::by_name(tx, name)?.filter(|s| s.retired_at.is_none()).ok_or_else(|| Error::not_found("secret", name))
}

/// Takes a rollout that has something left to do.
fn open(tx: &mut Tx<'_>, id: RolloutId) -> Result<Rollout> {
    let r = rollout::lock(tx, id)?.ok_or_else(|| Error::not_found("rollout", &id.to_string()))?;
    if !r.state.is_open() {
        return Err(Error::refused("rollout-ended", format!("rollout {id} is {}", r.state)));
    }
    Ok(r)
}

/// Nothing stands about a rollout any more: another one took its place.
fn settled(tx: &mut Tx<'_>, id: RolloutId, tick: &Tick) -> Result<()> {
    concern::replace(tx, &subject(id), &[], tick.now)?;
    Ok(())
}
