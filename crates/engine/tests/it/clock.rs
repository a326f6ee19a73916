//! A clock that was ahead, was believed, and is set right: nothing waits for a future that will not come.

use crate::world::{Ca, World, person, t};
use domain::{Span, clock::Belief};
use store::meta;

const FLEET: &str = "[[team]]\nname = \"web\"\ncontacts = [{ channel = \"log\" }]\n[[roots]]\nname = \"corp\"\npem = \"\"\"\nROOTS\"\"\"\n\
    [[secret]]\nname = \"www\"\nkind = \"certificate\"\nteam = \"web\"\n[[target]]\nname = \"www\"\nsecret = \"www\"\n\
    endpoint = \"tls://www.example:443\"\nroots = \"corp\"\nbackends = \"direct\"\noffers = [\"all\"]\n";

#[test]
fn what_a_clock_ahead_has_left_in_the_future_is_brought_back() {
    let now = t("2026-03-01T00:00:00Z");
    let ahead = now + Span::days(200);
    let mut w = World::new(now);
    let ca = Ca::new(t("2020-01-01T00:00:00Z"), t("2040-01-01T00:00:00Z"));
    let (old, key) = ca.leaf(&["www.example"], now - Span::days(100), now + Span::days(265));
    w.net.name("www.example", &["192.0.2.1:443"]);
    w.net.serves("192.0.2.1:443", &old);
    w.apply(&FLEET.replace("ROOTS", &ca.roots()));
    w.store("www", &old, &key).unwrap();
    w.settle();
    assert!(w.incidents().is_empty());

    // Under the wrong clock 65 days are left: an incident, told and acknowledged for days, a sweep, looks, a mark.
    w.now = ahead;
    w.settle();
    let id = w.incidents()[0].facts.id;
    w.engine.acknowledge(id, None, "I look at it", &person(), &w.tick()).unwrap();
    w.engine.sweep_once(true, &person(), &w.tick()).unwrap();
    w.apply(&FLEET.replace("ROOTS", &ca.roots()).replace("backends", "key_types = [\"ecdsa\"]\nbackends"));
    assert_eq!(w.target("www").facts.required_since.values().max(), Some(&ahead));
    w.engine.note_time(&w.tick()).unwrap();
    let quiet = w.incidents()[0].facts.quiet_until.unwrap() - ahead;

    // The clock is set right. Nothing looks, since everything is planned for a day that is far away.
    w.now = now + Span::hours(2);
    w.doubted = true;
    let dials = *w.net.dials.borrow();
    w.settle();
    assert_eq!(*w.net.dials.borrow(), dials);

    w.engine.confirm_clock("compared with two others", &person(), &w.tick()).unwrap();
    w.doubted = false;
    assert_eq!(w.target("www").facts.required_since.values().max(), Some(&w.now), "patience ends in this life");
    let told = &w.incidents()[0];
    assert_eq!(told.facts.quiet_until, Some(w.now + quiet), "quiet for as long as was agreed, from now on");
    w.settle();
    assert!(*w.net.dials.borrow() > dials, "it is looked at again");
    let it = &w.incidents()[0];
    assert!(it.facts.opened_at <= w.now, "{it:?}");
    assert_eq!(w.engine.store().read(meta::high_water).unwrap(), w.now);
    // The sweep of the far day does not stand in the way of the next ones.
    assert!(w.engine.sweep_once(false, &engine::rules(), &w.tick()).unwrap().is_none());
    w.now = w.now + Span::days(7) + Span::hours(1);
    assert!(w.engine.sweep_once(false, &engine::rules(), &w.tick()).unwrap().is_some());

    let sql = "SELECT reason, body FROM journal WHERE action = 'clock.confirmed' ORDER BY epoch, seq";
    let entry = w.engine.store().read(|tx| tx.query_one(sql, &[])).unwrap();
    assert_eq!(entry.text(0).unwrap(), "compared with two others");
    for part in ["\"before\":", "the test says so", "\"brought_back\":"] {
        assert!(entry.text(1).unwrap().contains(part), "{entry:?}");
    }
    assert_eq!(w.tick().clock, Belief::Believed);
}
