//! The life of a message: who hears it while a contact cannot be reached, and how it ends.

use crate::world::{Ca, World, entropy, envelope_key, person, t};
use domain::{Span, Time, finding::Code, incident::State};
use engine::message::Kind;
use store::model::{observation, outbox};

const NOW: &str = "2026-03-01T00:00:00Z";
const PAGER: &str = "{ channel = \"pagerduty\", routing_key = \"pd-key\" }";

struct Stage {
    w: World,
    ca: Ca,
}

/// A place that serves what has ten days left, its owner's contacts, and an escalation contact with a webhook that needs no key.
fn stage() -> Stage {
    let mut w = World::new(t(NOW));
    w.tells_of_itself = true;
    let ca = Ca::new(t("2020-01-01T00:00:00Z"), t("2060-01-01T00:00:00Z"));
    w.net.name("www.example", &["192.0.2.1:443"]);
    let (old, _) = ca.leaf(&["www.example"], w.now - Span::days(355), w.now + Span::days(10));
    w.net.serves("192.0.2.1:443", &old);
    Stage { w, ca }
}

impl Stage {
    fn apply(&self, contacts: &str) {
        self.w.apply(&format!(
            "[fleet]\ndefault_owner = \"web\"\n[[team]]\nname = \"web\"\ncontacts = [{contacts}]\nescalation = \"boss\"\n[[team]]\nname = \"boss\"\n\
             contacts = [{{ channel = \"webhook\", url = \"https://boss.example/x\" }}]\n[[roots]]\nname = \"corp\"\npem = \"\"\"\n{}\"\"\"\n\
             [[secret]]\nname = \"pd-key\"\nkind = \"opaque\"\nteam = \"web\"\n[[secret]]\nname = \"www\"\nkind = \"certificate\"\nteam = \"web\"\n\
             [[target]]\nname = \"www\"\nsecret = \"www\"\nendpoint = \"tls://www.example:443\"\nroots = \"corp\"\nbackends = \"direct\"\n\
             offers = [\"all\"]\n",
            self.ca.roots()
        ));
    }

    fn put_key(&self) {
        let w = &self.w;
        w.engine.put_opaque("pd-key", b"0123456789abcdef", None, "", &mut *entropy(5), &person(), &w.tick()).unwrap();
    }

    fn states(&self, channel: &str) -> Vec<String> {
        let all = self.w.engine.store().read(|tx| outbox::outbox(tx, None, 1000)).unwrap();
        all.iter().rev().filter(|o| o.channel.contains(channel) && o.incident.is_some()).map(|o| o.state.clone()).collect()
    }

    fn own_findings(&self) -> Vec<String> {
        let all = self.w.engine.own_findings(&self.w.tick()).unwrap();
        all.iter().filter(|f| f.code != Code::SweepMissed).map(|f| format!("{}: {}", f.code, f.detail)).collect()
    }

    fn journaled(&self, action: &str) -> i64 {
        let sql = "SELECT count(*) FROM journal WHERE action = $1";
        self.w.engine.store().read(|tx| tx.query_one(sql, &[action.into()])?.int(0)).unwrap()
    }

    fn heal(&mut self) {
        let (new, _) = self.ca.leaf(&["www.example"], self.w.now, self.w.now + Span::days(365));
        self.w.net.serves("192.0.2.1:443", &new);
    }
}

#[test]
fn a_sealed_store_still_pages() {
    let s = stage();
    s.apply(PAGER);
    s.put_key();
    let lies_with_the_server = envelope_key();
    s.w.engine.use_delivery_key(&lies_with_the_server, &mut *entropy(6), &s.w.tick()).unwrap();
    assert_eq!(s.w.engine.keep_delivery_keys(&mut *entropy(7), &s.w.tick()).unwrap(), 1);
    assert_eq!(s.w.engine.keep_delivery_keys(&mut *entropy(7), &s.w.tick()).unwrap(), 0, "once per version");
    s.w.engine.seal(&person(), &s.w.tick()).unwrap();
    // The server starts again: the same key opens what it kept.
    s.w.engine.use_delivery_key(&lies_with_the_server, &mut *entropy(8), &s.w.tick()).unwrap();
    s.w.settle();
    assert!(!s.w.engine.is_open());
    let to = s.w.post.to.borrow();
    let paged = to.iter().find(|(c, _)| c.contains("pagerduty")).unwrap();
    assert_eq!(paged.1.as_deref(), Some("0123456789abcdef"));
    assert!(s.own_findings().is_empty(), "{:?}", s.own_findings());
}

