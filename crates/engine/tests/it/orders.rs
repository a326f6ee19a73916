//! Requests to issuers outside, by a scripted port and in simulated time; requests by hand; what is revoked.

use crate::{
    issuing::{FLEET, ca, renew},
    world::{Ca, World, entropy, pem, person, t},
};
use domain::{
    Span, Time,
    issuing::{OrderState, Reason},
};
use engine::{
    Error,
    issuing::{Answer, NewRequest},
    ports::{self, Answered, Authority, Ordered, Question, Suggestion},
};
use pki::{Certificate, Csr, KeyType, PrivateKey, San, csr};
use std::{collections::VecDeque, sync::Mutex};
use store::model::{held, issuance, order, secret};

const ACME: &str = r#"
[fleet]
default_owner = "platform"
[[team]]
name = "platform"
contacts = [{ channel = "log" }]
[[issuer]]
name = "public"
kind = "acme"
directory = "https://acme.example.net/directory"
challenge = "http-01"
fallback = "other"
budget = { orders = 3, window = "7d" }
[[issuer]]
name = "other"
kind = "acme"
directory = "https://other.example.net/directory"
challenge = "http-01"
[[secret]]
name = "www"
kind = "certificate"
renewal = "automatic"
names = ["www.example.com", "example.com"]
issued_by = ["public"]
keys = "store"
"#;

/// Answers what the test says; by default it issues.
struct Script {
    ca: Ca,
    next: Mutex<VecDeque<ports::Answer>>,
    asked: Mutex<Vec<(String, String, String)>>,
    window: Mutex<Option<(Time, Time)>>,
}

impl Script {
    fn new() -> Script {
        Script {
            ca: Ca::new(t("2020-01-01T00:00:00Z"), t("2040-01-01T00:00:00Z")),
            next: Mutex::default(),
            asked: Mutex::default(),
            window: Mutex::default(),
        }
    }
    fn says(&self, answer: ports::Answer) {
        self.next.lock().unwrap().push_back(answer);
    }
    fn issue(&self, ask: &Ordered, now: Time) -> Vec<Vec<u8>> {
        let csr = Csr::parse(&ask.csr).unwrap();
        let template = pki::issue::Template {
            profile: pki::issue::Profile::Server,
            names: pki::issue::Names::Asked,
            common_name: false,
            not_before: now,
            not_after: now + Span::days(90) - Span::seconds(1),
            serial: [now.unix().to_le_bytes()[0] | 1; 16],
            crl: None,
            policies: &[],
        };
        let permitted = csr.names().to_vec();
        let checked = csr::check(&csr, &csr::Rules { permitted: &permitted, ..csr::Rules::default() }).unwrap();
        let issuer = pki::issue::Issuer::new(self.ca.issuing.certificate().clone(), self.ca.issuing.key()).unwrap();
        let linted = issuer.rehearse(issuer.prepare(&checked, &template).unwrap()).unwrap();
        vec![issuer.sign(&linted).unwrap().der().to_vec(), self.ca.issuing.certificate().der().to_vec()]
    }
}

impl Authority for Script {
    fn order(&self, orders: &[Ordered], now: Time) -> Vec<Answered> {
        orders
            .iter()
            .map(|o| {
                assert!(!o.account_key.is_empty());
                self.asked.lock().unwrap().push((o.issuer.name.clone(), o.url.clone(), o.account.clone()));
                let answer = self.next.lock().unwrap().pop_front();
                let answer = answer.unwrap_or_else(|| ports::Answer::Issued(self.issue(o, now)));
                Answered {
                    account: "https://acme.example.net/account/1".into(),
                    url: format!("https://acme.example.net/order/{}", o.order),
                    answer,
                }
            })
            .collect()
    }
    fn suggest(&self, questions: &[Question], _now: Time) -> Vec<Suggestion> {
        let window = *self.window.lock().unwrap();
        questions.iter().map(|_| Suggestion { window, retry_after: Some(Span::hours(6)), explanation: "because".into() }).collect()
    }
}

fn world() -> (World, Script) {
    let w = World::new(t("2026-03-01T10:00:00Z"));
    w.apply(ACME);
    (w, Script::new())
}

