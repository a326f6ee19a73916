//! A store in memory, a network that answers what the test says, and a clock that the test moves.

use domain::{Span, Time, observation::Failure, words::Blame};
use engine::{
    Engine, Tick,
    ports::{Attempt, Look, Network, Parcel, Post, Posted, Seen, Shown},
    vault::{Import, Incoming, Stored},
};
use pki::{Certificate, PrivateKey, build::Authority, key::KeyType};
use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
};
use store::{Actor, Store, model};

pub(crate) fn person() -> Actor {
    Actor::new("test", "operator")
}

pub(crate) fn t(text: &str) -> Time {
    Time::parse(text).unwrap()
}

/// What an address answers: each dial takes the next of the list, and the last one stays.
pub(crate) type Answers = VecDeque<Result<Vec<Certificate>, Failure>>;

#[derive(Default)]
pub(crate) struct Net {
    pub(crate) names: RefCell<BTreeMap<String, Vec<String>>>,
    /// What `address offer` answers, `address offer unnamed` without a server name; else as the address.
    pub(crate) special: RefCell<BTreeMap<String, Answers>>,
    pub(crate) hosts: RefCell<BTreeMap<String, Answers>>,
    pub(crate) now: RefCell<i64>,
    pub(crate) dials: RefCell<u64>,
}

impl Net {
    pub(crate) fn serves(&self, address: &str, chain: &[Certificate]) {
        self.hosts.borrow_mut().insert(address.into(), VecDeque::from([Ok(chain.to_vec())]));
    }
    pub(crate) fn script(&self, address: &str, answers: Answers) {
        self.hosts.borrow_mut().insert(address.into(), answers);
    }
    /// What an address answers to one offer, with or without a server name.
    pub(crate) fn answers(&self, address: &str, offer: &str, unnamed: bool, answer: Result<Vec<Certificate>, Failure>) {
        let key = format!("{address} {offer}{}", if unnamed { " unnamed" } else { "" });
        self.special.borrow_mut().insert(key, VecDeque::from([answer]));
    }
    /// The name resolves to nothing any more.
    pub(crate) fn unresolved(&self, host: &str) {
        self.names.borrow_mut().remove(host);
    }
    pub(crate) fn silent(&self, address: &str) {
        let failure = Failure { blame: Blame::Network, retry: true, detail: "connection refused".into() };
        self.hosts.borrow_mut().insert(address.into(), VecDeque::from([Err(failure)]));
    }
    pub(crate) fn name(&self, host: &str, addresses: &[&str]) {
        self.names.borrow_mut().insert(host.into(), addresses.iter().map(|a| (*a).to_owned()).collect());
    }
}

impl Network for Net {
    fn look(&self, looks: &[Look]) -> Vec<Seen> {
        let at = Time::from_unix(*self.now.borrow());
        looks.iter().map(|l| self.one("local", l, at)).collect()
    }
}

impl Net {
    /// One look, as a vantage would do it. `vantage host` is what the name is there, where it is another than elsewhere.
    pub(crate) fn one(&self, vantage: &str, l: &Look, at: Time) -> Seen {
        let names = self.names.borrow();
        let resolved = names.get(&format!("{vantage} {}", l.host)).or(names.get(&l.host)).cloned();
        let mut addresses = resolved.clone().unwrap_or_default();
        addresses.extend(l.also.iter().filter(|a| !addresses.contains(a)).cloned().collect::<Vec<_>>());
        let mut attempts = Vec::new();
        for address in &addresses {
            let asks = l.offers.iter().map(|o| (*o, false)).chain(l.unnamed.iter().map(|o| (*o, true)));
            for (offer, unnamed) in asks {
                for _ in 0..l.handshakes {
                    *self.dials.borrow_mut() += 1;
                    let (mut special, mut hosts) = (self.special.borrow_mut(), self.hosts.borrow_mut());
                    let key = format!("{address} {offer}{}", if unnamed { " unnamed" } else { "" });
                    let answers = special.get_mut(&key).or(hosts.get_mut(address)).expect("an address of the script");
                    let answer = if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0].clone() };
                    let failed = answer.is_err();
                    let result = answer.map(|chain| Shown {
                        chain: chain.iter().map(|c| c.der().to_vec()).collect(),
                        protocol: "TLSv1.3".into(),
                        cipher: "TLS13_AES_128_GCM_SHA256".into(),
                    });
                    attempts.push(Attempt { address: address.clone(), offer, unnamed, at, result });
                    if failed {
                        break;
                    }
                }
            }
        }
        let nothing = || Failure { blame: Blame::Dns, retry: true, detail: "resolve: no such name".into() };
        Seen { target: l.target, at, resolved: resolved.ok_or_else(nothing), attempts }
    }
}

/// Takes every parcel, and keeps it.
#[derive(Default)]
pub(crate) struct Postbox {
    pub(crate) got: RefCell<Vec<engine::message::Message>>,
    /// Where each of them went: the contact, and the secret that came with it.
    pub(crate) to: RefCell<Vec<(String, Option<String>)>>,
    pub(crate) refuses: RefCell<bool>,
    /// Channels that answer nothing good.
    pub(crate) down: RefCell<Vec<&'static str>>,
}

