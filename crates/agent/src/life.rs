//! The life of an agent: renew, wait, bring, install, claim; and go on when any of it fails.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use api::agent::{Fault, InstallReport, MOST_WAIT, Manifest, Report};
use probe::{Dialer, Settings};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::{
    Around, Config, clock,
    config::Install,
    error::Error,
    install::{self, Goal, Hands, Phase, check::Expected},
    join, manifest, pace,
    seal::Lock,
    standing::{self, Standing},
    state::{Contact, Identity, Known, State, ders},
    supply::{self, Supplied},
    wire::{Store, Trouble},
};

/// The first wait after the store did not answer.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest one: a store that was gone for weeks finds all its agents back within this time, spread over half of it.
const MOST_PAUSE: Duration = Duration::from_secs(300);
/// A store that answers at once although it was asked to wait is not asked more often than this.
const LEAST_PAUSE: Duration = Duration::from_secs(1);
/// An agent that has nothing new to say says it this often: its clock is compared, and the store hears that it lives.
const REPORT_EVERY: Duration = Duration::from_secs(3600);
/// How often it asks for the whole manifest, whatever it has: a restored store may count anew.
const ASK_ALL_EVERY: Duration = Duration::from_secs(3600);
/// How long a wait without any other reason may be.
const LONGEST: Duration = Duration::from_secs(600);
/// A journal that could not be written is tried again after this.
const STUCK_WAIT: Duration = Duration::from_secs(5);
/// Places that are worked at side by side. Those that reload the same thing go one after the other.
const AT_ONCE: usize = 8;

/// What failed last, how often, and when it is tried again.
#[derive(Debug, Default)]
struct Retry {
    failures: u32,
    at: Option<Instant>,
    detail: String,
}

impl Retry {
    fn may(&self) -> bool {
        self.at.is_none_or(|at| at <= Instant::now())
    }

    fn failed(&mut self, who: &str, trouble: &Trouble) {
        self.failures = self.failures.saturating_add(1);
        self.detail = trouble.error.to_string();
        let own = pace::delay(who, self.failures, FIRST_WAIT, MOST_PAUSE);
        self.at = Some(Instant::now() + trouble.after.map_or(own, |after| own.max(Duration::from_secs(after))));
    }

    fn wait(&mut self, seconds: u64, detail: String) {
        (self.failures, self.detail) = (0, detail);
        self.at = Some(Instant::now() + Duration::from_secs(seconds.clamp(1, MOST_PAUSE.as_secs())));
    }
}

struct Agent {
    config: Arc<Config>,
    around: Around,
    hands: Hands,
    identity: Identity,
    store: Store,
    known: Known,
    manifest: Option<Manifest>,
    contact: Contact,
    /// By secret: what its version waits for.
    supplies: BTreeMap<String, Retry>,
    polling: Retry,
    renewing: Retry,
    reporting: Retry,
    reported: Option<(Instant, Vec<InstallReport>)>,
    asked_all: Option<Instant>,
    /// Whether a journal could not be read or written in the last pass.
    stuck: bool,
}

/// Lives until `stop`. Whatever fails is tried again, so the only errors are those of the start.
///
/// # Errors
/// The folder is held by another agent or cannot be read, or the node has not joined.
pub async fn run(config: Config, around: Around, stop: impl Future<Output = ()>) -> Result<(), Error> {
    let mut agent = Agent::open(config, around)?;
    tokio::select! {
        () = stop => Ok(()),
        () = agent.live() => Ok(()),
    }
}

/// Asks, installs and reports once.
///
/// # Errors
/// As [`run`], or the store did not answer.
pub async fn once(config: Config, around: Around) -> Result<Vec<Standing>, Error> {
    let mut agent = Agent::open(config, around)?;
    agent.renew().await;
    let asked = agent.ask(0).await;
    agent.pass().await;
    agent.report().await;
    agent.remember();
    asked.map_err(|trouble| trouble.error)?;
    agent.standing()
}