fn turn(w: &World, script: &Script) {
    for n in 0..30 {
        let mut done = w.engine.renew_once(&mut *entropy(50 + n), &w.tick()).unwrap();
        done += w.engine.orders_once(script, &mut *entropy(500 + n), &w.tick()).unwrap();
        done += w.engine.suggestions_once(script, &w.tick()).unwrap();
        if done == 0 {
            return;
        }
    }
    panic!("no rest at {}: a hot loop", w.now);
}

fn orders(w: &World) -> Vec<order::Order> {
    let id = w.secret("www").id;
    w.engine.store().read(|tx| order::of_secret(tx, id, 100)).unwrap()
}

fn state(w: &World) -> issuance::Renewal {
    let id = w.secret("www").id;
    w.engine.store().read(|tx| issuance::renewal(tx, id)).unwrap().unwrap()
}

#[test]
fn an_order_is_placed_resumed_where_it_lies_and_becomes_a_version_with_its_key() {
    let (mut w, script) = world();
    script.says(ports::Answer::Pending { retry_after: Some(Span::seconds(30)), what: "it validates".into() });
    turn(&w, &script);
    assert_eq!(w.secret("www").newest_version, 0);
    // A restart in between: everything that is needed was written down.
    w.now = w.now + Span::seconds(29);
    turn(&w, &script);
    assert_eq!(script.asked.lock().unwrap().len(), 1, "Retry-After is obeyed");
    w.now = w.now + Span::seconds(1);
    turn(&w, &script);
    let asked = script.asked.lock().unwrap().clone();
    assert_eq!(asked[0], ("public".into(), String::new(), String::new()));
    assert_eq!(asked[1].1, format!("https://acme.example.net/order/{}", orders(&w)[0].id));
    assert_eq!(asked[1].2, "https://acme.example.net/account/1");
    let s = w.secret("www");
    assert_eq!(s.newest_version, 1);
    let instance = w.engine.store().read(|tx| secret::instances(tx, s.id, Some(1))).unwrap().remove(0);
    assert!(w.engine.store().read(|tx| secret::sealed(tx, instance.id)).unwrap().is_some());
    assert!(w.engine.store().read(|tx| held::of(tx, "request-key", s.id.0, 10)).unwrap().is_empty());
}

#[test]
fn one_failing_name_is_said_by_its_name_and_told_at_once() {
    let (w, script) = world();
    script.says(ports::Answer::Failed {
        terminal: true,
        detail: "the order is invalid".into(),
        problems: vec![("example.com".into(), "no such host".into())],
        retry_after: None,
    });
    turn(&w, &script);
    w.settle();
    assert!(state(&w).terminal && state(&w).detail.contains("example.com: no such host"), "{}", state(&w).detail);
    assert!(w.notices().iter().any(|n| n.code == "renewal-failed" && n.detail.contains("example.com: no such host")));
    assert_eq!(orders(&w)[0].problems, [("example.com".into(), "no such host".into())]);
}

#[test]
fn a_failing_issuer_is_asked_ever_more_rarely_and_then_its_fallback() {
    let (mut w, script) = world();
    for _ in 0..4 {
        script.says(ports::Answer::Failed { terminal: false, detail: "HTML instead of JSON".into(), problems: vec![], retry_after: None });
    }
    let mut waits = Vec::new();
    while w.secret("www").newest_version == 0 {
        let before = script.asked.lock().unwrap().len();
        turn(&w, &script);
        if script.asked.lock().unwrap().len() > before {
            waits.push(w.now);
        }
        w.now = w.now + Span::seconds(10);
        assert!(w.now < t("2026-03-03T00:00:00Z"), "{:?}", state(&w));
    }
    let asked: Vec<String> = script.asked.lock().unwrap().iter().map(|a| a.0.clone()).collect();
    assert_eq!(asked, ["public", "public", "public", "public", "other"]);
    let pauses: Vec<i64> = waits.windows(2).map(|w| (w[1] - w[0]).as_secs()).collect();
    assert!(pauses.windows(2).all(|p| p[1] > p[0]), "{pauses:?}");
}

