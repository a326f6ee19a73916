//! What is asked at a target, by whom and since when: addresses per vantage, key types, answers without a name, evidence.

use crate::world::{Ca, World, person, t};
use domain::{Span, Time, incident::State, observation::Failure, target::Served, words::Blame};
use pki::{Certificate, PrivateKey, build::Authority, key::KeyType};
use std::collections::VecDeque;

const NOW: &str = "2026-03-01T00:00:00Z";
const A: &str = "192.0.2.1:443";
const B: &str = "192.0.2.2:443";

struct Case {
    w: World,
    ca: Ca,
}

fn case() -> Case {
    Case { w: World::new(t(NOW)), ca: Ca::new(t("2020-01-01T00:00:00Z"), t("2060-01-01T00:00:00Z")) }
}

impl Case {
    fn declare(&self, target: &str) {
        let backends = if target.contains("backends") { "" } else { "backends = \"direct\"\n" };
        self.w.apply(&format!(
            "[[team]]\nname = \"web\"\ncontacts = [{{ channel = \"log\" }}]\n[[vantage]]\nname = \"far\"\nrequired = true\n\
             [[roots]]\nname = \"corp\"\npem = \"\"\"\n{}\"\"\"\n[[secret]]\nname = \"www\"\nkind = \"certificate\"\nteam = \"web\"\n\
             [[target]]\nname = \"www\"\nsecret = \"www\"\nendpoint = \"tls://www.example:443\"\nroots = \"corp\"\n{backends}{target}\n",
            self.ca.roots()
        ));
    }
    fn leaf(&self, names: &[&str], days: i64) -> (Vec<Certificate>, PrivateKey) {
        self.ca.leaf(names, self.w.now + Span::days(days - 365), self.w.now + Span::days(days))
    }
    fn good(&self) -> Vec<Certificate> {
        self.leaf(&["www.example"], 335).0
    }
    fn of_kind(&self, kind: KeyType) -> Vec<Certificate> {
        let (from, to) = (self.w.now - Span::days(30), self.w.now + Span::days(335));
        let (leaf, _) = self.ca.issuing.leaf(&["www.example"], kind, from, to).unwrap();
        vec![leaf, self.ca.issuing.certificate().clone()]
    }
    fn finds(&self, wanted: &str) {
        let found = self.w.findings("www");
        assert!(found.iter().any(|f| f == wanted), "wanted {wanted}, found {found:?}");
    }
    fn counts(&self) -> (i64, i64) {
        let t = self.w.target("www");
        (t.current, t.required)
    }
}

fn refused() -> Failure {
    Failure { blame: Blame::Tls, retry: false, detail: "the peer refused with alert handshake_failure".into() }
}

#[test]
fn each_vantage_has_its_own_addresses() {
    let mut c = case();
    c.declare("vantages = [\"local\", \"far\"]");
    let (new, key) = c.leaf(&["www.example"], 335);
    let old = c.leaf(&["www.example"], 200).0;
    c.w.store("www", &new, &key).unwrap();
    c.w.net.name("www.example", &[A]);
    c.w.net.name("far www.example", &[B]);
    c.w.net.serves(A, &new);
    c.w.net.serves(B, &new);
    c.w.run_with("far", c.w.now + Span::hours(6), Span::minutes(30));
    assert_eq!(c.w.addresses("www"), [format!("far {B}"), format!("local {A}")], "neither takes from the other");
    assert_eq!(c.counts(), (2, 2), "each looks at what it resolves, and at nothing else");
    assert!(c.w.findings("www").is_empty(), "{:?}", c.w.findings("www"));
    assert_eq!(c.w.observations("www").len(), 2);

    c.w.net.serves(B, &old);
    c.w.run_with("far", c.w.now + Span::hours(3), Span::minutes(30));
    assert_eq!(c.counts(), (1, 2));
    assert_eq!(c.w.target("www").served, Served::Until(old[0].not_after()));

    // What left the answer of one vantage is looked at from there for a day, whatever the other resolves.
    c.w.net.name("far www.example", &["192.0.2.3:443"]);
    c.w.net.serves("192.0.2.3:443", &new);
    c.w.run_with("far", c.w.now + Span::hours(20), Span::minutes(30));
    assert_eq!(c.w.addresses("www"), [format!("far {B} left"), "far 192.0.2.3:443".into(), format!("local {A}")]);
    let last = |c: &Case| c.w.observations("www").into_iter().find(|r| r.combination.address == B).map(|r| c.w.now - r.last_at);
    assert!(last(&c).unwrap() <= Span::hours(1));
    assert!(!c.w.findings("www").is_empty(), "it still answers with the older one: {:?}", c.w.findings("www"));
    c.w.run_with("far", c.w.now + Span::hours(30), Span::minutes(30));
    assert_eq!(c.counts(), (2, 2));
    assert!(c.w.findings("www").is_empty(), "{:?}", c.w.findings("www"));
    assert!(last(&c).is_none_or(|since| since > Span::hours(20)), "and then it is left alone");
}

