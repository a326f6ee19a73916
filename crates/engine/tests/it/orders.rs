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
    ports::{self, Answered, Authority, Fault, Ordered, Question, Suggestion},
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
pub(crate) struct Script {
    pub(crate) ca: Ca,
    pub(crate) next: Mutex<VecDeque<ports::Answer>>,
    asked: Mutex<Vec<(String, String, String)>>,
    window: Mutex<Option<(Time, Time)>>,
    replaces: Mutex<Vec<String>>,
    abandoned: Mutex<Vec<String>>,
}

impl Script {
    pub(crate) fn new() -> Script {
        Script {
            ca: Ca::new(t("2020-01-01T00:00:00Z"), t("2040-01-01T00:00:00Z")),
            next: Mutex::default(),
            asked: Mutex::default(),
            window: Mutex::default(),
            replaces: Mutex::default(),
            abandoned: Mutex::default(),
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
    fn order(&self, orders: &[Ordered], now: Time, answered: &mut dyn FnMut(usize, Answered)) {
        for (n, o) in orders.iter().enumerate() {
            assert!(!o.account_key.is_empty());
            self.asked.lock().unwrap().push((o.issuer.name.clone(), o.url.clone(), o.account.clone()));
            self.replaces.lock().unwrap().push(o.replaces.clone());
            let answer = self.next.lock().unwrap().pop_front();
            let answer = answer.unwrap_or_else(|| ports::Answer::Issued(self.issue(o, now)));
            let forgotten = matches!(&answer, ports::Answer::Failed { detail, .. } if detail == "accountDoesNotExist");
            let unplaced = forgotten || matches!(&answer, ports::Answer::Failed { fault: Fault::Limit, .. });
            let url = |of: &str| format!("https://acme.example.net/{of}");
            let account = if forgotten { String::new() } else { url("account/1") };
            let url = if unplaced { String::new() } else { url(&format!("order/{}", o.order)) };
            answered(n, Answered { account, url, answer });
        }
    }
    fn abandon(&self, order: &Ordered, _now: Time) {
        self.abandoned.lock().unwrap().push(order.url.clone());
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

fn fails(detail: &str, fault: Fault, retry_after: Option<Span>) -> ports::Answer {
    ports::Answer::Failed { terminal: false, detail: detail.into(), problems: vec![], retry_after, fault }
}

pub(crate) fn turn(w: &World, script: &Script) {
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
        fault: Fault::Order,
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
        script.says(fails("HTML instead of JSON", Fault::Issuer, None));
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
    w.apply(&ACME.replace("fallback = \"other\"\n", ""));
    script.says(fails("429", Fault::Limit, Some(Span::days(9999))));
    turn(&w, &script);
    w.now = w.now + Span::hours(5);
    turn(&w, &script);
    assert_eq!(script.asked.lock().unwrap().len(), 1);
    w.now = w.now + Span::hours(20);
    turn(&w, &script);
    assert_eq!(w.secret("www").newest_version, 1);
    w.apply(ACME);
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

/// Whoever wants to be left alone is left alone, and nobody waits for him where somebody else is free.
#[test]
fn a_limit_beside_a_fallback_costs_nothing() {
    let (mut w, script) = world();
    script.says(fails("429", Fault::Limit, Some(Span::days(9999))));
    turn(&w, &script);
    w.now = w.now + Span::minutes(2);
    turn(&w, &script);
    let asked: Vec<String> = script.asked.lock().unwrap().iter().map(|a| a.0.clone()).collect();
    assert_eq!((asked, w.secret("www").newest_version), (vec!["public".into(), "other".into()], 1));
    let states: Vec<OrderState> = orders(&w).iter().map(|o| o.state).collect();
    assert_eq!(states, [OrderState::Issued, OrderState::Ended]);
    let id = w.secret("www").id;
    assert!(w.engine.store().read(|tx| held::of(tx, "request-key", id.0, 10)).unwrap().is_empty(), "no key is left behind");
}

/// A certificate does not end while an issuer is left alone that wants it: nothing waits for longer than a quarter of what is left.
#[test]
fn a_limit_does_not_outlast_the_certificate() {
    let (mut w, script) = world();
    w.apply(&ACME.replace("fallback = \"other\"\n", ""));
    turn(&w, &script);
    let id = w.secret("www").id;
    let end = w.engine.store().read(|tx| secret::first_end(tx, id, 1)).unwrap().unwrap().1;
    w.now = end - Span::hours(8);
    script.says(fails("429", Fault::Limit, Some(Span::days(9999))));
    turn(&w, &script);
    assert_eq!(script.asked.lock().unwrap().len(), 2);
    w.now = w.now + Span::hours(2) - Span::minutes(1);
    turn(&w, &script);
    assert_eq!(script.asked.lock().unwrap().len(), 2);
    w.now = w.now + Span::minutes(2);
    turn(&w, &script);
    assert_eq!(w.secret("www").newest_version, 2);
}

/// What is wrong with one secret says nothing of its issuer.
#[test]
fn only_what_came_from_the_issuer_counts_against_it() {
    let (mut w, script) = world();
    w.apply(&ACME.replace("orders = 3", "orders = 300"));
    for _ in 0..5 {
        script.says(ports::Answer::Failed {
            terminal: true,
            detail: "no listener".into(),
            problems: vec![],
            retry_after: None,
            fault: Fault::Order,
        });
    }
    for _ in 0..40 {
        turn(&w, &script);
        w.now = w.now + Span::minutes(20);
    }
    let asked: Vec<String> = script.asked.lock().unwrap().iter().map(|a| a.0.clone()).collect();
    assert!(asked.iter().all(|name| name == "public"), "{asked:?}");
    assert_eq!(w.engine.store().read(|tx| issuance::issuer_state(tx, "public")).unwrap(), issuance::IssuerState::default());
    // An issuer that failed is asked first again some hours later.
    let failing = |ago: Span| issuance::IssuerState { failures: 400, failed_at: Some(w.now - ago), ..issuance::IssuerState::default() };
    for (ago, by) in [(Span::hours(5), "other"), (Span::hours(7), "public")] {
        w.engine.store().write(&person(), w.now, |tx| issuance::put_issuer_state(tx, "public", &failing(ago))).unwrap();
        w.engine.renew_secret("www", "test", &person(), &w.tick()).unwrap();
        turn(&w, &script);
        assert_eq!(script.asked.lock().unwrap().last().unwrap().0, by);
    }
}

/// An order that lies with its issuer is not thrown away for nobody's sake; one that is given up is taken back there.
#[test]
fn a_placed_order_outlives_failures_and_is_taken_back_when_it_is_given_up() {
    for (fallback, state) in [(false, OrderState::Issued), (true, OrderState::Failed)] {
        let (mut w, script) = world();
        if !fallback {
            w.apply(&ACME.replace("fallback = \"other\"\n", ""));
        }
        script.says(ports::Answer::Pending { retry_after: None, what: "it validates".into() });
        for _ in 0..6 {
            script.says(fails("HTML instead of JSON", Fault::Issuer, None));
        }
        for _ in 0..60 {
            turn(&w, &script);
            w.now = w.now + Span::minutes(10);
        }
        let first = orders(&w).pop().unwrap();
        assert_eq!(first.state, state, "{}", first.detail);
        let abandoned = script.abandoned.lock().unwrap().clone();
        assert_eq!(abandoned.len(), usize::from(fallback), "{abandoned:?}");
        assert!(orders(&w).len() == 1 || fallback);
    }
}

#[test]
fn an_account_that_the_issuer_forgot_is_registered_again() {
    let (mut w, script) = world();
    script.says(ports::Answer::Pending { retry_after: None, what: "it has an account for us".into() });
    script.says(fails("accountDoesNotExist", Fault::Order, None));
    for _ in 0..5 {
        turn(&w, &script);
        w.now = w.now + Span::minutes(20);
    }
    assert_eq!(w.secret("www").newest_version, 1);
    let accounts: Vec<bool> = script.asked.lock().unwrap().iter().map(|a| a.2.is_empty()).collect();
    assert_eq!(accounts, [true, false, true]);
}

/// RFC 9773 §5: a CA refuses orders that replace what another one issued.
#[test]
fn an_order_replaces_only_what_the_same_issuer_gave() {
    let (mut w, script) = world();
    turn(&w, &script);
    w.now = w.now + Span::hours(1);
    w.engine.renew_secret("www", "test", &person(), &w.tick()).unwrap();
    turn(&w, &script);
    w.apply(&ACME.replace("issued_by = [\"public\"]", "issued_by = [\"other\"]"));
    w.now = w.now + Span::hours(1);
    w.engine.renew_secret("www", "test", &person(), &w.tick()).unwrap();
    turn(&w, &script);
    let replaces: Vec<bool> = script.replaces.lock().unwrap().iter().map(|r| !r.is_empty()).collect();
    assert_eq!((replaces, w.secret("www").newest_version), (vec![false, true, false], 3));
}

/// One row that cannot be read stops nobody else.
#[test]
fn a_damaged_order_stops_no_other() {
    let (mut w, script) = world();
    w.apply(&format!("{ACME}[[secret]]\nname = \"b\"\nkind = \"certificate\"\nrenewal = \"automatic\"\nnames = [\"b.example.com\"]\nissued_by = [\"other\"]\nkeys = \"store\"\n"));
    for _ in 0..2 {
        script.says(ports::Answer::Pending { retry_after: Some(Span::minutes(1)), what: "it validates".into() });
    }
    turn(&w, &script);
    let broken = orders(&w)[0].id;
    w.engine
        .store()
        .write(&person(), w.now, |tx| {
            tx.execute("UPDATE signing_order SET problems = '{' WHERE id = $1", &[broken.into()])?;
            Ok(())
        })
        .unwrap();
    w.now = w.now + Span::minutes(2);
    turn(&w, &script);
    assert_eq!((w.secret("b").newest_version, w.secret("www").newest_version), (1, 0));
}

/// A person imports what a renewal still waits for: the order ends, its key goes, and the issuer is asked nothing more.
#[test]
fn an_import_ends_the_order_that_waits() {
    let (mut w, script) = world();
    script.says(ports::Answer::Pending { retry_after: Some(Span::hours(1)), what: "it validates".into() });
    turn(&w, &script);
    let (chain, key) = script.ca.leaf(&["www.example.com", "example.com"], w.now, w.now + Span::days(90));
    w.store("www", &chain, &key).unwrap();
    turn(&w, &script);
    assert_eq!(orders(&w)[0].state, OrderState::Ended);
    assert_eq!(script.abandoned.lock().unwrap().len(), 1);
    let id = w.secret("www").id;
    assert!(w.engine.store().read(|tx| held::of(tx, "request-key", id.0, 10)).unwrap().is_empty());
    w.now = w.now + Span::hours(2);
    turn(&w, &script);
    assert_eq!(script.asked.lock().unwrap().len(), 1);
}

/// An hour of `processing` is no failure; a week of it is.
#[test]
fn processing_for_an_hour_is_waited_for() {
    let (mut w, script) = world();
    for _ in 0..100 {
        script.says(ports::Answer::Pending { retry_after: None, what: "the order is processing".into() });
    }
    let end = w.now + Span::hours(1);
    while w.now < end {
        turn(&w, &script);
        w.now = w.now + Span::seconds(10);
    }
    assert_eq!((state(&w).failures, orders(&w).len()), (0, 1));
    assert!(script.asked.lock().unwrap().len() < 20, "asked ever more rarely");
}

/// A CA whose windows are always past is renewed at thrice in a lifetime, not daily, and its answers are not written over and over.
#[test]
fn suggestions_in_the_past_are_no_hot_loop() {
    let (mut w, script) = world();
    let begun = w.now;
    while w.now < begun + Span::days(80) {
        *script.window.lock().unwrap() = Some((w.now - Span::seconds(1), w.now));
        turn(&w, &script);
        w.now = w.now + Span::hours(6);
    }
    assert!((2..=4).contains(&w.secret("www").newest_version), "{} versions", w.secret("www").newest_version);
    // Malformed: as if nothing was said.
    *script.window.lock().unwrap() = Some((w.now, w.now - Span::days(1)));
    turn(&w, &script);
}

/// A switch of issuers leaves nobody asking every second when to ask.
#[test]
fn after_a_switch_of_issuers_nothing_is_written_at_rest() {
    let (mut w, script) = world();
    turn(&w, &script);
    w.apply(&format!(
        "{}issued_by = [\"eu\"]\nkeys = \"store\"\n[[issuer]]\nname = \"eu\"\nkind = \"internal\"\n",
        &ACME[..ACME.find("issued_by").unwrap()]
    ));
    w.now = w.now + Span::days(1);
    turn(&w, &script);
    let mut rounds = 0;
    for _ in 0..100 {
        w.now = w.now + Span::seconds(1);
        rounds += w.engine.renew_once(&mut *entropy(77), &w.tick()).unwrap();
    }
    assert!(rounds <= 1, "{rounds} rounds in 100 s");
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
    let script = Script { ca: outside, ..Script::new() };
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
    // RFC 5280 §5.2.3: also behind a restore, where what is stored is behind what was published.
    assert!(list.number() >= u64::try_from(w.now.unix()).ok());
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
