//! One history: the world goes on from moment to moment, and the engine's loops run at each.

use crate::{
    Error, Options, Result,
    certificates::Certificates,
    inventory,
    network::Net,
    people::{Minds, People, Signal},
    scenario::{Act, Said, Scenario},
};
use domain::{Span, Time, release::Status, words::ReleaseId};
use engine::{
    Engine, Tick,
    ports::{Answer, Answered, Authority, Fault, Ordered, Question, Suggestion},
    releases::{Delay, Found, New, Thing, When},
    vault::{Import, Incoming},
};
use std::collections::{BTreeMap, BTreeSet};
use store::{Actor, Store};

/// How often the loops may run at one moment before it is a fault of theirs.
const MOST_ROUNDS: usize = 1000;

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// What reached people, in order.
    pub signals: Vec<Signal>,
    /// When the first client was turned away.
    pub broke: Option<Time>,
    /// Which part of the targets turned clients away at the worst, in percent, and how many.
    pub worst: (u64, usize),
    /// Every decision, in order: the same text for the same seed.
    pub log: Vec<String>,
    /// Where the store's journal ended: its number and hash.
    pub journal: (i64, String),
}

/// Plays a scenario; people react, or they do not.
pub(crate) fn play(scenario: &Scenario, options: &Options, people_react: bool) -> Result<History> {
    let certificates = Certificates::new(scenario, options.seed)?;
    let (fleet, places) = inventory::of(scenario, &certificates)?;
    let now = scenario.scenario.begins;
    let system = certificates.roots.values().filter(|(_, public)| *public).map(|(root, _)| root.der().to_vec()).collect();
    let fault = |what: &str| Error::Scenario(format!("the store does not open: {what}"));
    let store = Store::open("sqlite::memory:", now, || [7; 16]).map_err(|e| fault(&e.to_string()))?;
    let reactions = if people_react { scenario.reaction.as_slice() } else { &[] };
    let mut world = World {
        engine: Engine::new(store, "simulation", system),
        net: Net::new(places, &certificates, now),
        people: People::new(&options.without),
        certificates: &certificates,
        entropy: Entropy(options.seed),
        releases: BTreeMap::new(),
        now,
        history: History::default(),
    };
    world.begin(&fleet)?;

    let mut minds = Minds::new(reactions);
    let mut events: Vec<_> = scenario.event.iter().collect();
    events.sort_by_key(|event| event.at);
    let mut events = events.into_iter().peekable();
    // Moments at which time alone changes what production is worth. A client takes a certificate to the end of its last second.
    let ends = scenario.certificate.iter().map(|c| c.until).chain(scenario.ca.iter().map(|c| c.until));
    let mut ends: BTreeSet<Time> = ends.map(|end| end + Span::seconds(1)).collect();
    loop {
        while let Some(event) = events.next_if(|event| event.at <= world.now) {
            match world.act(&event.act) {
                // What people did before may have left nothing to do; in the control nobody did anything.
                Err(Error::Refused { error, .. }) if people_react => world.log(&format!("refused: {error}")),
                done => done?,
            }
        }
        for act in minds.due(world.now) {
            world.act(act)?;
        }
        world.settle()?;
        world.weigh();
        for signal in world.people.news() {
            minds.hear(&signal);
            world.log(&format!("told {} {} {}: {}", signal.team, signal.kind, signal.code, signal.title));
            world.history.signals.push(signal);
        }
        if world.now >= scenario.scenario.ends {
            break;
        }
        ends = ends.split_off(&(world.now + Span::seconds(1)));
        let coming = [events.peek().map(|e| e.at), minds.next(), ends.first().copied()];
        let paced = (world.now + scenario.scenario.pace).min(scenario.scenario.ends);
        world.now = coming.into_iter().flatten().fold(paced, Time::min);
    }
    world.end()
}

struct World<'a> {
    engine: Engine,
    net: Net<'a>,
    people: People,
    certificates: &'a Certificates,
    entropy: Entropy,
    releases: BTreeMap<(String, String), ReleaseId>,
    now: Time,
    history: History,
}