#[test]
fn who_never_reported_is_named_with_what_is_missing() {
    let mut c = case();
    c.declare("vantages = [\"local\", \"far\"]\noffers = [\"rsa\", \"all\"]");
    c.w.net.name("www.example", &[A]);
    c.w.net.serves(A, &c.of_kind(KeyType::Rsa2048));
    c.w.run_until(c.w.now + Span::hours(8), Span::hours(1));
    let [detail] = c.w.details("www", "never-observed").try_into().unwrap();
    assert_eq!(detail, "www.example:443 from far, accepting rsa keys only has never been observed, nor have 1 other looks");
    assert_eq!(c.counts().1, 4);
    assert_eq!(c.w.target("www").served, Served::Unknown);
}

#[test]
fn the_first_failure_to_resolve_leaves_nothing_behind() {
    let mut c = case();
    c.declare("");
    c.w.run_until(c.w.now + Span::hours(3), Span::minutes(5));
    c.finds("unreachable (notice)");
    c.finds("never-observed (notice)");
    assert_eq!(c.counts(), (0, 1));
    c.w.net.name("www.example", &[A]);
    c.w.net.serves(A, &c.good());
    c.w.run_until(c.w.now + Span::hours(2), Span::minutes(5));
    assert!(c.w.findings("www").is_empty(), "{:?}", c.w.findings("www"));
    assert_eq!(c.w.addresses("www"), [format!("local {A}")]);
    assert_eq!(c.w.observations("www").len(), 1, "the name itself is no address");
    assert_eq!(c.counts().1, 1);
}

#[test]
fn a_name_that_dies_is_heard_of_though_its_addresses_answer() {
    let mut c = case();
    c.declare("");
    c.w.net.name("www.example", &[A]);
    let ending = c.leaf(&["www.example"], 10).0;
    c.w.net.serves(A, &ending);
    c.w.settle();
    assert_eq!(c.w.incidents().len(), 1);
    c.w.net.unresolved("www.example");
    c.w.net.serves(A, &c.good());
    c.w.run_until(c.w.now + Span::hours(6), Span::minutes(10));
    c.finds("unreachable (notice)");
    assert!(c.w.details("www", "unreachable")[0].contains("no such name"), "{:?}", c.w.details("www", "unreachable"));
    assert!(c.w.incidents()[0].facts.state.is_open(), "what clients cannot find is not proven to be well");
    assert_eq!(c.counts().1, 1, "the known address is looked at on");
    c.w.net.name("www.example", &[A]);
    c.w.run_until(c.w.now + Span::hours(2), Span::minutes(10));
    assert!(c.w.findings("www").is_empty(), "{:?}", c.w.findings("www"));
    assert_eq!(c.w.incidents()[0].facts.state, State::Resolved);
}

#[test]
fn a_claim_of_change_during_a_remote_look_is_not_lost() {
    let mut c = case();
    c.declare("vantages = [\"far\"]");
    c.w.net.name("www.example", &[A]);
    c.w.net.serves(A, &c.good());
    assert_eq!(c.w.look_from("far"), 1);
    assert_eq!(c.w.look_from("far"), 0, "it is not due");
    c.w.now = c.w.now + Span::hours(2);
    let looks = c.w.engine.hand_out("far", 10, &c.w.tick()).unwrap();
    let seen = c.w.net.one("far", &looks[0], c.w.now);
    c.w.engine.look_now(seen.target, &person(), &c.w.tick()).unwrap();
    c.w.report("far", &seen).unwrap();
    assert_eq!(c.w.look_from("far"), 1, "what was seen may be older than the claim");
    assert_eq!(c.w.look_from("far"), 0);
}

