//! The life of an agent: renew, wait, bring, install, claim. Each is a task of its own, so that none of them waits for a store that is slow or a
//! reload that hangs; the loop only begins what is due, takes in what ended, and sleeps until the next is due.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use api::agent::{Install, InstallReport, MOST_WAIT, Manifest, Report, SignedManifest, Taken};
use tokio::{
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep_until},
};

use crate::{
    Around, Config, clock,
    error::Error,
    install::{Hands, Job},
    join, manifest, pace,
    places::{self, Worked},
    seal::Lock,
    standing::{self, Standing},
    state::{Contact, Identity, Known, State},
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
/// How often it looks whether its files are still what they were, and its versions still here.
const VERIFY_EVERY: Duration = Duration::from_secs(60);
/// How long a wait without any other reason may be.
const LONGEST: Duration = Duration::from_secs(600);
/// No wait is shorter, whatever the clock says: a moment that has passed and was not acted on must not become a loop.
const SHORTEST: Duration = Duration::from_secs(1);
/// A certificate that was just renewed is not renewed again within this share of its life, or [`MOST_RENEWED`]: a clock that is far ahead
/// finds every one of them at its end.
const RENEWED_SHARE: i64 = 12;
/// The longest such wait.
const MOST_RENEWED: Duration = Duration::from_secs(3600);
/// What is under way is told when it is over, or after this.
const NEWS_WAIT: Duration = Duration::from_secs(2);
/// What a manifest brings is fetched and told on the connection that brought it: the next wait for news begins then, or after this.
const HELD: Duration = Duration::from_secs(1);
/// Tasks that work at places, at a time. Those that reload the same thing go one after the other.
const WORKING: usize = 32;
/// Versions that are asked for at a time.
const BRINGING: usize = 4;

/// What failed last, how often, and when it is tried again.
#[derive(Debug, Default)]
struct Retry {
    failures: u32,
    at: Option<Instant>,
    detail: String,
}

impl Retry {
    fn may(&self, now: Instant) -> bool {
        self.at.is_none_or(|at| at <= now)
    }

    fn failed(&mut self, who: &str, trouble: &Trouble, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.detail = trouble.error.to_string();
        // Whoever asks ten thousand agents to wait for ten seconds does not want them all back at the eleventh.
        let own = pace::delay(who, self.failures, FIRST_WAIT, MOST_PAUSE);
        self.at = Some(now + trouble.after.map_or(own, |after| Duration::from_secs(after) + own));
    }

    fn wait(&mut self, seconds: u64, detail: String, now: Instant) {
        (self.failures, self.detail) = (0, detail);
        self.at = Some(now + Duration::from_secs(seconds.clamp(1, MOST_PAUSE.as_secs())));
    }
}

/// A place of the configuration.
#[derive(Debug)]
struct Place {
    /// When it is looked at next. While it is worked at: what came meanwhile asks for that.
    at: Option<Instant>,
    working: bool,
    /// The first place that reloads the same thing; one of them is worked at, at a time.
    group: Option<usize>,
    /// A journal that could not be read or written.
    journal: Retry,
}

/// When the store was told, of which generation, and what.
type Told = (Instant, i64, Vec<InstallReport>);

/// A task that ended.
enum Done {
    Polled { number: u64, all: bool, took: Duration, outcome: Result<Option<SignedManifest>, Trouble> },
    Renewed(Result<(Identity, Option<i64>), Trouble>),
    Reported { generation: i64, installs: Vec<InstallReport>, now: pki::Time, outcome: Result<Taken, Trouble> },
    Supplied { wanted: Install, outcome: Result<Supplied, Trouble> },
    Worked { places: Vec<usize>, worked: Worked },
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
    /// The contact as it was written last.
    noted: Option<Contact>,
    /// As the configuration's installs.
    places: Vec<Place>,
    /// What the manifest names and is not here, and when that is looked at again.
    missing: (Vec<Install>, Instant),
    /// By secret: what its version waits for.
    supplies: BTreeMap<String, Retry>,
    polling: Retry,
    renewing: Retry,
    reporting: Retry,
    reported: Option<Told>,
    /// Since when there may be something to tell.
    news: Option<Instant>,
    /// When a manifest brought news.
    heard: Option<Instant>,
    asked_all: Option<Instant>,
    running: JoinSet<Done>,
    /// The poll that waits, by its number.
    poll: Option<(u64, AbortHandle)>,
    polls: u64,
    bringing: BTreeSet<(String, i64)>,
    /// Tasks that work at places, and what they reload.
    working: usize,
    reloading: BTreeSet<usize>,
    is_renewing: bool,
    is_reporting: bool,
}

/// Lives until `stop`. Whatever fails is tried again, so the only errors are those of the start.
///
/// # Errors
/// The folder is held by another agent or cannot be read, or the node has not joined.
pub async fn run(config: Config, around: Around, stop: impl Future<Output = ()>) -> Result<(), Error> {
    let mut agent = Agent::open(config, around, true)?;
    tokio::select! {
        () = stop => {}
        () = agent.live() => {}
    }
    // Whatever is under way is ended as a crash would, and gone on with at the next start.
    agent.running.shutdown().await;
    Ok(())
}

/// Asks, installs and reports once.
///
/// # Errors
/// As [`run`], or the store did not answer.
pub async fn once(config: Config, around: Around) -> Result<Vec<Standing>, Error> {
    let mut agent = Agent::open(config, around, false)?;
    agent.begin_renewal(Instant::now());
    agent.drain().await;
    let (begun, outcome) = (Instant::now(), agent.store.manifest(0, 0).await);
    let asked = agent.take(true, Instant::now() - begun, outcome);
    agent.begin_supplies(Instant::now());
    agent.drain().await;
    while agent.begin_places(Instant::now()) {
        agent.drain().await;
    }
    agent.begin_report(Instant::now());
    agent.drain().await;
    agent.remember();
    asked.map_err(|trouble| trouble.error)?;
    agent.standing()
}

impl Agent {
    fn open(config: Config, around: Around, patient: bool) -> Result<Agent, Error> {
        let lock = Lock::given(around.credentials.as_deref())?;
        let state = Arc::new(State::hold(&config.state, lock)?);
        let identity = state.identity()?.ok_or(Error::NotJoined)?;
        let known = state.known()?.ok_or(Error::NotJoined)?;
        let store = Store::known(&state, &identity, &around.instance)?;
        let now = Instant::now();
        let how = |index: usize| config.installs.get(index).and_then(|install| install.reload.as_ref()).map(|reload| &reload.how);
        let group = |index: usize| how(index).and_then(|own| (0..=index).find(|other| how(*other) == Some(own)));
        let place = |index| Place { at: Some(now), working: false, group: group(index), journal: Retry::default() };
        Ok(Agent {
            places: (0..config.installs.len()).map(place).collect(),
            hands: Hands::new(&state, &identity.node, &around, patient)?,
            manifest: manifest::resume(&known),
            contact: state.contact().unwrap_or_default(),
            config: Arc::new(config),
            around,
            identity,
            store,
            known,
            noted: None,
            missing: (Vec::new(), now),
            supplies: BTreeMap::new(),
            polling: Retry::default(),
            renewing: Retry::default(),
            reporting: Retry::default(),
            reported: None,
            news: Some(now),
            heard: None,
            asked_all: None,
            running: JoinSet::new(),
            poll: None,
            polls: 0,
            bringing: BTreeSet::new(),
            working: 0,
            reloading: BTreeSet::new(),
            is_renewing: false,
            is_reporting: false,
        })
    }

    async fn live(&mut self) {
        loop {
            self.begin(Instant::now());
            self.remember();
            let due = self.due(Instant::now());
            tokio::select! {
                Some(done) = self.running.join_next() => self.end(done),
                () = sleep_until(due) => {}
            }
        }
    }

    /// Until nothing is under way.
    async fn drain(&mut self) {
        while let Some(done) = self.running.join_next().await {
            self.end(done);
        }
    }

    fn say(&self, what: &str) {
        (self.around.say)(what);
    }

    /// Begins what is due and not under way.
    fn begin(&mut self, now: Instant) {
        self.begin_places(now);
        if self.begin_renewal(now) {
            return;
        }
        self.begin_supplies(now);
        self.begin_report(now);
        self.begin_poll(now);
    }

    /// Says whether the identity is being renewed, or about to be. Then nothing else is asked: the certificate before is nobody's any more once
    /// its successor was seen, and whoever still speaks by it looks like a copy of this agent.
    fn begin_renewal(&mut self, now: Instant) -> bool {
        if self.is_renewing {
            return true;
        }
        if !join::is_due(&self.identity, (self.around.now)()) || !self.renewing.may(now) {
            return false;
        }
        // Dropping a poll that waits loses nothing: what it would have brought is there at the next one.
        if let Some((_, poll)) = self.poll.take() {
            poll.abort();
        }
        if self.bringing.is_empty() && !self.is_reporting {
            let (state, identity, store) = (Arc::clone(&self.hands.state), self.identity.clone(), self.store.clone());
            let around = self.around.clone();
            self.is_renewing = true;
            self.running.spawn(async move { Done::Renewed(join::renew(&state, &identity, &store, &around).await) });
        }
        true
    }

    /// After which generation something is news, and how long to wait for it. Once in a while the whole is asked for, whatever is known.
    fn question(&self, now: Instant) -> (i64, u64) {
        let lately = self.asked_all.is_some_and(|at| now - at < ASK_ALL_EVERY);
        if lately { (self.known.generation, MOST_WAIT) } else { (0, 0) }
    }

    /// Until when what was heard is brought and told before the next wait for news.
    fn held(&self) -> Option<Instant> {
        let busy = !self.bringing.is_empty() || self.is_reporting || self.news.is_some() || self.working > 0;
        self.heard.map(|at| at + HELD).filter(|_| busy)
    }

    fn begin_poll(&mut self, now: Instant) {
        if self.poll.is_some() || !self.polling.may(now) || self.held().is_some_and(|until| now < until) {
            return;
        }
        self.polls += 1;
        let (number, (after, wait), store) = (self.polls, self.question(now), self.store.clone());
        let task = self.running.spawn(async move {
            let begun = Instant::now();
            let outcome = store.manifest(after, wait).await;
            Done::Polled { number, all: wait == 0, took: Instant::now() - begun, outcome }
        });
        self.poll = Some((number, task));
    }

    /// Asks for what is missing.
    fn begin_supplies(&mut self, now: Instant) {
        let Some(manifest) = &self.manifest else { return };
        let state = &self.hands.state;
        if self.missing.1 <= now {
            let is_missing = |wanted: &&Install| {
                let here = supply::here(state, wanted, self.known.epoch).is_ok_and(|here| here.is_some());
                !here && self.config.places_of(&wanted.secret).next().is_some()
            };
            let missing: Vec<Install> = manifest.installs.iter().filter(is_missing).cloned().collect();
            self.supplies.retain(|secret, _| missing.iter().any(|wanted| wanted.secret == *secret));
            self.missing = (missing, now + VERIFY_EVERY);
        }
        for wanted in &self.missing.0 {
            let key = (wanted.secret.clone(), wanted.version);
            let retry = self.supplies.entry(wanted.secret.clone()).or_default();
            if self.bringing.len() >= BRINGING || !retry.may(now) || self.bringing.contains(&key) {
                continue;
            }
            self.bringing.insert(key);
            let (state, store, step) = (Arc::clone(state), self.store.clone(), Arc::clone(&self.hands.step));
            let (wanted, known) = (wanted.clone(), (self.known.epoch, self.known.generation));
            self.running.spawn(async move {
                let outcome = Box::pin(supply::supply(&state, &store, &wanted, known, &step)).await;
                Done::Supplied { wanted, outcome }
            });
        }
    }

    /// Works at the places that are due. Says whether any has something to do.
    fn begin_places(&mut self, now: Instant) -> bool {
        let mut jobs: Vec<(usize, Job)> = Vec::new();
        for index in 0..self.places.len() {
            if self.is_held_up(index) {
                continue;
            }
            let (Some(place), Some(install)) = (self.places.get_mut(index), self.config.installs.get(index)) else { continue };
            if place.at.is_none_or(|at| at > now) {
                continue;
            }
            let wanted = self.manifest.as_ref().and_then(|manifest| manifest.installs.iter().find(|one| one.secret == install.secret));
            match places::job(&self.hands.state, install, wanted, self.known.epoch) {
                Ok(Some(job)) => jobs.push((index, job)),
                Ok(None) => place.at = Some(now + VERIFY_EVERY),
                Err(error) => {
                    (self.around.say)(&format!("{}: {error}", install.secret));
                    place.journal.failed(&self.identity.node, &Trouble::from(error), now);
                    place.at = place.journal.at;
                }
            }
        }
        let any = !jobs.is_empty();
        while let Some((index, job)) = jobs.first().cloned() {
            // What waits for a task that works at its group, or for any, is begun when that ends.
            if self.is_held_up(index) {
                jobs.remove(0);
                continue;
            }
            let with = |(other, another): &(usize, Job)| *other == index || places::together(&self.hands.state, &job, another);
            let (batch, rest): (Vec<_>, Vec<_>) = jobs.into_iter().partition(with);
            jobs = rest;
            let (places, batch): (Vec<usize>, Vec<Job>) = batch.into_iter().unzip();
            self.working += 1;
            for index in &places {
                if let Some(place) = self.places.get_mut(*index) {
                    (place.working, place.at) = (true, None);
                    self.reloading.extend(place.group);
                }
            }
            let hands = self.hands.clone();
            self.running.spawn(async move {
                let worked = Box::pin(places::work(&hands, batch)).await;
                Done::Worked { places, worked }
            });
        }
        any
    }

    /// Whether a place cannot be worked at before some task ends.
    fn is_held_up(&self, index: usize) -> bool {
        let held = |place: &Place| place.working || place.group.is_some_and(|group| self.reloading.contains(&group));
        self.working >= WORKING || self.places.get(index).is_none_or(held)
    }

    /// Claims how things stand, where that is news or was long ago.
    fn begin_report(&mut self, now: Instant) {
        if self.manifest.is_none() || self.is_reporting || !self.reporting.may(now) {
            return;
        }
        let idle = self.bringing.is_empty() && self.working == 0;
        let long_ago = self.reported.as_ref().is_some_and(|(at, ..)| *at + REPORT_EVERY <= now);
        if !long_ago && !self.news.is_some_and(|since| idle || since + NEWS_WAIT <= now) {
            return;
        }
        self.news = None;
        let installs = match self.standing() {
            Ok(all) => standing::reports(&all),
            Err(error) => {
                self.say(&error.to_string());
                self.news = Some(now);
                return self.reporting.failed(&self.identity.node, &Trouble::from(error), now);
            }
        };
        let generation = self.known.generation;
        if !long_ago && self.reported.as_ref().is_some_and(|(_, told, before)| *told == generation && *before == installs) {
            self.reporting = Retry::default();
            return;
        }
        let now = (self.around.now)();
        let report = Report {
            generation,
            instance: self.around.instance.clone(),
            agent: join::VERSION.to_owned(),
            clock: now.to_string(),
            installs: installs.clone(),
        };
        let store = self.store.clone();
        self.is_reporting = true;
        self.running.spawn(async move { Done::Reported { generation, installs, now, outcome: store.report(&report).await } });
    }

    /// Takes in what ended.
    fn end(&mut self, done: Result<Done, tokio::task::JoinError>) {
        let now = Instant::now();
        match done {
            Ok(Done::Polled { number, all, took, outcome }) => {
                self.poll.take_if(|(waits, _)| *waits == number);
                let _told = self.take(all, took, outcome);
            }
            Ok(Done::Renewed(outcome)) => self.renewed(outcome, now),
            Ok(Done::Reported { generation, installs, now: own, outcome }) => {
                let own = outcome.map(|taken| (clock::ahead(own, &taken.clock), (now, generation, installs)));
                self.taken(own, now);
            }
            Ok(Done::Supplied { wanted, outcome }) => self.supplied(&wanted, outcome, now),
            Ok(Done::Worked { places, worked }) => self.worked(&places, worked, now),
            // A defect in one task must not look like peace.
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => {}
        }
    }

    /// Takes what a poll brought.
    fn take(&mut self, all: bool, took: Duration, outcome: Result<Option<SignedManifest>, Trouble>) -> Result<(), Trouble> {
        let now = Instant::now();
        let taken = outcome.and_then(|signed| {
            self.contact.answered_at = Some((self.around.now)().unix());
            let Some(signed) = signed else { return Ok(false) };
            let accepted = manifest::accept(&signed, &self.known)?;
            if accepted.known != self.known {
                self.hands.state.set_known(&accepted.known)?;
            }
            if accepted.known.generation != self.known.generation {
                // The store hears that it is acted on, also where it names the same as before.
                self.news = self.news.or(Some(now));
            }
            self.known = accepted.known;
            self.manifest = Some(accepted.manifest);
            Ok(accepted.is_new)
        });
        match taken {
            Ok(is_new) => {
                if all {
                    self.asked_all = Some(now);
                }
                if self.polling.failures > 0 {
                    self.say("the store answers again");
                }
                self.polling = Retry::default();
                self.contact.failure = None;
                if !is_new && took < LEAST_PAUSE && !all {
                    self.polling.at = Some(now + LEAST_PAUSE);
                }
                if is_new {
                    // What an earlier generation waited for is asked for anew.
                    self.supplies.clear();
                    self.missing.1 = now;
                    self.places.iter_mut().for_each(|place| place.at = Some(now));
                    (self.heard, self.news) = (Some(now), Some(now));
                    self.say(&format!("generation {} is acted on", self.known.generation));
                }
                Ok(())
            }
            Err(trouble) => {
                self.polling.failed(&self.identity.node, &trouble, now);
                let said = trouble.error.to_string();
                if self.contact.failure.as_ref() != Some(&said) {
                    self.say(&said);
                }
                self.contact.failure = Some(said);
                Err(trouble)
            }
        }
    }

    fn renewed(&mut self, outcome: Result<(Identity, Option<i64>), Trouble>, now: Instant) {
        self.is_renewing = false;
        match outcome {
            Ok((identity, ahead)) => {
                match Store::known(&self.hands.state, &identity, &self.around.instance) {
                    Ok(store) => self.store = store,
                    Err(error) => self.say(&error.to_string()),
                }
                self.renewing = Retry { at: Some(now + renewed_wait(&identity)), ..Retry::default() };
                self.identity = identity;
                self.contact.ahead = ahead.or(self.contact.ahead);
            }
            Err(trouble) => {
                self.say(&format!("the agent's own certificate is not renewed: {}", trouble.error));
                self.renewing.failed(&self.identity.node, &trouble, now);
            }
        }
    }

    /// Takes how far ahead this clock is, and what was reported.
    fn taken(&mut self, outcome: Result<(Option<i64>, Told), Trouble>, now: Instant) {
        self.is_reporting = false;
        match outcome {
            Ok((ahead, reported)) => {
                self.contact.ahead = ahead;
                if let Some(doubt) = clock::doubt(ahead) {
                    self.say(&doubt);
                }
                self.reported = Some(reported);
                self.reporting = Retry::default();
            }
            Err(trouble) => {
                self.say(&format!("the report was not taken: {}", trouble.error));
                self.reporting.failed(&self.identity.node, &trouble, now);
                self.news = self.news.or(Some(now));
            }
        }
    }

    fn supplied(&mut self, wanted: &Install, outcome: Result<Supplied, Trouble>, now: Instant) {
        self.bringing.remove(&(wanted.secret.clone(), wanted.version));
        self.news = self.news.or(Some(now));
        if matches!(outcome, Ok(Supplied::Here)) {
            let of_secret = self.places.iter_mut().zip(&self.config.installs).filter(|(_, install)| install.secret == wanted.secret);
            of_secret.for_each(|(place, _)| place.at = Some(now));
        }
        // Asked for by an earlier manifest: what the one of now waits for is another matter.
        if !self.missing.0.contains(wanted) {
            self.missing.1 = now;
            return;
        }
        let retry = self.supplies.entry(wanted.secret.clone()).or_default();
        match outcome {
            Ok(Supplied::Here) => {
                self.supplies.remove(&wanted.secret);
                self.missing.0.retain(|one| one != wanted);
            }
            Ok(Supplied::Later(seconds, detail)) => retry.wait(seconds, detail, now),
            Err(trouble) => {
                retry.failed(&self.identity.node, &trouble, now);
                self.say(&format!("{}: {}", wanted.secret, trouble.error));
            }
        }
    }

    fn worked(&mut self, places: &[usize], worked: Worked, now: Instant) {
        worked.said.iter().for_each(|what| self.say(what));
        self.news = self.news.or(Some(now));
        self.working = self.working.saturating_sub(1);
        let unix = (self.around.now)().unix();
        for (index, record) in places.iter().zip(worked.records) {
            let Some(place) = self.places.get_mut(*index) else { continue };
            place.working = false;
            if let Some(group) = &place.group {
                self.reloading.remove(group);
            }
            let next = match record {
                Some(record) => {
                    place.journal = Retry::default();
                    now + record.next().map_or(VERIFY_EVERY, |at| wait_until(at, unix))
                }
                None => {
                    let error = Error::Disk(std::io::Error::other("the journal cannot be read or written"));
                    place.journal.failed(&self.identity.node, &Trouble::from(error), now);
                    place.journal.at.unwrap_or(now + VERIFY_EVERY)
                }
            };
            place.at = Some(place.at.map_or(next, |at| at.min(next)));
        }
    }

    fn standing(&self) -> Result<Vec<Standing>, Error> {
        let waits = |secret: &str| self.supplies.get(secret).map(|retry| retry.detail.clone());
        standing::of(&self.hands.state, &self.config, self.manifest.as_ref(), waits)
    }

    /// What only `status` needs; a full disk does not stop an agent over it.
    fn remember(&mut self) {
        self.contact.waits = self.supplies.iter().map(|(secret, retry)| (secret.clone(), retry.detail.clone())).collect();
        if self.noted.as_ref() != Some(&self.contact) && self.hands.state.note_contact(&self.contact).is_ok() {
            self.noted = Some(self.contact.clone());
        }
    }

    /// When something is to be begun that nothing which is under way begins by its end.
    fn due(&self, now: Instant) -> Instant {
        let mut due = now + LONGEST;
        if !self.is_renewing {
            let unix = (self.around.now)().unix();
            let end = join::renew_at(&self.identity).map_or(now, |at| now + wait_until(at.unix(), unix));
            due = due.min(self.renewing.at.map_or(end, |at| at.max(end)));
        }
        if self.poll.is_none() {
            due = due.min(self.polling.at.unwrap_or(now).max(self.held().unwrap_or(now)));
        }
        if self.manifest.is_some() && !self.is_reporting {
            let news = self.news.map(|since| since + NEWS_WAIT);
            let again = self.reported.as_ref().map(|(at, ..)| *at + REPORT_EVERY);
            // Whoever failed to tell has one moment for the next try, however long ago the last report was.
            due = due.min(self.reporting.at.or(news.into_iter().chain(again).min()).unwrap_or(due));
        }
        if self.manifest.is_some() && self.bringing.len() < BRINGING {
            due = due.min(self.missing.1);
            for wanted in self.missing.0.iter().filter(|wanted| !self.bringing.contains(&(wanted.secret.clone(), wanted.version))) {
                due = due.min(self.supplies.get(&wanted.secret).and_then(|retry| retry.at).unwrap_or(due));
            }
        }
        for (index, place) in self.places.iter().enumerate() {
            if !self.is_held_up(index) {
                due = due.min(place.at.unwrap_or(due));
            }
        }
        due.max(now + SHORTEST)
    }
}

/// From a moment in Unix seconds to a wait.
fn wait_until(at: i64, now: i64) -> Duration {
    Duration::from_secs(u64::try_from(at.saturating_sub(now)).unwrap_or(0)).clamp(SHORTEST, LONGEST)
}

/// How long a certificate that was just renewed is left alone, whatever the clock says.
fn renewed_wait(identity: &Identity) -> Duration {
    let life = crate::state::leaf(identity).map_or(0, |leaf| leaf.lifetime().as_secs());
    Duration::from_secs(u64::try_from(life / RENEWED_SHARE).unwrap_or(0)).clamp(SHORTEST, MOST_RENEWED)
}