impl Agent {
    fn open(config: Config, around: Around) -> Result<Agent, Error> {
        let lock = Lock::given(around.credentials.as_deref())?;
        let state = Arc::new(State::hold(&config.state, lock)?);
        let identity = state.identity()?.ok_or(Error::NotJoined)?;
        let known = state.known()?.ok_or(Error::NotJoined)?;
        let store = Store::known(&state, &identity)?;
        Ok(Agent {
            config: Arc::new(config),
            hands: hands(&state, &identity.node, &around)?,
            manifest: manifest::resume(&known),
            contact: state.contact().unwrap_or_default(),
            around,
            identity,
            store,
            known,
            supplies: BTreeMap::new(),
            polling: Retry::default(),
            renewing: Retry::default(),
            reporting: Retry::default(),
            reported: None,
            asked_all: None,
            stuck: false,
        })
    }

    async fn live(&mut self) {
        loop {
            self.renew().await;
            self.pass().await;
            self.report().await;
            self.remember();
            let due = self.due();
            // Dropping a poll that waits loses nothing: what it would have brought is there at the next one.
            tokio::select! {
                outcome = Self::poll(&self.store, self.polling.at, self.after(), MOST_WAIT) => {
                    let _told = self.take(outcome);
                }
                () = sleep_until(due) => {}
            }
        }
    }

    fn say(&self, what: &str) {
        (self.around.say)(what);
    }

    /// The generation after which something is news; none once in a while.
    fn after(&self) -> i64 {
        let lately = self.asked_all.is_some_and(|at| Instant::now() - at < ASK_ALL_EVERY);
        if lately { self.known.generation } else { 0 }
    }

    async fn ask(&mut self, wait: u64) -> Result<(), Trouble> {
        let outcome = Self::poll(&self.store, None, 0, wait).await;
        self.take(outcome)
    }

    async fn poll(
        store: &Store,
        at: Option<Instant>,
        after: i64,
        wait: u64,
    ) -> (Duration, Result<Option<api::agent::SignedManifest>, Trouble>) {
        if let Some(at) = at {
            sleep_until(at).await;
        }
        let begun = Instant::now();
        let outcome = store.manifest(after, if after == 0 { 0 } else { wait }).await;
        (Instant::now() - begun, outcome)
    }

    /// Takes what a poll brought.
    fn take(&mut self, (took, outcome): (Duration, Result<Option<api::agent::SignedManifest>, Trouble>)) -> Result<(), Trouble> {
        let all = self.after() == 0;
        let taken = outcome.and_then(|signed| {
            self.contact.answered_at = Some((self.around.now)().unix());
            match signed {
                None => Ok(false),
                Some(signed) => {
                    let accepted = manifest::accept(&signed, &self.known)?;
                    if accepted.known != self.known {
                        self.hands.state.set_known(&accepted.known)?;
                    }
                    if accepted.is_new {
                        // What an earlier generation waited for is asked for anew.
                        self.supplies.clear();
                    }
                    self.known = accepted.known;
                    self.manifest = Some(accepted.manifest);
                    Ok(accepted.is_new)
                }
            }
        });
        match taken {
            Ok(is_new) => {
                if all {
                    self.asked_all = Some(Instant::now());
                }
                if self.polling.failures > 0 {
                    self.say("the store answers again");
                }
                self.polling = Retry::default();
                self.contact.failure = None;
                if !is_new && took < LEAST_PAUSE && !all {
                    self.polling.at = Some(Instant::now() + LEAST_PAUSE);
                }
                if is_new {
                    self.say(&format!("generation {} is acted on", self.known.generation));
                }
                Ok(())
            }
            Err(trouble) => {
                self.polling.failed(&self.identity.node, &trouble);
                let said = trouble.error.to_string();
                if self.contact.failure.as_ref() != Some(&said) {
                    self.say(&said);
                }
                self.contact.failure = Some(said);
                Err(trouble)
            }
        }
    }

    /// What only `status` needs; a full disk does not stop an agent over it.
    fn remember(&mut self) {
        self.contact.waits = self.supplies.iter().map(|(secret, retry)| (secret.clone(), retry.detail.clone())).collect();
        let _ = self.hands.state.note_contact(&self.contact);
    }