impl Postbox {
    /// What came to a channel: kind and title.
    pub(crate) fn at(&self, channel: &str) -> Vec<(engine::message::Kind, String)> {
        let (got, to) = (self.got.borrow(), self.to.borrow());
        got.iter().zip(to.iter()).filter(|(_, (c, _))| c.contains(channel)).map(|(m, _)| (m.kind, m.title.clone())).collect()
    }
}

impl Post for Postbox {
    fn post(&self, parcels: &[Parcel], _now: Time) -> Vec<Posted> {
        parcels
            .iter()
            .map(|p| {
                if *self.refuses.borrow() || self.down.borrow().iter().any(|d| p.channel.contains(d)) {
                    return Posted::Retry(None, "503".into());
                }
                self.to.borrow_mut().push((p.channel.clone(), p.secret.as_ref().map(|s| s.to_string())));
                self.got.borrow_mut().push(serde_json::from_str(&p.message).unwrap());
                Posted::Delivered("200".into())
            })
            .collect()
    }
}

pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) net: Net,
    pub(crate) post: Postbox,
    pub(crate) now: Time,
    pub(crate) doubted: bool,
    /// Whether the store tells what it finds of itself.
    pub(crate) tells_of_itself: bool,
    seed: u64,
}

impl World {
    pub(crate) fn new(now: Time) -> World {
        let store = Store::open("sqlite::memory:", now, || [7; 16]).unwrap();
        let world = World {
            engine: Engine::new(store, "here", Vec::new()),
            net: Net::default(),
            post: Postbox::default(),
            now,
            doubted: false,
            tells_of_itself: false,
            seed: 1,
        };
        let key = envelope_key();
        world.engine.initialise(&key, &mut entropy(99), &person(), &world.tick()).unwrap();
        world
    }

    pub(crate) fn tick(&self) -> Tick {
        let clock =
            if self.doubted { domain::clock::Belief::Doubted(vec!["the test says so".into()]) } else { domain::clock::Belief::Believed };
        Tick { now: self.now, clock }
    }

    pub(crate) fn apply(&self, toml: &str) {
        let fleet = api::fleet::parse(toml).unwrap();
        self.engine.apply(&fleet, &engine::inventory::Options::default(), &person(), &self.tick()).unwrap();
    }

    pub(crate) fn store(&mut self, name: &str, chain: &[Certificate], key: &PrivateKey) -> engine::Result<Stored> {
        self.import(name, chain, key, false)
    }

    /// Whatever changes.
    pub(crate) fn store_accepting(&mut self, name: &str, chain: &[Certificate], key: &PrivateKey) -> engine::Result<Stored> {
        self.import(name, chain, key, true)
    }

    fn import(&mut self, name: &str, chain: &[Certificate], key: &PrivateKey, accept_change: bool) -> engine::Result<Stored> {
        self.seed += 1;
        let import = Import {
            name,
            instances: vec![Incoming {
                scope: "all".into(),
                chain: pem(chain).into_bytes(),
                key: Some(key.expose_pkcs8().to_vec().into()),
                password: None,
            }],
            accept_change,
            roots: None,
            reason: "test",
            dry_run: false,
        };
        let prepared = self.engine.prepare(import, &self.tick())?;
        Ok(self.engine.store_all(&[prepared], &mut entropy(self.seed), &person(), &self.tick())?.remove(0))
    }

    /// Runs every loop until nothing is due at this second.
    pub(crate) fn settle(&self) {
        *self.net.now.borrow_mut() = self.now.unix();
        for _ in 0..200 {
            let tick = self.tick();
            let mut n = self.engine.observe_once(&self.net, &tick).unwrap();
            n += self.engine.targets_once(&tick).unwrap();
            n += self.engine.secrets_once(&tick).unwrap();
            n += self.engine.incidents_once(&tick).unwrap();
            n += self.engine.releases_once(&tick).unwrap();
            n += self.engine.services_once(&tick).unwrap();
            n += self.engine.rollouts_once(&tick).unwrap();
            n += self.engine.revocations_once(&tick).unwrap();
            n += self.engine.drills_once(&tick).unwrap();
            n += self.engine.drill_runs_once(&tick).unwrap();
            n += self.engine.actions_once(&tick).unwrap();
            n += self.engine.deliver_once(&self.post, &tick).unwrap();
            if self.tells_of_itself {
                n += self.engine.own_once(&tick).unwrap();
            }
            if n == 0 {
                return;
            }
        }
        panic!("the loops do not come to rest at {}", self.now);
    }

    /// A remote vantage takes its work, looks and reports. Says at how many targets.
    pub(crate) fn look_from(&self, vantage: &str) -> usize {
        let looks = self.engine.hand_out(vantage, 100, &self.tick()).unwrap();
        for look in &looks {
            self.report(vantage, &self.net.one(vantage, look, self.now)).unwrap();
        }
        looks.len()
    }