#[test]
fn another_server_s_key_opens_nothing_and_what_no_contact_names_is_forgotten() {
    let s = stage();
    s.apply(PAGER);
    s.put_key();
    s.w.engine.use_delivery_key(&envelope_key(), &mut *entropy(6), &s.w.tick()).unwrap();
    s.w.engine.keep_delivery_keys(&mut *entropy(7), &s.w.tick()).unwrap();
    s.w.engine.seal(&person(), &s.w.tick()).unwrap();
    let other = envelope::KeyFile::parse(&envelope::KeyFile::generate(&mut *entropy(77)).unwrap()).unwrap();
    s.w.engine.use_delivery_key(&other, &mut *entropy(8), &s.w.tick()).unwrap();
    s.w.settle();
    assert_eq!(s.w.post.at("pagerduty"), []);
    let locked = s.own_findings();
    assert!(locked[0].starts_with("contacts-locked: 1 contacts cannot be reached, because the store is sealed: pagerduty of team web"));

    s.w.engine.use_delivery_key(&envelope_key(), &mut *entropy(9), &s.w.tick()).unwrap();
    assert!(s.own_findings().is_empty());
    s.apply("{ channel = \"log\" }");
    s.w.engine.keep_delivery_keys(&mut *entropy(7), &s.w.tick()).unwrap();
    s.apply(PAGER);
    assert!(!s.own_findings().is_empty(), "the copy is gone, and a sealed store makes none");
}

#[test]
fn where_no_copy_is_others_hear_at_once_and_the_pager_in_order_after_opening() {
    let mut s = stage();
    s.apply(PAGER);
    s.put_key();
    s.w.engine.seal(&person(), &s.w.tick()).unwrap();
    s.w.settle();
    let why = "told to you because pagerduty of team web cannot be reached: the contact's secret cannot be used: the store is sealed";
    for channel in ["\"log\"", "boss.example"] {
        let told = s.w.post.at(channel);
        assert!(told.iter().any(|(k, title)| *k == Kind::IncidentOpened && title.contains(why)), "{channel}: {told:?}");
    }
    assert!(s.own_findings().iter().any(|f| f.starts_with("contacts-locked")));
    let id = s.w.incidents()[0].facts.id;
    s.w.engine.acknowledge(id, None, "on it", &person(), &s.w.tick()).unwrap();
    s.w.run_until(s.w.now + Span::hours(1), Span::minutes(5));
    let once = s.w.post.at("\"log\"").iter().filter(|(k, _)| *k == Kind::IncidentOpened).count();
    assert_eq!(once, 1, "told instead once, not at every attempt");
    s.w.engine.unseal(&envelope_key(), &person(), &s.w.tick()).unwrap();
    s.w.run_until(s.w.now + Span::hours(1), Span::minutes(5));
    let kinds: Vec<_> = s.w.post.at("pagerduty").into_iter().map(|(k, _)| k).filter(|k| *k != Kind::Notice).collect();
    assert_eq!(kinds, [Kind::IncidentOpened, Kind::IncidentAcknowledged]);
    // Whoever was told that it began is told that it is over.
    s.heal();
    s.w.run_until(s.w.now + Span::hours(3), Span::minutes(10));
    assert_eq!(s.w.incidents()[0].facts.state, State::Resolved);
    assert!(s.w.post.at("boss.example").iter().any(|(k, _)| *k == Kind::IncidentResolved));
}

#[test]
fn a_contact_that_was_removed_blocks_nothing_and_its_successor_hears_all() {
    let mut s = stage();
    *s.w.post.down.borrow_mut() = vec!["old.example"];
    s.apply("{ channel = \"webhook\", url = \"https://old.example/x\" }");
    s.w.settle();
    s.w.run_until(s.w.now + Span::minutes(5), Span::minutes(1));
    assert_eq!(s.states("old.example"), ["waiting"]);
    s.apply("{ channel = \"webhook\", url = \"https://new.example/x\" }");
    s.w.run_until(s.w.now + Span::hours(1), Span::minutes(5));
    assert_eq!(s.states("old.example"), ["contact-removed"]);
    let told = s.w.post.at("new.example");
    assert_eq!(told.iter().filter(|(k, _)| *k == Kind::IncidentOpened).count(), 1, "{told:?}");
    assert_eq!(s.journaled("delivery.undeliverable"), 1);
    assert!(s.own_findings().iter().all(|f| !f.starts_with("undeliverable")), "nothing was lost");
}

#[test]
fn between_the_first_word_and_the_last_only_the_latest_is_told() {
    let mut s = stage();
    s.apply("{ channel = \"webhook\", url = \"https://web.example/x\" }");
    *s.w.post.down.borrow_mut() = vec!["web.example"];
    s.w.settle();
    let id = s.w.incidents()[0].facts.id;
    for _ in 0..3 {
        s.w.now = s.w.now + Span::minutes(1);
        s.w.engine.acknowledge(id, None, "on it", &person(), &s.w.tick()).unwrap();
        s.w.settle();
    }
    assert_eq!(s.states("web.example"), ["waiting", "superseded", "superseded", "waiting"]);
    s.w.post.down.borrow_mut().clear();
    s.w.run_until(s.w.now + Span::hours(1), Span::minutes(5));
    let kinds: Vec<_> = s.w.post.at("web.example").into_iter().map(|(k, _)| k).filter(|k| *k != Kind::Notice).collect();
    assert_eq!(kinds, [Kind::IncidentOpened, Kind::IncidentAcknowledged]);
}

