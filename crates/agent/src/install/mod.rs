//! From a version that is here to a place whose readers were seen to use it.

mod accounts;
pub mod check;
mod core;
mod layout;
mod look;
mod reload;

use std::sync::Arc;

use pki::Time;
use probe::Dialer;
use zeroize::Zeroizing;

pub use self::core::{Event, Failed, Goal, Lies, Phase, Record};
use self::{
    check::{Checked, Expected, check},
    layout::{Bytes, CHAIN, KEY, Spot},
};
use crate::{
    config::{Install, Place},
    error::Error,
    state::{self, State, Version, version_place},
};

/// Called before and after each act and each write of the journal, by name. Where a test ends the process.
pub type Step = Arc<dyn Fn(&str) + Send + Sync>;

/// What installs work with.
#[derive(Clone)]
pub(crate) struct Hands {
    pub(crate) state: Arc<State>,
    pub(crate) dialer: Dialer,
    /// By which waits are spread.
    pub(crate) who: String,
    pub(crate) now: crate::Clock,
    pub(crate) step: Step,
}

/// A version that may lie at this place, checked against the manifest and the clock.
pub(crate) fn choose(state: &State, install: &Install, version: &Version, expected: Expected<'_>, now: Time) -> Result<Checked, String> {
    let place = version_place(&version.secret, version.version);
    let mut problems = Vec::new();
    for pair in &version.pairs {
        let chain = state::ders(&pair.chain).map_err(|error| error.to_string())?;
        let key = state.open_key(&place, &pair.key).map_err(|error| error.to_string())?;
        match check(&chain, key.expose_pkcs8(), expected, now) {
            Ok(checked) if install.key_type.is_none_or(|family| key.kind().key_type() == family.as_str()) => return Ok(checked),
            Ok(_) => problems.push(format!("its certificate has a key of type {}", key.kind().key_type())),
            Err(mut all) => problems.append(&mut all),
        }
    }
    if problems.is_empty() {
        problems.push("the version has no certificate".to_owned());
    }
    Err(format!("version {} of {} is not installed: {}", version.version, version.secret, problems.join("; ")))
}

fn bytes(spot: &Spot<'_>, checked: &Checked) -> Bytes {
    let files = spot.names().iter().map(|name| {
        let text = match *name {
            CHAIN => Zeroizing::new(checked.chain_pem()),
            KEY => checked.key_pem(),
            _ => checked.combined_pem(),
        };
        (*name, Zeroizing::new(text.as_bytes().to_vec()))
    });
    Bytes { files: files.collect() }
}

/// Works at one place until nothing is under way there. The journal is read, and written before each act.
///
/// # Errors
/// The journal cannot be read or written; then nothing more is done.
pub(crate) async fn work(hands: &Hands, install: &Install, goal: Option<&Goal>, expected: Expected<'_>) -> Result<Record, Error> {
    let spot = Spot(install);
    let mut record = hands.state.record(install)?;
    if let Some(goal) = goal {
        if record.phase == Phase::Settled && record.lies.is_none() {
            match spot.adopt() {
                Ok(None) => {}
                Ok(Some(lies)) => {
                    record.lies = Some(lies.clone());
                    record.good = Some(lies);
                    keep(hands, install, &record).await?;
                }
                Err(error) => {
                    record.want(goal, false, (hands.now)());
                    record = record.after(Event::Failed { reason: error.to_string(), changed: false }, &hands.who, (hands.now)());
                    keep(hands, install, &record).await?;
                    return Ok(record);
                }
            }
        }
        let whole = record.lies.as_ref().is_some_and(|lies| spot.shows(&lies.label));
        let before = record.clone();
        if !record.want(goal, whole, (hands.now)()) {
            if record != before {
                keep(hands, install, &record).await?;
            }
            // What a crash after the last write of the journal left.
            if record.failed.is_none() {
                tidy(hands, &spot, &record);
            }
            return Ok(record);
        }
    }
    while record.phase != Phase::Settled {
        let name = format!("{:?}", record.phase);
        (hands.step)(&format!("before {name}"));
        let event = Box::pin(act(hands, &spot, &record, expected)).await;
        (hands.step)(&format!("after {name}"));
        record = record.after(event, &hands.who, (hands.now)());
        if record.must_be_written() {
            keep(hands, install, &record).await?;
            (hands.step)(&format!("written {name}"));
        }
    }
    if record.failed.is_none() {
        tidy(hands, &spot, &record);
    }
    (hands.step)("tidied");
    Ok(record)
}

async fn keep(hands: &Hands, install: &Install, record: &Record) -> Result<(), Error> {
    let (state, install, record) = (Arc::clone(&hands.state), install.clone(), record.clone());
    aside(move || state.set_record(&install, &record)).await?
}

/// Waits for the disk without holding up whoever shares this thread.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(Error::Disk(std::io::Error::other(error.to_string()))),
    }
}

/// What lies about and nobody needs: failing at it harms nobody, and the next install tries again.
fn tidy(hands: &Hands, spot: &Spot<'_>, record: &Record) {
    let labels: Vec<&str> = [&record.good, &record.lies].into_iter().flatten().map(|lies| lies.label.as_str()).collect();
    let _ = spot.prune(&labels);
    let needed: Vec<i64> = [&record.good, &record.lies].into_iter().flatten().map(|lies| lies.version).collect();
    let _ = hands.state.prune_versions(&spot.0.secret, &needed);
}