#[test]
fn a_vantage_makes_no_look_longer_than_its_limit() {
    let mut c = case();
    c.declare("vantages = [\"far\"]");
    let good = c.good();
    let block = |n: u8| (0..=255).map(|i| format!("198.51.{n}.{i}:443")).collect::<Vec<String>>();
    let name = |c: &Case, addresses: &[String]| c.w.net.name("far www.example", &addresses.iter().map(String::as_str).collect::<Vec<_>>());
    for address in [block(1), block(2), vec![A.to_owned(), B.to_owned()]].concat() {
        c.w.net.serves(&address, &good);
    }
    name(&c, &[A.to_owned()]);
    c.w.run_with("far", c.w.now + Span::hours(2), Span::minutes(30));
    assert!(c.w.findings("www").is_empty(), "{:?}", c.w.findings("www"));
    for n in [1, 2, 1] {
        name(&c, &block(n));
        c.w.run_with("far", c.w.now + Span::hours(2), Span::minutes(30));
        assert_eq!(c.w.addresses("www"), [format!("far {A} left")], "256 more would be 257");
    }
    assert!(c.w.details("www", "unreachable")[0].contains("more than 256 addresses"), "{:?}", c.w.details("www", "unreachable"));
    name(&c, &[A.to_owned(), B.to_owned()]);
    c.w.run_with("far", c.w.now + Span::hours(2), Span::minutes(30));
    assert_eq!(c.w.addresses("www"), [format!("far {A}"), format!("far {B}")]);
    assert!(c.w.findings("www").is_empty(), "{:?}", c.w.findings("www"));
}

#[test]
fn a_vantage_speaks_of_addresses_of_its_target_alone() {
    let c = case();
    c.declare("vantages = [\"far\"]");
    c.w.net.name("www.example", &[A]);
    c.w.net.serves(A, &c.good());
    let looks = c.w.engine.hand_out("far", 10, &c.w.tick()).unwrap();
    let seen = c.w.net.one("far", &looks[0], c.w.now);
    for wrong in ["192.0.2.1:22", "www.example:443", ""] {
        let mut resolved = seen.clone();
        resolved.resolved = Ok(vec![wrong.into()]);
        let mut attempted = seen.clone();
        attempted.attempts[0].address = wrong.into();
        for report in [resolved, attempted] {
            let refused = c.w.report("far", &report).unwrap_err().to_string();
            assert!(refused.contains("not ip:443"), "{wrong}: {refused}");
        }
    }
    // An address that nobody resolved and nobody was sent to is not taken for one of the target's.
    let mut stray = seen.clone();
    stray.attempts[0].address = B.into();
    c.w.report("far", &stray).unwrap();
    assert!(c.w.observations("www").is_empty());
}

#[test]
fn every_required_key_type_must_be_served() {
    let mut c = case();
    c.declare("key_types = [\"rsa\", \"ecdsa\"]");
    c.w.net.name("www.example", &[A]);
    let (rsa, ecdsa) = (c.of_kind(KeyType::Rsa2048), c.of_kind(KeyType::EcdsaP256));
    c.w.net.serves(A, &ecdsa);
    c.w.net.answers(A, "rsa", false, Err(refused()));
    c.w.settle();
    assert!(c.w.incidents().is_empty(), "one refusal may be a restart");
    c.w.run_until(c.w.now + Span::days(2), Span::minutes(30));
    c.finds("wrong-key-type (incident)");
    assert_eq!(
        c.w.details("www", "wrong-key-type"),
        [format!("{A} from local, accepting rsa keys only is refused: the peer refused with alert handshake_failure")]
    );
    assert!(c.w.details("www", "unreachable").is_empty(), "it is told as what it is");
    assert!(c.w.incidents()[0].facts.page);
    assert_eq!(c.counts().1, 3, "the ordinary offer and one for each type");

    c.w.net.answers(A, "rsa", false, Ok(rsa));
    c.w.run_until(c.w.now + Span::hours(2), Span::minutes(10));
    assert!(c.w.findings("www").is_empty(), "{:?}", c.w.findings("www"));
    assert_eq!(c.w.incidents()[0].facts.state, State::Resolved);

    // Some answer with what they have, whatever is asked.
    c.w.net.answers(A, "rsa", false, Ok(ecdsa));
    c.w.run_until(c.w.now + Span::days(1) + Span::hours(1), Span::hours(1));
    assert_eq!(c.w.details("www", "wrong-key-type"), [format!("{A} from local, accepting rsa keys only is answered with an ecdsa key")]);
}