    async fn renew(&mut self) {
        if !join::is_due(&self.identity, (self.around.now)()) || !self.renewing.may() {
            return;
        }
        match join::renew(&self.hands.state, &self.identity, &self.store, &self.around).await {
            Ok((identity, ahead)) => {
                match Store::known(&self.hands.state, &identity) {
                    Ok(store) => self.store = store,
                    Err(error) => self.say(&error.to_string()),
                }
                self.identity = identity;
                self.renewing = Retry::default();
                self.contact.ahead = ahead.or(self.contact.ahead);
            }
            Err(trouble) => {
                self.say(&format!("the agent's own certificate is not renewed: {}", trouble.error));
                self.renewing.failed(&self.identity.node, &trouble);
            }
        }
    }

    /// Brings what is missing, and works at every place that has something to do.
    async fn pass(&mut self) {
        if let Some(manifest) = self.manifest.clone() {
            for wanted in &manifest.installs {
                self.bring(wanted).await;
            }
        }
        self.stuck = false;
        let mut groups: BTreeMap<_, Vec<Job>> = BTreeMap::new();
        for install in &self.config.installs {
            let wanted = self.manifest.as_ref().and_then(|manifest| manifest.installs.iter().find(|one| one.secret == install.secret));
            match job(&self.hands.state, install, wanted, self.known.epoch) {
                Ok(Some(job)) => groups.entry(install.reload.clone().map(|reload| reload.how)).or_default().push(job),
                Ok(None) => {}
                Err(error) => {
                    (self.around.say)(&format!("{}: {error}", install.secret));
                    self.stuck = true;
                }
            }
        }
        // Those without a reload wait for nobody.
        let alone = groups.remove(&None).unwrap_or_default();
        let mut waiting = groups.into_values().chain(alone.into_iter().map(|job| vec![job]));
        let mut running = JoinSet::new();
        let start = |running: &mut JoinSet<(Vec<String>, bool)>, jobs: Vec<Job>| {
            let hands = self.hands.clone();
            running.spawn(async move { work(&hands, jobs).await });
        };
        for jobs in waiting.by_ref().take(AT_ONCE) {
            start(&mut running, jobs);
        }
        while let Some(done) = running.join_next().await {
            match done {
                Ok((said, stuck)) => {
                    said.iter().for_each(|what| (self.around.say)(what));
                    self.stuck |= stuck;
                }
                // A defect in one place must not look like peace.
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => {}
            }
            if let Some(jobs) = waiting.next() {
                start(&mut running, jobs);
            }
        }
    }

    async fn bring(&mut self, wanted: &api::agent::Install) {
        let state = Arc::clone(&self.hands.state);
        if self.config.places_of(&wanted.secret).next().is_none() || supply::is_here(&state, wanted).unwrap_or(false) {
            self.supplies.remove(&wanted.secret);
            return;
        }
        let retry = self.supplies.entry(wanted.secret.clone()).or_default();
        if !retry.may() {
            return;
        }
        match Box::pin(supply::supply(&state, &self.store, wanted, self.known.generation, &self.hands.step)).await {
            Ok(Supplied::Here) => {
                self.supplies.remove(&wanted.secret);
            }
            Ok(Supplied::Later(seconds, detail)) => retry.wait(seconds, detail),
            Err(trouble) => {
                retry.failed(&self.identity.node, &trouble);
                self.say(&format!("{}: {}", wanted.secret, trouble.error));
            }
        }
    }

    fn standing(&self) -> Result<Vec<Standing>, Error> {
        let waits = |secret: &str| self.supplies.get(secret).map(|retry| retry.detail.clone());
        standing::of(&self.hands.state, &self.config, self.manifest.as_ref(), waits)
    }

