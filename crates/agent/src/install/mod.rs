//! From a version that is here to a place whose readers were seen to use it.

mod accounts;
pub mod check;
mod core;
mod layout;
mod look;
mod own;
mod reload;

use std::{sync::Arc, time::Duration};

use pki::Time;
use probe::{Dialer, Settings};
use tokio::time::sleep;
use zeroize::Zeroizing;

pub use self::core::{Event, Failed, Goal, Lies, Phase, Record};
use self::{
    check::{Checked, Expected, check},
    layout::{Bytes, CHAIN, KEY, Spot},
};
use crate::{
    Around,
    config::{Install, Place},
    error::Error,
    pace,
    state::{self, State, Version, version_place},
};

/// The first wait before a journal is written again.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest one.
const MOST_WAIT: Duration = Duration::from_secs(60);

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
    /// Hears what a person should know at once.
    pub(crate) say: Arc<dyn Fn(&str) + Send + Sync>,
    /// Whether a journal that cannot be written is waited for. Otherwise that is an error.
    pub(crate) patient: bool,
}

impl Hands {
    pub(crate) fn new(state: &Arc<State>, node: &str, around: &Around, patient: bool) -> Result<Hands, Error> {
        let dialer = Dialer::new(Settings::default()).map_err(|failure| Error::Answer(failure.to_string()))?;
        let (state, who, now) = (Arc::clone(state), node.to_owned(), Arc::clone(&around.now));
        Ok(Hands { state, dialer, who, now, step: Arc::clone(&around.step), say: Arc::clone(&around.say), patient })
    }
}

/// A place that has something to do.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) install: Install,
    pub(crate) goal: Option<Goal>,
    pub(crate) names: Vec<String>,
    pub(crate) leaves: Vec<String>,
}

impl Job {
    fn expected(&self) -> Expected<'_> {
        Expected { names: &self.names, leaves: &self.leaves }
    }
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

/// Works at places until nothing is under way at any of them. The journal of each is read, and written before each act. Several places are
/// given together only where they reload the same: each goes on to where it waits for the reload, and then there is one for all of them.
///
/// # Errors
/// Of a place whose journal cannot be read or written; then nothing more is done there.
pub(crate) async fn work(hands: &Hands, jobs: &[Job]) -> Vec<Result<Record, Error>> {
    let mut all = Vec::with_capacity(jobs.len());
    for job in jobs {
        all.push(begin(hands, job).await);
    }
    loop {
        for (job, place) in jobs.iter().zip(&mut all) {
            while let Ok(record) = place
                && record.phase != Phase::Settled
                && !waits_for_reload(job, record)
            {
                let before = record.clone();
                before_act(hands, &before);
                let event = Box::pin(act(hands, &Spot(&job.install), &before, job.expected())).await;
                *place = go_on(hands, job, before, event).await;
            }
        }
        let mut waiting: Vec<(&Job, &mut Result<Record, Error>)> = Vec::new();
        for (job, place) in jobs.iter().zip(&mut all) {
            if place.as_ref().is_ok_and(|record| record.phase != Phase::Settled) {
                waiting.push((job, place));
            }
        }
        let limits = waiting.iter().filter_map(|(job, _)| job.install.reload.as_ref());
        let Some(longest) = limits.max_by_key(|reload| reload.limit) else { return all };
        let secret = waiting.first().map(|(job, _)| job.install.secret.as_str()).unwrap_or_default();
        waiting.iter().filter_map(|(_, place)| place.as_ref().ok()).for_each(|record| before_act(hands, record));
        let event = match reload::reload(longest, secret).await {
            Ok(()) => Event::Done,
            Err(reason) => Event::Failed { reason, changed: true },
        };
        for (job, place) in waiting {
            if let Ok(record) = place {
                *place = go_on(hands, job, record.clone(), event.clone()).await;
            }
        }
    }
}