impl World<'_> {
    fn tick(&self) -> Tick {
        Tick::at(self.now)
    }

    fn log(&mut self, line: &str) {
        self.history.log.push(format!("{} {line}", self.now));
    }

    fn refused<T>(&self, what: &str, result: engine::Result<T>) -> Result<T> {
        result.map_err(|error| Error::Refused { at: self.now, what: what.to_owned(), error: Box::new(error) })
    }

    fn begin(&mut self, fleet: &api::fleet::Fleet) -> Result<()> {
        let tick = self.tick();
        let unusable = |what: String| Error::Scenario(format!("the store's key cannot be made: {what}"));
        let content = envelope::KeyFile::generate(&mut |b: &mut [u8]| self.entropy.fill(b)).map_err(|e| unusable(e.to_string()))?;
        let key = envelope::KeyFile::parse(&content).map_err(|e| unusable(e.to_string()))?;
        let opened = self.engine.initialise(&key, &mut |b: &mut [u8]| self.entropy.fill(b), &people(), &tick);
        self.refused("opening the store", opened)?;
        let applied = self.engine.apply(fleet, &engine::inventory::Options::default(), &people(), &tick);
        self.refused("the inventory", applied)?;
        Ok(())
    }

    /// What somebody does.
    fn act(&mut self, act: &Act) -> Result<()> {
        let tick = self.tick();
        match act {
            Act::Store { secret, certificate } => {
                self.log(&format!("store {secret} {certificate}"));
                self.store(secret, certificate)
            }
            Act::Serve { secret, certificate, regions, percent } => {
                let changed = self.net.some(secret, regions.as_deref(), percent.unwrap_or(100));
                let n = changed.len();
                changed.into_iter().for_each(|place| place.serves = Some(certificate.clone()));
                self.somewhere(n, secret)?;
                self.log(&format!("serve {secret} {certificate} at {n}"));
                Ok(())
            }
            Act::Silence { secret, regions } => {
                let changed = self.net.some(secret, regions.as_deref(), 100);
                let n = changed.len();
                changed.into_iter().for_each(|place| place.serves = None);
                self.somewhere(n, secret)?;
                self.log(&format!("silence {secret} at {n}"));
                Ok(())
            }
            Act::Release { service, build, planned, carries, scanned, before } => {
                self.log(&format!("release {service} {build}"));
                self.release(service, build, *planned, carries, scanned, before.as_deref())
            }
            Act::Delay { service, build, to } => {
                self.log(&format!("delay {service} {build} to {to}"));
                let id = self.known(service, build)?;
                let done = self.engine.delay_release(id, Delay::To(*to), "the scenario says so", &people(), &tick);
                self.refused(build, done).map(drop)
            }
            Act::Status { service, build, is } => {
                let id = self.known(service, build)?;
                let status = match is {
                    Said::Built => Status::Built,
                    Said::Deploying => Status::Deploying,
                    Said::Deployed => Status::Deployed,
                    Said::Cancelled => Status::Cancelled,
                };
                self.log(&format!("release {service} {build} is {status}"));
                let done = self.engine.release_is(id, status, "the scenario says so", &people(), &tick);
                self.refused(build, done).map(drop)
            }
            Act::Channel { team, works } => {
                self.log(&format!("{team} hears {}", if *works { "again" } else { "nothing" }));
                if *works {
                    self.people.deaf.remove(team)
                } else {
                    self.people.deaf.insert(team.clone())
                };
                Ok(())
            }
        }
    }

    /// What changes nothing is a mistake in the story.
    fn somewhere(&self, n: usize, secret: &str) -> Result<()> {
        if n == 0 {
            return Err(Error::Scenario(format!("{}: no target of `{secret}` stands there", self.now)));
        }
        Ok(())
    }

    fn store(&mut self, secret: &str, certificate: &str) -> Result<()> {
        let made = self.certificates.leaf(certificate)?;
        let chain: String = made.chain.iter().map(pki::Certificate::to_pem).collect();
        let key = Some(made.key.expose_pkcs8().to_vec().into());
        let instances = vec![Incoming { scope: "all".into(), chain: chain.into_bytes(), key, password: None }];
        let import = Import { name: secret, instances, accept_change: true, roots: None, reason: "the scenario says so", dry_run: false };
        let tick = self.tick();
        let prepared = self.engine.prepare(import, &tick);
        let prepared = self.refused(secret, prepared)?;
        let stored = self.engine.store_all(&[prepared], &mut |b: &mut [u8]| self.entropy.fill(b), &people(), &tick);
        self.refused(secret, stored).map(drop)
    }

    fn release(
        &mut self,
        service: &str,
        build: &str,
        planned: Option<Time>,
        carries: &[String],
        scanned: &[String],
        before: Option<&str>,
    ) -> Result<()> {
        let tick = self.tick();
        let before = before.map(|other| self.known(service, other)).transpose()?;
        let when = match (planned, before) {
            (Some(at), _) => Some(When::At(at)),
            (None, Some(other)) => Some(When::Train { name: None, before: Some(other), earliest: None }),
            (None, None) => None,
        };
        let new = New { service, build, when, carries, stages: &[], reason: "the scenario says so" };
        let created = self.engine.create_release(&new, &people(), &tick);
        let id = self.refused(build, created)?.stored.facts.id;
        self.releases.insert((service.into(), build.into()), id);
        if scanned.is_empty() {
            return Ok(());
        }
        let mut found = Vec::new();
        for name in scanned {
            let leaf = &self.certificates.leaf(name)?.chain[0];
            let thing = Thing::Certificate {
                fingerprint: leaf.fingerprint(),
                subject: leaf.subject().to_owned(),
                not_after: Some(leaf.not_after()),
            };
            found.push(Found { thing, path: format!("{build}!{name}.pem") });
        }
        let carried = self.engine.carry(id, &found, "scanned", &people(), &tick);
        self.refused(build, carried).map(drop)
    }

    fn known(&self, service: &str, build: &str) -> Result<ReleaseId> {
        let known = self.releases.get(&(service.to_owned(), build.to_owned()));
        known.copied().ok_or_else(|| Error::Scenario(format!("{}: {service} has no release `{build}`", self.now)))
    }

    /// Runs every loop until nothing is due at this second.
    fn settle(&mut self) -> Result<()> {
        self.net.now = self.now;
        let tick = self.tick();
        for _ in 0..MOST_ROUNDS {
            let ran = self.round(&tick);
            if self.refused("a loop", ran)? == 0 {
                return Ok(());
            }
        }
        Err(Error::Restless(self.now))
    }

    /// Every loop once, in the order in which the server starts them. Says how many subjects there were.
    fn round(&mut self, tick: &Tick) -> engine::Result<usize> {
        let engine = &self.engine;
        let mut n = engine.observe_once(&self.net, tick)?;
        n += engine.targets_once(tick)?;
        n += engine.secrets_once(tick)?;
        n += engine.incidents_once(tick)?;
        n += engine.releases_once(tick)?;
        n += engine.services_once(tick)?;
        n += engine.drills_once(tick)?;
        n += engine.drill_runs_once(tick)?;
        n += engine.nodes_once(tick)?;
        n += engine.rollouts_once(tick)?;
        n += engine.revocations_once(tick)?;
        n += engine.actions_once(tick)?;
        n += engine.renew_once(&mut |b: &mut [u8]| self.entropy.fill(b), tick)?;
        n += engine.orders_once(&Nobody, &mut |b: &mut [u8]| self.entropy.fill(b), tick)?;
        n += engine.suggestions_once(&Nobody, tick)?;
        n += engine.crls_once(tick)?;
        n += engine.deliver_once(&self.people, tick)?;
        engine.sweep_once(false, &engine::rules(), tick)?;
        engine.note_time(tick)?;
        engine.own_once(tick)?;
        engine.housekeeping_once(tick)?;
        Ok(n)
    }

    /// What production is worth now, to its clients.
    fn weigh(&mut self) {
        let (percent, broken) = self.net.broken(self.now);
        if broken > 0 && self.history.broke.is_none() {
            self.history.broke = Some(self.now);
        }
        if broken > self.history.worst.1 {
            self.history.worst = (percent, broken);
            self.log(&format!("{broken} targets turn their clients away"));
        }
    }

    fn end(mut self) -> Result<History> {
        let head = self.engine.store().read(store::journal::head).map_err(|e| Error::Scenario(e.to_string()))?;
        let hash: String = head.hash.iter().map(|byte| format!("{byte:02x}")).collect();
        self.log(&format!("the journal ends at {} {hash}", head.seq));
        self.history.journal = (head.seq, hash);
        Ok(self.history)
    }
}

/// Who does what people do.
fn people() -> Actor {
    Actor::new("simulation", "people")
}

/// A scenario without CAs that could be asked.
struct Nobody;

impl Authority for Nobody {
    fn order(&self, orders: &[Ordered], _now: Time, answer: &mut dyn FnMut(usize, Answered)) {
        for (place, order) in orders.iter().enumerate() {
            let failed = Answer::Failed {
                terminal: false,
                fault: Fault::Issuer,
                detail: "no answer".into(),
                problems: Vec::new(),
                retry_after: None,
            };
            answer(place, Answered { account: order.account.clone(), url: String::new(), answer: failed });
        }
    }

    fn abandon(&self, _order: &Ordered, _now: Time) {}

    fn suggest(&self, questions: &[Question], _now: Time) -> Vec<Suggestion> {
        questions.iter().map(|_| Suggestion { window: None, retry_after: None, explanation: "no answer".into() }).collect()
    }
}

/// Bytes that follow from a seed (SplitMix64). They protect nothing: what is sealed with them lives in memory and holds what the scenario
/// made up.
struct Entropy(u64);

impl Entropy {
    fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(z ^ z >> 31).to_be_bytes()[..chunk.len()]);
        }
    }
}