#[test]
fn the_answer_without_a_name_is_judged_where_it_is_declared() {
    let mut c = case();
    c.declare("");
    c.w.net.name("www.example", &[A]);
    let (good, other) = (c.good(), c.leaf(&["default.example"], 335).0);
    c.w.net.serves(A, &good);
    c.w.net.answers(A, "all", true, Ok(other));
    c.w.run_until(c.w.now + Span::hours(2), Span::minutes(30));
    assert!(c.w.findings("www").is_empty() && c.counts().1 == 1, "nobody asked for it: {:?}", c.w.findings("www"));

    c.declare("names_without_sni = true");
    c.w.run_until(c.w.now + Span::hours(2), Span::minutes(30));
    c.finds("wrong-name (incident)");
    assert_eq!(c.counts().1, 2);
    c.w.net.answers(A, "all", true, Ok(good));
    c.w.run_until(c.w.now + Span::hours(2), Span::minutes(30));
    assert!(c.w.findings("www").is_empty(), "{:?}", c.w.findings("www"));
    assert_eq!(c.w.incidents()[0].facts.state, State::Resolved);
}

#[test]
fn what_is_newly_required_of_an_old_target_has_its_patience() {
    let mut c = case();
    c.declare("");
    c.w.net.name("www.example", &[A]);
    c.w.net.serves(A, &c.good());
    c.w.run_until(c.w.now + Span::days(20), Span::hours(6));
    c.declare("vantages = [\"local\", \"far\"]\nkey_types = [\"rsa\"]\nnames_without_sni = true");
    c.w.net.answers(A, "rsa", false, Err(refused()));
    c.w.net.answers(A, "rsa", true, Err(refused()));
    c.w.settle();
    assert!(c.w.incidents().is_empty(), "{:?}", c.w.findings("www"));
    c.finds("never-observed (info)");
    c.w.run_until(c.w.now + Span::hours(5), Span::hours(1));
    c.finds("never-observed (notice)");
    c.w.run_until(c.w.now + Span::days(8), Span::hours(1));
    c.finds("never-observed (incident)");
    // What was required before keeps its time over another declaration.
    let since = c.w.target("www").facts.required_since;
    assert_eq!(since.len(), 3, "{since:?}");
    c.declare("vantages = [\"local\", \"far\"]\nkey_types = [\"rsa\"]\nnames_without_sni = true\nstate = \"standby\"");
    assert_eq!(c.w.target("www").facts.required_since, since);
}

/// Retires `www`, which serves what `prepare` says, and gives back the world and what it served.
fn retired(prepare: impl Fn(&mut Case)) -> Case {
    let mut c = case();
    c.declare("");
    c.w.net.name("www.example", &[A]);
    c.w.net.silent(A);
    prepare(&mut c);
    c.w.settle();
    c.w.engine.retire_target("www", "decommissioned", &person(), &c.w.tick()).unwrap();
    c
}

#[test]
fn another_certificate_at_a_retired_target_is_somebody_else_s_business() {
    let mut c = retired(|c| c.w.net.serves(A, &c.good()));
    let old = c.w.observations("www")[0].good.unwrap();
    c.w.net.serves(A, &c.leaf(&["somebody.example"], 100).0);
    c.w.run_until(c.w.now + Span::days(20), Span::hours(1));
    assert!(c.w.target("www").retired_at.is_some(), "it does not answer with the old one");
    assert!(c.w.observations("www")[0].good.unwrap().at > c.w.now - Span::hours(2), "and is looked at on");
    let chain = c.w.engine.store().read(|tx| store::model::observation::chain(tx, &old.chain)).unwrap().unwrap();
    c.w.net.serves(A, &engine::judge::parse_chain(&chain));
    c.w.run_until(c.w.now + Span::hours(2), Span::hours(1));
    assert!(c.w.target("www").retired_at.is_none(), "the old one is back, and so is the target");
    assert_eq!(c.w.target("www").facts.retired, None);
}