    pub(crate) fn report(&self, vantage: &str, seen: &Seen) -> engine::Result<()> {
        self.engine.report(vantage, seen, &Actor::new("test", "vantage"), &self.tick())
    }

    /// As [`World::run_until`], with a remote vantage at work.
    pub(crate) fn run_with(&mut self, vantage: &str, end: Time, step: Span) {
        while self.now < end {
            self.now = (self.now + step).min(end);
            self.settle();
            self.look_from(vantage);
            self.settle();
        }
    }

    /// The sentences of a target's findings with this code.
    pub(crate) fn details(&self, target: &str, code: &str) -> Vec<String> {
        let id = self.target(target).facts.id;
        let rows = self.engine.store().read(|tx| model::finding::of_target(tx, id)).unwrap();
        rows.into_iter().filter(|f| f.code.as_str() == code).map(|f| f.detail).collect()
    }

    pub(crate) fn observations(&self, target: &str) -> Vec<domain::observation::Record> {
        let id = self.target(target).facts.id;
        self.engine.store().read(|tx| model::observation::of_target(tx, id)).unwrap().into_iter().map(|o| o.record).collect()
    }

    pub(crate) fn addresses(&self, target: &str) -> Vec<String> {
        let id = self.target(target).facts.id;
        let rows = self.engine.store().read(|tx| model::target::addresses(tx, id)).unwrap();
        rows.iter().map(|a| format!("{} {}{}", a.vantage, a.address, if a.left_at.is_some() { " left" } else { "" })).collect()
    }

    /// Moves the clock in steps, and lets the loops run at each.
    pub(crate) fn run_until(&mut self, end: Time, step: Span) {
        while self.now < end {
            self.now = (self.now + step).min(end);
            self.settle();
        }
    }

    pub(crate) fn incidents(&self) -> Vec<model::incident::Incident> {
        self.engine.store().read(|tx| model::incident::list_page(tx, false, None, 100)).unwrap()
    }

    pub(crate) fn secret(&self, name: &str) -> model::secret::Secret {
        self.engine.store().read(|tx| model::secret::by_name(tx, name)).unwrap().unwrap()
    }

    pub(crate) fn target(&self, name: &str) -> model::target::Target {
        self.engine.store().read(|tx| model::target::by_name(tx, name)).unwrap().unwrap()
    }

    pub(crate) fn findings(&self, target: &str) -> Vec<String> {
        let id = self.target(target).facts.id;
        let rows = self.engine.store().read(|tx| model::finding::of_target(tx, id)).unwrap();
        rows.iter().map(|f| format!("{} ({})", f.code, f.level)).collect()
    }

    pub(crate) fn notices(&self) -> Vec<model::notice::Notice> {
        self.engine.store().read(|tx| model::notice::list(tx, None, 1000)).unwrap()
    }
}

pub(crate) fn envelope_key() -> envelope::KeyFile {
    let content = envelope::KeyFile::generate(&mut *entropy(42)).unwrap();
    envelope::KeyFile::parse(&content).unwrap()
}

/// A repeatable source for tests; never for a store that holds anything.
pub(crate) fn entropy(seed: u64) -> Box<engine::ports::Entropy<'static>> {
    let mut state = seed;
    Box::new(move |buffer: &mut [u8]| {
        for byte in buffer {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            *byte = (state >> 33) as u8;
        }
    })
}

pub(crate) fn pem(chain: &[Certificate]) -> String {
    use std::fmt::Write;
    let mut out = String::new();
    for c in chain {
        let encoded = base64(c.der());
        let _ = writeln!(out, "-----BEGIN CERTIFICATE-----");
        for line in encoded.as_bytes().chunks(64) {
            let _ = writeln!(out, "{}", std::str::from_utf8(line).unwrap());
        }
        let _ = writeln!(out, "-----END CERTIFICATE-----");
    }
    out
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let n = three.iter().fold(0u32, |n, b| (n << 8) | u32::from(*b)) << (8 * (3 - three.len()));
        for i in 0..4 {
            out.push(if i <= three.len() { ALPHABET[(n >> (18 - 6 * i)) as usize & 63] as char } else { '=' });
        }
    }
    out
}

/// A private CA of the test.
pub(crate) struct Ca {
    pub(crate) root: Authority,
    pub(crate) issuing: Authority,
}

impl Ca {
    pub(crate) fn new(from: Time, to: Time) -> Ca {
        let root = Authority::new("Test Root", from, to).unwrap();
        let issuing = root.intermediate("Test Issuing", from, to).unwrap();
        Ca { root, issuing }
    }

    pub(crate) fn leaf(&self, names: &[&str], from: Time, to: Time) -> (Vec<Certificate>, PrivateKey) {
        let (leaf, key) = self.issuing.leaf(names, KeyType::EcdsaP256, from, to).unwrap();
        (vec![leaf, self.issuing.certificate().clone()], key)
    }

    pub(crate) fn roots(&self) -> String {
        pem(&[self.root.certificate().clone()])
    }
}