#[test]
fn absurd_retry_after_costs_a_day_and_budgets_hold() {
    let (mut w, script) = world();
    let slow = || ports::Answer::Failed { terminal: false, detail: "429".into(), problems: vec![], retry_after: Some(Span::days(9999)) };
    script.says(slow());
    turn(&w, &script);
    w.now = w.now + Span::hours(5);
    turn(&w, &script);
    assert_eq!(script.asked.lock().unwrap().len(), 1);
    w.now = w.now + Span::hours(20);
    turn(&w, &script);
    assert_eq!(w.secret("www").newest_version, 1);
    // Two more renewals of this week are within the budget of three; the fourth order waits for room, or goes elsewhere.
    for n in 2..=3 {
        w.now = w.now + Span::hours(1);
        w.engine.renew_secret("www", "test", &person(), &w.tick()).unwrap();
        turn(&w, &script);
        assert_eq!(w.secret("www").newest_version, n);
    }
    w.engine.renew_secret("www", "test", &person(), &w.tick()).unwrap();
    turn(&w, &script);
    let last = script.asked.lock().unwrap().last().unwrap().0.clone();
    assert_eq!((last.as_str(), w.secret("www").newest_version), ("other", 4), "a fallback is asked where the budget is used up");
}

#[test]
fn an_answer_for_another_key_or_fewer_names_is_not_believed() {
    let (w, script) = world();
    let (chain, _) = script.ca.leaf(&["www.example.com", "example.com"], w.now, w.now + Span::days(90));
    script.says(ports::Answer::Issued(chain.iter().map(|c| c.der().to_vec()).collect()));
    turn(&w, &script);
    assert_eq!(w.secret("www").newest_version, 0);
    assert!(state(&w).detail.contains("another key"), "{}", state(&w).detail);
    assert_eq!(orders(&w)[0].state, OrderState::Failed);
}

#[test]
fn a_suggested_window_brings_the_renewal_forward() {
    let (mut w, script) = world();
    turn(&w, &script);
    assert_eq!(w.secret("www").newest_version, 1);
    let soon = (w.now + Span::days(3), w.now + Span::days(4));
    *script.window.lock().unwrap() = Some(soon);
    w.now = w.now + Span::hours(1);
    turn(&w, &script);
    assert_eq!(state(&w).suggested, Some(soon));
    w.now = soon.0 - Span::seconds(1);
    turn(&w, &script);
    assert_eq!(w.secret("www").newest_version, 1);
    w.now = soon.1;
    turn(&w, &script);
    assert_eq!(w.secret("www").newest_version, 2);
    assert!(!orders(&w)[0].replaces.is_empty(), "the order says what it replaces");
}

#[test]
fn a_sealed_store_asks_nobody_and_goes_on_when_it_is_open() {
    let (mut w, script) = world();
    w.engine.seal(&person(), &w.tick()).unwrap();
    turn(&w, &script);
    assert!(script.asked.lock().unwrap().is_empty());
    w.engine.unseal(&crate::world::envelope_key(), &person(), &w.tick()).unwrap();
    w.now = w.now + Span::minutes(2);
    turn(&w, &script);
    assert_eq!(w.secret("www").newest_version, 1);
}

#[test]
fn a_node_that_asks_an_issuer_outside_waits_and_gets_its_chain() {
    let (mut w, script) = world();
    w.apply(&ACME.replace("keys = \"store\"", "keys = \"node\""));
    turn(&w, &script);
    let s = w.secret("www");
    assert_eq!(s.newest_version, 1);
    let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let names = [San::parse("www.example.com").unwrap(), San::parse("example.com").unwrap()];
    let csr = csr::build(&key, None, &names).unwrap();
    let ask = |w: &World| w.engine.issue_for_node("web-1", s.id, 1, &csr, &w.tick(), &mut *entropy(9)).unwrap();
    assert!(matches!(ask(&w), Answer::Pending { .. }));
    assert!(matches!(ask(&w), Answer::Pending { .. }));
    assert_eq!(orders(&w).len(), 1, "the same key, one order");
    turn(&w, &script);
    w.now = w.now + Span::seconds(5);
    let Answer::Issued(chain) = ask(&w) else { panic!("it came") };
    assert!(key.fits(&Certificate::parse(chain[0].clone()).unwrap()));
}