#[test]
fn what_was_broken_or_never_seen_when_it_was_retired_is_looked_at_on() {
    // Broken: it leads to no root that is believed.
    let stranger = Authority::new("Stranger", t("2020-01-01T00:00:00Z"), t("2040-01-01T00:00:00Z")).unwrap();
    let end = t(NOW) + Span::days(60);
    let (leaf, _) = stranger.leaf(&["www.example"], KeyType::EcdsaP256, t(NOW) - Span::days(1), end).unwrap();
    let mut c = retired(|c| c.w.net.serves(A, std::slice::from_ref(&leaf)));
    assert_eq!(c.w.target("www").served, Served::Broken);
    assert_eq!(c.w.target("www").facts.retired.unwrap().until, end);
    c.w.run_until(c.w.now + Span::hours(2), Span::hours(1));
    assert!(c.w.target("www").retired_at.is_none(), "still there, with the old certificate");

    // Unknown: silent from the first day. What it should have served is what it must not be found with.
    let (ours, key) = case().leaf(&["www.example"], 335);
    let mut c = retired(|c| {
        c.w.store("www", &ours, &key).unwrap();
    });
    assert_eq!(c.w.target("www").served, Served::Unknown);
    c.w.run_until(c.w.now + Span::days(29), Span::hours(1));
    assert!(c.w.target("www").retired_at.is_some(), "silence brings nothing back");
    let dials = *c.w.net.dials.borrow();
    c.w.run_until(c.w.now + Span::hours(12), Span::hours(1));
    assert!(*c.w.net.dials.borrow() > dials, "thirty days");
    c.w.net.serves(A, &ours);
    c.w.run_until(c.w.now + Span::hours(2), Span::hours(1));
    assert!(c.w.target("www").retired_at.is_none());

    let mut c = retired(|_| ());
    c.w.run_until(c.w.now + Span::days(31), Span::hours(1));
    let dials = *c.w.net.dials.borrow();
    c.w.run_until(c.w.now + Span::days(2), Span::hours(1));
    assert_eq!(*c.w.net.dials.borrow(), dials, "and then it is left alone");
}

/// An incident about a certificate with 10 days left at a shared address, and its renewal.
fn burning_shared(addresses: &[&str]) -> (Case, Vec<Certificate>, Vec<Certificate>) {
    let mut c = case();
    c.declare("backends = \"shared\"");
    let ((old, key), (new, new_key)) = (c.leaf(&["www.example"], 10), c.leaf(&["www.example"], 335));
    c.w.net.name("www.example", addresses);
    for a in addresses {
        c.w.net.serves(a, &old);
    }
    c.w.store("www", &old, &key).unwrap();
    c.w.settle();
    c.w.store("www", &new, &new_key).unwrap();
    (c, old, new)
}

#[test]
fn two_strangers_behind_one_address_are_both_remembered() {
    let (mut c, old, new) = burning_shared(&[A]);
    let third = c.leaf(&["www.example"], 5).0;
    let mut answers: VecDeque<_> = VecDeque::new();
    for n in 0..200 {
        answers.push_back(Ok(new.clone()));
        answers.push_back(Ok(if n % 2 == 0 { old.clone() } else { third.clone() }));
    }
    c.w.net.script(A, answers);
    c.w.run_until(c.w.now + Span::hours(1) + Span::seconds(1), Span::hours(1));
    c.w.run_until(c.w.now + Span::minutes(3), Span::seconds(10));
    assert!(c.w.incidents().iter().all(|i| i.facts.state.is_open()));
    let record = &c.w.observations("www")[0];
    let mut leaves: Vec<_> = record.may_serve().map(|s| s.leaf).collect();
    leaves.sort();
    let mut wanted: Vec<_> = [&old, &new, &third].map(|c| c[0].fingerprint()).into();
    wanted.sort();
    assert_eq!(leaves, wanted);
    assert_eq!(c.w.target("www").served, Served::Until(third[0].not_after()), "the worst that it may answer with");
}

