//! What a target hangs on, as it was observed: the validated path, and every other one that it may still answer with.

use crate::world::{Ca, World, person, t};
use domain::{Span, blast::Path, words::TargetId};
use store::model::path;

const NOW: &str = "2026-03-01T00:00:00Z";
const A: &str = "192.0.2.1:443";

fn fleet(roots: &str) -> String {
    format!(
        "[[team]]\nname = \"web\"\ncontacts = [{{ channel = \"log\" }}]\n[[roots]]\nname = \"corp\"\npem = \"\"\"\n{roots}\"\"\"\n\
         [[secret]]\nname = \"www\"\nkind = \"certificate\"\nteam = \"web\"\n[[target]]\nname = \"www\"\nsecret = \"www\"\n\
         endpoint = \"tls://www.example:443\"\nroots = \"corp\"\nbackends = \"shared\"\n"
    )
}

fn paths(w: &World) -> Vec<Path> {
    let id = w.target("www").facts.id;
    w.engine.store().read(|tx| path::of_target(tx, id)).unwrap()
}

fn rows(w: &World) -> i64 {
    w.engine.store().read(|tx| tx.query_one("SELECT COUNT(*) FROM path", &[])?.int(0)).unwrap()
}

#[test]
fn what_a_target_may_answer_with_is_kept_and_what_nobody_names_is_let_go() {
    let mut w = World::new(t(NOW));
    let ca = Ca::new(t("2020-01-01T00:00:00Z"), t("2060-01-01T00:00:00Z"));
    w.apply(&fleet(&ca.roots()));
    let leaf = |days| ca.leaf(&["www.example"], t(NOW) - Span::days(30), t(NOW) + Span::days(days));
    let ((old, old_key), (new, _)) = (leaf(200), leaf(300));
    w.store("www", &old, &old_key).unwrap();
    w.net.name("www.example", &[A]);
    w.net.serves(A, &old);
    w.settle();

    let [it] = paths(&w).try_into().unwrap();
    assert_eq!((it.leaf, it.leaf_key), (old[0].fingerprint(), old[0].spki_fingerprint()));
    assert_eq!((it.intermediate, it.root), (Some(old[1].fingerprint()), Some(ca.root.certificate().fingerprint())));
    assert_eq!((it.issuer_name.as_str(), it.root_name.as_str()), (old[0].issuer(), ca.root.certificate().subject()));
    assert_eq!((it.not_before, it.not_after), (old[0].not_before(), old[0].not_after()));
    let snapshot = w.engine.store().read(|tx| path::snapshot(tx, None)).unwrap();
    assert_eq!((snapshot.len(), snapshot.paths(0).len(), snapshot.leaf(0)), (1, 1, it.leaf));

    // A look that shows nothing new writes nothing of it: the row would get another number.
    let number = |w: &World| {
        let sql = "SELECT MAX(id) FROM path";
        w.engine.store().read(|tx| tx.query_one(sql, &[])?.int(0)).unwrap()
    };
    let before = number(&w);
    w.run_until(w.now + Span::hours(6), Span::hours(1));
    assert_eq!((paths(&w).len(), number(&w)), (1, before));

    // Behind a shared address the old one is remembered until enough handshakes have outlived it.
    w.net.script(A, [Ok(new.clone()), Ok(old.clone()), Ok(new.clone())].into());
    let target = w.target("www").facts.id;
    w.engine.look_now(w.target("www").facts.id, &person(), &w.tick()).unwrap();
    w.settle();
    let both: Vec<_> = paths(&w).iter().map(|p| p.leaf).collect();
    assert_eq!(both.len(), 2, "{both:?}");
    w.run_until(w.now + Span::days(3), Span::hours(1));
    assert_eq!(paths(&w).iter().map(|p| p.leaf).collect::<Vec<_>>(), [new[0].fingerprint()]);
    assert_eq!(rows(&w), 2);
    w.engine.housekeeping_once(&w.tick()).unwrap();
    assert_eq!(rows(&w), 1, "nobody names the old one");

    w.engine.retire_target("www", "gone", &person(), &w.tick()).unwrap();
    let served = |w: &World| w.engine.store().read(|tx| path::of_target(tx, TargetId(target.0))).unwrap();
    assert_eq!(served(&w), []);
    w.settle();
    assert!(served(&w).is_empty() || w.target("www").retired_at.is_none(), "what is retired takes nothing down");
}

#[test]
fn what_does_not_validate_hangs_on_what_was_presented() {
    let w = World::new(t(NOW));
    let (ours, other) =
        (Ca::new(t("2020-01-01T00:00:00Z"), t("2060-01-01T00:00:00Z")), Ca::new(t("2021-01-01T00:00:00Z"), t("2050-01-01T00:00:00Z")));
    w.apply(&fleet(&ours.roots()));
    let (chain, _) = other.leaf(&["www.example"], t(NOW) - Span::days(30), t(NOW) + Span::days(200));
    w.net.name("www.example", &[A]);
    w.net.serves(A, &chain);
    w.settle();
    let [it] = paths(&w).try_into().unwrap();
    assert_eq!((it.leaf, it.intermediate, it.root), (chain[0].fingerprint(), Some(chain[1].fingerprint()), None));
    assert_eq!(it.root_name, "");

    w.net.serves(A, &chain[..1]);
    w.engine.look_now(w.target("www").facts.id, &person(), &w.tick()).unwrap();
    w.settle();
    assert!(paths(&w).iter().any(|p| p.intermediate.is_none()), "sent alone: nobody knows what issued it");
}