async fn act(hands: &Hands, spot: &Spot<'_>, record: &Record, expected: Expected<'_>) -> Event {
    let failed = |reason: String, changed| Event::Failed { reason, changed };
    let Some(goal) = &record.goal else { return failed("nothing is wanted here".to_owned(), false) };
    match record.phase {
        Phase::Settled => Event::Done,
        Phase::Stage => {
            let (hands, install, goal) = (hands.clone(), spot.0.clone(), goal.clone());
            let (names, leaves) = (expected.names.to_vec(), expected.leaves.to_vec());
            let staged = aside(move || stage(&hands, &Spot(&install), &goal, Expected { names: &names, leaves: &leaves })).await;
            match staged.map_err(|error| error.to_string()).flatten() {
                Ok(label) => Event::Staged(label),
                Err(reason) => failed(reason, false),
            }
        }
        Phase::Switch => {
            let (install, label, before) = (spot.0.clone(), record.staged.clone().unwrap_or_default(), record.lies.clone());
            let switched = aside(move || switch(&Spot(&install), &label, before.as_ref())).await;
            switched.unwrap_or_else(|error| failed(error.to_string(), true))
        }
        Phase::Reload if goal.stale_reload => Event::Done,
        Phase::Reload | Phase::BackReload => match &spot.0.reload {
            None => Event::Done,
            Some(how) => match reload::reload(how, &spot.0.secret, hands.state.scratch()).await {
                Ok(()) => Event::Done,
                Err(reason) => failed(reason, true),
            },
        },
        Phase::Look => see(hands, spot, Some(&goal.leaf)).await,
        Phase::BackStage => match back(hands, spot, record) {
            Ok(label) => Event::Staged(label),
            Err(reason) => failed(reason, true),
        },
        Phase::BackSwitch => {
            let label = record.good.as_ref().map(|good| good.label.as_str()).unwrap_or_default();
            switch(spot, label, None)
        }
        Phase::BackLook => see(hands, spot, record.good.as_ref().and_then(|good| good.leaf.as_ref())).await,
    }
}

/// Writes the goal aside and reads back what the disk has, which must be what may be installed.
fn stage(hands: &Hands, spot: &Spot<'_>, goal: &Goal, expected: Expected<'_>) -> Result<String, String> {
    let version = hands.state.version(&spot.0.secret, goal.version).map_err(|error| error.to_string())?;
    let version = version.ok_or_else(|| format!("version {} is not here any more", goal.version))?;
    let checked = choose(&hands.state, spot.0, &version, expected, (hands.now)())?;
    if checked.leaf() != goal.leaf {
        return Err(format!("version {} has the leaf {} here, not {}", goal.version, checked.leaf(), goal.leaf));
    }
    let label = spot.stage(goal.version, &bytes(spot, &checked)).map_err(|error| error.to_string())?;
    (hands.step)("staged");
    match spot.leaf(&label) {
        Some(leaf) if leaf == goal.leaf && spot.is_whole(&label) => Ok(label),
        _ => Err("what was written aside does not read back as it was written; look at the disk".to_owned()),
    }
}

/// Makes sure that the last good files are there to go back to.
fn back(hands: &Hands, spot: &Spot<'_>, record: &Record) -> Result<String, String> {
    let good = record.good.as_ref().ok_or("there is none")?;
    if spot.is_whole(&good.label) {
        return Ok(good.label.clone());
    }
    let version = hands.state.version(&spot.0.secret, good.version).map_err(|error| error.to_string())?;
    let version = version.ok_or_else(|| format!("the files of version {} are gone", good.version))?;
    // It was good when it was installed: neither the manifest of today nor the clock stands against going back.
    let chain = version.pairs.first().map(|pair| state::ders(&pair.chain)).transpose().map_err(|error| error.to_string())?;
    let leaf = chain.and_then(|chain| chain.into_iter().next()).unwrap_or_default();
    let now = pki::Certificate::parse(leaf).map(|leaf| leaf.not_before()).map_err(|error| error.to_string())?;
    let checked = choose(&hands.state, spot.0, &version, Expected { names: &[], leaves: &[] }, now)?;
    spot.stage(good.version, &bytes(spot, &checked)).map_err(|error| error.to_string())
}

fn switch(spot: &Spot<'_>, label: &str, before: Option<&Lies>) -> Event {
    match spot.switch(label) {
        Ok(()) => Event::Done,
        Err(error) => {
            let unchanged = before.is_some_and(|lies| spot.shows(&lies.label));
            Event::Failed { reason: error.to_string(), changed: !unchanged }
        }
    }
}

async fn see(hands: &Hands, spot: &Spot<'_>, leaf: Option<&String>) -> Event {
    // What lay here before may be something that nobody can compare.
    let (Some(how), Some(leaf)) = (&spot.0.look, leaf) else { return Event::Looked { seen: false } };
    match look::look(&hands.dialer, how, spot.0.key_type, leaf).await {
        Ok(()) => Event::Looked { seen: true },
        Err(reason) => Event::Failed { reason, changed: true },
    }
}

/// The file in which a place's chain lies.
pub(crate) fn chain_path(install: &Install) -> std::path::PathBuf {
    match &install.place {
        Place::Pair { certificate, .. } => certificate.clone(),
        Place::Combined(path) => path.clone(),
        Place::Directory(path) => path.join(layout::CURRENT).join(CHAIN),
    }
}