#[test]
fn closing_counts_what_was_seen_since_the_line_was_opened() {
    // Two shared addresses; one has shown the renewal for days when the incident about the other begins.
    let (mut c, old, new) = {
        let mut c = case();
        c.declare("backends = \"shared\"");
        let (old, key) = c.leaf(&["www.example"], 91);
        let (new, new_key) = c.leaf(&["www.example"], 335);
        c.w.net.name("www.example", &[A, B]);
        c.w.net.serves(A, &old);
        c.w.net.serves(B, &old);
        c.w.store("www", &old, &key).unwrap();
        c.w.store("www", &new, &new_key).unwrap();
        (c, old, new)
    };
    c.w.net.serves(A, &new);
    let begin = old[0].not_after() - Span::days(90);
    c.w.run_until(begin - Span::hours(2), Span::hours(1));
    assert!(c.w.incidents().is_empty());
    let streak = |c: &Case, a: &str| c.w.observations("www").into_iter().find(|r| r.combination.address == a).unwrap().streak;
    assert!(streak(&c, A) > 20);
    c.w.run_until(begin + Span::seconds(1), Span::minutes(30));
    assert_eq!(c.w.incidents().len(), 1);
    assert!(streak(&c, A) <= 1, "what was seen before is no answer to what is asked now: {}", streak(&c, A));

    c.w.net.serves(B, &new);
    let before = *c.w.net.dials.borrow();
    while c.w.incidents()[0].facts.state.is_open() {
        c.w.now = c.w.now + Span::minutes(1);
        c.w.settle();
        assert!(c.w.now < begin + Span::hours(3), "nothing closes it: {:?}", c.w.findings("www"));
    }
    assert!(*c.w.net.dials.borrow() - before >= 60, "thirty at each");
    assert!(streak(&c, A) >= 30 && streak(&c, B) >= 30);
}

#[test]
fn a_new_shared_address_is_no_evidence_after_one_handshake() {
    let (mut c, _, new) = burning_shared(&[A]);
    c.w.net.serves(A, &new);
    c.w.run_until(c.w.now + Span::hours(1), Span::hours(1));
    // The old address has proven itself but for one; a new one comes into the name at that moment.
    c.w.net.name("www.example", &[B]);
    let old = c.w.incidents()[0].facts.opened_at;
    let mut answers: VecDeque<_> = VecDeque::from([Ok(new.clone())]);
    answers.push_back(Err(refused()));
    c.w.net.script(B, answers);
    c.w.run_until(c.w.now + Span::hours(2), Span::minutes(1));
    assert!(c.w.observations("www").iter().any(|r| r.combination.address == B && r.good.is_some()));
    assert!(c.w.incidents()[0].facts.state.is_open(), "opened {old}, closed on one handshake with what stands behind {B}");
    c.w.net.serves(B, &new);
    c.w.run_until(c.w.now + Span::hours(2), Span::minutes(1));
    assert_eq!(c.w.incidents()[0].facts.state, State::Resolved);
}

#[test]
fn an_install_is_one_place_and_needs_one_look() {
    let c = case();
    c.w.apply(&format!(
        "[[team]]\nname = \"web\"\ncontacts = [{{ channel = \"log\" }}]\n[[roots]]\nname = \"corp\"\npem = \"\"\"\n{}\"\"\"\n\
         [[secret]]\nname = \"www\"\nkind = \"certificate\"\nteam = \"web\"\n[[target]]\nname = \"node\"\nsecret = \"www\"\n\
         kind = \"install\"\nroots = \"corp\"\nkey_types = [\"rsa\"]\n",
        c.ca.roots()
    ));
    let mut c = c;
    c.w.settle();
    let id = c.w.target("node").facts.id;
    let read = |c: &Case, chain: &[Certificate], at: Time| {
        let shown = engine::ports::Shown {
            chain: chain.iter().map(|c| c.der().to_vec()).collect(),
            protocol: String::new(),
            cipher: String::new(),
        };
        let attempt = engine::ports::Attempt {
            address: "/etc/tls/www.pem".into(),
            offer: domain::words::Offer::All,
            unnamed: false,
            at,
            result: Ok(shown),
        };
        let seen = engine::ports::Seen { target: id, at, resolved: Ok(Vec::new()), attempts: vec![attempt] };
        c.w.engine.take_in("local", &seen, domain::words::Method::AgentRead, None, &person(), &c.w.tick()).unwrap();
        c.w.settle();
    };
    read(&c, &c.of_kind(KeyType::EcdsaP256), c.w.now);
    assert_eq!(c.w.details("node", "wrong-key-type"), ["no certificate for an rsa key is there"]);
    assert_eq!(c.w.incidents().len(), 1);
    c.w.now = c.w.now + Span::minutes(1);
    read(&c, &c.of_kind(KeyType::Rsa2048), c.w.now);
    assert!(c.w.findings("node").is_empty(), "{:?}", c.w.findings("node"));
    assert_eq!(c.w.incidents()[0].facts.state, State::Resolved);
    let messages = c.w.post.got.borrow();
    assert!(format!("{messages:?}").contains("/etc/tls/www.pem"), "messages say where");
}