#[test]
fn a_message_is_tried_for_a_week_and_its_end_is_a_finding() {
    let mut s = stage();
    s.apply("{ channel = \"webhook\", url = \"https://web.example/x\" }");
    *s.w.post.down.borrow_mut() = vec!["web.example"];
    s.w.settle();
    s.w.run_until(s.w.now + Span::hours(2), Span::minutes(5));
    let why = "because webhook of team web cannot be reached: 503";
    assert!(s.w.post.at("boss.example").iter().any(|(k, t)| *k == Kind::IncidentOpened && t.contains(why)), "others hear of it soon");
    assert!(s.own_findings()[0].contains("failed at least 8 times and are still tried; to web"), "{:?}", s.own_findings());
    assert!(s.w.post.at("\"log\"").iter().any(|(k, t)| *k == Kind::Notice && t.contains("still tried")), "also where the owner is deaf");
    s.w.run_until(t(NOW) + Span::days(7) - Span::minutes(1), Span::minutes(30));
    assert_eq!(s.states("web.example")[0], "waiting");
    s.w.run_until(t(NOW) + Span::days(7) + Span::minutes(20), Span::minutes(1));
    assert_eq!(s.states("web.example")[0], "undeliverable");
    assert!(s.own_findings()[0].contains("refused, or given up after 7 d"), "{:?}", s.own_findings());
    // The line is free again, and after a while the finding has said it often enough.
    s.w.post.down.borrow_mut().clear();
    s.w.run_until(s.w.now + Span::days(1), Span::minutes(30));
    assert!(!s.w.post.at("web.example").is_empty());
    s.w.run_until(s.w.now + Span::days(7), Span::hours(1));
    assert!(s.own_findings().is_empty(), "{:?}", s.own_findings());
}

#[test]
fn what_is_old_goes_and_what_is_evidence_stays() {
    let mut s = stage();
    s.apply("{ channel = \"log\" }");
    s.w.settle();
    let target = s.w.target("www").facts.id;
    s.heal();
    s.w.run_until(s.w.now + Span::hours(3), Span::minutes(10));
    let id = s.w.incidents()[0].facts.id;
    assert_eq!(s.w.incidents()[0].facts.state, State::Resolved);
    let count = |s: &Stage| {
        s.w.engine
            .store()
            .read(|tx| {
                let n = |tx: &mut store::Tx<'_>, table: &str, of: &str| {
                    tx.query_one(&format!("SELECT count(*) FROM {table} WHERE {of}"), &[])?.int(0)
                };
                Ok([
                    n(tx, "outbox", "incident_id <> 0")?,
                    n(tx, "delivery", "outbox_id IN (SELECT id FROM outbox WHERE incident_id <> 0)")?,
                    n(tx, "incident_line", "1 = 1")?,
                    n(tx, "chain", "1 = 1")?,
                    observation::changes(tx, target, None, 100)?.len() as i64,
                ])
            })
            .unwrap()
    };
    let keep = |s: &mut Stage, at: Time| {
        s.w.now = at;
        s.w.engine.housekeeping_once(&s.w.tick()).unwrap()
    };
    let before = count(&s);
    assert!(before.iter().all(|n| *n >= 1) && before[3] == 2, "{before:?}");
    let year = t(NOW) + Span::days(450);
    keep(&mut s, year);
    assert_eq!(count(&s), before, "nobody has written down why it happened");

    let review = engine::incidents::Review {
        cause: domain::incident::RootCause::NotRenewed,
        own_cause: String::new(),
        text: String::new(),
        actions: Vec::new(),
    };
    s.w.engine.review(id, &review, &person(), &s.w.tick()).unwrap();
    s.w.doubted = true;
    assert_eq!(keep(&mut s, year + Span::days(2)), 0, "a clock that is ahead makes everything old");
    s.w.doubted = false;
    assert!(keep(&mut s, year + Span::days(2)) > 0);
    let after = count(&s);
    assert_eq!(after[..3], [0, 0, 0], "{after:?}");
    assert_eq!((after[3], after[4]), (1, 0), "the chain that is still served stays");
    assert_eq!(s.w.incidents().len(), 1, "repeats are found by it");
    let sweep = s.w.engine.sweep_once(true, &person(), &s.w.tick()).unwrap().unwrap();
    assert!(!sweep.report.contains("count"), "what is kept as a count fits what is left: {}", sweep.report);
    assert_eq!(keep(&mut s, year + Span::days(2)), 0, "once a day");
    assert_eq!((s.journaled("incident.opened"), s.journaled("store.pruned")), (1, 2), "the journal is never pruned");
}
