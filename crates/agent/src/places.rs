//! Which places have something to do, and which of them are worked at together.

use api::agent::Fault;

use crate::{
    config::{How, Install},
    error::Error,
    install::{self, Goal, Hands, Job, Phase, Record},
    state::{State, ders},
    supply,
};

/// What is to be done at a place: work for what the manifest says, or end what was begun.
pub(crate) fn job(state: &State, install: &Install, wanted: Option<&api::agent::Install>, epoch: i64) -> Result<Option<Job>, Error> {
    let goal = match wanted {
        Some(wanted) => goal(state, install, wanted, epoch)?,
        None => None,
    };
    if goal.is_none() && state.record(install)?.phase == Phase::Settled {
        return Ok(None);
    }
    let (names, leaves) = wanted.map(|wanted| (wanted.names.clone(), wanted.leaves.clone())).unwrap_or_default();
    Ok(Some(Job { install: install.clone(), goal, names, leaves }))
}

/// The certificate of the wanted version that belongs at this place, where the version is here.
fn goal(state: &State, install: &Install, wanted: &api::agent::Install, epoch: i64) -> Result<Option<Goal>, Error> {
    let Some(version) = supply::here(state, wanted, epoch)? else { return Ok(None) };
    let mut chosen = None;
    for pair in &version.pairs {
        let first = ders(pair.chain.get(..1).unwrap_or_default())?.into_iter().next().unwrap_or_default();
        let fits = install
            .key_type
            .is_none_or(|family| pki::Certificate::parse(first.as_slice()).is_ok_and(|leaf| leaf.key_type() == family.as_str()));
        if chosen.is_none() && (fits || version.pairs.len() == 1) {
            chosen = Some(pki::Fingerprint::of(&first).to_string());
        }
    }
    let generation = Goal::generation(epoch, wanted.since);
    let stale_reload = wanted.fault == Some(Fault::StaleReload);
    Ok(chosen.map(|leaf| Goal { version: wanted.version, leaf, generation, stale_reload }))
}

/// Whether one reload does for both places, and says the truth of both. A command knows for which secret it is called, so it is shared by
/// places of one secret alone. What failed before is tried by itself, so that a place that cannot be mended holds up no other; and what a
/// drill leaves stale must not be reloaded by its neighbour.
pub(crate) fn together(state: &State, one: &Job, other: &Job) -> bool {
    let how = |job: &Job| job.install.reload.as_ref().map(|reload| reload.how.clone());
    let of_one_secret = one.install.secret == other.install.secret;
    let same = match (how(one), how(other)) {
        (Some(How::Command(a)), Some(How::Command(b))) => a == b && of_one_secret,
        (Some(a), Some(b)) => a == b,
        _ => false,
    };
    let first_try = |job: &Job| {
        let stale = job.goal.as_ref().is_some_and(|goal| goal.stale_reload);
        !stale && state.record(&job.install).is_ok_and(|record| record.failed.is_none())
    };
    same && first_try(one) && first_try(other)
}

/// What came of working at places.
#[derive(Debug)]
pub(crate) struct Worked {
    /// What a person should know.
    pub(crate) said: Vec<String>,
    /// How each of them stands now, in their order; nothing where its journal could not be read or written.
    pub(crate) records: Vec<Option<Record>>,
}

/// Works at places that are worked at together.
pub(crate) async fn work(hands: &Hands, jobs: Vec<Job>) -> Worked {
    let before: Vec<Option<Record>> = jobs.iter().map(|job| hands.state.record(&job.install).ok()).collect();
    let after = Box::pin(install::work(hands, &jobs)).await;
    let (mut said, mut records) = (Vec::new(), Vec::with_capacity(jobs.len()));
    for ((job, before), after) in jobs.iter().zip(before).zip(after) {
        let place = job.install.place.path().display();
        match after {
            Ok(record) => {
                if before.as_ref() != Some(&record) {
                    let version = record.lies.as_ref().map_or(0, |lies| lies.version);
                    said.extend(record.failed.as_ref().map(|failed| {
                        let outcome =
                            if failed.good_in_place { "the last good version is in place" } else { "it is not known what is served" };
                        format!("{place}: try {} failed, {outcome}: {}", record.attempts, failed.reason)
                    }));
                    if record.failed.is_none() && before.is_none_or(|before| before.lies != record.lies) {
                        said.push(format!("{place}: version {version} is installed"));
                    }
                }
                records.push(Some(record));
            }
            Err(error) => {
                said.push(format!("{place}: {error}"));
                records.push(None);
            }
        }
    }
    Worked { said, records }
}