#[test]
fn by_hand_the_key_never_leaves_and_several_requests_wait_side_by_side() {
    let w = World::new(t("2026-03-01T10:00:00Z"));
    w.apply(FLEET);
    let outside = Ca::new(t("2020-01-01T00:00:00Z"), t("2040-01-01T00:00:00Z"));
    let ask = |seed| {
        let new = NewRequest { secret: "www".into(), reason: "by hand".into(), ..NewRequest::default() };
        w.engine.request_by_hand(&new, &mut *entropy(seed), &person(), &w.tick()).unwrap()
    };
    let (first, second) = (ask(1), ask(2));
    assert_ne!(first.key, second.key);
    let script = Script { ca: outside, next: Mutex::default(), asked: Mutex::default(), window: Mutex::default() };
    let issue = |csr: &[u8]| -> Vec<u8> {
        let ask = Ordered {
            order: 0,
            issuer: api::fleet::Issuer::default(),
            account_key: vec![1].into(),
            account: String::new(),
            eab_key: None,
            dns_key: None,
            roots: None,
            csr: csr.to_vec(),
            names: vec![],
            replaces: String::new(),
            url: String::new(),
            since: w.now,
        };
        let chain: Vec<Certificate> = script.issue(&ask, w.now).into_iter().map(|d| Certificate::parse(d).unwrap()).collect();
        pem(&chain).into_bytes()
    };
    let answer = |chain: &[u8]| w.engine.answer_by_hand("www", chain, None, false, "it came", &mut *entropy(3), &person(), &w.tick());
    // The answer to the second comes first, and finds its request by its key.
    assert_eq!(answer(&issue(&second.csr)).unwrap().version, 1);
    let Err(Error::Refused(r)) = answer(&issue(&second.csr)) else { panic!("it was answered") };
    assert_eq!(r.code, "no-request");
    assert_eq!(answer(&issue(&first.csr)).unwrap().version, 2);
    let s = w.secret("www");
    assert!(w.engine.store().read(|tx| held::of(tx, "request-key", s.id.0, 10)).unwrap().is_empty());
    let i = w.engine.store().read(|tx| secret::instances(tx, s.id, Some(2))).unwrap().remove(0);
    assert_eq!(i.key, first.key);
    assert!(w.engine.store().read(|tx| secret::sealed(tx, i.id)).unwrap().is_some());
}

#[test]
fn what_is_revoked_stands_in_a_list_that_the_ca_signed_and_its_key_is_not_certified_again() {
    let mut w = World::new(t("2026-03-01T10:00:00Z"));
    w.apply(FLEET);
    w.engine.request_authority(&ca("eu-ca"), &mut *entropy(3), &person(), &w.tick()).unwrap();
    renew(&w);
    let crl = |w: &World| {
        while w.engine.crls_once(&w.tick()).unwrap() > 0 {}
        pki::crl::Crl::parse(&w.engine.crl("eu-ca", None).unwrap().der).unwrap()
    };
    assert!(crl(&w).is_empty());
    let s = w.secret("node");
    let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let csr = csr::build(&key, None, &[San::parse("node.example.internal").unwrap()]).unwrap();
    let Answer::Issued(chain) = w.engine.issue_for_node("web-1", s.id, 1, &csr, &w.tick(), &mut *entropy(7)).unwrap() else {
        panic!("issued")
    };
    w.now = w.now + Span::hours(1);
    assert_eq!(w.engine.revoke("node", 1, Reason::KeyCompromise, "it leaked", &person(), &w.tick()).unwrap(), 1);
    assert_eq!(w.engine.revoke("node", 1, Reason::KeyCompromise, "again", &person(), &w.tick()).unwrap(), 0);
    let list = crl(&w);
    let leaf = Certificate::parse(chain[0].clone()).unwrap();
    assert!(list.check_signature(&Certificate::parse(chain[1].clone()).unwrap()).is_ok());
    assert_eq!(list.revocation_of(&leaf).unwrap().reason, Some(pki::crl::Reason::KeyCompromise));
    assert_eq!(list.number(), Some(2));
    let again = w.engine.issue_for_node("web-2", s.id, 1, &csr, &w.tick(), &mut *entropy(8));
    assert!(matches!(again, Err(Error::Refused(r)) if r.problems[0].contains("leaked key")));
    // A list that is made anew each day is never late; one that is not made any more is a finding before it ends.
    for _ in 0..10 {
        w.now = w.now + Span::days(1);
        crl(&w);
        w.settle();
    }
    assert!(w.notices().iter().all(|n| n.code != "secret-expiring"), "{:?}", w.notices());
    w.engine.seal(&person(), &w.tick()).unwrap();
    w.run_until(w.now + Span::days(5), Span::hours(6));
    assert!(w.notices().iter().any(|n| n.detail.contains("perennial-ca-eu-ca-crl") || n.code.contains("expiring")), "{:?}", w.notices());
}