    /// Claims how things stand, where that is news or was long ago.
    async fn report(&mut self) {
        if self.manifest.is_none() || !self.reporting.may() {
            return;
        }
        let installs = match self.standing() {
            Ok(all) => standing::reports(&all),
            Err(error) => return self.say(&error.to_string()),
        };
        let known = self.reported.as_ref().is_some_and(|(at, before)| *before == installs && Instant::now() - *at < REPORT_EVERY);
        if known {
            return;
        }
        let now = (self.around.now)();
        let report = Report {
            generation: self.known.generation,
            instance: self.around.instance.clone(),
            agent: join::VERSION.to_owned(),
            clock: now.to_string(),
            installs: installs.clone(),
        };
        match self.store.report(&report).await {
            Ok(taken) => {
                self.contact.ahead = clock::ahead(now, &taken.clock);
                if let Some(doubt) = clock::doubt(self.contact.ahead) {
                    self.say(&doubt);
                }
                self.reported = Some((Instant::now(), installs));
                self.reporting = Retry::default();
            }
            Err(trouble) => {
                self.say(&format!("the report was not taken: {}", trouble.error));
                self.reporting.failed(&self.identity.node, &trouble);
            }
        }
    }

    /// When something is to be done without the store saying anything.
    fn due(&self) -> Instant {
        let (now, unix) = (Instant::now(), (self.around.now)().unix());
        let after = |at: i64| now + Duration::from_secs(u64::try_from(at - unix).unwrap_or(0)).min(LONGEST);
        let mut due = now + LONGEST;
        for retry in self.supplies.values().chain([&self.reporting, &self.renewing]) {
            due = due.min(retry.at.unwrap_or(due));
        }
        if self.renewing.at.is_none() {
            due = due.min(join::renew_at(&self.identity).map_or(due, |at| after(at.unix())));
        }
        if let Some((at, _)) = &self.reported {
            due = due.min(*at + REPORT_EVERY);
        }
        for install in &self.config.installs {
            let next = self.hands.state.record(install).ok().and_then(|record| record.next());
            due = due.min(next.map_or(due, after));
        }
        if self.stuck {
            due = due.min(now + STUCK_WAIT);
        }
        // A moment that has passed already is one that was not acted on: never spin over it.
        due.max(now + Duration::from_millis(50))
    }
}

/// What works at places.
pub(crate) fn hands(state: &Arc<State>, node: &str, around: &Around) -> Result<Hands, Error> {
    let dialer = Dialer::new(Settings::default()).map_err(|failure| Error::Answer(failure.to_string()))?;
    Ok(Hands { state: Arc::clone(state), dialer, who: node.to_owned(), now: Arc::clone(&around.now), step: Arc::clone(&around.step) })
}

/// A place that has something to do.
pub(crate) struct Job {
    install: Install,
    goal: Option<Goal>,
    names: Vec<String>,
    leaves: Vec<String>,
}

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
    let Some(version) = state.version(&wanted.secret, wanted.version)? else { return Ok(None) };
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
    // A restored store counts generations anew in its next life.
    let generation = epoch.saturating_mul(1 << 40).saturating_add(wanted.since);
    let stale_reload = wanted.fault == Some(Fault::StaleReload);
    Ok(chosen.map(|leaf| Goal { version: wanted.version, leaf, generation, stale_reload }))
}

/// Works at places one after the other. Answers with what a person should know, and whether a journal could not be written.
pub(crate) async fn work(hands: &Hands, jobs: Vec<Job>) -> (Vec<String>, bool) {
    let (mut said, mut stuck) = (Vec::new(), false);
    for job in jobs {
        let expected = Expected { names: &job.names, leaves: &job.leaves };
        let place = job.install.place.path().display().to_string();
        let before = hands.state.record(&job.install).ok();
        match Box::pin(install::work(hands, &job.install, job.goal.as_ref(), expected)).await {
            Ok(record) if before.as_ref() == Some(&record) => {}
            Ok(record) => {
                let version = record.lies.as_ref().map_or(0, |lies| lies.version);
                said.extend(record.failed.as_ref().map(|failed| {
                    let outcome = if failed.good_in_place { "the last good version is in place" } else { "it is not known what is served" };
                    format!("{place}: try {} failed, {outcome}: {}", record.attempts, failed.reason)
                }));
                if record.failed.is_none() && before.is_none_or(|before| before.lies != record.lies) {
                    said.push(format!("{place}: version {version} is installed"));
                }
            }
            Err(error) => {
                said.push(format!("{place}: {error}"));
                stuck = true;
            }
        }
    }
    (said, stuck)
}