/// Whether this is where a reload is due; one that a drill leaves out is none.
fn waits_for_reload(job: &Job, record: &Record) -> bool {
    let left_out = record.phase == Phase::Reload && record.goal.as_ref().is_some_and(|goal| goal.stale_reload);
    matches!(record.phase, Phase::Reload | Phase::BackReload) && job.install.reload.is_some() && !left_out
}

/// Reads the journal of a place, and takes up what is wanted.
async fn begin(hands: &Hands, job: &Job) -> Result<Record, Error> {
    let (install, spot) = (&job.install, Spot(&job.install));
    let mut record = hands.state.record(install)?;
    let Some(goal) = &job.goal else { return Ok(record) };
    if record.phase == Phase::Settled && record.lies.is_none() {
        match spot.adopt(&*hands.step) {
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
    }
    Ok(record)
}

fn before_act(hands: &Hands, record: &Record) {
    (hands.step)(&format!("before {:?}", record.phase));
}

/// Goes on after an act.
async fn go_on(hands: &Hands, job: &Job, record: Record, event: Event) -> Result<Record, Error> {
    let name = format!("{:?}", record.phase);
    (hands.step)(&format!("after {name}"));
    let record = record.after(event, &hands.who, (hands.now)());
    if record.must_be_written() {
        keep(hands, &job.install, &record).await?;
        (hands.step)(&format!("written {name}"));
    }
    if record.phase == Phase::Settled {
        if record.failed.is_none() {
            tidy(hands, &Spot(&job.install), &record);
        }
        (hands.step)("tidied");
    }
    Ok(record)
}

/// Writes the journal. What was done is known here alone until it is written: on a full disk the writing is tried again, and nothing else.
async fn keep(hands: &Hands, install: &Install, record: &Record) -> Result<(), Error> {
    let mut tries = 0;
    loop {
        let (state, place, line) = (Arc::clone(&hands.state), install.clone(), record.clone());
        let Err(error) = aside(move || state.set_record(&place, &line)).await.flatten() else { return Ok(()) };
        if !hands.patient {
            return Err(error);
        }
        tries += 1;
        if tries == 1 {
            (hands.say)(&format!("{}: the journal waits to be written: {error}", install.place.path().display()));
        }
        sleep(pace::delay(&hands.who, tries, FIRST_WAIT, MOST_WAIT)).await;
    }
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
    // What readers see may have been lost or changed before this try began: then the last good version is not in place either.
    let good = record.good.as_ref().map(|good| good.label.clone());
    let Some(goal) = &record.goal else { return failed("nothing is wanted here".to_owned(), false) };
    match record.phase {
        Phase::Settled => Event::Done,
        Phase::Stage => {
            let (hands, install, goal) = (hands.clone(), spot.0.clone(), goal.clone());
            let (names, leaves) = (expected.names.to_vec(), expected.leaves.to_vec());
            let staged = aside(move || stage(&hands, &Spot(&install), &goal, Expected { names: &names, leaves: &leaves })).await;
            match staged.map_err(|error| error.to_string()).flatten() {
                Ok(label) => Event::Staged(label),
                Err(reason) => failed(reason, good.is_some_and(|good| !spot.shows(&good))),
            }
        }
        Phase::Switch => {
            let (install, label) = (spot.0.clone(), record.staged.clone().unwrap_or_default());
            let switched = aside(move || switch(&Spot(&install), &label, good.as_deref())).await;
            switched.unwrap_or_else(|error| failed(error.to_string(), true))
        }
        // Where there is one, it is done for all that wait for it ([`work`]).
        Phase::Reload | Phase::BackReload => Event::Done,
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
    if good.leaf.as_ref().is_some_and(|leaf| *leaf != checked.leaf()) {
        return Err(format!(
            "the files of version {} are gone, and the restored store means another certificate by that number",
            good.version
        ));
    }
    spot.stage(good.version, &bytes(spot, &checked)).map_err(|error| error.to_string())
}

fn switch(spot: &Spot<'_>, label: &str, good: Option<&str>) -> Event {
    match spot.switch(label) {
        Ok(()) => Event::Done,
        Err(error) => {
            let unchanged = good.is_some_and(|good| spot.shows(good));
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
